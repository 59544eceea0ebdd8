"""Faults where Dagster and the ledger meet: killed daemons and runs, deleted runs, runs done again, stops in mid-send.

Everything here is real: Postgres, Dagster's storage, `smp` in processes of its own, a mail server in another.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from smp_pipelines.assets.facts import CLOCK_TAG, MOMENT_TAG, SEND_KEY_TAG, STEP_TAG
from smp_pipelines.assets.runs import JOB_NAME, step_assets
from smp_pipelines.definitions import build_definitions
from smp_pipelines.deployment import Deployment
from smp_pipelines.operations.instance import open_instance
from smp_pipelines.sending import ledger
from smp_pipelines.sending.delivery import CONNECTIONS
from smp_pipelines.sensors.lifecycle import lifecycle_sensor
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.settings import read_settings
from tests.support.sink import Sink, sink
from tests.support.theatre import MONDAY_0900, STEP, Theatre, deployment, twice
from tests.test_supervisor import free_ports, processes_of

NINE = "2026-11-23 09:00"
KEY = f"{STEP}@2026-11-23T09:00+01:00"
PORTS = ("SMP_UI_PORT", "SMP_INBOX_PORT", "SMP_PREVIEW_PORT", "SMP_SMTP_PORT", "SMP_CODE_PORT")


def until(condition: Callable[[], object], what: str, seconds: float = 90.0) -> None:
    """Look until something is so."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"waited in vain for {what}"
        time.sleep(0.05)


@dataclass
class Stage:
    """A theatre of which processes of their own are told by the environment, and the mail server they send to."""

    house: Theatre
    sink: Sink
    environment: dict[str, str]
    home: Path
    project: Path

    def limit(self, per_second: int) -> None:
        """Let so many mails leave a second at most, so that a send lasts long enough to be disturbed."""
        with (self.project / "smp.yaml").open("a", encoding="utf-8") as file:
            file.write(f"\nlimits: {{per_second: {per_second}}}\n")

    @contextlib.contextmanager
    def started(self, *arguments: str, stdout: Any = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
        """An `smp` command, which does not outlive the block."""
        command = [sys.executable, "-m", "smp_pipelines.cli", *arguments]
        process = subprocess.Popen(
            command, env=self.environment, stdout=stdout, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def smp(self, *arguments: str) -> str:
        """An `smp` command from its start to its good end; what it said."""
        with self.started(*arguments) as process:
            told, _ = process.communicate(timeout=120)
        assert process.returncode == 0, told
        return told

    def tick_killed_half_way(self, taken: int) -> None:
        """The tick of Monday at nine, killed as soon as the mail server has so many mails."""
        with self.started("tick", "--at", NINE) as process:
            until(lambda: len(self.sink.taken) >= taken or process.poll() is not None, "mails")
            assert process.poll() is None, process.communicate()[0]
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def instance(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Deployment, dg.DagsterInstance]]:
        """The same deployment and Dagster instance in this process."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        loaded = Deployment.load(read_settings())
        with loaded.running(), open_instance(loaded.settings, loaded.url) as instance:
            yield loaded, instance

    def all_is_well(self, people: int, unknown: int = 0) -> None:
        """One send, finished; each person's mail left once, but for at most so many of which nobody can tell."""
        assert self.house.sql("select count(*) from smp.send") == [(1,)]
        ((key,),) = self.house.sql("select send_key from smp.send")
        with self.house.deployment.connection() as connection:
            send = ledger.read_send(connection, key)
            verdicts = ledger.verify(connection)
        assert [(each.state, each.holds) for each in verdicts] == [("finished", True)]
        states = self.house.states(send)
        assert states["accepted"] + states.get("unknown", 0) == people
        assert states.get("unknown", 0) <= unknown
        taken = self.sink.taken
        assert twice(taken) == []
        assert states["accepted"] <= len(taken) <= people
        assert len(taken) >= people - unknown


@contextlib.contextmanager
def opened(url: str, project: Path, folder: Path, now: datetime) -> Iterator[Stage]:
    """A stage whose service mail is live since the day before `now`."""
    home = folder / "the state"
    with sink(folder / "taken") as server:
        house = Theatre(deployment(url, home, project=project), now=now)
        house.live()
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("SMP_", "DAGSTER_"))}
        own = {
            "SMP_PROJECT": str(project),
            "SMP_HOME": str(home),
            "SMP_POSTGRES_URL": url,
            "SMP_MAIL_URL": f"smtp://127.0.0.1:{server.port}",
        }
        yield Stage(house, server, outside | own, home, project)


