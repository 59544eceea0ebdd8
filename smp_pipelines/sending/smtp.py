"""SMTP: hands mails to a mail server and says, for each, what is known about it.

The one thing that matters is where a connection breaks: before the message's last line was sent
nothing was handed over and the mail may be tried again; after it, nobody knows (unknown).
"""

from __future__ import annotations

import contextlib
import functools
import re
import smtplib
import socket
import ssl
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from smp_pipelines.problems import SmpError

_LEADING_DOT = re.compile(rb"(?m)^\.")
_END = b".\r\n"
TIMEOUT = 30.0
"""Seconds that one answer of the mail server may take."""


@dataclass(frozen=True)
class Answer:
    """What the server said of one mail. `later`: nothing was handed over, it may be tried again."""

    kind: Literal["accepted", "refused", "later", "unknown"]
    response: str


class MailServerDownError(SmpError):
    """The mail server cannot be used: no connection can be had, or it takes nothing from this sender."""


class SmtpConnection:
    """One connection to a mail server, opened when it is needed and opened again when it broke.

    The URL is smtp://, smtps:// (TLS from the start) or smtp+starttls://, with user and password
    where the server wants them. `timeout` is in seconds, for each answer.
    """

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("smtp", "smtps", "smtp+starttls") or not parts.hostname:
            raise SmpError(
                "SMP_MAIL_URL must look like smtp://host:25, smtps://user:password@host or smtp+starttls://…"
            )
        self._scheme = parts.scheme
        self._host = parts.hostname
        self._port = port or {"smtp": 25, "smtps": 465, "smtp+starttls": 587}[parts.scheme]
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password or "")
        self._timeout = timeout
        self._smtp: smtplib.SMTP | None = None

    def send(self, sender: str, recipient: str, message: bytes) -> Answer:
        """Hand over one mail; its lines end in CRLF, and so does the last one.

        Raises MailServerDownError when no connection can be had at all, or when the server takes
        nothing from this sender.
        """
        smtp = self._open()
        try:
            refusal = self._envelope(smtp, sender, recipient)
            if refusal is None:
                smtp.send(_LEADING_DOT.sub(b"..", message))
        except (OSError, smtplib.SMTPException) as error:
            self._drop()
            return Answer("later", _shown(error))
        return self._finish(smtp) if refusal is None else refusal

    def close(self) -> None:
        """Close the connection; what was handed over stays handed over."""
        if self._smtp is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._smtp.quit()
        self._drop()

    def _finish(self, smtp: smtplib.SMTP) -> Answer:
        """Send the line that ends the message: from here on, only the server's answer tells what became of it."""
        try:
            smtp.send(_END)
            code, text = smtp.getreply()
        except (OSError, smtplib.SMTPException) as error:
            self._drop()
            return Answer("unknown", _shown(error))
        answer = _answer(code, text)
        if code == 421 or answer is None:
            self._drop()
        return answer or Answer("unknown", f"the mail server answered with something that is no answer: {text!r}"[:500])

    def _envelope(self, smtp: smtplib.SMTP, sender: str, recipient: str) -> Answer | None:
        """Sender, recipient and DATA; an answer when the server wants no message, None when it waits for it."""
        sender, recipient = _with_ascii_domain(sender), _with_ascii_domain(recipient)
        options = [] if sender.isascii() and recipient.isascii() else ["SMTPUTF8"]
        if options and not smtp.has_extn("smtputf8"):
            return Answer("refused", "the mail server takes no addresses with letters outside ASCII")
        code, text = smtp.mail(sender, options)
        if code >= 500:
            # it is the same for every recipient: a wrong setting must not use up the whole send
            self.close()
            raise MailServerDownError(
                f"the mail server at {self._host}:{self._port} takes no mail from {sender}: {_response(code, text)}"
            )
        if 200 <= code < 300:
            code, text = smtp.rcpt(recipient)
        if 200 <= code < 300:
            code, text = smtp.docmd("data")
            if code == 354:
                return None
        self._reset(smtp, code)
        return _answer(code, text, accepts=False) or Answer("later", _response(code, text))

    def _reset(self, smtp: smtplib.SMTP, code: int) -> None:
        """Be ready for the next mail; a server that says no and hangs up has said no all the same."""
        try:
            if 400 <= code < 600 and code != 421:
                smtp.rset()
                return
        except (OSError, smtplib.SMTPException):
            pass
        self._drop()

    def _drop(self) -> None:
        """Let go of the connection without a word: whoever does not answer would not answer QUIT either."""
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            smtp.close()

    def _open(self) -> smtplib.SMTP:
        if self._smtp is not None:
            return self._smtp
        try:
            with contextlib.ExitStack() as stack:
                smtp = self._connect()
                stack.callback(smtp.close)
                smtp.ehlo_or_helo_if_needed()
                if self._user:
                    smtp.login(self._user, self._password)
                if smtp.sock is not None:
                    # the end of a message is sent on its own and must not wait for an acknowledgement
                    smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stack.pop_all()
        except (OSError, smtplib.SMTPException) as error:
            raise MailServerDownError(
                f"the mail server at {self._host}:{self._port} cannot be used: {_shown(error)}. "
                "Start the local one with `smp up`, or name yours with SMP_MAIL_URL."
            ) from error
        self._smtp = smtp
        return smtp

    def _connect(self) -> smtplib.SMTP:
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


@functools.cache
def _own_name() -> str:
    """The name that this machine greets with; asked once, since the question may go to a name server."""
    return socket.getfqdn()


def _with_ascii_domain(address: str) -> str:
    """The address with its domain as name servers know it (müller.example → xn--mller-kva.example)."""
    local, _at, domain = address.rpartition("@")
    if domain.isascii():
        return address
    with contextlib.suppress(UnicodeError):
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    return address


def _answer(code: int, text: bytes, *, accepts: bool = True) -> Answer | None:
    """What a code says of the mail; None when it says nothing."""
    if 200 <= code < 300 and accepts:
        return Answer("accepted", _response(code, text))
    if 400 <= code < 500:
        return Answer("later", _response(code, text))
    if 500 <= code < 600:
        return Answer("refused", _response(code, text))
    return None


def _response(code: int, text: bytes) -> str:
    return f"{code} {text.decode('utf-8', errors='replace')}"[:500]


def _shown(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        told = error.smtp_error if isinstance(error.smtp_error, bytes) else str(error.smtp_error).encode()
        return _response(error.smtp_code, told)
    return (str(error) or type(error).__name__)[:500]
