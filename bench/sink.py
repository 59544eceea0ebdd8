"""A plain SMTP sink: takes every mail and keeps none. `python -m bench.sink` prints its port and counts to stdout.

The mail catcher of the product parses and stores what it gets, for people to read; to measure the sending side the
receiving side must cost as little as it can. It closes with its standard input.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_END = b"\r\n.\r\n"


class Sink(asyncio.Protocol):
    """One connection: replies to each command, and once to each message."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._held = bytearray()
        self._in_message = False
        transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer everything that is complete."""
        self._held += data
        answers = []
        while answer := self._next():
            answers.append(answer)
        if answers:
            self._transport.write(b"".join(answers))

    def _next(self) -> bytes | None:
        end = self._held.find(_END if self._in_message else b"\r\n")
        if end < 0:
            return None
        if self._in_message:
            del self._held[: end + len(_END)]
            self._in_message = False
            return b"250 taken\r\n"
        verb = bytes(self._held[:4]).upper()
        del self._held[: end + 2]
        self._in_message = verb == b"DATA"
        return {b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}.get(verb, b"250 sink\r\n")


@contextmanager
def sink() -> Iterator[str]:
    """The URL of a sink in a process of its own, for the length of the block."""
    process = subprocess.Popen([sys.executable, "-m", "bench.sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"smtp://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
