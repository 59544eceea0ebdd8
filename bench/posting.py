"""Posting: a load generator for forms: `python -m bench.posting`, with what is to be done as JSON on stdin.

Raw keep-alive connections in one event loop, with requests that are made beforehand, so that it takes little of the
processor that the site needs. Each request has a ticket and a key of its own, as each visitor's form has, and comes
from another address, as a trusted proxy would tell. Says on stdout how many were stored, and the latencies in seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import uuid4

import uvloop

from smp_pipelines.sending.links import LinkSigner
from smp_pipelines.submission.ticket import FIELD, Ticket


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


class _Connection(asyncio.Protocol):
    """A keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[int] | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, ended, body = self._read.partition(b"\r\n\r\n")
        if not ended or self._waiting is None:
            return
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        if len(body) < int(length.split(b":")[1]):
            return
        self._read = b""
        self._waiting.set_result(int(head[9:12]))

    def connection_lost(self, _error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(0)

    async def ask(self, request: bytes) -> int:
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting


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


async def _run(load: Load) -> Posted:
    requests = _requests(load)
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(_Connection, "127.0.0.1", load.port))[1] for _ in range(load.connections)
    ]
    statuses: list[int] = []
    latencies: list[float] = []
    began = time.monotonic()
    due = iter(began + number / load.rate for number in range(load.requests)) if load.rate else None

    async def work(connection: _Connection) -> None:
        while requests and time.monotonic() - began < load.seconds:
            request = requests.popleft()
            start = time.monotonic()
            if due is not None:
                start = next(due)
                await asyncio.sleep(max(0.0, start - time.monotonic()))
            statuses.append(await connection.ask(request))
            latencies.append(time.monotonic() - start)

    await asyncio.gather(*(work(connection) for connection in connections))
    took = time.monotonic() - began
    stored = sum(status == 303 for status in statuses)
    return Posted(stored, len(statuses) - stored, took, latencies)


def main(given: Sequence[str]) -> None:
    """Post what stdin says."""
    load = Load(**json.loads(sys.stdin.read() if not given else given[0]))
    print(json.dumps(asdict(uvloop.run(_run(load)))))


if __name__ == "__main__":
    main(sys.argv[1:])
