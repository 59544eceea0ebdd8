"""Tests of the run launcher and of what it is for: from a submission to its mail, with everything as `smp up` runs it.

One start serves all that is asked of the real thing, in this order, because a start takes seconds.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import psutil
import pytest

from smp_pipelines.operations.handover import PROCESS_TAG, NobodyThereError, RunProcess, address, offered
from smp_pipelines.operations.launcher import WarmRunLauncher
from smp_pipelines.operations.running import down
from smp_pipelines.stores.server import EmbeddedServer
from tests.support.inbox import recipients
from tests.support.services import is_over, processes_of
from tests.support.submitted import submit
from tests.support.theatre import Theatre, deployment
from tests.support.triggered import OFFER, THANKS, add_triggers
from tests.support.up import Surroundings, Up, surroundings
from tests.support.waiting import until

RATE = 20
"""Mails a second: a send to many lasts long enough to be disturbed."""
MANY = range(100, 700)


def test_the_pinned_dagster_has_what_the_launcher_overrides() -> None:
    """Its base class is public, but most of its methods are Dagster's own business."""
    for name in ("launch_run", "terminate", "check_run_worker_health"):
        ours, theirs = getattr(WarmRunLauncher, name), getattr(dg.DefaultRunLauncher, name)
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    assert isinstance(dg.DefaultRunLauncher.supports_check_run_worker_health, property)
    for name in ("has_instance", "_instance"):
        assert hasattr(dg.DefaultRunLauncher, name)


def test_nobody_takes_a_run_where_no_warm_process_listens(tmp_path: Path) -> None:
    with pytest.raises(NobodyThereError), offered(tmp_path, "run", "{}"):
        pass
    deep = tmp_path.joinpath(*["a folder with a long name"] * 5)
    assert len(str(address(deep))) < 100 < len(str(deep)), "a socket's path is short"
    assert address(deep) != address(tmp_path / deep.name)


def test_a_process_is_known_again_and_no_other_is_taken_for_it() -> None:
    # whatever this test process was started with, the sleeper listens to SIGTERM
    sleeps = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_DFL); print(flush=True); time.sleep(600)"
    sleeper = subprocess.Popen([sys.executable, "-c", sleeps], stdout=subprocess.PIPE)
    assert sleeper.stdout is not None
    sleeper.stdout.readline()
    own = RunProcess.own("run")
    process = RunProcess("run", own.host, sleeper.pid, psutil.Process(sleeper.pid).create_time())
    tags = {PROCESS_TAG: process.written()}
    assert RunProcess.of("run", tags) == process
    assert RunProcess.of("another run, which inherited the tags", tags) is None
    assert RunProcess.of("run", {}) is None
    assert process.lives
    assert not RunProcess("run", own.host, sleeper.pid, process.began - 60).lives, "a number that was given out again"
    assert not RunProcess("run", "another machine", sleeper.pid, process.began).lives
    assert process.interrupt()
    until(lambda: not process.lives, "it to end, though nobody asked how")
    assert not process.interrupt()
    sleeper.wait()


class Noted(dg.DefaultRunLauncher):
    """A launcher that only notes what it was asked to start."""

    started: ClassVar[list[str]] = []

    def launch_run(self, context: Any) -> None:
        self.started.append(context.dagster_run.run_id)


@dg.job
def empty() -> None:
    """A run of nothing."""


def test_only_a_run_that_somebody_waits_for_goes_past_the_queue_and_has_one_place_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Dagster's queue takes runs with an origin only, which these have not
    monkeypatch.setattr(dg.QueuedRunCoordinator, "submit_run", lambda _self, context: context.dagster_run)
    ours = {"module": "smp_pipelines.operations.coordinator", "class": "PromptRunCoordinator"}
    settings = {
        "run_coordinator": ours,
        "run_launcher": {"module": __name__, "class": "Noted"},
        "concurrency": {"runs": {"max_concurrent_runs": 1}},
    }
    with dg.instance_for_test(overrides=settings) as instance:

        def submitted_as(priority: str | None) -> str:
            tags = {"dagster/priority": priority} if priority else {}
            made = instance.create_run_for_job(empty, tags=tags)
            return instance.run_coordinator.submit_run(dg.SubmitRunContext(made, workspace=None)).status.value

        assert submitted_as(None) == submitted_as("0") == "NOT_STARTED"
        assert [submitted_as("10") for _ in range(3)] == ["STARTING", "STARTING", "NOT_STARTED"]
    assert len(Noted.started) == 2


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    with surroundings(tmp_path_factory.mktemp("smp up")) as made:
        add_triggers(made.project)
        with (made.project / "smp.yaml").open("a", encoding="utf-8") as file:
            file.write(f"\nlimits: {{per_second: {RATE}}}\n")
        yield made


@pytest.fixture(scope="module")
def running(around: Surroundings) -> Up:
    up = around.start()
    up.tells("running, after")
    return up


@pytest.fixture(scope="module")
def house(running: Up) -> Theatre:
    url = EmbeddedServer(running.home).url()
    made = Theatre(deployment(url, running.home, project=running.project), now=datetime.now(UTC))
    made.people(3, tickets=False)
    made.people(len(MANY), first=MANY.start, tickets=False)
    made.live(THANKS)
    made.live(OFFER)
    return made


