"""The supervisor of `smp up` and its parts: how it ends, children, ports, the note of what runs, guard and watcher."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from smp_pipelines.operations.children import Child, Service, refuse_taken_ports
from smp_pipelines.operations.environment import dagster_environment
from smp_pipelines.operations.guard import Guard
from smp_pipelines.operations.running import AlreadyRunningError, Running, down, only_one, read_running
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.fingerprint import fingerprint
from smp_pipelines.stores.server import EmbeddedServer
from smp_pipelines.stores.settings import Settings, read_settings
from tests.conftest import REPOSITORY
from tests.support.services import free_ports, is_over, processes_of
from tests.support.up import lines_of, surroundings
from tests.support.waiting import PATIENCE, until


def test_a_killed_postgres_ends_everything_with_a_clear_message(tmp_path: Path) -> None:
    with surroundings(tmp_path) as around:
        up = around.start()
        until(lambda: any("smp_pipelines.catcher" in line for line in lines_of(up.home)), "the first child")
        postmaster = int((EmbeddedServer(up.home).data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        assert up.process.wait(PATIENCE) == 1
        assert "the embedded Postgres server ended; its log is" in up.told()
        until(lambda: not processes_of(up.home), "everything to end")


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


def refusal(act: Callable[[], object]) -> str:
    """Do it over and over until it is refused; what the refusal says."""
    deadline = time.monotonic() + PATIENCE
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

    told = refusal(look)
    assert "the service ended 6 times within a minute" in told
    assert str(child.log) in told
    assert "why it ends" in told
    assert ends == ["exit code 3"] * 5


def test_a_child_that_ends_while_it_starts_is_told_with_its_log(start_child: Callable[[str], Child]) -> None:
    child = start_child("raise SystemExit('no such table')")
    told = refusal(child.is_ready)
    assert "the service ended while it started (exit code 1)" in told
    assert "no such table" in told


def test_a_child_that_is_deaf_to_sigterm_is_killed_with_its_own_children(start_child: Callable[[str], Child]) -> None:
    sleeper = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    deaf = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    child = start_child(f"{deaf} print({sleeper}.pid, flush=True); time.sleep(600)")
    until(lambda: child.log.read_text().endswith("\n"), "the deaf one to say its child")
    pid, grandchild = child.pid, psutil.Process(int(child.log.read_text()))
    assert pid is not None
    child.ask_to_end()
    child.wait_until_ended(0.2)
    assert not psutil.pid_exists(pid)
    until(lambda: is_over(grandchild))


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
    (project_folder / "forms").mkdir(exist_ok=True)
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
    until(lambda: is_over(child) and is_over(guard))
