"""The real thing: `smp up` with Dagster's daemon and code server; runs are killed, schedules fire, mails arrive.

One start serves all that is asked here, in this order, because a start takes seconds.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import duckdb
import psutil
import pytest

from smp_pipelines.assets.facts import MOMENT_TAG, SEND_KEY_TAG, STEP_TAG
from smp_pipelines.assets.runs import JOB_NAME, step_assets
from smp_pipelines.operations.running import down, read_running
from smp_pipelines.sending.delivery import CONNECTIONS
from smp_pipelines.stores.server import EmbeddedServer
from tests.support.inbox import recipients
from tests.support.services import child_of, is_over, processes_of
from tests.support.stage import one_send_is_well
from tests.support.theatre import STEP, Theatre, deployment
from tests.support.up import UP, Surroundings, Up, lines_of, surroundings, with_times
from tests.support.waiting import PATIENCE, until

PEOPLE, LATER_PEOPLE = 400, 20
RATE = 50
"""Mails a second: a send to all people lasts long enough to be disturbed."""


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    with surroundings(tmp_path_factory.mktemp("smp up")) as made:
        with (made.project / "smp.yaml").open("a", encoding="utf-8") as file:
            file.write(f"\nlimits: {{per_second: {RATE}}}\n")
        yield made


@pytest.fixture(scope="module")
def running(around: Surroundings) -> Up:
    up = around.start()
    # far from now: a test edits it while everything runs (F29)
    up.campaign.write_text(with_times(up.campaign.read_text(), up.times_ahead(120)))
    up.tells("running, after")
    return up


@pytest.fixture(scope="module")
def house(running: Up) -> Theatre:
    """The deployment that runs, ten minutes ago: what was to be sent then is late, and nothing else is due."""
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
    made = Theatre(deployment(EmbeddedServer(running.home).url(), running.home, project=running.project), now=now)
    made.live()
    return made


def test_a_killed_daemon_and_a_killed_run_are_replaced_and_the_send_finishes(running: Up, house: Theatre) -> None:
    house.people(PEOPLE)
    key = f"{STEP}@killed"
    daemon = running.child("dagster-daemon")
    first = launch(running, house, {STEP_TAG: STEP, MOMENT_TAG: house.now.isoformat(), SEND_KEY_TAG: key})
    until(lambda: len(recipients(running.home)) >= RATE, "mails")
    run = running.process_of(first)
    daemon.kill()
    running.tells("the Dagster daemon ended (killed by SIGKILL); starting it again")
    assert run.is_running(), "it does not depend on the daemon"
    run.kill()
    assert len(recipients(running.home)) < PEOPLE, "it was killed too late to prove anything"
    until(lambda: running.status_of(key).get(first) == "FAILURE", "Dagster to see that the run is gone")
    until(lambda: "SUCCESS" in running.status_of(key).values(), "a run that takes the send up again", 2 * PATIENCE)
    assert len(running.status_of(key)) == 2, "one run that was killed, one that finished"
    one_send_is_well(house, recipients(running.home), PEOPLE, unknown=CONNECTIONS)


def launch(up: Up, house: Theatre, tags: dict[str, str]) -> str:
    """Launch a run as the Dagster UI does; its id."""
    assets = step_assets(house.deployment, house.deployment.project.step(STEP))
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
    answer = up.ask(query, {"parameters": parameters})["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def test_a_broken_edit_changes_nothing_and_a_changed_time_is_live_at_once(running: Up, house: Theatre) -> None:
    house.people(LATER_PEOPLE, first=PEOPLE + 1)
    original = running.campaign.read_text(encoding="utf-8")
    query = (
        '{schedulesOrError(repositorySelector: {repositoryLocationName: "smp_pipelines",'
        ' repositoryName: "__repository__"}) {... on Schedules {results {name cronSchedule}}}}'
    )
    (before,) = re.findall(r"times: \[\"(\d\d):(\d\d)\"\]", original)[:1]
    line_before = "{1} {0} * * *".format(*map(int, before))
    running.campaign.write_text(original.replace("subject:", "subjet:"), encoding="utf-8")
    running.tells("did you mean subject?")
    assert "reloaded" not in running.told()
    assert line_before in str(running.ask(query))

    times = running.times_ahead(1, 2, 3, 4)
    running.campaign.write_text(with_times(original, times), encoding="utf-8")
    running.tells("reloaded: campaigns/servicemails/campaign.yaml")
    schedules = str(running.ask(query))
    assert line_before not in schedules
    assert "{1} {0} * * *".format(*map(int, times[-1].split(":"))) in schedules
    daemon_log = running.home / "logs" / "daemon.log"
    until(lambda: "LOCATION_UPDATED" in daemon_log.read_text(encoding="utf-8"), "the daemon to see it")


def test_up_serves_its_pages_and_the_second_up_says_that_it_runs(running: Up) -> None:
    for name in ("SMP_INBOX_PORT", "SMP_PREVIEW_PORT"):
        assert running.page(name, "/health")
    note = read_running(running.settings)
    assert note is not None
    assert note.pid == running.process.pid
    assert f"http://127.0.0.1:{running.environment['SMP_UI_PORT']}" in note.urls.values()
    (way_in,) = re.findall(r"/sign-in/here/\S+", running.told())
    assert "You come in as the user of this machine" in running.page("SMP_PREVIEW_PORT", way_in)
    assert way_in not in (running.home / "up.json").read_text()
    password = (running.home / "postgres.password").read_text().strip()
    assert password not in (running.home / "up.json").read_text()
    assert not any(password in line for line in lines_of(running.home))

    second = subprocess.run(UP, env=running.environment, capture_output=True, text=True, timeout=PATIENCE)
    assert second.returncode == 1
    assert f"it runs already (process {running.process.pid}, since {note.since})" in second.stderr
    assert note.urls["Dagster"] in second.stderr
    assert running.process.poll() is None


def test_the_changed_schedule_fires_in_the_real_daemon_and_the_mails_and_the_report_are_there(
    running: Up, house: Theatre
) -> None:
    everybody = PEOPLE + LATER_PEOPLE
    later = {f"p{number}@example.org" for number in range(PEOPLE + 1, everybody + 1)}
    until(lambda: later <= set(recipients(running.home)), "the mails of the new time", 2 * PATIENCE)
    report_file = running.home / "reports.duckdb"
    accepted = "select count(*) from {} where {} = 'accepted'"

    def reported() -> bool:
        if not report_file.exists():
            return False
        with duckdb.connect(str(report_file), read_only=True) as report:
            row = report.execute(accepted.format("contact_moments", "outcome")).fetchone()
        return [row] == house.sql(accepted.format("smp.message", "state"))

    until(reported, "the contact moments in the report")
    assert len(recipients(running.home)) == len(set(recipients(running.home))), "nobody twice"
    assert "Alles over uw bezoek aan" in running.page("SMP_INBOX_PORT", "/")
    found = running.ask("{runsOrError {... on Runs {results {tags {key value}}}}}")
    assert "'servicemails__servicemail'" in str(found), "a schedule did it"
    assert house.sql("select count(*) from smp.send where state = 'finished' and planned = %s", LATER_PEOPLE) == [(1,)]


def test_a_killed_child_is_started_again_with_all_that_it_had_started(running: Up) -> None:
    code, inbox = running.child("code-server"), running.child("smp_pipelines.catcher")
    grandchildren = code.children()
    assert grandchildren
    code.kill()
    inbox.kill()

    def serves_again() -> bool:
        try:
            return bool(running.page("SMP_INBOX_PORT", "/health"))
        except OSError:
            return False

    def is_another(word: str, killed: psutil.Process) -> bool:
        # one that was just started has the supervisor's own command line for a moment
        found = child_of(psutil.Process(running.process.pid), word)
        return found is not None and found != killed and not is_over(found)

    running.tells("the mail catcher with its inbox page ended (killed by SIGKILL)")
    running.tells("Dagster's code server ended (killed by SIGKILL)")
    until(serves_again, "the inbox")
    until(lambda: is_another("code-server", code), "another code server")
    assert is_another("smp_pipelines.catcher", inbox)
    until(lambda: all(is_over(process) for process in grandchildren), "the children of the killed one to end")


def test_a_killed_supervisor_leaves_no_process(running: Up) -> None:
    assert len(processes_of(running.home)) > 6
    running.process.kill()
    running.process.wait()
    until(lambda: not processes_of(running.home), "everything to end")
    assert read_running(running.settings) is None
    assert down(running.settings) is False


def test_it_starts_again_after_a_kill_and_down_ends_everything_even_while_it_starts(
    around: Surroundings, running: Up
) -> None:
    assert running.process.poll() is not None
    up = around.start()
    until(up.has_noted_itself, "its note")
    assert up.process.poll() is None, up.told()
    assert down(up.settings) is True
    assert up.process.wait(PATIENCE) == 0
    assert "everything has ended" in up.told()
    assert not processes_of(up.home)