def submitted(house: Theatre, *people: int) -> None:
    submit(house.url, THANKS, list(people), datetime.now(UTC))


def mailed(up: Up, *people: int) -> None:
    """Wait for the mails to these people."""
    addresses = {f"p{person}@example.org" for person in people}
    until(lambda: addresses <= set(recipients(up.home)), f"mails to {addresses}")


def run_of(house: Theatre, person: int) -> str:
    """The run that sent the latest mail to somebody."""
    return str(
        house.sql(
            "select run_id from smp.send join smp.trigger_event using (send_id) where person_id = %s"
            " order by event_id desc limit 1",
            person,
        )[0][0]
    )


def worker(up: Up) -> psutil.Process:
    """The process that runs are forked from, once there is one only."""
    keeper = up.child("smp_pipelines.operations.warm")

    found: list[psutil.Process] = []

    def is_alone() -> bool:
        found[:] = [each for each in keeper.children() if not is_over(each)]
        return len(found) == 1

    until(is_alone, "the worker")
    return found[0]


def status(up: Up, run_id: str) -> str:
    query = "query ($r: ID!) {runOrError(runId: $r) {... on Run {status}}}"
    return str(up.ask(query, {"r": run_id})["runOrError"]["status"])


def test_a_submission_is_mailed_by_a_fork_that_did_not_stand_in_the_queue(running: Up, house: Theatre) -> None:
    worker(running)
    submitted(house, 1)
    mailed(running, 1)
    run = run_of(house, 1)
    process = running.process_of(run)
    assert process.parent() == worker(running)
    events = running.ask(
        "query ($r: ID!) {logsForRun(runId: $r) {... on EventConnection {events {__typename}}}}", {"r": run}
    )
    assert "RunStartEvent" in str(events)
    assert "RunEnqueuedEvent" not in str(events)
    until(lambda: status(running, run) == "SUCCESS", "its end")
    until(lambda: is_over(process), "the process to end")


def test_nothing_is_open_in_the_process_that_is_forked(running: Up) -> None:
    found = worker(running)
    assert found.num_threads() == 1
    assert found.net_connections("inet") == []
    logs = {str(running.home / "logs" / "runs.log")}
    assert {file.path for file in found.open_files()} <= logs


def test_the_ui_ends_a_run_and_its_mails_wait(running: Up, house: Theatre) -> None:
    submitted(house, *MANY)
    until(lambda: len(recipients(running.home)) > RATE, "mails")
    run = run_of(house, MANY.start)
    process = running.process_of(run)
    answer = running.ask(
        "mutation ($r: String!) {terminateRun(runId: $r) {__typename ... on PythonError {message}}}", {"r": run}
    )["terminateRun"]
    assert answer["__typename"] == "TerminateRunSuccess", answer
    until(lambda: status(running, run) == "CANCELED", "Dagster to say so")
    until(lambda: is_over(process), "the process to end")
    states = dict(house.sql("select state::text, count(*) from smp.message group by 1"))
    assert states["planned"] > 0
    assert set(states) <= {"accepted", "planned", "unknown"}
    assert states.get("unknown", 0) == 0, "what it had in hand it gave back"


def test_an_edited_project_is_what_the_next_run_has(running: Up, house: Theatre) -> None:
    before = worker(running)
    campaign = running.project / "campaigns" / "after_form" / "campaign.yaml"
    original = campaign.read_text(encoding="utf-8")
    campaign.write_text(original.replace('subject: "Bedankt', 'subjet: "Bedankt', 1), encoding="utf-8")
    running.tells("did you mean subject?")
    assert not is_over(before), "a broken edit changes nothing"
    campaign.write_text(original.replace('subject: "Bedankt', 'subject: "Hartelijk dank', 1), encoding="utf-8")
    until(lambda: is_over(before), "the worker of before the edit to end: another has loaded it")
    submitted(house, 3)
    mailed(running, 3)
    assert "Hartelijk dank" in running.page("SMP_INBOX_PORT", "/")


def test_a_killed_run_fails_at_once_and_killed_warm_processes_come_back(running: Up, house: Theatre) -> None:
    before = run_of(house, 1)
    submitted(house, 1, *MANY[: 5 * RATE])
    until(lambda: run_of(house, 1) not in (before, "None"), "its run: the send is there before it has one")
    run = run_of(house, 1)
    until(lambda: status(running, run) == "STARTED", "the run")
    running.process_of(run).kill()
    until(lambda: status(running, run) == "FAILURE", "Dagster to see it")
    found = worker(running)
    found.kill()
    until(lambda: worker(running) != found, "another worker")
    running.child("smp_pipelines.operations.warm").kill()
    running.tells("the process that runs start from ended (killed by SIGKILL); starting it again")
    count = len(recipients(running.home))
    submitted(house, 2)
    until(lambda: recipients(running.home)[count:].count("p2@example.org") == 1, "the mail")


def test_down_leaves_nothing_behind(running: Up) -> None:
    assert down(running.settings) is True
    assert running.process.wait(60) == 0
    assert not processes_of(running.home)
    assert not address(running.home / "dagster").exists()