@pytest.fixture
def stage(postgres_url: str, project_folder: Path, tmp_path: Path) -> Iterator[Stage]:
    with opened(postgres_url, project_folder, tmp_path, MONDAY_0900) as made:
        yield made


def runs_of(instance: dg.DagsterInstance, key: str = KEY) -> list[dg.DagsterRun]:
    return list(instance.get_runs(filters=dg.RunsFilter(tags={SEND_KEY_TAG: key})))


def test_a_run_that_was_killed_and_deleted_in_dagster_and_launched_again_is_the_same_send(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.limit(80)
    stage.house.people(300)
    stage.tick_killed_half_way(100)
    with stage.instance(monkeypatch) as (_loaded, instance):
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
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.limit(80)
    stage.house.people(200)
    stage.tick_killed_half_way(60)
    with stage.instance(monkeypatch) as (loaded, instance):
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
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.limit(40)
    stage.house.people(200)
    with stage.started("tick", "--at", NINE) as process, stage.instance(monkeypatch) as (loaded, instance):
        until(lambda: len(stage.sink.taken) >= 20, "mails")
        assert not _look(loaded, instance, MONDAY_0900 + timedelta(minutes=2)).run_requests
        assert [run.status for run in runs_of(instance)] == [dg.DagsterRunStatus.STARTED]
        told, _ = process.communicate(timeout=60)
        assert process.returncode == 0, told
    stage.all_is_well(200)


def _look(loaded: Deployment, instance: dg.DagsterInstance, now: datetime) -> dg.SensorResult:
    """What the lifecycle sensor finds at this moment."""
    found = lifecycle_sensor(loaded, StartedAt(now))(dg.build_sensor_context(instance=instance))
    assert isinstance(found, dg.SensorResult)
    return found


def campaigns() -> dg.JobDefinition:
    """The job as Dagster finds it when it does a run again."""
    return build_definitions(Deployment.load(read_settings())).resolve_job_def(JOB_NAME)


@pytest.mark.parametrize("own_key", [False, True], ids=["of a schedule", "by hand"])
def test_a_finished_run_that_is_done_again_from_the_start_sends_nothing(
    own_key: bool, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.house.people(60)
    tags = {CLOCK_TAG: MONDAY_0900.isoformat()}
    if not own_key:
        tags |= {STEP_TAG: STEP, MOMENT_TAG: MONDAY_0900.isoformat(), SEND_KEY_TAG: KEY}
    job = dg.reconstructable(campaigns)
    with stage.instance(monkeypatch) as (loaded, instance):
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
        until(lambda: len(stage.sink.taken) >= 40, "mails")
        stage.house.status("stopped")
        at_the_stop = len(stage.sink.taken)
        told, _ = process.communicate(timeout=60)
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


def test_a_killed_daemon_and_a_killed_run_are_replaced_and_the_send_finishes(
    postgres_url: str, project_folder: Path, tmp_path: Path
) -> None:
    # a send of ten minutes ago, in a time zone in which it is about noon: nothing else is due, and it is not night
    ahead = 12 - datetime.now(UTC).hour
    settings = project_folder / "smp.yaml"
    zone = f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"
    settings.write_text(settings.read_text(encoding="utf-8").replace("Europe/Amsterdam", zone), encoding="utf-8")
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
    people, key = 500, f"{STEP}@killed"
    with opened(postgres_url, project_folder, tmp_path, moment) as stage:
        stage.limit(80)
        stage.house.people(people)
        with supervised(stage) as told:
            children = {name: child_of(stage, word) for name, word in _CHILDREN.items()}
            first = launch(stage, {STEP_TAG: STEP, MOMENT_TAG: moment.isoformat(), SEND_KEY_TAG: key})
            until(lambda: len(stage.sink.taken) >= 150, "mails")
            children["daemon"].kill()
            (run,) = run_processes(children["code"])
            run.kill()
            assert len(stage.sink.taken) < people, "it was killed too late to prove anything"
            until(lambda: "the Dagster daemon ended (killed by SIGKILL); starting it again" in told(), "the supervisor")
            until(lambda: status_of(stage, key).get(first) == "FAILURE", "Dagster to see that the run is gone")
            until(lambda: "SUCCESS" in status_of(stage, key).values(), "a run that takes the send up again", 180)
            assert len(status_of(stage, key)) == 2, "one run that was killed, one that finished"
    stage.all_is_well(people, unknown=CONNECTIONS)


_CHILDREN = {"daemon": "dagster-daemon", "code": "code-server"}


@contextlib.contextmanager
def supervised(stage: Stage) -> Iterator[Callable[[], str]]:
    """`smp up` on this stage, for the length of the block; yields a function that says what it told so far."""
    stage.environment |= {name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    output = stage.project.parent / "up.out"
    try:
        with output.open("w", encoding="utf-8") as file, stage.started("up", stdout=file) as up:
            until(lambda: "running, after" in output.read_text() or up.poll() is not None, "smp up", 180)
            assert up.poll() is None, output.read_text()
            yield output.read_text
            up.terminate()
            up.wait(60)
    finally:
        for process in processes_of(stage.home):
            process.kill()


def child_of(stage: Stage, word: str) -> psutil.Process:
    """The process of this stage that was started by a command with this word."""
    found = [each for each in processes_of(stage.home) if any(word in part for part in each.cmdline())]
    return min(found, key=lambda process: process.pid)


def run_processes(code_server: psutil.Process) -> list[psutil.Process]:
    """The processes in which a code server runs what Dagster launched."""
    return [each for each in code_server.children(recursive=True) if "spawn_main" in " ".join(each.cmdline())]


def launch(stage: Stage, tags: dict[str, str]) -> str:
    """Launch a run as the Dagster UI does; its id."""
    loaded = stage.house.deployment
    assets = step_assets(loaded, loaded.project.step(STEP))
    parameters = {
        "selector": {
            "repositoryLocationName": "smp_pipelines",
            "repositoryName": "__repository__",
            "pipelineName": JOB_NAME,
            "assetSelection": [{"path": asset.path} for asset in assets],
        },
        "executionMetadata": {"tags": [{"key": name, "value": value} for name, value in tags.items()]},
    }
    query = (
        "mutation ($parameters: ExecutionParams!) {launchRun(executionParams: $parameters)"
        " {__typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"
    )
    answer = ask(stage, query, {"parameters": parameters})["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def status_of(stage: Stage, key: str) -> dict[str, str]:
    """The status of each run of a send, by the run's id."""
    query = "query ($filter: RunsFilter) {runsOrError(filter: $filter) {... on Runs {results {runId status}}}}"
    answer = ask(stage, query, {"filter": {"tags": [{"key": SEND_KEY_TAG, "value": key}]}})
    return {run["runId"]: run["status"] for run in answer["runsOrError"]["results"]}


def ask(stage: Stage, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """What Dagster's webserver answers."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{stage.environment['SMP_UI_PORT']}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = json.load(answer)
    assert "errors" not in found, found["errors"]
    return dict(found["data"])
