"""Tests of the frequency cap: nobody gets more mails than it allows, whoever plans what at the same moment."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from smp_pipelines.campaign.checks import check_project
from smp_pipelines.campaign.project import LoadedProject, load_project
from smp_pipelines.selection.runs import SelectionRun
from smp_pipelines.sending.cap import cap_of, gather
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.planning import plan
from tests.conftest import copy_project
from tests.support.theatre import MONDAY_0900, NEWSLETTER, STEP, Theatre, theatre

SECOND = "newsletter/january"
DAY = timedelta(days=1)
EVERYTHING = "99999999:99999999:"
"""A snapshot of Postgres that has seen all."""


def project_with_cap(folder: Path, cap: str) -> Path:
    """The sample project with this cap and a second newsletter to the same readers."""
    project = copy_project(folder)
    file = project / "smp.yaml"
    file.write_text(re.sub(r"frequency_cap: .*", f"frequency_cap: {cap}", file.read_text()))
    campaign = project / "campaigns" / "newsletter" / "campaign.yaml"
    text = campaign.read_text()
    campaign.write_text(text + text[text.index("  december:") :].replace("  december:", "  january:"))
    return project


@pytest.fixture
def house(
    request: pytest.FixtureRequest, embedded_url: str, migrated_template: str, tmp_path: Path
) -> Iterator[Theatre]:
    """A theatre with the cap of the test's parameter; without one: two mails in seven days, service mails exempt."""
    cap = getattr(request, "param", "{mails: 2, days: 7, exempt: [service]}")
    project = project_with_cap(tmp_path / "my project", cap)
    with theatre(embedded_url, migrated_template, tmp_path / "state", project=project) as opened:
        opened.step = NEWSLETTER
        yield opened


def readers(house: Theatre, count: int) -> list[int]:
    people = house.people(count)
    house.sql(
        "insert into crm.consent select n, 'email', 'newsletter', true, now(), 'web' from unnest(%s) as n", people
    )
    return people


def plan_unmirrored(house: Theatre, step: str, selection: SelectionRun | None = None) -> Send:
    """Plan a step from a selection and a lake as they were left: what was planned since, only the ledger knows."""
    house.step = step
    ref, send = house.deployment.project.step(step), house.open_send()
    selection = selection or house.deployment.audiences.materialise(str(ref.step.selection), house.now, None).run
    # this selection leaves nobody out, so it need not have seen the step's other sends
    selection = replace(selection, seen=EVERYTHING)
    with house.deployment.connection() as postgres, house.deployment.lake.open() as lake:
        return plan(postgres, lake, house.deployment.project, ref, send, selection, house.now)


def test_nobody_gets_more_mails_than_the_cap_in_its_days_and_service_mails_stand_apart(house: Theatre) -> None:
    readers(house, 2)
    house.step = STEP
    assert house.states(house.plan()) == {"planned": 2}
    house.step = NEWSLETTER
    assert house.states(house.plan()) == {"planned": 2}
    house.now += DAY
    assert house.states(house.plan()) == {"planned": 2}
    house.now += DAY
    third = house.plan()
    assert house.reasons(third) == {1: "frequency_cap", 2: "frequency_cap"}
    assert house.verdict(third).holds
    house.now = MONDAY_0900 + 7 * DAY - timedelta(minutes=1)
    assert house.states(house.plan()) == {"skipped": 2}
    house.now = MONDAY_0900 + 7 * DAY
    assert house.states(house.plan()) == {"planned": 2}


@pytest.mark.parametrize("house", ["{mails: 1, days: 7, exempt: [service]}"], indirect=True)
def test_whoever_was_planned_and_then_skipped_has_the_mail_free_again(house: Theatre) -> None:
    readers(house, 3)
    house.live(NEWSLETTER)
    first = house.plan()
    house.sql("update crm.consent set granted = false where person_id = 1")
    assert house.claim(first).skipped == {"opted_out": 1}
    house.sql("update crm.consent set granted = true where person_id = 1")
    house.sql("update smp.message set state = 'rejected' where person_id = 2")
    house.now += DAY
    assert house.reasons(house.plan()) == {1: None, 2: None, 3: "frequency_cap"}


@pytest.mark.parametrize("house", ["{mails: 1, days: 7}"], indirect=True)
def test_of_an_address_that_is_shared_the_mail_goes_to_who_is_not_capped(house: Theatre) -> None:
    readers(house, 3)
    house.sql("update crm.consent set granted = false where person_id = 2")
    assert house.reasons(house.plan())[1] is None
    house.sql("update crm.person set email = 'gezin@example.org' where person_id in (1, 2)")
    house.sql("update crm.consent set granted = true")
    house.now += DAY
    second = house.plan()
    assert house.reasons(second) == {1: "frequency_cap", 2: None, 3: "frequency_cap"}
    assert house.sql("select duplicate_of from smp.message where send_id = %s", second.send_id) == [(None,)] * 3


