"""A mail server that does to each recipient's mail what a test tells it to, over real SMTP (aiosmtpd)."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session, syntax

from tests.support.waiting import PATIENCE

Behaviour = Callable[[str, int], str]
"""What to do with a recipient's mail, the how-manieth time (from 1).

A reply like "550 no" is given to the recipient, "451 later" likewise; "data 550 no" is given after the
message, "sender 550 no" to MAIL. "hang up" gives 550 and closes; "drop at rcpt" and "drop at data" close before the
message, "drop in data" in the middle of it, "drop after data" when all of it is in; "stall" says nothing more after
the message, "stall at rcpt" before it; "slow" takes a quarter of a second; anything else is accepted.
"""


class MailServer:
    """The server in a thread of its own, on a free port of 127.0.0.1."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        smtputf8: bool = True,
        most_connections: int = 99,
        pipelining: bool = True,
    ) -> None:
        self.behaviour = behaviour or (lambda _recipient, _time: "250 OK")
        self.smtputf8 = smtputf8
        self.pipelining = pipelining
        self.most_connections = most_connections
        self.tried: Counter[str] = Counter()
        self.whole: list[tuple[str, bytes]] = []
        """Mails of which the whole message arrived, whatever was answered then."""
        self.connections = 0
        self.open_connections = 0
        self.arrived = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._open: set[_Connection] = set()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._serving = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MailServer:
        self._thread.start()
        assert self._serving.wait(PATIENCE)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def recipients(self) -> list[str]:
        return [recipient for recipient, _message in self.whole]

    def wait_for(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until something that mails bring about is so."""
        with self.arrived:
            assert self.arrived.wait_for(condition, seconds), "the mails did not come"

    def drop_everybody(self) -> None:
        """Close every connection at once, as a server that is restarted does."""

        def drop() -> None:
            for connection in list(self._open):
                if connection.transport is not None:
                    connection.transport.abort()

        self._loop.call_soon_threadsafe(drop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(self._loop.create_server(lambda: _Connection(self), sock=self._socket))
        self._loop.call_soon(self._serving.set)
        self._loop.run_forever()
        server.close()
        for connection in list(self._open):
            if connection.transport is not None:
                connection.transport.abort()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()


class _Connection(SMTP):
    def __init__(self, owner: MailServer) -> None:
        super().__init__(
            _Handler(owner), hostname="test.example", ident="test", enable_SMTPUTF8=owner.smtputf8, loop=owner._loop
        )
        self.owner = owner

    def connection_made(self, transport: Any) -> None:
        self.owner.connections += 1
        self.owner.open_connections += 1
        self.owner._open.add(self)
        if self.owner.open_connections > self.owner.most_connections:
            transport.write(b"421 too many connections\r\n")
            transport.close()
            return
        super().connection_made(transport)

    def connection_lost(self, error: Any) -> None:
        self.owner.open_connections -= 1
        self.owner._open.discard(self)
        super().connection_lost(error)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 (the name is aiosmtpd's)
        (recipient,) = self.envelope.rcpt_tos
        what = self.owner.behaviour(recipient, self.owner.tried[recipient])
        if what == "drop at data":
            self.transport.abort()
        elif what == "drop in data":
            await self.push("354 go on")
            await self._reader.readexactly(10)
            self.transport.abort()
        else:
            await super().smtp_DATA(arg)


class _Handler:
    def __init__(self, owner: MailServer) -> None:
        self.owner = owner

    async def handle_EHLO(  # noqa: N802 (the name is aiosmtpd's)
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [responses[0], "250-PIPELINING", *responses[1:]] if self.owner.pipelining else responses

    async def handle_MAIL(  # noqa: N802 (the name is aiosmtpd's)
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        what = self.owner.behaviour(address, 0)
        if what.startswith("sender "):
            return what.removeprefix("sender ")
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 (the name is aiosmtpd's)
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        owner = self.owner
        owner.tried[address] += 1
        what = owner.behaviour(address, owner.tried[address])
        if what == "drop at rcpt":
            server.transport.abort()
        elif what == "hang up":
            server.transport.write(b"550 go away\r\n")
            server.transport.close()
        elif what == "stall at rcpt":
            await asyncio.Event().wait()
        elif what[:3].isdigit() and not what.startswith("2"):
            return what
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 (the name is aiosmtpd's)
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        owner = self.owner
        (recipient,) = envelope.rcpt_tos
        what = owner.behaviour(recipient, owner.tried[recipient])
        if what == "slow":
            await asyncio.sleep(0.25)
        with owner.arrived:
            owner.whole.append((recipient, envelope.original_content or b""))
            owner.arrived.notify_all()
        if what == "drop after data":
            server.transport.abort()
        elif what == "stall":
            await asyncio.Event().wait()
        elif what.startswith("data "):
            return what.removeprefix("data ")
        return "250 OK"
