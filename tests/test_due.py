"""Tests of what is due: by the calendar, the status, the night, the ledger, and with the reason when it is not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from smp_pipelines.sending import ledger
from smp_pipelines.sending.due import Due, Skipped, due, ended, judge, send_key
from smp_pipelines.sending.ledger import LEASE, Outcome
from smp_pipelines.sending.status import StepStatus, read_statuses
from tests.conftest import copy_project
from tests.support.theatre import MONDAY_0900, STEP, Theatre, deployment

MINUTE = timedelta(minutes=1)


@pytest.fixture
def house(tmp_path: Path, postgres_url: str) -> Theatre:
    opened = Theatre(deployment(postgres_url, tmp_path))
    opened.live()
    return opened


def ask(house: Theatre, now: datetime) -> tuple[list[Due], str]:
    """What is due, and why the service mail is not, if so."""
    with house.deployment.connection() as connection:
        found, skipped = due(connection, house.deployment.project, now)
    return found, "; ".join(each.why for each in skipped if each.ref.key == STEP)


def finish(house: Theatre, key: str) -> None:
    send = house.open_send(key)
    house.sql("update smp.send set state = 'open' where send_id = %s", send.send_id)
    with house.deployment.connection() as connection:
        assert ledger.finish(connection, send, house.now)


def test_a_live_step_is_due_at_its_moment_and_its_key_tells_the_local_time(house: Theatre) -> None:
    found, _why = ask(house, MONDAY_0900)
    assert [(each.ref.key, each.moment, each.send_key) for each in found] == [
        (STEP, MONDAY_0900, f"{STEP}@2026-11-23T09:00+01:00")
    ]


def test_it_is_still_due_within_the_hour_with_the_same_key_and_not_after(house: Theatre) -> None:
    late, _why = ask(house, MONDAY_0900 + 60 * MINUTE)
    assert [each.moment for each in late] == [MONDAY_0900]
    found, why = ask(house, MONDAY_0900 + 61 * MINUTE)
    assert found == []
    assert why == "this moment was missed by more than 60 minutes (late_minutes)"


@pytest.mark.parametrize("status", ["concept", "testing", "stopped"])
def test_a_step_that_is_not_live_is_skipped_with_its_status_and_since_when(house: Theatre, status: str) -> None:
    house.status(status)
    found, why = ask(house, MONDAY_0900)
    assert found == []
    assert why == f"status is {status} since 2026-11-22 09:00"


def test_a_step_that_went_live_after_the_moment_is_not_sent_for_it(house: Theatre) -> None:
    house.sql("update smp.step_status set since = %s", MONDAY_0900 + MINUTE)
    found, why = ask(house, MONDAY_0900 + 2 * MINUTE)
    assert found == []
    assert why == "went live since 2026-11-23 09:01, after this moment"


def test_a_moment_that_was_sent_is_not_due_again(house: Theatre) -> None:
    finish(house, f"{STEP}@2026-11-23T09:00+01:00")
    found, why = ask(house, MONDAY_0900 + MINUTE)
    assert found == []
    assert why == f"was sent already: {STEP}@2026-11-23T09:00+01:00"


def test_a_send_that_is_not_finished_goes_on_however_late_it_gets(house: Theatre) -> None:
    house.plan_these(house.people(1))
    found, _why = ask(house, MONDAY_0900 + timedelta(hours=4))
    assert [each.send_key for each in found] == [f"{STEP}@1"]


def test_a_send_that_was_never_planned_goes_on_only_while_its_moment_may_be_sent(house: Theatre) -> None:
    house.open_send(f"{STEP}@2026-11-23T09:00+01:00")
    found, _why = ask(house, MONDAY_0900 + 30 * MINUTE)
    assert [each.send_key for each in found] == [f"{STEP}@2026-11-23T09:00+01:00"]
    found, why = ask(house, MONDAY_0900 + timedelta(hours=4))
    assert found == []
    assert "missed" in why


def test_a_send_waits_while_its_step_is_stopped_and_at_night(house: Theatre) -> None:
    house.plan_these(house.people(1))
    assert ask(house, datetime(2026, 11, 23, 22, 30, tzinfo=UTC))[0] == []
    house.status("stopped")
    assert ask(house, MONDAY_0900)[0] == []


def test_a_send_whose_mails_are_put_off_or_in_hand_is_left_alone_until_then(house: Theatre) -> None:
    key = f"{STEP}@2026-11-23T09:00+01:00"
    send = house.plan_these(house.people(1))
    house.sql("update smp.send set send_key = %s", key)
    claim = house.claim(send)
    found, why = ask(house, MONDAY_0900)
    assert (found, why) == ([], "its last mails are in a worker's hands, or put off by the mail server")
    assert [each.send_key for each in ask(house, MONDAY_0900 + LEASE + MINUTE)[0]] == [key]
    later = MONDAY_0900 + 10 * MINUTE
    with house.deployment.connection() as connection:
        outcomes = [Outcome(message.recipient_key, "planned", None, "451", later) for message in claim.messages]
        ledger.settle(connection, send, claim.token, outcomes, house.now)
    assert ask(house, later - MINUTE)[0] == []
    assert [each.send_key for each in ask(house, later)[0]] == [key]


def test_a_send_of_a_step_that_is_in_no_file_any_more_stops_nothing(house: Theatre) -> None:
    house.plan_these(house.people(1))
    house.sql("update smp.send set step = 'weg/weg'")
    assert [each.ref.key for each in ask(house, MONDAY_0900)[0]] == [STEP]


def test_a_planned_one_off_step_is_due_once_by_whatever_way(tmp_path: Path, postgres_url: str) -> None:
    project = copy_project(tmp_path / "my project")
    house = Theatre(deployment(postgres_url, tmp_path / "state", project=project))
    refs = [ref for ref in house.deployment.project.steps() if ref.step.send == "one_off"]
    assert [send_key(ref, MONDAY_0900, house.deployment.project) for ref in refs] == [f"{ref.key}@once" for ref in refs]


def test_the_autumn_hour_that_comes_twice_has_two_keys(house: Theatre) -> None:
    ref = house.deployment.project.step(STEP)
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    keys = {send_key(ref, first + timedelta(hours=hour), house.deployment.project) for hour in (0, 1)}
    assert keys == {f"{STEP}@2026-10-25T02:30+02:00", f"{STEP}@2026-10-25T02:30+01:00"}


def test_a_step_is_due_on_its_last_day_and_becomes_stopped_the_day_after(tmp_path: Path, postgres_url: str) -> None:
    project = copy_project(tmp_path / "my project")
    file = project / "campaigns" / "servicemails" / "campaign.yaml"
    file.write_text(file.read_text().replace("start: 2026-01-01", "start: 2026-01-01\n      end: 2026-11-23"))
    house = Theatre(deployment(postgres_url, tmp_path / "state", project=project))
    house.live()
    assert [each.ref.key for each in ask(house, MONDAY_0900)[0]] == [STEP]
    last_minute = datetime(2026, 11, 23, 22, 59, tzinfo=UTC)
    assert house.deployment.stop_ended(last_minute) == []
    assert house.deployment.stop_ended(last_minute + MINUTE) == [STEP]
    assert ask(house, MONDAY_0900 + timedelta(days=1))[1].startswith("status is stopped since 2026-11-24 00:00")
    with house.deployment.connection() as connection:
        assert (
            ended(
                house.deployment.project,
                read_statuses(connection, [r.key for r in house.deployment.project.steps()]),
                last_minute + MINUTE,
            )
            == []
        )


def test_a_step_before_its_first_day_is_not_due(house: Theatre) -> None:
    house.sql("update smp.step_status set since = '2025-01-01'")
    assert ask(house, datetime.combine(date(2025, 12, 31), datetime.min.time(), UTC) + timedelta(hours=12)) == ([], "")


def test_the_night_is_judged_by_the_clock_on_the_wall(house: Theatre) -> None:
    ref, project = house.deployment.project.step(STEP), house.deployment.project
    live = StepStatus(STEP, "live", None)
    at_2259 = datetime(2026, 7, 1, 20, 59, tzinfo=UTC)
    assert isinstance(judge(project, ref, live, at_2259, at_2259), Due)
    verdict = judge(project, ref, live, at_2259, at_2259 + MINUTE)
    assert isinstance(verdict, Skipped)
    assert verdict.why == "nothing is sent between 23:00 and 06:00"
