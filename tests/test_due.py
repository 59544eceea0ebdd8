"""Tests of what is due: by the calendar, the status, the night, the ledger, and with the reason when it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest

from smp_pipelines.campaign.models import OneOffSchedule, Schedule
from smp_pipelines.deployment import Deployment
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
    assert why == "went live on 2026-11-23 09:01, after this moment"


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


NIGHT = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)  # half past eleven in Amsterdam
MORNING = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)  # six o'clock there


def test_a_held_send_tells_how_many_mails_wait_and_why_and_goes_on_at_six(house: Theatre) -> None:
    send = house.plan_these(house.people(3))
    found, why = ask(house, NIGHT)
    assert found == []
    told = f"3 mails of send {send.send_id} wait: nothing is sent between 23:00 and 06:00; it goes on at 06:00"
    assert told in why
    assert ask(house, MORNING - MINUTE)[0] == []
    assert [(each.send_key, each.planned) for each in ask(house, MORNING)[0]] == [(send.send_key, True)]


def test_what_a_step_drops_at_night_is_taken_up_at_night_and_in_the_morning(house: Theatre) -> None:
    house = with_step(house, at_night="drop")
    send = house.plan_these(house.people(3))
    for now in (NIGHT, MORNING):
        assert [each.send_key for each in ask(house, now)[0]] == [send.send_key]


def test_a_stopped_send_goes_on_when_the_step_is_live_again_long_after_late_minutes(house: Theatre) -> None:
    send = house.plan_these(house.people(3))
    house.status("stopped")
    found, why = ask(house, MONDAY_0900)
    assert found == []
    assert f"3 mails of send {send.send_id} wait: status is stopped since 2026-11-22 09:00; it goes on when live" in why
    house.live()
    later = MONDAY_0900 + timedelta(days=20)
    assert send.send_key in [each.send_key for each in ask(house, later)[0]]


def test_after_the_end_date_what_waits_tells_how_it_is_ended(house: Theatre) -> None:
    schedule = house.deployment.project.step(STEP).step.schedule
    assert isinstance(schedule, Schedule)
    house = with_step(house, schedule=schedule.model_copy(update={"end": date(2026, 11, 23)}))
    send = house.plan_these(house.people(3))
    tomorrow = MONDAY_0900 + timedelta(days=1)
    assert house.deployment.stop_ended(tomorrow) == [STEP]
    found, why = ask(house, tomorrow)
    assert found == []
    assert why.startswith(f"3 mails of send {send.send_id} wait: status is stopped since")
    assert f"the end date has passed: `smp send cancel {send.send_id}` ends it" in why
    assert house.deployment.cancel_send(send.send_id, tomorrow, "anna", "the season is over") == 3
    assert "wait" not in ask(house, tomorrow)[1]


def test_of_several_missed_moments_only_the_latest_is_sent_and_the_others_say_so(house: Theatre) -> None:
    house = often(house)
    found, why = ask(house, datetime(2026, 11, 23, 9, 5, tzinfo=UTC))
    assert [each.send_key for each in found] == [f"{STEP}@2026-11-23T10:00+01:00"]
    told = "the moment of 2026-11-23 {} was missed and that of 2026-11-23 10:00 has come: "
    assert told.format("09:00") in why
    assert told.format("09:30") in why
    assert "only the latest is sent" in why


def test_the_tick_of_an_earlier_moment_that_fires_late_gives_way_to_the_latest(house: Theatre) -> None:
    """Dagster catches up tick by tick: without this rule two sends of a step would start at once (F21)."""
    house = often(house)
    ref, project = house.deployment.project.step(STEP), house.deployment.project
    live = StepStatus(STEP, "live", None)
    now = MONDAY_0900 + 65 * MINUTE
    verdicts = [judge(project, ref, live, MONDAY_0900 + late * MINUTE, now) for late in (0, 30, 60)]
    assert [type(verdict) for verdict in verdicts] == [Skipped, Skipped, Due]


def test_a_send_that_was_opened_and_never_planned_gives_way_to_a_later_moment(house: Theatre) -> None:
    house = often(house)
    house.open_send(f"{STEP}@2026-11-23T09:00+01:00")
    found, why = ask(house, MONDAY_0900 + 65 * MINUTE)
    assert [each.send_key for each in found] == [f"{STEP}@2026-11-23T10:00+01:00"]
    assert why.count("the moment of 2026-11-23 09:00 was missed") == 1


def test_a_moment_that_was_sent_says_nothing_when_the_next_one_comes(house: Theatre) -> None:
    house = often(house)
    for moment in ("09:00", "09:30"):
        finish(house, f"{STEP}@2026-11-23T{moment}+01:00")
    assert ask(house, MONDAY_0900 + 65 * MINUTE)[1] == ""


def test_a_machine_that_was_off_over_the_night_sends_no_moment_of_the_evening_before(house: Theatre) -> None:
    evening = at_times(house, time(22, 30))
    house = with_step(house, schedule=evening)
    assert ask(house, NIGHT)[1] == "nothing is sent between 23:00 and 06:00"
    assert ask(house, MORNING)[1] == "this moment was missed by more than 60 minutes (late_minutes)"
    house = with_step(house, schedule=evening, late_minutes=600)
    assert [each.ref.key for each in ask(house, MORNING)[0]] == [STEP]
    house = with_step(house, schedule=evening, late_minutes=600, at_night="drop")
    assert "this step drops what is left at 23:00" in ask(house, MORNING)[1]


def test_a_one_off_whose_moment_the_machine_missed_is_sent_late_and_then_only_by_hand(house: Theatre) -> None:
    house = with_step(house, send="one_off", schedule=OneOffSchedule.model_validate({"at": "2026-11-23 09:00"}))
    assert [each.send_key for each in ask(house, MONDAY_0900 + 60 * MINUTE)[0]] == [f"{STEP}@once"]
    found, why = ask(house, MONDAY_0900 + 61 * MINUTE)
    assert found == []
    assert why == (
        "this moment was missed by more than 60 minutes (late_minutes); "
        "`smp step send servicemails/servicemail` sends it now"
    )


def test_a_one_off_that_goes_live_after_its_moment_mails_nobody_by_itself(house: Theatre) -> None:
    house = with_step(house, send="one_off", schedule=OneOffSchedule.model_validate({"at": "2026-11-23 09:00"}))
    house.sql("update smp.step_status set since = %s", MONDAY_0900 + 5 * MINUTE)
    found, why = ask(house, MONDAY_0900 + 6 * MINUTE)
    assert found == []
    assert why == (
        "it was planned for 2026-11-23 09:00 and went live on 2026-11-23 09:05, after that; "
        "`smp step send servicemails/servicemail` sends it now"
    )


def test_a_send_that_was_cancelled_is_told_so(house: Theatre) -> None:
    key = f"{STEP}@2026-11-23T09:00+01:00"
    send = house.open_send(key)
    house.deployment.cancel_send(send.send_id, MONDAY_0900, "anna", "wrong date")
    assert ask(house, MONDAY_0900) == ([], f"was cancelled: {key}")


def test_a_test_mail_goes_on_by_night_and_without_a_live_step_and_is_never_planned_anew(house: Theatre) -> None:
    send = house.plan_these(house.people(2))
    house.sql("update smp.send set purpose = 'test'")
    house.status("concept")
    assert [each.send_key for each in ask(house, NIGHT)[0]] == [send.send_key]
    house.sql("update smp.send set state = 'planning'")
    found, why = ask(house, NIGHT)
    assert found == []
    assert "ask for it again" in why


def at_times(house: Theatre, *times: time) -> Schedule:
    schedule = house.deployment.project.step(STEP).step.schedule
    assert isinstance(schedule, Schedule)
    return schedule.model_copy(update={"times": times})


def often(house: Theatre) -> Theatre:
    """The same theatre, with a service mail at nine, half past nine and ten that may be sent ten hours late."""
    return with_step(house, late_minutes=600, schedule=at_times(house, time(9), time(9, 30), time(10)))


def with_step(house: Theatre, **changes: object) -> Theatre:
    """The same theatre with another service mail in its files."""
    project = house.deployment.project
    campaign = project.campaigns["servicemails"]
    steps = {**campaign.steps, "servicemail": campaign.steps["servicemail"].model_copy(update=changes)}
    campaigns = {**project.campaigns, "servicemails": campaign.model_copy(update={"steps": steps})}
    opened = house.deployment
    return Theatre(Deployment(opened.settings, replace(project, campaigns=campaigns), opened.library))
