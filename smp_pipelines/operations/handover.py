"""The hand-over of a run to the warm process: where that listens, what is said, and which process has the run.

The launcher sends what is to be run. The forked child answers which process it is; the launcher writes that
down at the run and only then says go. Whoever stops talking before that has started nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

PROCESS_TAG = "smp/process"
"""On a run: the process that it is in. It names the run, too: one that does it again inherits the tag."""
GO = b"go\n"
LONGEST_REQUEST = 1 << 20
_LONGEST_PATH = 100
"""Bytes that the address of a socket may have, everywhere."""
PATIENCE = 20.0
"""Seconds: a warm process that has just been started, or loads an edited project, takes three or four."""
_APART = 5.0
"""Seconds between two readings of the moment at which a process began, when the clock was set in between."""


class NobodyThereError(Exception):
    """No warm process took the run; nothing was started."""


@dataclass(frozen=True)
class RunProcess:
    """The process of a run: on which machine, its number, and when it began (seconds since 1970)."""

    run_id: str
    host: str
    pid: int
    began: float

    @classmethod
    def own(cls, run_id: str) -> RunProcess:
        """The process that asks."""
        return cls(run_id, socket.gethostname(), os.getpid(), psutil.Process().create_time())

    @classmethod
    def of(cls, run_id: str, tags: Mapping[str, str]) -> RunProcess | None:
        """The process that the tags of a run name; None when it was started otherwise."""
        if PROCESS_TAG not in tags:
            return None
        process = cls.read(tags[PROCESS_TAG])
        return process if process.run_id == run_id else None

    @classmethod
    def read(cls, text: str | bytes) -> RunProcess:
        """The process that was written so."""
        return cls(**json.loads(text))

    def written(self) -> str:
        """It as text."""
        return json.dumps(asdict(self))

    @property
    def lives(self) -> bool:
        """Whether it runs. Of another machine nothing can run here."""
        return self._found() is not None

    def interrupt(self) -> bool:
        """Ask it to end, as a Ctrl-C does; False when it is gone, or on another machine."""
        found = self._found()
        if found is None:
            return False
        try:
            found.send_signal(signal.SIGTERM)
        except psutil.NoSuchProcess:
            return False
        return True

    def _found(self) -> psutil.Process | None:
        if self.host != socket.gethostname():
            return None
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.began) < _APART and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return found if same else None


@dataclass(frozen=True)
class Offer:
    """A process that is ready to run; it begins when it is told to."""

    process: RunProcess
    connection: socket.socket

    def go(self) -> None:
        """Let it begin. Raises OSError when it is gone."""
        self.connection.sendall(GO)


@contextmanager
def offered(home: Path, run_id: str, arguments: str) -> Iterator[Offer]:
    """A process for this run, which ends if it is not told to go in the block. Raises NobodyThereError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        try:
            path = address(home)
            if path.stat().st_uid != os.getuid():
                raise NobodyThereError
            connection.connect(str(path))
            connection.sendall(json.dumps({"run_id": run_id, "arguments": arguments}).encode() + b"\n")
            answer = read_line(connection)
        except OSError as error:
            raise NobodyThereError from error
        if not answer:
            raise NobodyThereError
        yield Offer(RunProcess.read(answer), connection)


def read_line(connection: socket.socket) -> bytes:
    """One line of at most LONGEST_REQUEST bytes, without its end; empty when the other side stops before. OSError."""
    line = bytearray()
    while not line.endswith(b"\n"):
        part = connection.recv(65536)
        if not part or len(line) > LONGEST_REQUEST:
            return b""
        line += part
    return bytes(line[:-1])


def address(home: Path) -> Path:
    """Where the warm process of this DAGSTER_HOME listens: there, or elsewhere when its path is too long for that."""
    path = home / "runs.sock"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    name = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"smp-{os.getuid()}-{name}.sock"
