"""What people did with mails, forms and pages: contact moments in the lake, selections over them, and figures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import duckdb
import psycopg
import pytest

from smp_pipelines.reporting.moments import mirror_moments, prepare_lake
from smp_pipelines.sending.unsubscribing import read_mailed, unsubscribe
from smp_pipelines.stores.lake import rows, scalar
from tests.support.reacting import Reactions
from tests.support.theatre import PERFORMANCE, STEP, Theatre, theatre

LINK = "https://a.example/"
HOUR = 3600
_numbers = itertools.count(1)

OLD_VIEW = """
create or replace view smp.contact_moment as
select
    person_id, campaign, step, channel, 'sent' as kind, moment as happened_at, outcome, reason, received, record_id,
    send_id
from smp.message
where purpose = 'live' and (outcome <> 'skipped' or received);
"""
"""The lake's contact moments as issue 4 made them."""


@pytest.fixture(scope="module")
def house(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with theatre(embedded_url, migrated_template, tmp_path_factory.mktemp("state")) as opened:
        yield opened


@pytest.fixture(scope="module")
def site(house: Theatre) -> Reactions:
    return Reactions(house.url, house.now)


@pytest.fixture
def person(house: Theatre) -> int:
    """Somebody new in every test, with a ticket for the performance."""
    number = next(_numbers)
    house.people(1, first=number)
    return number


def moments(house: Theatre, person: int, columns: str = "kind", also: str = "kind <> 'sent'") -> list[Any]:
    """What the lake knows that a person did, after mirroring."""
    house.deployment.mirror_moments()
    with house.deployment.lake.open() as lake:
        query = (
            f"select {columns} from smp.contact_moment where person_id = {person} and {also} order by happened_at, kind"
        )
        found = rows(lake, query)
    return [row[0] if len(row) == 1 else row for row in found]


def did(site: Reactions, person: int, columns: str = "kind") -> list[Any]:
    """What a person did, as Postgres has it, which the lake mirrors."""
    found = site.sql(f"select {columns} from smp.reaction where person_id = %s order by happened_at, kind", person)
    return [row[0] if len(row) == 1 else row for row in found]


# ---------------------------------------------------------------- contact moments


def test_a_scanner_leaves_no_contact_moment_and_a_later_click_of_the_person_does(
    house: Theatre, site: Reactions, person: int
) -> None:
    send = site.mail([person], step=STEP, record=PERFORMANCE)
    for place, link in enumerate((LINK, "https://b.example/")):
        site.hit("click", person, 60 + place / 4, send, step=STEP, link=link, record=PERFORMANCE)
    assert moments(house, person) == []
    site.hit("click", person, HOUR, send, step=STEP, link=LINK, record=PERFORMANCE)
    columns = "campaign, step, channel, kind, outcome, reason, received, record_id, send_id, submission_id, link"
    assert moments(house, person, columns) == [
        ("servicemails", STEP, "email", "clicked", "happened", None, False, PERFORMANCE, send, None, LINK)
    ]


def test_a_click_that_turns_out_to_be_a_scanner_s_is_taken_back(house: Theatre, site: Reactions, person: int) -> None:
    send = site.mail([person])
    site.hit("click", person, 60, send, link=LINK)
    assert moments(house, person) == ["clicked"]
    site.hit("click", person, 60.5, send, link="https://b.example/")
    assert moments(house, person) == []


def test_ten_opens_are_one_contact_moment_of_the_first(house: Theatre, site: Reactions, person: int) -> None:
    send = site.mail([person])
    for each in range(10):
        site.hit("open" if each % 2 else "view", person, HOUR * (each + 1), send)
    assert did(site, person, "kind, happened_at, hits") == [("opened", house.now + timedelta(hours=1), 10)]


def test_two_mails_are_two_contact_moments_and_so_are_two_records(house: Theatre, site: Reactions, person: int) -> None:
    one, two = site.mail([person]), site.mail([person])
    site.hit("open", person, 60, one)
    site.hit("open", person, 60, two)
    site.hit("page", person, 60, step="feedback/thanks", record=1, submission=8)
    site.hit("page", person, 60, step="feedback/thanks", record=2, submission=9)
    assert did(site, person) == ["opened", "opened", "page_seen", "page_seen"]


@pytest.mark.parametrize("purpose", ["test", "internal"])
def test_what_is_done_with_a_test_mail_or_a_mail_for_checking_is_no_contact_moment(
    house: Theatre, site: Reactions, person: int, purpose: str
) -> None:
    send = site.mail([person], purpose=purpose)
    site.hit("click", person, HOUR, send, link=LINK)
    site.hit("form", person, HOUR, send, step="feedback/survey")
    site.submit(person, HOUR, step="feedback/survey", send_id=send)
    assert did(site, person) == []


def test_a_hit_of_nobody_in_particular_is_no_contact_moment(house: Theatre, site: Reactions, person: int) -> None:
    site.hit("form", None, HOUR, step="welcome/signup")
    site.hit("form", person, HOUR, step="welcome/signup")
    assert did(site, person, "step, kind, channel") == [("welcome/signup", "form_opened", "form")]


def test_a_submission_and_its_confirmation_are_contact_moments(house: Theatre, site: Reactions, person: int) -> None:
    number = site.submit(person, 60, step="welcome/signup", awaits_confirmation=True)
    asked = did(site, person, "kind, outcome, submission_id")
    assert asked == [("form_submitted", "unconfirmed", number)]
    site.sql(
        "update smp.submission set confirmed_at = %s, changed_tx = pg_current_xact_id() where submission_id = %s",
        *(house.now + timedelta(minutes=5), number),
    )
    assert did(site, person, "kind, outcome") == [("form_submitted", "happened"), ("confirmed", "happened")]


def test_nothing_that_people_do_counts_as_received(house: Theatre, site: Reactions, person: int) -> None:
    send = site.mail([person], state="rejected")
    site.hit("click", person, HOUR, send, link=LINK)
    site.submit(person, HOUR, step="feedback/survey", send_id=send)
    assert moments(house, person, "kind, received", "true") == [
        ("sent", False),
        ("clicked", False),
        ("form_submitted", False),
    ]


# ---------------------------------------------------------------- unsubscribing


def test_whoever_unsubscribes_by_a_mail_s_link_has_a_contact_moment_of_that_mail_once(
    house: Theatre, site: Reactions, person: int
) -> None:
    send = site.mail([person], step=STEP, record=PERFORMANCE)
    later = house.now + timedelta(hours=3)
    with house.deployment.connection() as connection:
        mailed = read_mailed(connection, house.deployment.project, send, UUID(f"{person:032d}"))
        assert unsubscribe(connection, mailed, "one_click", "nee", later) == 1
        assert unsubscribe(connection, mailed, "unsubscribe_page", "nee", later + timedelta(hours=1)) == 0
    assert did(site, person, "step, kind, happened_at, record_id, send_id") == [
        (STEP, "unsubscribed", later, PERFORMANCE, send)
    ]
    assert site.sql("select source, topics from smp.unsubscription where person_id = %s", person) == [
        ("one_click", ["service"])
    ]


def test_a_no_that_was_there_already_is_of_no_mail(house: Theatre, site: Reactions, person: int) -> None:
    site.sql("insert into crm.consent values (%s, 'email', 'service', false, %s, 'brief', 'nee')", person, house.now)
    send = site.mail([person], step=STEP)
    with house.deployment.connection() as connection:
        mailed = read_mailed(connection, house.deployment.project, send, UUID(f"{person:032d}"))
        assert unsubscribe(connection, mailed, "one_click", "nee", house.now) == 0
    assert did(site, person) == []


# ---------------------------------------------------------------- mirroring


def test_only_people_with_something_new_are_read_again(house: Theatre, site: Reactions, person: int) -> None:
    send = site.mail([person])
    other = next(_numbers)
    site.hit("open", person, HOUR, send)
    site.hit("open", other, HOUR, site.mail([other]))
    moments(house, person)
    site.hit("click", person, HOUR, send, link=LINK)
    with house.deployment.lake.open() as lake:
        assert mirror_moments(lake).written == 2, "the person's open and click"
        snapshot = "select max(snapshot_id) from ducklake_snapshots('smp')"
        before = scalar(lake, snapshot)
        assert mirror_moments(lake).written == 0
        assert scalar(lake, snapshot) == before, "nothing was written when there was nothing new"


def test_a_hit_that_a_slow_transaction_wrote_is_not_missed(house: Theatre, site: Reactions, person: int) -> None:
    with psycopg.connect(house.url) as slow:
        slow.execute(
            "insert into smp.hit (kind, happened_at, step, person_id, method, user_agent)"
            " values ('page', %s, 'feedback/thanks', %s, 'GET', 'Mozilla/5.0 (X11) Firefox/140.0')",
            (house.now, person),
        )
        site.hit("form", person, 60, step="feedback/survey")
        assert moments(house, person) == ["form_opened"]
        slow.commit()
    assert moments(house, person) == ["page_seen", "form_opened"]


def test_a_database_restored_on_another_server_is_read_anew(house: Theatre, site: Reactions, person: int) -> None:
    site.hit("page", person, 60, step="feedback/thanks")
    moments(house, person)
    with house.deployment.lake.open() as lake:
        lake.execute("update smp.reaction_state set watermark = '9999999999:9999999999:'")
        lake.execute("insert into smp.reaction (person_id, kind) values (987654, 'clicked')")
        assert mirror_moments(lake).written > 0
        assert rows(lake, "from smp.reaction where person_id = 987654") == []
    assert moments(house, person) == ["page_seen"]


def test_a_lake_that_was_made_before_gets_what_is_new(house: Theatre, site: Reactions, person: int) -> None:
    site.hit("page", person, 60, step="feedback/thanks")
    with house.deployment.lake.open() as lake:
        lake.execute(OLD_VIEW)
        for table in ("reaction", "reaction_state", "engagement", "prepared"):
            lake.execute(f"drop table smp.{table}")
        with pytest.raises(duckdb.Error):
            mirror_moments(lake)
    with house.deployment.running():
        assert moments(house, person) == ["page_seen"]
    with house.deployment.lake.open() as lake:
        prepare_lake(lake)
        assert scalar(lake, f"select count(*) from smp.reaction where person_id = {person}") == 1, "made once only"


# ---------------------------------------------------------------- selections and figures


def test_who_opened_the_form_and_did_not_reach_the_thank_you_page_is_a_selection(
    house: Theatre, site: Reactions, person: int
) -> None:
    done, looked, never = person, next(_numbers), next(_numbers)
    house.people(2, first=looked)
    send = site.mail([done, looked, never], step="feedback/aftermail", record=PERFORMANCE)
    for each in (done, looked):
        site.hit("form", each, HOUR, send, step="feedback/survey", record=PERFORMANCE)
    number = site.submit(done, HOUR + 60, step="feedback/survey", send_id=send, record_id=PERFORMANCE)
    site.hit("page", done, HOUR + 61, step="feedback/thanks", record=PERFORMANCE, submission=number)
    house.mirror()
    house.deployment.mirror_moments()
    audiences, soon, later = house.deployment.audiences, timedelta(hours=3), timedelta(hours=26)
    assert audiences.count("survey_unfinished", house.now + soon) == 0, "they have a day"
    _columns, found = audiences.preview("survey_unfinished", house.now + later, 10)
    assert [tuple(row) for row in found] == [(looked, PERFORMANCE)]


def test_the_figures_of_a_mail_count_people(house: Theatre, site: Reactions, person: int) -> None:
    people = [person, *(next(_numbers) for _ in range(4))]
    house.people(4, first=people[1])
    step = "newsletter/december"
    send = site.mail(people, step=step)
    site.sql(
        "update smp.message set state = 'rejected', reason = 'refused' where send_id = %s and person_id = %s",
        send,
        people[4],
    )
    for each in people[:3]:
        for again in range(3):
            site.hit("open", each, HOUR + again, send, step=step)
    site.hit("click", people[0], HOUR, send, step=step, link=LINK)
    for agent in (None, "curl/8"):
        site.hit("click", people[3], HOUR, send, step=step, link=LINK, agent=agent)
    with house.deployment.connection() as connection:
        mailed = read_mailed(connection, house.deployment.project, send, UUID(f"{people[1]:032d}"))
        unsubscribe(connection, mailed, "one_click", "nee", house.now + timedelta(hours=2))
    house.deployment.mirror_moments()
    house.deployment.refresh_metrics()
    file = house.deployment.publish(house.now).file
    with duckdb.connect(str(file), read_only=True) as report:
        assert report.execute(
            "select sent, delivered, bounced, opened, clicked, unsubscribed, opened_percent from mail_results"
            " where step = ?", [step]
        ).fetchall() == [(5, 4, 1, 3, 1, 1, 75.0)]  # fmt: skip
        assert report.execute(
            "select kind, people, hits from engagement where step = ? order by kind", [step]
        ).fetchall() == [("clicked", 1, 1), ("opened", 3, 9), ("unsubscribed", 1, 1)]  # fmt: skip
        forms = report.execute(
            "select name, planned, form_opened, form_submitted, page_seen from step_results"
            " where step = 'feedback/survey'"
        ).fetchall()
        assert forms[0][0] == "Enquête"
        assert forms[0][1] == 0
        assert forms[0][2] >= 2
