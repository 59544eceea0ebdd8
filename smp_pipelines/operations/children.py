"""Children: the processes that the supervisor starts, watches and ends. Each has a process group and a log file."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
import urllib.request
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smp_pipelines.operations.guard import Guard, end_group, end_groups
from smp_pipelines.problems import SmpError

_ENDS_ALLOWED = 5
_ENDS_WINDOW = 60.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_LOG_LINES = 15
_LOG_LIMIT = 20_000_000


@dataclass(frozen=True)
class Service:
    """What to start. `health` is the address that answers once it is ready: a URL, or None for the bare port.

    what: what it is for, in words for a message. ports: port → the variable that changes it.
    """

    name: str
    what: str
    command: Sequence[str]
    ports: Mapping[int, str]
    health: str | None = None


@dataclass
class Child:
    """One service as a process that is started again when it ends by itself."""

    service: Service
    log: Path
    folder: Path
    environment: Mapping[str, str]
    guard: Guard
    _process: subprocess.Popen[bytes] | None = None
    _ends: deque[float] = field(default_factory=deque)
    _again_at: float = 0.0

    def start(self) -> None:
        """Start the process; what it writes goes to its log file."""
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".old.log"))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(self.service.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=dict(self.environment),
                process_group=0,  # Ctrl-C in the terminal is for the supervisor, which ends children in order
            )
        self.guard.add(self._process.pid)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None else None

    def is_ready(self) -> bool:
        """Whether it answers. Raises SmpError with the end of its log when it has ended instead."""
        if self._process is not None and self._process.poll() is not None:
            raise SmpError(f"{self.service.what} ended while it started ({self._how_it_ended()}). {self.told()}")
        return _answers(self.service)

    def has_ended(self) -> str | None:
        """How it ended, once; what is left of its process group is ended too. None while it runs or pauses."""
        if self._process is None or self._process.poll() is None:
            return None
        how = self._how_it_ended()
        end_groups({self._process.pid}, 3.0)
        self.guard.remove(self._process.pid)
        self._process = None
        self._count_end()
        return how

    def start_again(self) -> bool:
        """Start it again if it has ended and its pause is over; says whether it did."""
        if self._process is not None or time.monotonic() < self._again_at:
            return False
        self.start()
        return True

    def ask_to_end(self) -> None:
        """Ask the process and all it started to end."""
        if self._process is not None:
            end_group(self._process.pid, signal.SIGTERM)

    def wait_until_ended(self, seconds: float) -> None:
        """Wait for the process; after so many seconds it is killed, with everything in its group."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(seconds, 0.0))
        end_group(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.guard.remove(self._process.pid)
        self._process = None

    def told(self) -> str:
        """Where its log is, and the last lines of it."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 8000))
            lines = file.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
        return f"Its log is {self.log}; the last lines:\n" + "\n".join(f"  {line}" for line in lines)

    def _count_end(self) -> None:
        now = time.monotonic()
        self._ends.append(now)
        while now - self._ends[0] > _ENDS_WINDOW:
            self._ends.popleft()
        if len(self._ends) > _ENDS_ALLOWED:
            raise SmpError(f"{self.service.what} ended {len(self._ends)} times within a minute. {self.told()}")
        self._again_at = now + min(_FIRST_PAUSE * 2 ** (len(self._ends) - 1), _LONGEST_PAUSE)

    def _how_it_ended(self) -> str:
        code = self._process.returncode if self._process is not None else 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def refuse_taken_ports(services: Sequence[Service]) -> None:
    """Raise SmpError for ports that something else listens on, or that two services share."""
    seen: dict[int, Service] = {}
    for service in services:
        for port, variable in service.ports.items():
            if port in seen:
                raise SmpError(f"port {port} is set for both {seen[port].what} and {service.what}; change {variable}")
            seen[port] = service
            if _is_taken(port):
                raise SmpError(
                    f"port {port}, for {service.what}, is taken by another program; "
                    f"choose another one with {variable}, e.g. {variable}={port + 10} smp up"
                )


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # what servers do too: a port whose last connections are still closing is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _answers(service: Service) -> bool:
    try:
        if service.health is not None:
            with urllib.request.urlopen(service.health, timeout=5) as answer:  # noqa: S310  (our own URL)
                return bool(answer.status == 200)
        with socket.create_connection(("127.0.0.1", next(iter(service.ports))), timeout=1):
            return True
    except OSError:
        return False
