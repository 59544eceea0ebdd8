"""Why (not) me: the answer agrees with what planning makes of everybody, now and looked back at (X4)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from typer.testing import CliRunner

from smp_pipelines.cli import app
from smp_pipelines.commands import person as commands
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.why.answer import Why
from tests.conftest import SAMPLE_PEOPLE, copy_project, fresh_database
from tests.support.theatre import STEP, Theatre, deployment

JANUARY, MISSED = "newsletter/january", "we_miss_you/we_miss_you"
EVERYBODY = range(1, SAMPLE_PEOPLE + 3)  # the last two are nobody
SPOILT = """
    update crm.person set email = o.email
        from crm.person as o where person.person_id = o.person_id + 1 and o.person_id % 5 = 0;
    update crm.person set blocked = true where person_id % 23 = 0;
    update crm.person set email = null where person_id % 29 = 0;
    update crm.person set email = 'a@@b' where person_id % 31 = 0;
    insert into crm.suppression
        select distinct email_key, 'complaint', timestamptz '2026-11-01 12:00+01'
        from crm.person where person_id % 19 = 0 and email_key is not null on conflict do nothing;
    insert into crm.consent
        select person_id, 'email', 'service', person_id % 2 = 0, timestamptz '2026-11-02 12:00+01', 'form'
        from crm.person where person_id % 7 = 0
        on conflict (person_id, channel, topic) do update
        set granted = excluded.granted, changed_at = excluded.changed_at, source = excluded.source;
    update crm.performance set block_service_mail = true where performance_id % 3 = 0;
    delete from crm.consent where topic = 'offers' and person_id % 3 = 0;
