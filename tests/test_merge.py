"""Tests of merging two person cards: everything follows, a no stays a no, and nobody gets a mail twice (F50)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from smp_pipelines.crm.merging import Merged, merge, survivor
from smp_pipelines.problems import SmpError
from tests.support.mailserver import MailServer
from tests.support.theatre import MONDAY_0900, PERFORMANCE, STEP, Theatre, theatre

BEFORE = MONDAY_0900 - timedelta(days=30)
_PEOPLE = iter(range(1, 10_000, 2))


@pytest.fixture(scope="module")
def house(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """One theatre for all tests; each has two people of its own."""
    with theatre(embedded_url, migrated_template, tmp_path_factory.mktemp("merge") / "state") as opened:
        opened.live()
        opened.sql(
            "insert into smp.flow (flow, state, since) "
            " select 'welkom ' || n, 'live', now() from generate_series(1, 2) as n"
        )
        yield opened


@pytest.fixture
def two(house: Theatre) -> tuple[int, int]:
    """The card that goes, and the one that stays."""
    new = next(_PEOPLE)
    house.people(2, first=new, tickets=False)
    return new + 1, new


def merged(house: Theatre, *pairs: tuple[int, int], reason: str | None = None, once: Sequence[str] = (STEP,)) -> Merged:
    with house.deployment.connection() as connection:
        return merge(connection, pairs, once, house.now, "anna", reason)


def test_rows_of_the_crm_follow(house: Theatre, two: tuple[int, int]) -> None:
    old, new = two
    house.sql("insert into crm.donation values (%s, %s, 'dak', null, 25, now())", old, old)
    house.sql(
        "insert into crm.registration (submission_id, person_id, submitted_at, tour) values (%s, %s, now(), 'none')",
        *two,
    )
    done = merged(house, two)
    assert house.sql("select person_id from crm.donation where donation_id = %s", old) == [(new,)]
    assert house.sql("select person_id from crm.registration where submission_id = %s", old) == [(new,)]
    assert house.sql("select from crm.person where person_id = %s", old) == []
    assert done.moved["crm.donation"] == 1


def test_a_table_of_another_schema_that_refers_to_people_follows_too(house: Theatre, two: tuple[int, int]) -> None:
    house.sql("create table public.tip (tip_id int primary key, giver bigint references crm.person on delete cascade)")
    house.sql("insert into public.tip values (1, %s)", two[0])
    merged(house, two)
    assert house.sql("select giver from public.tip") == [(two[1],)]
    house.sql("drop table public.tip")


@pytest.mark.parametrize(
    ("old_says", "new_says", "stays"),
    [
        ((True, 1), (False, 2), False),
        ((False, 2), (True, 1), False),
        ((True, 2), (False, 1), True),
        ((False, 1), (True, 2), True),
        ((False, 1), (True, 1), False),
        ((True, 1), (False, 1), False),
        ((True, 1), None, True),
        (None, (False, 1), False),
    ],
)
def test_of_two_decisions_the_later_one_counts_and_of_two_at_once_the_no(
    house: Theatre,
    two: tuple[int, int],
    old_says: tuple[bool, int] | None,
    new_says: tuple[bool, int] | None,
    stays: bool,
) -> None:
    for person, says in zip(two, (old_says, new_says), strict=True):
        if says is not None:
            granted, day = says
            house.sql(
                "insert into crm.consent values (%s, 'email', 'newsletter', %s, %s, 'web')",
                *(person, granted, BEFORE + timedelta(days=day)),
            )
    merged(house, two)
    assert house.sql("select granted from crm.consent where person_id = %s", two[1]) == [(stays,)]


def test_lists_are_joined_and_nobody_is_on_one_twice(house: Theatre, two: tuple[int, int]) -> None:
    old, new = two
    lists = [3 * new, 3 * new + 1, 3 * new + 2]
    house.sql("insert into crm.list select n, 'lijst ' || n from unnest(%s::int[]) as n", lists)
    for person, which in ((old, lists[:2]), (new, lists[1:])):
        house.sql("insert into crm.list_member select n, %s, %s from unnest(%s::int[]) as n", person, BEFORE, which)
    done = merged(house, two)
    found = house.sql("select list_id from crm.list_member where person_id = %s order by 1", new)
    assert found == [(number,) for number in lists]
    assert (done.moved["crm.list_member"], done.dropped["crm.list_member"]) == (1, 1)


def test_empty_columns_are_filled_filled_ones_stay_and_blocked_stays_blocked(
    house: Theatre, two: tuple[int, int]
) -> None:
    old, new = two
    house.sql("update crm.person set phone = '0612', city = 'Oud', blocked = true where person_id = %s", old)
    house.sql("update crm.person set city = 'Nieuw', salutation = '' where person_id = %s", new)
    merged(house, two)
    card = house.sql("select phone, city, blocked, salutation, email from crm.person where person_id = %s", new)
    assert card == [("0612", "Nieuw", True, "Beste Anna", f"p{new}@example.org")]


def test_several_pairs_go_at_once_and_chains_lead_to_the_end(house: Theatre) -> None:
    first = next(_PEOPLE)
    for _ in range(2):
        next(_PEOPLE)
    a, b, c, d = house.people(4, first=first, tickets=False)
    for person in (a, b):
        house.sql("insert into crm.consent values (%s, 'email', 'news', true, %s, 'web')", person, BEFORE)
    merged(house, (a, c), (b, c))
    assert house.sql("select count(*) from crm.consent where person_id = %s", c) == [(1,)]
    merged(house, (c, d), reason="dubbel")
    with house.deployment.connection() as connection:
        assert [survivor(connection, each) for each in (a, b, c, d)] == [d, d, d, None]
    assert house.sql("select merged_by, reason from smp.person_merge where old_id = %s", c) == [("anna", "dubbel")]


def test_unknown_equal_and_merged_keys_are_refused_and_nothing_changes(house: Theatre, two: tuple[int, int]) -> None:
    old, new = two
    with pytest.raises(SmpError, match="no person 999999"):
        merged(house, (old, 999_999))
    with pytest.raises(SmpError, match="with themselves"):
        merged(house, (old, old))
    with pytest.raises(SmpError, match="to stay and to go"):
        merged(house, (old, new), (new, 999_999))
    with pytest.raises(SmpError, match="to go twice"):
        merged(house, (old, new), (old, new))
    assert house.sql("select count(*) from crm.person where person_id in (%s, %s)", *two) == [(2,)]
    merged(house, two)
    with pytest.raises(SmpError, match=f"person {old} was merged into {new} before"):
        merged(house, two)


def test_a_person_with_both_cards_in_one_send_gets_one_mail(house: Theatre, two: tuple[int, int]) -> None:
    send = house.plan_these(list(two))
    assert merged(house, two).mails_skipped == 1
    rows = house.sql("select person_id, reason from smp.message where send_id = %s order by reason", send.send_id)
    assert rows == [(two[1], "merged"), (two[1], None)]
    with MailServer() as server:
        house.deliver(send, server.port)
        assert len(server.recipients) == 1
    assert house.states(send) == {"accepted": 1, "skipped": 1}
    assert house.verdict(send).holds


def test_whoever_had_the_mail_under_the_old_key_gets_it_no_more(house: Theatre, two: tuple[int, int]) -> None:
    old, _new = two
    send = house.plan_these(list(two))
    house.claim(send, batch=1)  # one of the two is on its way
    merged(house, two)
    assert house.states(send) == {"claimed": 1, "skipped": 1}
    assert house.sql("select from smp.message where person_id = %s", old) == []


def test_without_deduplication_mails_about_different_records_both_go(house: Theatre, two: tuple[int, int]) -> None:
    send = house.plan_these(list(two))
    house.sql("update smp.message set record_id = 8 where send_id = %s and person_id = %s", send.send_id, two[0])
    assert merged(house, two, once=[]).mails_skipped == 0
    assert house.states(send) == {"planned": 2}


def test_with_deduplication_one_of_two_mails_about_different_records_goes(house: Theatre, two: tuple[int, int]) -> None:
    send = house.plan_these(list(two))
    house.sql("update smp.message set record_id = 8 where send_id = %s and person_id = %s", send.send_id, two[0])
    assert merged(house, two).mails_skipped == 1
    assert house.states(send) == {"planned": 1, "skipped": 1}


def test_a_continuous_send_sees_the_history_under_the_new_key(house: Theatre, two: tuple[int, int]) -> None:
    old, new = two
    house.sql("delete from crm.ticket")
    house.people(0)
    house.sql("insert into crm.ticket values (%s, %s, %s, null, 20, now())", new, old, PERFORMANCE)
    first = house.plan()
    assert house.states(first) == {"planned": 1}
    house.sql("insert into crm.ticket values (%s, %s, %s, null, 20, now())", old, new, PERFORMANCE)
    merged(house, two)
    second = house.plan()
    assert house.states(second) == {}, "a second mail about the same performance"
    assert house.sql("select person_id from smp.message where send_id = %s", first.send_id) == [(new,)]


def test_a_selection_made_before_the_merge_is_made_anew(house: Theatre, two: tuple[int, int]) -> None:
    from smp_pipelines.sending.planning import StaleSelectionError, plan

    old, new = two
    house.sql("delete from crm.ticket")
    house.people(0)
    house.sql("insert into crm.ticket values (%s, %s, %s, null, 20, now())", new, old, PERFORMANCE)
    house.plan()
    house.sql("insert into crm.ticket values (%s, %s, %s, null, 20, now())", old, new, PERFORMANCE)
    send, selection = house.open_send(f"late {new}"), house.materialise()
    merged(house, two)
    ref = house.deployment.project.step(house.step)
    with (
        house.deployment.connection() as postgres,
        house.deployment.lake.open() as lake,
        pytest.raises(StaleSelectionError),
    ):
        plan(postgres, lake, house.deployment.project, ref, send, selection, house.now)


def test_what_people_did_is_under_the_new_key_in_the_lake(house: Theatre, two: tuple[int, int]) -> None:
    old, new = two
    house.sql(
        "insert into smp.submission"
        " (submission_key, form, step, person_id, identified, answers, language, submitted_at)"
        " values (gen_random_uuid(), 'f', 'a/form', %s, 'new', '{}', 'nl', %s)",
        *(old, house.now),
    )
    house.sql(
        "insert into smp.hit (kind, happened_at, step, person_id, method, user_agent)"
        " values ('page', %s, 'a/page', %s, 'GET', 'Mozilla/5.0 Firefox')",
        *(house.now, old),
    )
    assert moments(house, old) == ["form_submitted", "page_seen"]
    merged(house, two)
    assert moments(house, old) == []
    assert moments(house, new) == ["form_submitted", "page_seen"]


def moments(house: Theatre, person: int) -> list[str]:
    house.deployment.mirror_moments()
    with house.deployment.lake.open() as lake:
        query = "select kind from smp.contact_moment where person_id = ? order by kind"
        return [kind for (kind,) in lake.execute(query, [person]).fetchall()]


def enrol(house: Theatre, flow: int, person: int, hour: int, key: str, **columns: Any) -> int:
    values = {"version_id": 1, "entered_by": "list", "node": 2, "round": 0, "due_at": house.now} | columns
    moment = BEFORE + timedelta(hours=hour)
    values |= {"flow_id": flow, "person_id": person, "entered_at": moment, "arrived_at": moment, "entry_key": key}
    ((participant,),) = house.sql(
        f"insert into smp.participant ({', '.join(values)}) values ({', '.join(['%s'] * len(values))})"
        " returning participant_id",
        *values.values(),
    )
    return int(participant)


def participations(house: Theatre, flow: int, person: int) -> list[tuple[Any, ...]]:
    return house.sql(
        "select participant_id, round, entry_key, left_at is null, outcome from smp.participant"
        " where flow_id = %s and person_id = %s order by round",
        *(flow, person),
    )


def test_in_a_flow_the_one_that_entered_first_stays(house: Theatre, two: tuple[int, int]) -> None:
    old, new = two
    later = enrol(house, 1, new, 5, "list:5")
    first = enrol(house, 1, old, 1, "list:5")
    assert merged(house, two).left == 1
    assert participations(house, 1, new) == [
        (first, 0, "list:5", True, None),
        (later, 1, f"list:5#{later}", False, "merged"),
    ]
    path = house.sql("select node, way, note, left_at from smp.participant_visit where participant_id = %s", later)
    assert path == [(2, "none", "merged", house.now)]
    assert house.sql("select from smp.participant where person_id = %s", old) == []


def test_earlier_rounds_of_both_are_put_in_order(house: Theatre, two: tuple[int, int]) -> None:
    old, new = two
    gone = {"left_at": BEFORE + timedelta(hours=9), "outcome": "completed", "due_at": None}
    a = enrol(house, 2, new, 1, "donation:1", **gone)
    c = enrol(house, 2, new, 6, "donation:3", round=1)
    b = enrol(house, 2, old, 3, "donation:2", **gone)
    assert merged(house, two).left == 0
    assert [row[:2] for row in participations(house, 2, new)] == [(a, 0), (b, 1), (c, 2)]


def test_what_the_one_that_leaves_was_sent_is_not_sent_to_the_one_that_stays(
    house: Theatre, two: tuple[int, int]
) -> None:
    old, new = two
    house.sql(
        "insert into smp.flow_version (flow_id, number, definition, digest, made_at, made_by)"
        " select 1, 2, '{}', 'x', now(), 'a' where not exists (select from smp.flow_version)"
    )
    ((version,),) = house.sql("select min(version_id) from smp.flow_version")
    house.sql(
        "insert into smp.flow_node values (%s, 3, 'mail', 'Mail', 'mail', 'welkom/mail', '{}') on conflict do nothing",
        version,
    )
    stays = enrol(house, 1, old, 1, "list:1", version_id=version)
    leaves = enrol(house, 1, new, 2, "list:2", version_id=version)
    house.sql(
        "insert into smp.trigger_event (step, person_id, cause, happened_at, participant_id, version_id, node)"
        " values ('welkom/mail', %s, 'flow', %s, %s, %s, 3)",
        *(new, house.now, leaves, version),
    )
    merged(house, two)
    assert house.sql("select participant_id, missed from smp.trigger_event where person_id = %s", new) == [
        (stays, None)
    ]


def test_two_cards_that_wait_for_the_same_mail_get_one(house: Theatre, two: tuple[int, int]) -> None:
    for person in two:
        participant = enrol(house, 1, person, 1, "list:9")
        house.sql(
            "insert into smp.trigger_event (step, person_id, cause, happened_at, participant_id, version_id, node)"
            " values ('welkom/mail', %s, 'flow', %s, %s, 77, 3)",
            *(person, house.now, participant),
        )
    merged(house, two)
    assert house.sql(
        "select missed, count(*) from smp.trigger_event where person_id = %s group by 1 order by 1", two[1]
    ) == [("merged", 1), (None, 1)]


def test_taken_out_of_a_frozen_group_stays_out(house: Theatre, two: tuple[int, int]) -> None:
    old, new = two
    for person, linked, day in ((old, False, 2), (new, True, 1)):
        house.sql(
            "insert into smp.target_member values ('a/step', %s, null, %s, 'by hand', %s)",
            *(person, linked, BEFORE + timedelta(days=day)),
        )
    merged(house, two)
    assert house.sql("select person_id, linked from smp.target_member where step = 'a/step'") == [(new, False)]


def test_no_table_of_the_database_knows_the_old_key(house: Theatre, two: tuple[int, int], tmp_path: Path) -> None:
    """Whatever column is called person_id, today's and tomorrow's."""
    old, _new = two
    places = house.sql(
        "select table_schema || '.' || table_name from information_schema.columns"
        " where column_name = 'person_id' and table_schema in ('crm', 'smp')"
        " and table_name in (select table_name from information_schema.tables where table_type = 'BASE TABLE')"
    )
    assert len(places) > 15
    house.plan_these([old])
    enrol(house, 1, old, 1, "list:1")
    house.sql("insert into smp.flow_member values (1, 's', %s, now())", old)
    house.sql("insert into smp.flow_refusal values (1, 'k', %s, 'list', 'present', now())", old)
    merged(house, two)
    for (place,) in places:
        assert house.sql(f"select from {place} where person_id = %s", old) == [], place
