"""Messages: the bytes of a mail. What is the same for everybody is made once per step, the rest per person.

The standard library's EmailMessage needs about 2 ms for a mail of this size; this needs a fiftieth
of that, and a test reads every kind of mail back with the standard parser. Names, subjects and
addresses of the usual kind take a short way; whatever is odd about one takes the long way.
"""

from __future__ import annotations

import binascii
import functools
import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime, formataddr, parseaddr
from typing import Literal
from urllib.parse import quote
from uuid import UUID

from smp_pipelines.campaign.content.mail import ContentError, Rendered
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.dkim import DkimSigner
from smp_pipelines.sending.quoted import quoted_printable

Purpose = Literal["live", "internal", "test"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_NOT_IN_A_MAILBOX = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff<>]+")
# Short, ASCII, and nothing that a reader would take for an encoded word.
_PLAIN = re.compile(r"(?!.*=\?)[ -~]{1,60}")
# What stands in a header as it is: words without anything that must be quoted, an address without oddities.
_WORDS = re.compile(r"(?=.{1,30}\Z)[A-Za-z0-9'!#$%&*+/^_`{|}~-]+(?: [A-Za-z0-9'!#$%&*+/^_`{|}~-]+)*")
_MAILBOX = re.compile(r"[!-;=?-~]{1,60}@[!-;=?-~]{1,200}")
_URL = re.compile(r"https?://[!-;=?-~]+")
_LINE = 76
_LONGEST_LINE = 998
"""The most bytes that a line of a mail may have, without its line end (RFC 5322)."""
_LONGEST_MAILBOX = 900
_WORD_BYTES = 39
"""How many bytes of text go into one encoded word, so that it fits a line with the longest header name."""
_PREFIX = {"live": "", "internal": "[CONTROLE] ", "test": "[TEST] "}


class MessageBuilder:
    """Builds the mails of one step of one send; may be used from any thread.

    `step` is `campaign/step`. `unsubscribe` gives a recipient key's link for one click (RFC 8058: it must
    be https to be announced as such). With a `signer` every mail is signed (DKIM) and 8bit is never used.

    Auto-Submitted (RFC 3834) says auto-generated: a machine made the mail by itself, on schedule, and it
    is what keeps holiday replies from coming back by the thousand. It does not keep a person from replying.

    Raises SmpError when the sender is no address.
    """

    def __init__(
        self,
        *,
        sender: str,
        reply_to: str | None,
        step: str,
        send_key: str,
        purpose: Purpose = "live",
        unsubscribe: Callable[[UUID], str] | None = None,
        signer: DkimSigner | None = None,
    ) -> None:
        name, address = parseaddr(sender)
        if "@" not in address:
            raise SmpError(f"step {step}: the sender is no address. Write it as: Name <name@example.org>")
        self.envelope_sender = address
        self._domain = address.rpartition("@")[2]
        self._send_key = send_key
        self._prefix = _PREFIX[purpose]
        self._unsubscribe = unsubscribe
        self._signer = signer
        self._by_mail = f"<mailto:{quote(parseaddr(reply_to or sender)[1], safe='@')}?subject=afmelden>"
        headers = [f"From: {_address(name, address)}"]
        if reply_to:
            headers.append(f"Reply-To: {_address(*parseaddr(reply_to))}")
        if not unsubscribe:
            headers.append(f"List-Unsubscribe: {self._by_mail}")
        if purpose != "live":
            headers.append(f"X-SMP-Purpose: {purpose}")
        headers += [
            f"Feedback-ID: {_feedback_id(step, purpose, self._domain)}",
            f"X-SMP-Step: {_clean(step)}",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "",
        ]
        self._fixed = "\r\n".join(headers)
        # an equals sign with what follows it can stand in no quoted-printable body
        boundary = f"=_smp_{hashlib.blake2b(send_key.encode(), digest_size=12).hexdigest()}"
        self._boundary = boundary.encode()
        self._multipart = f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n'
        self._text_part = f"\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n".encode()
        self._html_part = f"\r\n--{boundary}\r\nContent-Type: text/html; charset=utf-8\r\n".encode()
        self._end = f"\r\n--{boundary}--\r\n".encode()

    def message_id(self, recipient_key: object) -> str:
        """The Message-ID of a recipient's mail: always the same for the same send and recipient."""
        digest = hashlib.blake2b(f"{self._send_key}|{recipient_key}".encode(), digest_size=12).hexdigest()
        return f"<{digest}@{self._domain}>"

    def build(
        self,
        rendered: Rendered,
        *,
        name: str,
        address: str,
        recipient_key: UUID,
        date: datetime,
        eight_bit: bool = False,
        message_id: str | None = None,
    ) -> bytes:
        """One mail, with CRLF line ends (the last line too), not dot-stuffed, no line over 998 bytes.

        With `eight_bit`, which the connection must offer (8BITMIME), a part is sent as it is unless a line
        of it is too long; otherwise as quoted-printable. A mail that is signed is always quoted-printable:
        a server on the way may turn 8bit into something else, and the signature would no longer hold.

        An address with letters outside ASCII stands in its header as it is (SMTPUTF8). Whoever has made the
        `message_id` already can give it. Raises ContentError when the address does not fit a line.
        """
        as_it_is = eight_bit and self._signer is None
        text_as, text = self._body(rendered.text, as_it_is)
        html_as, html = self._body(rendered.html, as_it_is)
        # what holds an 8bit part must say so itself (RFC 2045, 6.4)
        encoding = "Content-Transfer-Encoding: 8bit\r\n" if text_as is _EIGHT_BIT or html_as is _EIGHT_BIT else ""
        head = (
            f"To: {_address(name, address)}\r\n"
            f"Subject: {_unstructured(self._prefix + rendered.subject)}\r\n"
            f"Date: {_date(date.replace(microsecond=0), date.tzname())}\r\n"
            f"Message-ID: {message_id or self.message_id(recipient_key)}\r\n"
            f"{self._unsubscribing(recipient_key)}{self._fixed}{encoding}{self._multipart}"
        )
        parts = (head.encode(), self._text_part, text_as, text, self._html_part, html_as, html, self._end)
        mail = b"".join(parts)
        return mail if self._signer is None else self._signer.sign(mail)

    def _body(self, text: str, as_it_is: bool) -> tuple[bytes, bytes]:
        """The header that says how the part is encoded, and the part."""
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        body = text.encode("utf-8", "replace")
        # only in an 8bit body could a separator be forged
        if as_it_is and b"\0" not in body and self._boundary not in body and not _has_long_line(body):
            return _EIGHT_BIT, body.replace(b"\n", b"\r\n")
        return _QUOTED, quoted_printable(body)

    def _unsubscribing(self, recipient_key: UUID) -> str:
        """The headers that let a mail program unsubscribe a person (RFC 2369, RFC 8058)."""
        if self._unsubscribe is None:
            return ""
        url = self._unsubscribe(recipient_key)
        if not _URL.fullmatch(url):
            raise SmpError("a link to unsubscribe is no URL: look at SMP_SITE_URL, it must begin with https://")
        link = f"List-Unsubscribe: <{_folded(url)}>,\r\n {self._by_mail}\r\n"
        one_click = url.startswith("https:")
        return link + ("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" if one_click else "")


