"""`smp up` with real processes: one start serves most of what is asked here, because a start takes seconds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from smp_pipelines.operations.children import Child, Service, refuse_taken_ports
from smp_pipelines.operations.environment import dagster_environment
from smp_pipelines.operations.guard import Guard
from smp_pipelines.operations.running import AlreadyRunningError, Running, down, only_one, read_running
from smp_pipelines.operations.watcher import fingerprint
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.server import EmbeddedServer
from smp_pipelines.stores.settings import Settings, read_settings

REPOSITORY = Path(__file__).resolve().parents[1]
PORTS = ("SMP_UI_PORT", "SMP_INBOX_PORT", "SMP_PREVIEW_PORT", "SMP_SMTP_PORT", "SMP_CODE_PORT")
UP = """
import sys
from smp_pipelines.operations.supervisor import up
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.server import EmbeddedServer
from smp_pipelines.stores.settings import read_settings
try:
    up(read_settings(), lambda told: print(told, flush=True))
except SmpError as error:
    sys.exit(str(error))
"""


@dataclass
class Up:
    """A supervisor in a process of its own, and what it needs."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    home: Path
    project: Path
    output: Path

    @property
    def settings(self) -> Settings:
        port = self.environment
        return Settings(
            self.project, self.home, ui_port=int(port["SMP_UI_PORT"]), inbox_port=int(port["SMP_INBOX_PORT"])
        )

    def told(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def child(self, *words: str) -> psutil.Process:
        for process in psutil.Process(self.process.pid).children():
            if all(word in process.cmdline() for word in words):
                return process
        raise LookupError(words)


def until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def is_over(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def processes_of(home: Path) -> list[psutil.Process]:
    """Every process, whoever its parent is now, that was started for this state folder or serves its database."""
    found = []
    words = (str(home), str(EmbeddedServer(home).data))
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            mine = any(word in line for word in words) or process.environ().get("SMP_HOME") == str(home)
            if mine and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Path, Path]]:
    folder = tmp_path_factory.mktemp("smp up")
    project = folder / "my project"
    for name in ("campaigns", "sql"):
        shutil.copytree(REPOSITORY / name, project / name)
    shutil.copy(REPOSITORY / "smp.yaml", project)
    home = folder / "my state"
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    yield {**os.environ, **ports, "SMP_PROJECT": str(project), "SMP_HOME": str(home)}, project, home
    for process in processes_of(home):
        process.kill()


def start_up(environment: dict[str, str], project: Path, home: Path) -> Up:
    output = home.parent / "up.out"
    with output.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-c", UP], env=environment, stdout=file, stderr=file)
    return Up(process, environment, home, project, output)


@pytest.fixture(scope="module")
def running(surroundings: tuple[dict[str, str], Path, Path]) -> Up:
    up = start_up(*surroundings)
    until(lambda: "running, after" in up.told() or up.process.poll() is not None, 180)
    assert up.process.poll() is None, up.told()
    return up


