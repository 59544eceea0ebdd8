"""A mail server in a process of its own, which can be killed and started again, and misbehaves as it is told.

It writes every recipient whose message it has whole into a file, before it says 250: what that file
holds was delivered, whatever became of the answer. Run: `python -m tests.support.sink FILE PORT JSON`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

_REPOSITORY = Path(__file__).resolve().parents[2]
"""Not from tests.conftest: reading that would cost each sink half a second of processor time."""
_END = b"\r\n.\r\n"


class Sink:
    """The server's process, and what it has taken since it was first started."""

    def __init__(self, file: Path, **faults: float) -> None:
        self.file = file
        self.faults = faults
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, on the port that it had before."""
        command = [sys.executable, "-m", "tests.support.sink", str(self.file), str(self.port), json.dumps(self.faults)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        """End it at once."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    @property
    def taken(self) -> list[str]:
        """The recipients whose mails it has whole, in the order of their coming."""
        return self.file.read_text(encoding="utf-8").split() if self.file.exists() else []


@contextmanager
def sink(file: Path, **faults: float) -> Iterator[Sink]:
    """A running sink. Faults are parts of one: `later` (451), `never` (550), `close` and `stall`, by recipient."""
    server = Sink(file, **faults)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class _Connection(asyncio.Protocol):
    """One connection. Which recipients it treats badly is decided by their names, so a second try of `later` works."""

    log: int
    faults: dict[str, float]
    tried: ClassVar[Counter[str]] = Counter()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.held = bytearray()
        self.recipient = ""
        self.in_message = False
        transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self.held += data
        while (answer := self.step()) is not None:
            if answer:
                self.transport.write(answer)
            if self.transport.is_closing():
                return

    def step(self) -> bytes | None:
        end = self.held.find(_END if self.in_message else b"\r\n")
        if end < 0:
            return None
        if self.in_message:
            del self.held[: end + len(_END)]
            self.in_message = False
            return self.message()
        line = bytes(self.held[:end])
        del self.held[: end + 2]
        return self.command(line)

    def command(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"EHLO":
            return b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
        if verb == b"RCPT":
            self.recipient = line.partition(b"<")[2].partition(b">")[0].decode()
            return self.judge()
        if verb == b"DATA":
            self.in_message = bool(self.recipient)
            return b"354 go on\r\n" if self.recipient else b"503 nobody\r\n"
        return b"250 ok\r\n"

    def judge(self) -> bytes:
        first = not self.tried[self.recipient]
        self.tried[self.recipient] += 1
        fault = self.fault() if first else self.fault() if self.fault() == "never" else ""
        if fault == "close":
            self.transport.close()
            return b""
        refusals = {"later": b"451 4.7.1 later\r\n", "never": b"550 5.7.1 never\r\n"}
        if fault in refusals:
            self.recipient = ""
        return refusals.get(fault, b"250 ok\r\n")

    def fault(self) -> str:
        """What happens to this recipient: a number from its name, laid along the parts."""
        place = int.from_bytes(hashlib.sha256(self.recipient.encode()).digest()[:4]) / 2**32
        for name, part in self.faults.items():
            if place < part:
                return name
            place -= part
        return ""

    def message(self) -> bytes:
        os.write(self.log, f"{self.recipient}\n".encode())
        fault, self.recipient = self.fault(), ""
        if fault == "stall":
            return b""
        if fault == "vanish":
            self.transport.close()
            return b""
        return b"250 taken\r\n"


async def _serve(file: str, port: str, faults: str) -> None:
    _Connection.log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    _Connection.faults = json.loads(faults)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", int(port), reuse_address=True, backlog=200)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
