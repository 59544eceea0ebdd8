"""`smp demo` as a user meets it: from nothing, stopped with Ctrl-C, killed half-way, and again when all is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import psycopg
import pytest
from typer.testing import CliRunner

from smp_pipelines.cli import app
from smp_pipelines.stores.server import EmbeddedServer
from tests.conftest import copy_project
from tests.support.inbox import recipients
from tests.support.processes import start_smp
from tests.support.services import processes_of
from tests.support.waiting import PATIENCE, until
from tests.support.warm import WarmProcess

PEOPLE = "1000"
RATE = 30
"""Mails a second: the send of the demo lasts some seconds, in which it can be stopped."""
_ACCEPTED = "select count(*) from smp.message where state = 'accepted'"
_WAITING = "select count(*) from smp.message where state in ('planned', 'claimed')"


class Demo:
    """The demo of one project, as processes of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.project = copy_project(folder / "a project")
        with (self.project / "smp.yaml").open("a", encoding="utf-8") as file:
            file.write(f"\nlimits: {{per_second: {RATE}}}\n")
        self.home = folder / "the state"
        variables = {name: value for name, value in os.environ.items() if not name.startswith("SMP_")}
        self.own = {"SMP_HOME": str(self.home), "SMP_PROJECT": str(self.project)}
        self.environment = variables | self.own | {"LC_ALL": "C", "LANG": "C"}

    @contextmanager
    def started(self) -> Iterator[WarmProcess]:
        """The demo as it runs; killed at the end of the block if it still does."""
        process = start_smp(self.environment, "demo", "--people", PEOPLE)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def run(self) -> str:
        """The demo from its start to its good end; what it told."""
        command = [sys.executable, "-m", "smp_pipelines.cli", "demo", "--people", PEOPLE]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def smp(self, *arguments: str) -> str:
        """Another command on the same state, in this process; what it told."""
        done = CliRunner().invoke(app, arguments, env=self.own)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    def mails(self) -> Counter[str]:
        """How many mails each recipient got in the inbox."""
        return Counter(recipients(self.home))

    def count(self, query: str) -> int:
        """A figure from the ledger while the demo runs; -1 as long as there is none."""
        try:
            with psycopg.connect(EmbeddedServer(self.home).url()) as connection:
                row = connection.execute(query).fetchone()  # type: ignore[arg-type]
                return int(row[0]) if row else -1
        except Exception:
            return -1


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    made = Demo(tmp_path / "with a space")
    yield made
    for process in processes_of(made.home):
        process.kill()


def test_the_demo_survives_ctrl_c_and_a_kill_and_ends_with_figures_and_nobody_gets_anything_twice(demo: Demo) -> None:
    moments = {"the database": "select count(*) from smp.migration", "a mail to leave": _ACCEPTED}
    for moment, query in moments.items():
        with demo.started() as process:
            until(lambda query=query, process=process: demo.count(query) > 0 or process.poll() is not None, moment)  # type: ignore[misc]
            os.killpg(process.pid, signal.SIGINT)
            told, _ = process.communicate(timeout=PATIENCE)
            assert process.returncode == 130, told
            assert "Traceback" not in told
        until(lambda: not processes_of(demo.home), "all processes to end")
    with demo.started() as process:
        until(lambda: demo.count(_WAITING) > 0, "mails")
        before = demo.count(_ACCEPTED)
        until(lambda: demo.count(_ACCEPTED) > before or process.poll() is not None, "another mail to leave")
        assert process.poll() is None, "it ended before it could be killed"
    until(lambda: not processes_of(demo.home), "the guard to end what the demo started")

    told = demo.run()
    assert "people in the CRM" in told
    assert "sent (accepted by the mail server)" in told
    assert "mails per second" in told
    assert "Where to look" in told
    first = demo.mails()
    assert sum(first.values()) > 50
    assert set(first.values()) == {1}, "nobody twice"
    again = demo.run()
    assert "Nobody was mailed this time" in again or "accepted by the mail server)                          0" in again
    assert demo.mails() == first
    assert not processes_of(demo.home)

    with duckdb.connect(str(demo.home / "reports.duckdb"), read_only=True) as report:
        ((accepted, unknown),) = report.execute("select sum(accepted), sum(unknown) from flow_metrics").fetchall()
    assert accepted <= sum(first.values()) <= accepted + unknown
    assert "results_per_step" in demo.smp("report")
    assert "servicemails/servicemail" in demo.smp("report", "results_per_step")
    rows = [line.split() for line in demo.smp("ledger", "verify").splitlines()[1:] if line.strip()]
    assert all((row[2], row[-1]) == ("finished", "yes") for row in rows)