def ask(up: Up, query: str) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{up.environment['SMP_UI_PORT']}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_up_serves_its_pages_and_the_second_up_says_that_it_runs(running: Up) -> None:
    for name in ("SMP_INBOX_PORT", "SMP_PREVIEW_PORT"):
        with urllib.request.urlopen(f"http://127.0.0.1:{running.environment[name]}/health") as answer:
            assert answer.status == 200
    note = read_running(running.settings)
    assert note is not None
    assert note.pid == running.process.pid
    assert f"http://127.0.0.1:{running.environment['SMP_UI_PORT']}" in note.urls.values()
    password = (running.home / "postgres.password").read_text().strip()
    assert password not in (running.home / "up.json").read_text()
    assert not any(password in " ".join(process.cmdline()) for process in processes_of(running.home))

    second = subprocess.run(
        [sys.executable, "-c", UP], env=running.environment, capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 1
    assert f"it runs already (process {running.process.pid}, since {note.since})" in second.stderr
    assert note.urls["Dagster"] in second.stderr
    assert running.process.poll() is None


def test_a_changed_time_is_live_at_once_and_a_broken_edit_changes_nothing(running: Up) -> None:
    file = running.project / "campaigns" / "servicemails" / "campaign.yaml"
    original = file.read_text(encoding="utf-8")
    query = (
        '{schedulesOrError(repositorySelector: {repositoryLocationName: "smp_pipelines",'
        ' repositoryName: "__repository__"}) {... on Schedules {results {name cronSchedule}}}}'
    )

    file.write_text(original.replace("subject:", "subjet:"), encoding="utf-8")
    until(lambda: "did you mean subject?" in running.told())
    assert "reloaded" not in running.told()
    assert "0 15 * * *" in str(ask(running, query))

    file.write_text(original.replace('"15:00"', '"16:20"'), encoding="utf-8")
    until(lambda: "reloaded: campaigns/servicemails/campaign.yaml" in running.told())
    assert "20 16 * * *" in str(ask(running, query))
    assert "0 15 * * *" not in str(ask(running, query))
    daemon_log = running.home / "logs" / "daemon.log"
    until(lambda: "LOCATION_UPDATED" in daemon_log.read_text(encoding="utf-8"), 10)


def test_a_killed_child_is_started_again_with_all_that_it_had_started(running: Up) -> None:
    code = running.child("code-server")
    grandchildren = code.children()
    assert grandchildren
    inbox = running.child("smp_pipelines.catcher")
    code.kill()
    inbox.kill()

    def serves_again() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{running.environment['SMP_INBOX_PORT']}/health") as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    until(lambda: "the mail catcher with its inbox page ended (killed by SIGKILL)" in running.told())
    until(lambda: "Dagster's code server ended (killed by SIGKILL)" in running.told())
    until(serves_again)
    until(lambda: running.child("code-server").pid != code.pid)
    assert running.child("smp_pipelines.catcher").pid != inbox.pid
    assert all(is_over(process) for process in grandchildren)


def test_a_killed_supervisor_leaves_no_process(running: Up) -> None:
    assert len(processes_of(running.home)) > 6
    running.process.kill()
    running.process.wait()
    until(lambda: not processes_of(running.home), 30)
    assert read_running(running.settings) is None
    assert down(running.settings) is False


def test_down_ends_everything_even_while_it_starts(surroundings: tuple[dict[str, str], Path, Path]) -> None:
    up = start_up(*surroundings)
    until(lambda: read_running(up.settings) is not None or up.process.poll() is not None)
    assert up.process.poll() is None, up.told()
    started = time.monotonic()
    assert down(up.settings) is True
    assert time.monotonic() - started < 20
    assert up.process.wait(10) == 0
    assert "everything has ended" in up.told()
    assert not processes_of(up.home)


def test_a_killed_postgres_ends_everything_with_a_clear_message(
    surroundings: tuple[dict[str, str], Path, Path],
) -> None:
    up = start_up(*surroundings)
    until(lambda: read_running(up.settings) is not None)
    until(lambda: "smp_pipelines.catcher" in str([process.cmdline() for process in processes_of(up.home)]))
    psutil.Process(int((EmbeddedServer(up.home).data / "postmaster.pid").read_text().split()[0])).kill()
    assert up.process.wait(30) == 1
    assert "the embedded Postgres server ended; its log is" in up.told()
    assert not processes_of(up.home)


def test_a_taken_port_is_named_with_its_use_and_its_variable() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        service = Service("webserver", "the Dagster UI", [], {port: "SMP_UI_PORT"})
        with pytest.raises(SmpError, match=rf"port {port}, for the Dagster UI, is taken .* SMP_UI_PORT={port + 10}"):
            refuse_taken_ports([service])
    refuse_taken_ports([service])


def test_two_services_on_one_port_are_refused() -> None:
    (port,) = free_ports(1)
    one, two = (Service(name, name, [], {port: f"SMP_{name}"}) for name in ("one", "two"))
    with pytest.raises(SmpError, match="both one and two"):
        refuse_taken_ports([one, two])


def refusal(act: Callable[[], object], seconds: float) -> str:
    """Do it over and over until it is refused; what the refusal says."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            act()
        except SmpError as error:
            return str(error)
        time.sleep(0.02)
    raise AssertionError("it was never refused")


@pytest.fixture
def start_child(tmp_path: Path) -> Iterator[Callable[[str], Child]]:
    guard = Guard(tmp_path, tmp_path / "guard.log")

    def start(program: str) -> Child:
        service = Service("one", "the service", [sys.executable, "-c", program], {1: "SMP_ONE_PORT"})
        child = Child(service, tmp_path / "one.log", tmp_path, os.environ, guard)
        child.start()
        return child

    yield start
    guard.dismiss()


def test_a_child_that_keeps_ending_is_given_up_and_its_log_is_shown(start_child: Callable[[str], Child]) -> None:
    child = start_child("print('why it ends'); raise SystemExit(3)")
    ends: list[str] = []

    def look() -> None:
        ends.extend(how for how in [child.has_ended()] if how)
        child.start_again()

    told = refusal(look, 60)
    assert "the service ended 6 times within a minute" in told
    assert str(child.log) in told
    assert "why it ends" in told
    assert ends == ["exit code 3"] * 5


def test_a_child_that_ends_while_it_starts_is_told_with_its_log(start_child: Callable[[str], Child]) -> None:
    child = start_child("raise SystemExit('no such table')")
    told = refusal(child.is_ready, 20)
    assert "the service ended while it started (exit code 1)" in told
    assert "no such table" in told


def test_a_child_that_is_deaf_to_sigterm_is_killed_with_its_own_children(start_child: Callable[[str], Child]) -> None:
    sleeper = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    deaf = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    child = start_child(f"{deaf} print({sleeper}.pid, flush=True); time.sleep(600)")
    until(lambda: child.log.read_text().strip().isdigit(), 20)
    pid, grandchild = child.pid, psutil.Process(int(child.log.read_text()))
    assert pid is not None
    child.ask_to_end()
    child.wait_until_ended(0.2)
    assert not psutil.pid_exists(pid)
    until(lambda: is_over(grandchild), 10)


def test_a_note_of_a_killed_supervisor_is_not_believed(tmp_path: Path, project_folder: Path) -> None:
    settings = Settings(project_folder, tmp_path / "state")
    with only_one(settings) as leave_note:
        assert read_running(settings) is None  # it is still starting
        leave_note(Running(os.getpid(), "2026-01-01 10:00:00+01:00", {"Dagster": "http://127.0.0.1:3000"}))
        note = read_running(settings)
        with pytest.raises(AlreadyRunningError, match="since 2026-01-01") as caught, only_one(settings):
            pass
        assert caught.value.running == note
        kept = (settings.home / "up.json").read_text()
    (settings.home / "up.json").write_text(kept)
    assert read_running(settings) is None
    assert down(settings) is False


def test_the_fingerprint_tells_edited_new_and_removed_files_and_no_editors_own(project_folder: Path) -> None:
    before = fingerprint(project_folder)
    (project_folder / "campaigns" / ".campaign.yaml.swp").write_text("x")
    (project_folder / "campaigns" / "campaign.yaml~").write_text("x")
    assert fingerprint(project_folder) == before
    (project_folder / "forms").mkdir()
    (project_folder / "forms" / "visit.yaml").write_text("fields: {}")
    (project_folder / "sql" / "selections" / "we_miss_you.sql").unlink()
    edited = project_folder / "smp.yaml"
    edited.write_text(edited.read_text() + "\n")
    changed = {name for name, _ in before.items() ^ fingerprint(project_folder).items()}
    assert changed == {"forms/visit.yaml", "sql/selections/we_miss_you.sql", "smp.yaml"}


def test_the_environment_has_absolute_paths_and_a_storage_url_with_its_driver(
    postgres_url: str, project_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMP_HOME", "state")
    monkeypatch.setenv("SMP_LAKE", "lake files")
    monkeypatch.setenv("SMP_POSTGRES_URL", postgres_url)
    environment = dagster_environment(read_settings(project_folder), postgres_url)
    assert environment["SMP_DAGSTER_STORAGE_URL"].startswith("postgresql+psycopg2://")
    assert environment["SMP_LAKE"] == str(tmp_path / "lake files")
    assert environment["DAGSTER_HOME"] == str(tmp_path / "state" / "dagster")
    assert (tmp_path / "state" / "dagster" / "dagster.yaml").read_bytes() == (REPOSITORY / "dagster.yaml").read_bytes()


def test_the_guard_ends_what_is_left_when_the_supervisor_dies(tmp_path: Path) -> None:
    """Not the guard of a whole deployment: one sleeping child, one supervisor that is killed."""
    script = (
        "import pathlib, subprocess, sys, time\n"
        "from smp_pipelines.operations.guard import Guard\n"
        "guard = Guard(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1]) / 'guard.log')\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], process_group=0)\n"
        "guard.add(child.pid)\n"
        "print(child.pid, guard.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert supervisor.stdout is not None
    child, guard = (psutil.Process(int(word)) for word in supervisor.stdout.readline().split())
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    until(lambda: is_over(child) and is_over(guard), 15)
