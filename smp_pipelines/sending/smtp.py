"""SMTP: hands mails to a mail server and says, for each, what is known about it.

The one thing that matters is where a connection breaks: before the message's last line was sent
nothing was handed over and the mail may be tried again; after it, nobody knows (unknown).
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import ssl
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from smp_pipelines.problems import SmpError

_LEADING_DOT = re.compile(rb"(?m)^\.")
_TIMEOUT = 30


@dataclass(frozen=True)
class Answer:
    """What the server said of one mail. `later`: nothing was handed over, it may be tried again."""

    kind: Literal["accepted", "refused", "later", "unknown"]
    response: str


class MailServerDownError(SmpError):
    """No connection to the mail server can be had."""


class SmtpConnection:
    """One connection to a mail server, opened when it is needed and opened again when it broke.

    The URL is smtp://, smtps:// (TLS from the start) or smtp+starttls://, with user and password
    where the server wants them.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps", "smtp+starttls") or not parts.hostname:
            raise SmpError("SMP_SMTP_URL must look like smtp://host:25, smtps://user:password@host or smtp+starttls://…")
        self._scheme = parts.scheme
        self._host = parts.hostname
        self._port = parts.port or {"smtp": 25, "smtps": 465, "smtp+starttls": 587}[parts.scheme]
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password or "")
        self._smtp: smtplib.SMTP | None = None

    def send(self, sender: str, recipient: str, message: bytes) -> Answer:
        """Hand over one mail. Raises MailServerDownError when no connection can be had at all."""
        smtp = self._open()
        try:
            answer = self._envelope(smtp, sender, recipient)
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            return Answer("later", _shown(error))
        if answer is not None:
            return answer
        try:
            smtp.send(_LEADING_DOT.sub(b"..", message) + (b".\r\n" if message.endswith(b"\r\n") else b"\r\n.\r\n"))
            code, text = smtp.getreply()
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            return Answer("unknown", _shown(error))
        if code == 421:
            self.close()
        return _answer(code, text)

    def close(self) -> None:
        """Close the connection; what was handed over stays handed over."""
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                smtp.quit()
            smtp.close()

    def _envelope(self, smtp: smtplib.SMTP, sender: str, recipient: str) -> Answer | None:
        """Sender, recipient and DATA; an answer when the server wants no message, None when it waits for it."""
        options = ["SMTPUTF8"] if not recipient.isascii() else []
        if options and not smtp.has_extn("smtputf8"):
            return Answer("refused", "the mail server takes no addresses with letters outside ASCII")
        code, text = smtp.mail(sender, options)
        if code < 300:
            code, text = smtp.rcpt(recipient)
        if code < 300:
            code, text = smtp.docmd("data")
            if code == 354:
                return None
        if code == 421:
            self.close()
        else:
            smtp.rset()
        return _answer(code, text)

    def _open(self) -> smtplib.SMTP:
        if self._smtp is not None:
            return self._smtp
        try:
            smtp = self._connect()
            smtp.ehlo_or_helo_if_needed()
            if self._user:
                smtp.login(self._user, self._password)
        except (OSError, smtplib.SMTPException) as error:
            raise MailServerDownError(
                f"the mail server at {self._host}:{self._port} cannot be used: {_shown(error)}. "
                "Start the local one with `smp up`, or name yours with SMP_SMTP_URL."
            ) from error
        self._smtp = smtp
        return smtp

    def _connect(self) -> smtplib.SMTP:
        if self._scheme == "smtps":
            return smtplib.SMTP_SSL(self._host, self._port, timeout=_TIMEOUT, context=ssl.create_default_context())
        smtp = smtplib.SMTP(self._host, self._port, timeout=_TIMEOUT)
        if self._scheme == "smtp+starttls":
            smtp.starttls(context=ssl.create_default_context())
        return smtp


def _answer(code: int, text: bytes) -> Answer:
    response = f"{code} {text.decode('utf-8', errors='replace')}"[:500]
    if code < 300:
        return Answer("accepted", response)
    return Answer("refused" if code >= 500 else "later", response)


def _shown(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:500]