_EIGHT_BIT = b"Content-Transfer-Encoding: 8bit\r\n\r\n"
_QUOTED = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"


def _has_long_line(body: bytes) -> bool:
    """Whether a line is over 998 bytes; leaps from the last line end within reach to the next."""
    start = 0
    while len(body) - start > _LONGEST_LINE:
        start = body.rfind(b"\n", start, start + _LONGEST_LINE + 1) + 1
        if not start:
            return True
    return False


@functools.lru_cache(16)
def _date(second: datetime, _zone: str | None) -> str:
    # a moment is equal to itself in another zone, but is written otherwise there
    return format_datetime(second)


def _feedback_id(step: str, purpose: str, domain: str) -> str:
    """What Gmail's Postmaster Tools count complaints by: step, campaign, purpose and a sender's id of 5 to 15."""
    campaign, _slash, name = step.rpartition("/")
    fields = [re.sub(r"[^A-Za-z0-9_.-]+", "-", field) for field in (name, campaign or name, purpose, domain)]
    if not 5 <= len(fields[-1]) <= 15:
        fields[-1] = hashlib.blake2b(domain.encode(), digest_size=6).hexdigest()
    return ":".join(fields)


def _folded(url: str) -> str:
    """A URL between angle brackets, where white space counts for nothing (RFC 2369)."""
    return url if len(url) < _LONGEST_MAILBOX else "\r\n ".join(re.findall(r".{1,900}", url))


@functools.lru_cache(64)
def _unstructured(text: str) -> str:
    line = _clean(text)
    return line if _PLAIN.fullmatch(line) or not line else _encoded(line)


def _address(name: str, address: str) -> str:
    if _MAILBOX.fullmatch(address) and _WORDS.fullmatch(name) and len(address) + len(name) < 60:
        return f"{name} <{address}>"
    line, mailbox = _clean(name), _NOT_IN_A_MAILBOX.sub("", address)
    if len(mailbox.encode()) > _LONGEST_MAILBOX:
        raise ContentError("the address is too long for a line of a mail")
    if not line:
        return mailbox
    phrase = formataddr((line, "a")).removesuffix(" <a>") if _PLAIN.fullmatch(line) else _encoded(line)
    fits = len(phrase.rpartition("\n")[2]) + len(mailbox) < _LINE - len("Reply-To:  <>")
    return f"{phrase} <{mailbox}>" if fits else f"{phrase}\r\n <{mailbox}>"


def _clean(text: str) -> str:
    # no control character reaches a header: a line break would begin another one
    return _CONTROL.sub(" ", text).strip()


def _encoded(line: str) -> str:
    """Encoded words (RFC 2047), one to a line; none ends in the middle of a character."""
    data = line.encode()
    words = []
    while data:
        end = _WORD_BYTES
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        words.append(f"=?utf-8?b?{binascii.b2a_base64(data[:end], newline=False).decode()}?=")
        data = data[end:]
    return "\r\n ".join(words)
