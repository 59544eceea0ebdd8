"""Tests of the embedded Postgres server: it runs as long as somebody uses it, and survives every kind of end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from smp_pipelines.problems import SmpError
from smp_pipelines.stores import server as server_module
from smp_pipelines.stores.server import EmbeddedServer
from tests.support.processes import program
from tests.support.waiting import until

USE = """
import pathlib, sys
from smp_pipelines.stores.server import EmbeddedServer
with EmbeddedServer(pathlib.Path(sys.argv[1])).use() as url:
    print(url, flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def home() -> Iterator[Path]:
    """A state folder with a space in its name that every user may enter; its server is stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="smp server "))
    folder.chmod(0o755)
    yield folder
    EmbeddedServer(folder).stop()
    shutil.rmtree(folder, ignore_errors=True)


def ask(url: str, question: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(question)  # type: ignore[arg-type]
        return found.fetchall() if found.description else None


def postmaster(home: Path) -> int:
    return int((EmbeddedServer(home).data / "postmaster.pid").read_text().splitlines()[0])


def test_two_processes_use_it_at_once_and_the_last_out_stops_it(home: Path) -> None:
    with program(USE, home) as one, program(USE, home) as two:
        url = one.line()
        assert two.line() == url
        main = postmaster(home)
        one.go()
        one.end()
        assert ask(url, "select 1") == [(1,)]
        two.go()
        two.end()
    assert EmbeddedServer(home).port() is None
    assert not psutil.pid_exists(main) or psutil.Process(main).status() == psutil.STATUS_ZOMBIE


def test_a_user_that_is_killed_leaves_it_running_for_the_next_who_stops_it(home: Path) -> None:
    with program(USE, home) as killed:
        url = killed.line()
        killed.kill()
    assert ask(url, "select 1") == [(1,)]
    with EmbeddedServer(home).use() as again:
        assert again == url
    assert EmbeddedServer(home).port() is None


def test_what_was_written_is_there_after_a_restart_on_the_same_port(home: Path) -> None:
    with EmbeddedServer(home).use() as url:
        ask(url, "create table kept as select 7 as n")
    with EmbeddedServer(home).use() as again:
        assert again == url, "whoever still knows the address finds it again"
        assert ask(again, "select n from kept") == [(7,)]


def test_when_its_port_was_taken_meanwhile_it_gets_another(home: Path) -> None:
    with EmbeddedServer(home).use() as url:
        port = EmbeddedServer(home).port()
    with socket.create_server(("127.0.0.1", int(port or 0))), EmbeddedServer(home).use() as again:
        assert again != url
        assert ask(again, "select 1") == [(1,)]


def test_a_server_that_was_killed_starts_again_with_what_it_had(home: Path) -> None:
    with EmbeddedServer(home).use() as url:
        ask(url, "create table kept as select 7 as n")
        os.kill(postmaster(home), signal.SIGKILL)
        until(lambda: EmbeddedServer(home).port() is None, "its end")
    with EmbeddedServer(home).use() as again:
        assert ask(again, "select n from kept") == [(7,)]


def test_an_old_pid_file_whose_number_and_port_are_somebody_elses_is_seen_through(home: Path) -> None:
    with EmbeddedServer(home).use() as url:
        ask(url, "create table kept as select 7 as n")
        old = (EmbeddedServer(home).data / "postmaster.pid").read_text().splitlines()
    user = "nobody" if os.geteuid() == 0 else None
    with (
        socket.create_server(("127.0.0.1", 0)) as other_server,
        subprocess.Popen(["sleep", "100"], user=user) as other_program,
    ):
        old[0], old[3] = str(other_program.pid), str(other_server.getsockname()[1])
        file = EmbeddedServer(home).data / "postmaster.pid"
        file.write_text("\n".join([*old[:7], "ready   "]) + "\n")
        if user:
            shutil.chown(file, user)
        assert EmbeddedServer(home).port() is None
        assert EmbeddedServer(home).stop() is False, "it is not ours to stop"
        with EmbeddedServer(home).use() as again:
            assert ask(again, "select n from kept") == [(7,)]
        assert other_program.poll() is None
        other_program.kill()


def test_a_first_start_that_was_cut_short_anywhere_begins_anew(home: Path) -> None:
    data = EmbeddedServer(home).data
    with program(USE, home) as killed:
        # initdb has written this file, and is at work on the rest
        until(lambda: any(data.parent.glob("postgres.new.*/PG_VERSION")) or data.exists(), "initdb to begin")
        os.killpg(killed.process.pid, signal.SIGKILL)
        killed.process.wait()
    (home / "postgres.password").unlink(missing_ok=True)
    (home / "postgres.password").touch()
    with EmbeddedServer(home).use() as url:
        assert ask(url, "select current_user::text") == [("smp",)]


def test_a_start_that_was_cut_short_before_the_databases_were_made_is_completed(home: Path) -> None:
    with EmbeddedServer(home).use():
        ask(EmbeddedServer(home).url("postgres"), "drop database smp_dagster")
        with EmbeddedServer(home).use():
            assert ask(EmbeddedServer(home).url("smp_dagster", "smp_dagster"), "select 1") == [(1,)]


def test_stopping_says_whether_there_was_one_to_stop(home: Path) -> None:
    assert EmbeddedServer(home).stop() is False
    with EmbeddedServer(home).use():
        assert EmbeddedServer(home).stop() is True
        with pytest.raises(SmpError, match="is not running; start it with `smp up`"):
            EmbeddedServer(home).url()
        with EmbeddedServer(home).use() as url:
            assert ask(url, "select 1") == [(1,)]


def test_the_password_is_for_its_user_only_and_needed(home: Path) -> None:
    with EmbeddedServer(home).use() as url:
        assert EmbeddedServer(home).password_file.stat().st_mode & 0o077 == 0
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url.replace(EmbeddedServer(home).password(), "wrong"))
    EmbeddedServer(home).password_file.unlink()
    with (
        pytest.raises(SmpError, match="the password of the embedded Postgres server is gone"),
        EmbeddedServer(home).use(),
    ):
        pass


@as_root
def test_as_root_the_server_runs_as_nobody(home: Path) -> None:
    with EmbeddedServer(home).use():
        assert psutil.Process(postmaster(home)).username() == "nobody"


@as_root
def test_as_root_a_state_folder_that_nobody_may_enter_has_its_server_elsewhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_SYSTEM_FOLDER", home / "system")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with EmbeddedServer(private).use() as url:
        assert EmbeddedServer(private).data.parent == home / "system"
        assert ask(url, "select 1") == [(1,)]


@as_root
def test_as_an_ordinary_user_the_server_runs_as_that_user(home: Path) -> None:
    shutil.chown(home, "nobody")
    # the interpreter may lie where nobody cannot look: it becomes nobody after it has read what it needs
    become = "import os, pwd, psycopg, encodings.idna, encodings.ascii\nfrom smp_pipelines.stores import server\n"
    become += "who = pwd.getpwnam('nobody')\nos.setgroups([])\nos.setgid(who.pw_gid)\nos.setuid(who.pw_uid)\n"
    with program(become + USE, home) as user:
        user.line()
        assert psutil.Process(postmaster(home)).username() == "nobody"
        assert EmbeddedServer(home).password_file.stat().st_uid == pwd.getpwnam("nobody").pw_uid
        user.go()
        user.end()
    assert EmbeddedServer(home).port() is None