@pytest.mark.parametrize("house", ["{mails: 1, days: 7}"], indirect=True)
def test_a_mail_at_a_shared_address_counts_for_everybody_who_shares_it(house: Theatre) -> None:
    readers(house, 2)
    house.sql("update crm.person set email = 'gezin@example.org'")
    assert house.reasons(house.plan()) == {1: None, 2: "duplicate_address"}
    assert house.reasons(plan_unmirrored(house, SECOND)) == {1: "frequency_cap", 2: "frequency_cap"}
    house.now += DAY
    assert house.reasons(house.plan()) == {1: "frequency_cap", 2: "frequency_cap"}


@pytest.mark.parametrize("house", ["{mails: 2, days: 7}"], indirect=True)
def test_of_several_records_in_one_send_only_as_many_go_as_the_cap_leaves(house: Theatre) -> None:
    ref = house.deployment.project.step(STEP)
    house.people(2)
    house.sql(
        "insert into crm.performance (performance_id, title, genre, hall, starts_at, duration_minutes)"
        " select n, 'Faust ' || n, 'toneel', 'Grote zaal', %s, 90 from generate_series(8, 9) as n",
        house.now + 2 * DAY,
    )
    house.sql(
        "insert into crm.ticket (ticket_id, person_id, performance_id, price, bought_at)"
        " select n, 1, n, 20, %s from generate_series(8, 9) as n",
        house.now - DAY,
    )
    house.step = STEP
    send, selection = house.open_send(), house.materialise()
    each = replace(ref, step=ref.step.model_copy(update={"deduplicate": False}))
    with house.deployment.connection() as postgres, house.deployment.lake.open() as lake:
        plan(postgres, lake, house.deployment.project, each, send, selection, house.now)
    rows = house.sql("select person_id, record_id, reason from smp.message order by 1, 2")
    assert rows == [(1, 7, None), (1, 8, None), (1, 9, "frequency_cap"), (2, 7, None)]


@pytest.mark.parametrize("house", ["{mails: 1, days: 7, exempt: [service]}"], indirect=True)
def test_two_steps_that_are_planned_at_once_do_not_both_mail_the_same_person(house: Theatre) -> None:
    people = readers(house, 40)
    selection, project = house.materialise(), house.deployment.project
    together = threading.Barrier(4)

    def plan_step(number: int) -> None:
        ref = project.step((NEWSLETTER, SECOND)[number % 2])
        send = house.deployment.open_send(ref, f"{ref.key}@{number}", house.now, house.now, None)
        with house.deployment.connection() as postgres, house.deployment.lake.open() as lake:
            together.wait()
            plan(postgres, lake, project, ref, send, replace(selection, seen=EVERYTHING), house.now)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(plan_step, range(4)))
    planned = house.sql("select person_id from smp.message where state = 'planned' order by 1")
    assert planned == [(person,) for person in people]
    assert house.sql("select distinct reason from smp.message where state = 'skipped'") == [("frequency_cap",)]


STEPS = (NEWSLETTER, SECOND, "we_miss_you/we_miss_you", STEP, "gone/long_ago")
STATES = ("planned", "claimed", "accepted", "rejected", "unknown", "skipped")


@dataclass(frozen=True)
class Earlier:
    """An earlier send: the step, how many half days before (or after) this one, what became of each person's mail."""

    step: str
    half_days: int
    purpose: str
    states: tuple[str, ...]
    mirrored: bool
    became: tuple[str, ...]


earlier_sends = st.lists(
    st.builds(
        Earlier,
        st.sampled_from(STEPS),
        st.integers(-1, 16),
        st.sampled_from(["live", "live", "live", "internal", "test"]),
        st.tuples(*[st.sampled_from(STATES)] * 3),
        st.booleans(),
        st.tuples(*[st.sampled_from(STATES)] * 3),
    ),
    max_size=7,
)


@pytest.fixture(scope="module")
def counting(
    embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Theatre, SelectionRun]]:
    folder = tmp_path_factory.mktemp("counting")
    project = project_with_cap(folder / "my project", "{mails: 2, days: 7, exempt: [service]}")
    with theatre(embedded_url, migrated_template, folder / "state", project=project) as opened:
        opened.step = NEWSLETTER
        readers(opened, 3)
        yield opened, opened.materialise()


