"""`smp demo` as a user meets it: from nothing, again, stopped with Ctrl-C, killed half-way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import duckdb
import psutil
import psycopg
import pytest

from smp_pipelines.stores.server import EmbeddedServer
from tests.conftest import copy_project

PEOPLE = "2000"
PATIENCE = 240


class Demo:
    """The demo of one project, as processes of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.project = copy_project(folder / "a project")
        self.home = folder / "the state"
        variables = {name: value for name, value in os.environ.items() if not name.startswith("SMP_")}
        self.environment = {**variables, "SMP_HOME": str(self.home), "LC_ALL": "C", "LANG": "C"}

    def start(self) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "smp_pipelines.cli",
            "--project",
            str(self.project),
            "demo",
            "--people",
            PEOPLE,
        ]
        return subprocess.Popen(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self) -> str:
        process = self.start()
        told, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, told
        return told

    def smp(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "smp_pipelines.cli", "--project", str(self.project), *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def mails(self) -> Counter[str]:
        """How many mails each recipient got in the inbox."""
        index = self.home / "inbox" / "index.jsonl"
        if not index.exists():
            return Counter()
        found: Counter[str] = Counter()
        for line in index.read_text(encoding="utf-8").splitlines():
            found.update(recipient.lower() for recipient in json.loads(line)["recipients"])
        return found

    def count(self, query: str) -> int:
        """A figure from the ledger while the demo runs; -1 as long as there is none."""
        try:
            url = EmbeddedServer(self.home).url()
            with psycopg.connect(url) as connection:
                row = connection.execute(query).fetchone()  # type: ignore[arg-type]
                return int(row[0]) if row else -1
        except Exception:
            return -1

    def processes(self) -> list[str]:
        """Processes that belong to this demo: they name its state folder."""
        mine = str(self.home)
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "status"]):
            line = " ".join(process.info["cmdline"] or [])
            if mine in line and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(line)
        return found


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo(tmp_path / "with a space")


def test_the_demo_ends_with_figures_and_a_second_run_sends_nobody_anything_twice(demo: Demo) -> None:
    told = demo.run()
    assert "people in the CRM" in told
    assert "sent (accepted by the mail server)" in told
    assert "mails per second" in told
    assert "Where to look" in told
    first = demo.mails()
    assert sum(first.values()) > 50
    assert set(first.values()) == {1}
    again = demo.run()
    assert "Nobody was mailed this time" in again or "accepted by the mail server)                          0" in again
    assert demo.mails() == first
    assert demo.processes() == []
    with duckdb.connect(str(demo.home / "reports.duckdb"), read_only=True) as report:
        assert report.execute("select sum(accepted) from flow_metrics").fetchone() == (sum(first.values()),)
    assert "results_per_step" in demo.smp("report")
    assert "servicemails/servicemail" in demo.smp("report", "results_per_step")
    assert " NO" not in demo.smp("ledger", "verify")


def test_ctrl_c_and_a_kill_half_way_leave_nothing_running_and_the_next_run_goes_on(demo: Demo) -> None:
    moments = {
        "the database": "select count(*) from smp.migration",
        "a mail to leave": "select count(*) from smp.message where state = 'accepted'",
    }
    for moment, query in moments.items():
        process = demo.start()
        wait_for(lambda query=query: demo.count(query) > 0, moment)  # type: ignore[misc]
        os.killpg(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=60)
        assert process.returncode == 130, told
        assert "Traceback" not in told
        wait_for(lambda: demo.processes() == [], "all processes to end")
    accepted = "select count(*) from smp.message where state = 'accepted'"
    process = demo.start()
    wait_for(lambda: demo.count("select count(*) from smp.message where state in ('planned', 'claimed')") > 0, "mails")
    before = demo.count(accepted)
    wait_for(lambda: demo.count(accepted) > before, "another mail to leave")
    process.kill()
    process.wait()
    wait_for(lambda: demo.processes() == [], "the guard to end what the demo started")
    demo.run()
    assert set(demo.mails().values()) == {1}, "nobody twice"
    rows = [line.split() for line in demo.smp("ledger", "verify").splitlines()[1:] if line.strip()]
    assert all(row[-1] == "yes" for row in rows)
    assert all(row[2] == "finished" for row in rows)
