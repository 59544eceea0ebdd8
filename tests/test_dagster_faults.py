"""Faults where Dagster and the ledger meet: killed daemons and runs, deleted runs, runs done again, stops in mid-send.

Everything here is real: Postgres, Dagster's storage, a mail server in a process of its own, and `smp` in another where
it is killed or has to run beside something else; elsewhere it runs in this process, which saves seconds a command.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from smp_pipelines.assets.facts import CLOCK_TAG, MOMENT_TAG, SEND_KEY_TAG, STEP_TAG
from smp_pipelines.assets.runs import JOB_NAME, step_assets
from smp_pipelines.definitions import build_definitions
from smp_pipelines.deployment import Deployment
from smp_pipelines.sending.delivery import CONNECTIONS
from smp_pipelines.sensors.lifecycle import lifecycle_sensor
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.settings import read_settings
from tests.support.stage import KEY, NINE, Stage, runs_of, staged
from tests.support.theatre import MONDAY_0900, STEP, twice
from tests.support.waiting import PATIENCE, until


@pytest.fixture
def stage(embedded_url: str, migrated_template: str, project_folder: Path, tmp_path: Path) -> Iterator[Stage]:
    with staged(embedded_url, migrated_template, project_folder, tmp_path, MONDAY_0900) as made:
        yield made


def test_a_run_that_was_killed_and_deleted_in_dagster_and_launched_again_is_the_same_send(
    stage: Stage,
) -> None:
    stage.limit(80)
    stage.house.people(300)
    stage.tick_killed_half_way(100)
    with stage.instance() as (_loaded, instance):
        (run,) = runs_of(instance)
        instance.delete_run(run.run_id)
        assert runs_of(instance) == []
        # two minutes later; the rows that the killed one had in hand are free when their lease has passed
        assert "300 selected" in stage.smp("tick", "--at", "2026-11-23 09:02")
        stage.all_is_well(300, unknown=CONNECTIONS)
        # the run that finished it is deleted as well: the ledger still knows
        (run,) = runs_of(instance)
        assert run.status is dg.DagsterRunStatus.SUCCESS
        instance.delete_run(run.run_id)
    before = stage.sink.taken
    assert f"was sent already: {KEY}" in stage.smp("tick", "--at", NINE)
    assert stage.sink.taken == before


def test_a_tick_that_was_killed_does_not_keep_its_send_from_the_lifecycle_sensor(
    stage: Stage,
) -> None:
    stage.limit(80)
    stage.house.people(200)
    stage.tick_killed_half_way(60)
    with stage.instance() as (loaded, instance):
        (killed,) = runs_of(instance)
        assert killed.status is dg.DagsterRunStatus.STARTED, "nobody was left to tell Dagster"
        later = MONDAY_0900 + timedelta(minutes=2)
        (request,) = _look(loaded, instance, later).run_requests or []
        assert request.tags[SEND_KEY_TAG] == KEY
        # a run that nobody runs would keep its place in Dagster's queue for ever
        assert [run.status for run in runs_of(instance)] == [dg.DagsterRunStatus.FAILURE]
        done = build_definitions(loaded, StartedAt(later)).resolve_job_def(JOB_NAME)
        assert done.execute_in_process(
            instance=instance,
            tags={**request.tags, CLOCK_TAG: later.isoformat()},
            asset_selection=list(request.asset_selection or []),
        ).success
    stage.all_is_well(200, unknown=CONNECTIONS)


def test_the_lifecycle_sensor_leaves_a_send_alone_that_a_tick_in_another_process_works_on(
    stage: Stage,
) -> None:
    stage.limit(20)
    stage.house.people(120)
    with stage.instance() as (loaded, instance), stage.started("tick", "--at", NINE) as process:
        until(lambda: len(stage.sink.taken) >= 5 or process.poll() is not None, "mails")
        assert not _look(loaded, instance, MONDAY_0900 + timedelta(minutes=2)).run_requests
        assert [run.status for run in runs_of(instance)] == [dg.DagsterRunStatus.STARTED]
        told, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, told
    stage.all_is_well(120)


def _look(loaded: Deployment, instance: dg.DagsterInstance, now: datetime) -> dg.SensorResult:
    """What the lifecycle sensor finds at this moment."""
    found = lifecycle_sensor(loaded, StartedAt(now))(dg.build_sensor_context(instance=instance))
    assert isinstance(found, dg.SensorResult)
    return found


def campaigns() -> dg.JobDefinition:
    """The job as Dagster finds it when it does a run again."""
    return build_definitions(Deployment.load(read_settings())).resolve_job_def(JOB_NAME)


@pytest.mark.parametrize("own_key", [False, True], ids=["of a schedule", "by hand"])
def test_a_finished_run_that_is_done_again_from_the_start_sends_nothing(own_key: bool, stage: Stage) -> None:
    stage.house.people(60)
    tags = {CLOCK_TAG: MONDAY_0900.isoformat()}
    if not own_key:
        tags |= {STEP_TAG: STEP, MOMENT_TAG: MONDAY_0900.isoformat(), SEND_KEY_TAG: KEY}
    job = dg.reconstructable(campaigns)
    with stage.instance() as (loaded, instance):
        assets = step_assets(loaded, loaded.project.step(STEP))
        with dg.execute_job(job, instance, tags=tags, asset_selection=assets) as first:
            assert first.success
        stage.all_is_well(60)
        # Dagster's UI hands the tags of a run on to the one that does it again
        handed_on = dict(instance.get_run_by_id(first.run_id).tags)  # type: ignore[union-attr]
        again = dg.ReexecutionOptions(parent_run_id=first.run_id)
        with dg.execute_job(job, instance, tags=handed_on, reexecution_options=again) as second:
            assert second.success
            assert second.run_id != first.run_id
        key = f"{STEP}@run-{first.run_id}" if own_key else KEY
        assert {run.run_id for run in runs_of(instance, key)} == {first.run_id, second.run_id}
    assert stage.house.sql("select send_key from smp.send") == [(key,)]
    stage.all_is_well(60)


def test_a_tick_missed_by_40_minutes_is_sent_and_one_missed_by_3_hours_is_not_and_says_so(stage: Stage) -> None:
    stage.house.people(40)
    told = stage.smp("tick", "--at", "2026-11-23 12:00")
    assert f"{STEP}: not sent, this moment was missed by more than 60 minutes (late_minutes)" in told
    assert stage.sink.taken == []
    assert stage.house.sql("select count(*) from smp.send") == [(0,)]
    assert f"{KEY}: 40 selected, 40 accepted" in stage.smp("tick", "--at", "2026-11-23 09:40")
    stage.all_is_well(40)


@pytest.mark.parametrize("choice", ["live again", "cancelled"])
def test_a_stop_in_the_middle_of_a_send_takes_effect_and_the_rest_waits_for_a_choice(choice: str, stage: Stage) -> None:
    rate, people = 40, 240
    stage.limit(rate)
    stage.house.people(people)
    with stage.started("tick", "--at", NINE) as process:
        until(lambda: len(stage.sink.taken) >= 40 or process.poll() is not None, "mails")
        stage.house.status("stopped")
        at_the_stop = len(stage.sink.taken)
        told, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, told
    sent = len(stage.sink.taken)
    # two seconds of mails, and what was on its way already
    assert sent - at_the_stop <= 2 * rate + CONNECTIONS
    left = people - sent
    assert left > 0, "it was stopped too late to prove anything"
    assert f"{sent} accepted, 0 rejected, 0 unknown, 0 skipped, {left} waiting" in told
    assert stage.house.sql("select state::text, count(*) from smp.message group by 1 order by 1") == [
        ("accepted", sent),
        ("planned", left),
    ]
    told = stage.smp("tick", "--at", "2026-11-23 09:02")
    assert f"{left} mails of send 1 wait: status is stopped" in told
    assert len(stage.sink.taken) == sent

    if choice == "live again":
        stage.house.live()
        stage.smp("tick", "--at", "2026-11-23 09:03")
        stage.all_is_well(people)
        return
    assert f"{left} mails will not be sent" in stage.smp(
        "send", "cancel", "1", "--reason", "wrong hall", "--by", "anna"
    )
    stage.house.live()
    assert f"was cancelled: {KEY}" in stage.smp("tick", "--at", "2026-11-23 09:03")
    assert len(stage.sink.taken) == sent
    assert twice(stage.sink.taken) == []
    rows = stage.house.sql("select state::text, reason, count(*) from smp.message group by 1, 2 order by 1")
    assert rows == [("accepted", None, sent), ("skipped", "cancelled", left)]
    assert stage.house.sql("select state, planned from smp.send") == [("finished", people)]
    assert " NO" not in stage.smp("ledger", "verify")
