"""`smp up` in a process of its own, on a project in whose time zone it is about noon: nothing is sent at night."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil

from smp_pipelines.assets.facts import SEND_KEY_TAG
from smp_pipelines.operations.handover import RunProcess
from smp_pipelines.stores.settings import Settings
from tests.conftest import copy_project
from tests.support.services import ask_dagster, child_of, ports_of_its_own, processes_of
from tests.support.waiting import until

UP = [sys.executable, "-m", "smp_pipelines.cli", "up"]


@dataclass
class Up:
    """A supervisor in a process of its own, and what it needs."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    home: Path
    project: Path
    zone: ZoneInfo
    output: Path

    @property
    def settings(self) -> Settings:
        ports = {f"{name.lower()}_port": int(self.environment[f"SMP_{name}_PORT"]) for name in ("UI", "INBOX")}
        return Settings(self.project, self.home, **ports)  # type: ignore[arg-type]

    @property
    def campaign(self) -> Path:
        return self.project / "campaigns" / "servicemails" / "campaign.yaml"

    def told(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def tells(self, words: str) -> None:
        """Wait until it has said so, as long as it runs."""
        until(lambda: words in self.told() or self.process.poll() is not None, words)
        assert words in self.told()

    def child(self, word: str) -> psutil.Process:
        found = child_of(psutil.Process(self.process.pid), word)
        assert found is not None, word
        return found

    def has_noted_itself(self) -> bool:
        """Whether its note is there; who asks for the lock at this moment could be in its way."""
        try:
            return bool(json.loads((self.home / "up.json").read_text())["pid"] == self.process.pid)
        except FileNotFoundError:
            return self.process.poll() is not None

    def page(self, name: str, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.environment[name]}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    def times_ahead(self, *minutes: int) -> list[str]:
        """Local times so many minutes from now."""
        local = datetime.now(self.zone)
        return [f"{local + timedelta(minutes=each):%H:%M}" for each in minutes]

    def ask(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        return ask_dagster(self.environment["SMP_UI_PORT"], query, variables)

    def status_of(self, key: str) -> dict[str, str]:
        """The status of each run of a send, by the run's id."""
        query = "query ($f: RunsFilter) {runsOrError(filter: $f) {... on Runs {results {runId status}}}}"
        answer = self.ask(query, {"f": {"tags": [{"key": SEND_KEY_TAG, "value": key}]}})
        return {run["runId"]: run["status"] for run in answer["runsOrError"]["results"]}

    def process_of(self, run_id: str) -> psutil.Process:
        """The process of a run that our launcher started."""
        query = "query ($r: ID!) {runOrError(runId: $r) {... on Run {tags {key value}}}}"
        tags = {tag["key"]: tag["value"] for tag in self.ask(query, {"r": run_id})["runOrError"]["tags"]}
        process = RunProcess.of(run_id, tags)
        assert process is not None, tags
        return psutil.Process(process.pid)


@dataclass(frozen=True)
class Surroundings:
    """A project in whose time zone it is about noon, and an environment with ports of its own."""

    environment: dict[str, str]
    project: Path
    home: Path
    zone: ZoneInfo

    def start(self) -> Up:
        output = self.home.parent / "up.out"
        with output.open("wb") as file:
            process = subprocess.Popen(UP, env=self.environment, stdout=file, stderr=file)
        return Up(process, self.environment, self.home, self.project, self.zone, output)


def with_times(text: str, times: list[str]) -> str:
    """A campaign.yaml with other times of day for its first step."""
    changed, count = re.subn(r"times: \[.*\]", f"times: {json.dumps(times)}", text, count=1)
    assert count == 1
    return changed


@contextmanager
def surroundings(folder: Path) -> Iterator[Surroundings]:
    """Surroundings in this folder; whatever was started for them is ended with the block."""
    project, home = copy_project(folder / "my project"), folder / "my state"
    ahead = 12 - datetime.now(UTC).hour
    zone = ZoneInfo(f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT")
    settings = project / "smp.yaml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("Europe/Amsterdam", zone.key), encoding="utf-8")
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("SMP_", "DAGSTER_"))}
    environment = {**outside, **ports_of_its_own(), "SMP_PROJECT": str(project), "SMP_HOME": str(home)}
    try:
        yield Surroundings(environment, project, home, zone)
    finally:
        for process in processes_of(home):
            process.kill()


def lines_of(home: Path) -> list[str]:
    """The command lines of the processes of a state folder."""
    found = []
    for process in processes_of(home):
        try:
            found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
