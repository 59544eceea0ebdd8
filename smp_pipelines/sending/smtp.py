"""SMTP: the way to a mail server. Says hello with the standard library, then hands the socket to the stream."""

from __future__ import annotations

import contextlib
import functools
import smtplib
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.smtp_stream import Features, SmtpStream
from smp_pipelines.sending.transport import Answer, TransportDownError

TIMEOUT = 30.0
"""Seconds that one answer of the mail server may take."""
_PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}


class SmtpTransport:
    """A mail server: smtp://, smtps:// (TLS from the start) or smtp+starttls://, with user and password where asked.

    `timeout` is in seconds, for each answer. Raises SmpError for a URL that is none.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise SmpError(
                "SMP_MAIL_URL must look like smtp://host:25, smtps://user:password@host or smtp+starttls://…"
            )
        self._scheme = parts.scheme
        self._host = parts.hostname
        self._port = port or _PORTS[parts.scheme]
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password or "")
        self._timeout = timeout
        self.name = f"smtp {self._host}:{self._port}"

    def connect(self) -> SmtpStream:
        """Open a connection, with TLS and login where the URL says so. Raises TransportDownError in words."""
        where = f"{self._host}:{self._port}"
        if not (self._user or "").isascii() or not self._password.isascii():
            # the standard library would fail with a character of it in the error
            raise TransportDownError(
                f"the mail server at {where} cannot be used: the user name or password in SMP_MAIL_URL has letters "
                "outside ASCII, which a login cannot send"
            )
        try:
            with contextlib.ExitStack() as stack:
                smtp = self._greet()
                stack.callback(smtp.close)
                smtp.ehlo_or_helo_if_needed()
                if self._user:
                    smtp.login(self._user, self._password)
                connected = smtp.sock
                if connected is None:
                    raise OSError("the connection was closed")
                # the end of a message must not wait for the acknowledgement of what went before it
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                features = Features(
                    where=where,
                    pipelining=smtp.has_extn("pipelining"),
                    eight_bit=smtp.has_extn("8bitmime"),
                    smtputf8=smtp.has_extn("smtputf8"),
                    timeout=self._timeout,
                )
                stack.pop_all()
                return SmtpStream(_taken_over(smtp, connected), features)
        except (OSError, smtplib.SMTPException) as error:
            raise TransportDownError(
                f"the mail server at {where} cannot be used: {_shown(error)}. "
                "Start the local one with `smp up`, or name yours with SMP_MAIL_URL."
            ) from error

    def look_up(self, message_ids: Sequence[str]) -> dict[str, Answer]:  # noqa: ARG002 (part of the interface)
        """Nothing: SMTP has no way to ask what became of a mail."""
        return {}

    def _greet(self) -> smtplib.SMTP:
        name = _own_name()
        if self._scheme == "smtps":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self._host, self._port, name, timeout=self._timeout, context=context)
        smtp = smtplib.SMTP(self._host, self._port, name, timeout=self._timeout)
        if self._scheme == "smtp+starttls":
            try:
                smtp.starttls(context=ssl.create_default_context())
            except (OSError, smtplib.SMTPException):
                smtp.close()
                raise
        return smtp


def _taken_over(smtp: smtplib.SMTP, connected: socket.socket) -> socket.socket:
    """The socket, without the library's own reader of it."""
    reader, smtp.file, smtp.sock = smtp.file, None, None
    if reader is not None:
        reader.close()
    return connected


@functools.cache
def _own_name() -> str:
    """The name that this machine greets with; asked once, since the question may go to a name server."""
    return socket.getfqdn()


def with_ascii_domain(address: str) -> str:
    """The address with its domain as name servers know it (müller.example → xn--mller-kva.example)."""
    if address.isascii():
        return address
    local, _at, domain = address.rpartition("@")
    with contextlib.suppress(UnicodeError):
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    return address


def _shown(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        told = error.smtp_error if isinstance(error.smtp_error, bytes) else str(error.smtp_error).encode()
        return f"{error.smtp_code} {told.decode('utf-8', errors='replace')}"[:500]
    return (str(error) or type(error).__name__)[:500]
