"""Posting: a load generator for forms: `python -m bench.posting FILE`, with what is to be done as JSON on stdin.

Raw keep-alive connections in one event loop, with requests that are made beforehand, so that it takes little of the
processor that the site needs. Each request has a ticket and a key of its own, as each visitor's form has, and comes
from another address, as a trusted proxy would tell. The file then says how many were stored, and the latencies in
seconds.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

import uvloop

from smp_pipelines.sending.links import LinkSigner
from smp_pipelines.submission.ticket import FIELD, Ticket

SECRET = "a-secret-of-the-benchmark-long-enough"
"""SMP_LINK_SECRET of a site that is posted to: it accepts the tickets that are made here."""
SIGNUP = {"email": "#@bench.example", "first_name": "Anna", "last_name": "Jansen", "newsletter": "y"}
"""Answers to welcome/signup; each request has a name of its own in the place of #."""


@dataclass(frozen=True)
class Load:
    """What is to be posted. seconds: how long with `connections` at once; rate: 0, or so many a second."""

    port: int
    secret: str
    step: str
    answers: dict[str, str]
    name: str
    connections: int
    requests: int
    seconds: float
    rate: float


@dataclass(frozen=True)
class Posted:
    """What came of it. began, ended: monotonic seconds; latencies in seconds, from when each was due."""

    stored: int
    refused: int
    seconds: float
    latencies: list[float]


def post(load: Load) -> Posted:
    """Post from a process of its own, which writes what came of it to a file."""
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        subprocess.run(
            [sys.executable, "-m", "bench.posting", answer.name], input=json.dumps(asdict(load)), text=True, check=True
        )
        return Posted(**json.load(answer))


class _Connection(asyncio.Protocol):
    """A keep-alive connection with one request at a time; what it read makes it write the next, at once."""

    def __init__(self, answered: Callable[[_Connection, int], None]) -> None:
        self._answered = answered
        self._transport: asyncio.Transport | None = None
        self._read = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def ask(self, request: bytes, due: float) -> None:
        assert self._transport is not None
        self.due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, ended, body = self._read.partition(b"\r\n\r\n")
        if not ended or len(body) < _length(head):
            return
        self._read = b""
        self._answered(self, int(head[9:12]))

    def connection_lost(self, _error: Exception | None) -> None:
        self._answered(self, 0)


def _length(head: bytes) -> int:
    """How long a body is. Redirects have none, and are told apart by their first bytes."""
    if head.startswith(b"HTTP/1.1 303"):
        return 0
    lines = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(next(lines, b":0").split(b":")[1])


def _requests(load: Load) -> deque[bytes]:
    signer, now = LinkSigner([load.secret]), datetime.now(UTC)
    made: deque[bytes] = deque()
    for number in range(load.requests):
        ticket = Ticket(load.step, None, now, uuid4()).sign(signer)
        answers = {name: text.replace("#", f"{load.name}-{number}") for name, text in load.answers.items()}
        body = urlencode({FIELD: ticket, **answers}).encode()
        visitor = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        head = (
            f"POST /s/{load.step} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\nX-Forwarded-For: {visitor}\r\n"
            "Sec-Fetch-Site: same-origin\r\nUser-Agent: bench\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


class _Poster:
    """Posts over all connections: as many as there are at once, or so many a second, until the time is over."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._requests = _requests(load)
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._began = 0.0
        self._asked = 0
        self._busy = 0
        self.statuses: list[int] = []
        self.latencies: list[float] = []

    async def run(self) -> Posted:
        connections = [await self._connected() for _ in range(self._load.connections)]
        self._began = time.monotonic()
        self._busy = len(connections)
        self.cpu = time.process_time()
        for connection in connections:
            self._next(connection)
        await self._finished
        took = time.monotonic() - self._began
        stored = sum(status == 303 for status in self.statuses)
        return Posted(stored, len(self.statuses) - stored, took, self.latencies)

    async def _connected(self) -> _Connection:
        made = await self._loop.create_connection(lambda: _Connection(self._answered), "127.0.0.1", self._load.port)
        return made[1]

    def _next(self, connection: _Connection) -> None:
        now = time.monotonic()
        if not self._requests or now - self._began >= self._load.seconds:
            self._busy -= 1
            if not self._busy:
                self._finished.set_result(None)
            return
        request = self._requests.popleft()
        due = now
        if self._load.rate:
            due = self._began + self._asked / self._load.rate
            self._asked += 1
        if due > now:
            self._loop.call_later(due - now, connection.ask, request, due)
        else:
            connection.ask(request, due)

    def _answered(self, connection: _Connection, status: int) -> None:
        if self._finished.done():
            return
        self.statuses.append(status)
        self.latencies.append(time.monotonic() - connection.due)
        self._next(connection)


async def _run(load: Load) -> Posted:
    return await _Poster(load).run()


def main(answer: Path) -> None:
    """Post what stdin says, and write down what came of it."""
    load = Load(**json.load(sys.stdin))
    answer.write_text(json.dumps(asdict(uvloop.run(_run(load)))), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