"""


@pytest.fixture(scope="module")
def house(embedded_url: str, sample_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """The sample CRM with every kind of obstacle in it, a cap of one mail a week, and a second newsletter."""
    folder = tmp_path_factory.mktemp("why")
    project = copy_project(folder / "my project")
    file = project / "smp.yaml"
    file.write_text(re.sub(r"frequency_cap: .*", "frequency_cap: {mails: 1, days: 7}", file.read_text()))
    campaign = project / "campaigns" / "newsletter" / "campaign.yaml"
    text = campaign.read_text()
    campaign.write_text(text + text[text.index("  december:") :].replace("  december:", "  january:"))
    with fresh_database(embedded_url, sample_template) as url:
        made = deployment(url, folder / "state", project=project)
        with made.running():
            opened = Theatre(made)
            with made.connection() as connection:
                connection.execute(SPOILT)
            yield opened
    shutil.rmtree(folder)


def why(house: Theatre, step: str, people: range | list[int], **when: datetime) -> dict[int, Why]:
    ref = house.deployment.project.step(step)
    return {each.person_id: each for each in house.deployment.explaining.why(ref, list(people), house.now, **when)}


def rows(whys: dict[int, Why]) -> dict[tuple[int, int | None], tuple[str, str | None]]:
    """What the answers say of each row of a send."""
    return {
        (one.person_id, row.record_id): (row.planned.state, row.planned.reason)
        for one in whys.values()
        for row in one.rows
    }


def ledger(house: Theatre, send: Send) -> dict[tuple[int, int | None], tuple[str, str | None]]:
    found = house.sql(
        "select person_id, record_id, state::text, reason from smp.message where send_id = %s", send.send_id
    )
    return {(person, record): (state, reason) for person, record, state, reason in found}


def planned(house: Theatre, step: str) -> tuple[dict[int, Why], Send]:
    """What the answers were just before a send was planned, and the send."""
    house.step = step
    house.live()
    before = why(house, step, EVERYBODY, moment=house.now)
    return before, house.plan()


@pytest.fixture(scope="module")
def sends(house: Theatre) -> dict[str, tuple[dict[int, Why], Send]]:
    return {step: planned(house, step) for step in (STEP, MISSED, JANUARY)}


@pytest.mark.parametrize("step", [STEP, MISSED, JANUARY])
def test_the_answer_for_everybody_is_what_planning_then_writes_in_the_ledger(
    house: Theatre, sends: dict[str, tuple[dict[int, Why], Send]], step: str
) -> None:
    answers, send = sends[step]
    written = ledger(house, send)
    assert rows(answers) == written
    assert {state for state, _reason in written.values()} == {"planned", "skipped"}
    mailed = {person for (person, _record), (state, _reason) in written.items() if state == "planned"}
    assert {person for person, one in answers.items() if one.gets} == mailed
    assert answers.keys() == set(EVERYBODY)


@pytest.mark.parametrize("step", [STEP, MISSED, JANUARY])
def test_whoever_is_skipped_or_not_selected_has_a_rule_that_stops_it(
    sends: dict[str, tuple[dict[int, Why], Send]], step: str
) -> None:
    answers, _send = sends[step]
    for one in answers.values():
        stopped = [rule for rule in one.rules if rule.ok is False]
        for row in one.rows:
            own = [rule for rule in row.rules if rule.ok is False]
            assert bool(stopped or own) == (row.planned.state == "skipped"), (one, row)
        if not one.rows:
            assert [rule for rule in stopped if rule.name.startswith("selection ")], one


def test_every_reason_of_planning_is_met_in_the_sample(sends: dict[str, tuple[dict[int, Why], Send]]) -> None:
    met = {reason for answers, _send in sends.values() for _state, reason in rows(answers).values()}
    reasons = {"person_blocked", "no_address", "broken_address", "suppressed", "opted_out", "no_consent"}
    assert reasons | {"frequency_cap", "duplicate_address"} <= met


@pytest.mark.parametrize("step", [STEP, MISSED])
def test_looked_back_at_the_answer_is_that_of_the_moment_whatever_changed_since(
    house: Theatre, sends: dict[str, tuple[dict[int, Why], Send]], step: str
) -> None:
    _before, send = sends[step]
    house.sql("update crm.person set email = 'new' || person_id || '@example.org', blocked = false")
    house.mirror()
    ref = house.deployment.project.step(step)
    later = house.now + timedelta(hours=2)
    back = house.deployment.explaining.why(ref, list(EVERYBODY), later, at=house.now + timedelta(hours=1))
    answers = {each.person_id: each for each in back}
    written = ledger(house, send)
    assert rows(answers) == written
    for (person, record), (state, _reason) in written.items():
        assert any((each.record_id, each.outcome) == (record, state) for each in answers[person].ledger)
        assert "is in the send of 2026-11-23 09:00" in answers[person].conclusion


def test_before_the_first_run_the_answer_says_since_when_there_is_one(
    house: Theatre, sends: dict[str, tuple[dict[int, Why], Send]]
) -> None:
    assert sends
    with pytest.raises(SmpError, match=r"had not run at 2026-11-01 09:00\n.*first run was for 2026-11-23 09:00"):
        why(house, STEP, [1], at=house.now - timedelta(days=22))


def test_the_values_found_are_told_with_their_dates(sends: dict[str, tuple[dict[int, Why], Send]]) -> None:
    answers = [one for found, _send in sends.values() for one in found.values()]
    said_no = next(one for one in answers if [row.planned.reason for row in one.rows] == ["opted_out"])
    assert re.search(r"said no to \w+ by email on 20\d\d-\d\d-\d\d \d\d:\d\d, source: \w+", said_no.conclusion)
    one, row = next((one, row) for one in answers for row in one.rows if row.planned.reason == "duplicate_address")
    winner = sends[one.step][0][row.planned.winner or 0]
    assert f"person {winner.person_id} has the same address and gets it instead" in one.conclusion
    assert winner.gets
    capped = next(one for one in answers if any(row.planned.reason == "frequency_cap" for row in one.rows))
    assert re.search(r"1 of at most 1 mails since 2026-11-16 09:00: \w+/\w+ \(2026-11-23 09:00\)", capped.conclusion)


def test_a_step_that_is_not_live_says_so_first(house: Theatre) -> None:
    one = why(house, "newsletter/december", [1])[1]
    assert one.conclusion.startswith(
        "Person 1 does not get newsletter/december: status is concept (it never went live)"
    )
    assert not one.gets


def test_the_command_tells_the_conclusion_first_and_then_every_rule(
    house: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def running() -> Iterator[Deployment]:
        yield house.deployment

    monkeypatch.setattr(commands, "deployment", running)
    done = CliRunner().invoke(app, ["person", "why", "1", MISSED, "--at", "2027-03-02 10:00"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"Person 1 does not get {MISSED}: ")
    for rule in ("status", "schedule", "quiet hours", "selection we_miss_you", "person"):
        assert rule in done.output
