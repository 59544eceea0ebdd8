"""The real thing: `smp up` with Dagster's daemon and code server; a schedule fires, mails arrive, the report has it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest

from smp_pipelines.stores.server import EmbeddedServer
from tests.conftest import copy_project
from tests.test_supervisor import free_ports

PATIENCE = 300
STEP = "servicemails/servicemail"


class Up:
    """A project whose service mail is due in a minute, run by `smp up`."""

    def __init__(self, folder: Path) -> None:
        self.project = copy_project(folder)
        self.home = folder.parent / "the state"
        self.ports = dict(zip(("UI", "INBOX", "PREVIEW", "SMTP", "CODE"), free_ports(5), strict=True))
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("SMP_", "DAGSTER_"))}
        ports = {f"SMP_{name}_PORT": str(port) for name, port in self.ports.items()}
        self.environment = {**variables, **ports, "SMP_HOME": str(self.home)}
        # nothing is sent at night: the project lives in a time zone in which it is about noon now
        ahead = 12 - datetime.now(UTC).hour
        self.zone = ZoneInfo(f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT")
        settings = self.project / "smp.yaml"
        settings.write_text(settings.read_text().replace("Europe/Amsterdam", self.zone.key))

    def schedule(self, times: list[str]) -> None:
        """Write the times of day at which the service mail is sent."""
        file = self.project / "campaigns" / "servicemails" / "campaign.yaml"
        text, count = re.subn(r"times: \[.*\]", f"times: {json.dumps(times)}", file.read_text(), count=1)
        assert count == 1
        file.write_text(text)

    def minutes_ahead(self, *minutes: int) -> list[str]:
        """Local times so many minutes from now."""
        local = datetime.now(self.zone)
        return [f"{local + timedelta(minutes=each):%H:%M}" for each in minutes]

    def mails(self) -> int:
        """How many mails the inbox page has."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['INBOX']}/health", timeout=5) as answer:
                return int(json.loads(answer.read())["count"])
        except OSError:
            return 0

    def smp(self, *arguments: str) -> str:
        command = self._command(*arguments)
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "smp_pipelines.cli", "--project", str(self.project), *arguments]


def wait_for(condition: Callable[[], bool], what: str, told: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}\n{told()}"
        time.sleep(0.25)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    made = Up(tmp_path / "a project")
    today = datetime.now(made.zone).date()
    made.smp("sample", "--people", "300", "--today", today.isoformat())
    made.smp("step", "status", STEP, "live", "--by", "anna")
    # the calendar is far from now: the test edits it while everything runs (F29)
    made.schedule(made.minutes_ahead(120))
    log = (tmp_path / "up.log").open("w+")
    process = subprocess.Popen(made._command("up"), env=made.environment, stdout=log, stderr=subprocess.STDOUT)
    made.log = tmp_path / "up.log"  # type: ignore[attr-defined]
    try:
        yield made
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def test_a_changed_schedule_fires_in_the_real_daemon_and_the_mail_and_the_report_are_there(up: Up) -> None:
    told = up.log.read_text  # type: ignore[attr-defined]
    wait_for(lambda: "running, after" in told(), "smp up", told)
    assert up.mails() == 0
    # F29: the new times are live at once, nobody restarts anything
    up.schedule(up.minutes_ahead(1, 2, 3, 4))
    wait_for(lambda: up.mails() > 0, "a mail", told)

    report_file = up.home / "reports.duckdb"

    def accepted() -> int:
        if not report_file.exists():
            return 0
        with duckdb.connect(str(report_file), read_only=True) as report:
            row = report.execute("select count(*) from contact_moments where outcome = 'accepted'").fetchone()
        return int(row[0]) if row else 0

    wait_for(lambda: accepted() > 0 and accepted() == up.mails(), "the contact moments in the report", told)
    page = urllib.request.urlopen(f"http://127.0.0.1:{up.ports['INBOX']}/", timeout=10).read().decode()
    assert "Alles over uw bezoek aan" in page
    runs = _graphql(up.ports["UI"], "{ runsOrError { ... on Runs { results { status tags { key value } } } } }")
    results = runs["data"]["runsOrError"]["results"]
    tags = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in results]
    assert any(each.get("dagster/schedule_name") == "servicemails__servicemail" for each in tags), "a schedule did it"
    assert " NO" not in up.smp("ledger", "verify")
    assert EmbeddedServer(up.home).port() is not None


def _graphql(port: int, query: str) -> dict[str, object]:
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, object] = json.loads(answer.read())
        return found