# every example plans a real send: too slow to be made smaller when it fails
@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(earlier_sends)
def test_who_is_capped_is_what_counting_one_by_one_says(
    counting: tuple[Theatre, SelectionRun], sends: list[Earlier]
) -> None:
    house, selection = counting
    house.sql("truncate smp.message, smp.send, smp.send_change cascade")
    with house.deployment.lake.open() as lake:
        lake.execute("delete from smp.message; delete from smp.send; delete from smp.message_state")
    ids = [_write(house, each) for each in sends if each.mirrored]
    house.deployment.mirror_moments()
    for send_id, each in zip(ids, [each for each in sends if each.mirrored], strict=True):
        _change(house, send_id, each)
    for each in sends:
        if not each.mirrored:
            _write(house, each)
    send = plan_unmirrored(house, NEWSLETTER, selection)
    last = {each: each.became if each.mirrored else each.states for each in sends}
    counts = [
        sum(
            each.purpose == "live" and each.step != STEP and each.half_days < 14
            and last[each][person] in ("planned", "claimed", "accepted", "unknown")
            for each in sends
        )
        for person in range(3)
    ]  # fmt: skip
    expected = {person + 1: "frequency_cap" if count >= 2 else None for person, count in enumerate(counts)}
    assert house.reasons(send) == expected


def _write(house: Theatre, each: Earlier) -> int:
    moment = house.now - each.half_days * DAY / 2
    house.sends += 1
    ((send_id,),) = house.sql(
        "insert into smp.send (send_key, step, purpose, moment, state, opened_at, planned)"
        " values (%s, %s, %s, %s, 'finished', %s, 3) returning send_id",
        f"earlier {house.sends}", each.step, each.purpose, moment, moment,
    )  # fmt: skip
    house.sql(
        "insert into smp.message (send_id, recipient_key, seq, person_id, state)"
        " select %s, md5('row:' || n)::uuid, n, n, s::smp.message_state"
        " from unnest(%s::text[]) with ordinality as u (s, n)",
        send_id, list(each.states),
    )  # fmt: skip
    return int(send_id)


def _change(house: Theatre, send_id: int, each: Earlier) -> None:
    """What became of the mails after the lake had read them: the send says that it changed, as the ledger has it."""
    house.sql(
        "update smp.message as m set state = s::smp.message_state from unnest(%s::text[]) with ordinality as u (s, n)"
        " where send_id = %s and seq = n",
        list(each.became), send_id,
    )  # fmt: skip
    house.sql("update smp.send set changed_tx = pg_current_xact_id() where send_id = %s", send_id)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> LoadedProject:
    folder = tmp_path_factory.mktemp("capped")
    return load_project(project_with_cap(folder / "my project", "{mails: 2, days: 7, exempt: [service]}"))


def a_send(moment: datetime, purpose: str = "live") -> Send:
    return Send(1, "key", NEWSLETTER, purpose, moment, "planning", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("month_and_day", [(3, 30), (10, 26), (6, 1)])
def test_days_are_days_on_the_wall_also_when_the_clock_changes(
    project: LoadedProject, month_and_day: tuple[int, int]
) -> None:
    zone = ZoneInfo("Europe/Amsterdam")
    monday = datetime(2026, *month_and_day, 9, tzinfo=zone)
    moment = monday.astimezone(UTC)
    cap = cap_of(project, project.step(NEWSLETTER), a_send(moment))
    assert cap is not None
    assert cap.since.astimezone(zone) == monday - 7 * DAY
    assert cap.since.astimezone(zone).hour == 9
    assert STEP in cap.exempt
    assert NEWSLETTER not in cap.exempt


def test_exempt_topics_and_internal_and_test_sends_have_no_cap(project: LoadedProject) -> None:
    assert cap_of(project, project.step(STEP), a_send(MONDAY_0900)) is None
    assert cap_of(project, project.step(NEWSLETTER), a_send(MONDAY_0900, "internal")) is None
    assert cap_of(project, project.step(NEWSLETTER), a_send(MONDAY_0900, "test")) is None
    uncapped = replace(project, settings=project.settings.model_copy(update={"frequency_cap": None}))
    assert cap_of(uncapped, uncapped.step(NEWSLETTER), a_send(MONDAY_0900)) is None


def test_without_a_cap_nothing_is_counted(counting: tuple[Theatre, SelectionRun]) -> None:
    house, _selection = counting
    with house.deployment.connection() as postgres, house.deployment.lake.open() as lake:
        gather(postgres, lake, a_send(MONDAY_0900), None)
        assert lake.execute("select count(*) from temp.received").fetchone() == (0,)


def test_a_topic_that_is_exempt_but_does_not_exist_is_told_with_its_line(tmp_path: Path) -> None:
    folder = project_with_cap(tmp_path / "my project", "\n  mails: 1\n  days: 2\n  exempt:\n    - service\n    - ofers")
    problems = [each for each in check_project(load_project(folder)) if "frequency_cap" in each.message]
    lines = (folder / "smp.yaml").read_text().splitlines()
    assert [(each.message, each.remedy) for each in problems] == [
        ("frequency_cap: there is no topic ofers to exempt", "did you mean offers?")
    ]
    assert problems[0].line == 1 + lines.index("    - ofers")
