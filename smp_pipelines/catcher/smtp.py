"""The SMTP side of the catcher: takes every mail for everyone, and delivers none of them.

aiosmtpd reads a mail line by line and makes a class for every address, some 5 ms for a mail of 10 kB. `Connection` does
these two in one step each; all the rest of the protocol is aiosmtpd's.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import weakref
from collections.abc import Callable
from datetime import datetime

from aiosmtpd.smtp import SMTP, Envelope, Session, syntax

from smp_pipelines.catcher.mailbox import Mailbox

SIZE_LIMIT = 10 * 1024 * 1024
"""Bytes: a larger mail is refused with 552."""

LINE_LIMIT = 1000
"""Bytes of a line with its end (RFC 5321 4.5.3.1.6): a mail with a longer one is refused with 500, as others would."""

_END = b".\r\n"
_PLAIN_ADDRESS = re.compile(r"<([\w.!#$%&'*+/=?^`{|}~-]{1,200}@[A-Za-z0-9.-]{1,200})>(?=\s|$)", re.ASCII)

log = logging.getLogger(__name__)


class TooLargeError(Exception):
    """A mail is larger than SIZE_LIMIT; it was read to its end and thrown away."""


class Connection(SMTP):
    """One SMTP connection, fast in the two places where the time goes."""

    # aiosmtpd makes its reader with this limit; a whole mail has to fit, to be read in one go.
    line_length_limit = SIZE_LIMIT

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Split "<address> parameters". What is not plain ASCII goes to aiosmtpd's parser."""
        plain = _PLAIN_ADDRESS.match(arg)
        return (plain[1], arg[plain.end() :]) if plain else super()._getaddr(arg)

    @syntax("DATA")
    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 (the name is aiosmtpd's)
        """Take in a mail and let the handler store it."""
        if await self.check_helo_needed():
            return
        envelope = self.envelope
        if envelope is None or not envelope.rcpt_tos:
            await self.push("503 Error: need RCPT command")
            return
        if arg:
            await self.push("501 Syntax: DATA")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        try:
            envelope.content = envelope.original_content = await self._read_mail()
        except TooLargeError:
            answer = "552 Error: Too much mail data"
        else:
            if max(map(len, envelope.content.split(b"\n"))) >= LINE_LIMIT:
                answer = "500 Line too long (see RFC5321 4.5.3.1.6)"
            else:
                answer = await self.event_handler.handle_DATA(self, self.session, envelope)
        self.envelope = Envelope()
        await self.push(answer)

    async def _read_mail(self) -> bytes:
        """Read up to the line that is only a dot, and take the dots away that the sender put before lines with a dot.

        A connection that breaks off cancels this (aiosmtpd does so), so the end always comes.
        """
        data = bytearray()
        too_large = False
        while not (data == _END or data.endswith(b"\r\n" + _END)):
            try:
                data += await self._reader.readuntil(_END)
            except asyncio.LimitOverrunError as error:
                data += await self._reader.read(error.consumed)
            if len(data) > SIZE_LIMIT + len(_END):
                too_large = True
                # The tail tells whether this was the end.
                del data[: -len(b"\r\n" + _END)]
        if too_large:
            raise TooLargeError
        del data[-len(_END) :]
        if data.startswith(b"."):
            del data[0]
        return bytes(data.replace(b"\r\n.", b"\r\n"))


class CatchHandler:
    """What aiosmtpd calls: puts each mail in the mailbox with the clock's moment."""

    def __init__(self, mailbox: Mailbox, clock: Callable[[], datetime]) -> None:
        self.mailbox = mailbox
        self.clock = clock

    async def handle_EHLO(  # noqa: N802 (the name is aiosmtpd's)
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Also offer PIPELINING: aiosmtpd reads commands one by one, so clients may send them together."""
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]]

    async def handle_DATA(  # noqa: N802 (the name is aiosmtpd's)
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Store the mail. A full disk is told as a temporary error, so that a sender tries again later."""
        content = envelope.original_content or b""
        try:
            mail = self.mailbox.add(
                content,
                sender="" if envelope.mail_from == "<>" else envelope.mail_from or "",
                recipients=envelope.rcpt_tos,
                received_at=self.clock(),
            )
        except OSError as error:
            log.error("a mail could not be stored: %s", error)
            return "452 4.3.1 The mail could not be stored, try again later"
        return f"250 2.0.0 OK: {mail.id}"


class SmtpServer:
    """Listens on a bound socket until closed; lives in the event loop that starts it."""

    def __init__(self, mailbox: Mailbox, clock: Callable[[], datetime]) -> None:
        self._handler = CatchHandler(mailbox, clock)
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Accept connections on a socket."""
        self._server = await asyncio.get_running_loop().create_server(self._connect, sock=sock)

    def _connect(self) -> Connection:
        connection = Connection(
            self._handler,
            data_size_limit=SIZE_LIMIT,
            enable_SMTPUTF8=True,
            # Without a name aiosmtpd asks the DNS for one at every connection.
            hostname="localhost",
            ident="smp catcher",
            loop=asyncio.get_running_loop(),
        )
        self._connections.add(connection)
        return connection

    async def close(self) -> None:
        """Stop listening and close the open connections; a mail that is half in was not answered, so it is not lost."""
        if self._server is not None:
            self._server.close()
            # From Python 3.12 on, wait_closed waits until every connection has gone.
            for connection in list(self._connections):
                if connection.transport is not None:
                    connection.transport.close()
            await self._server.wait_closed()
