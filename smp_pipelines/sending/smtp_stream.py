"""The SMTP stream: one connection that never waits, with the commands of a mail in one packet (RFC 2920).

What a broken connection says of a mail is the one thing that matters here. Until the line that ends
the message has left, nothing was handed over and the mail may be tried again; after it, only the
server's answer tells what became of the mail. Where the server offers PIPELINING the envelope of the
next mail travels behind the content of this one, so that a mail costs one round trip; even then at
most one mail of a connection is of unknown fate at any moment.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

from smp_pipelines.sending.transport import Answer, Mail, TransportDownError

_LEADING_DOT = re.compile(rb"(?m)^\.")
_END = b".\r\n"
_MARKS = (b" ", b"-", b"")
"""What may follow the code of a reply: the last line, one of several, the last line without words."""
_LONGEST_REPLY = 65_536
_READ = 65_536
_NOT_TAKEN = Answer("later", "the connection was lost before the mail was handed over")


class _Stage(Enum):
    """What a reply that is awaited answers to."""

    RESET = auto()
    SENDER = auto()
    RECIPIENT = auto()
    GO_AHEAD = auto()
    END = auto()
    NOTHING = auto()
    """The end of an empty message: the go-ahead for a mail whose recipient was refused."""


@dataclass(frozen=True)
class Features:
    """What the mail server offers, and how long it may take for one answer (seconds)."""

    where: str
    pipelining: bool
    eight_bit: bool
    smtputf8: bool
    timeout: float


class SmtpStream:
    """One open connection to a mail server, on a socket that has said hello (and who it is, where that is asked)."""

    def __init__(self, connected: socket.socket, features: Features) -> None:
        self.eight_bit = features.eight_bit
        self.begun: Callable[[Mail], None] = lambda _mail: None
        """Called just before a mail's content may leave: from then on its fate may be unknown."""
        self._socket = connected
        self._features = features
        self._open = True
        self._out = bytearray()
        self._in = bytearray()
        self._lines: list[bytes] = []
        self._queued = 0
        self._written = 0
        self._expected: deque[_Stage] = deque()
        self._unsent: deque[tuple[_Stage, bytes]] = deque()
        self._ahead: Mail | None = None
        self._refusal: Answer | None = None
        self._handed: Mail | None = None
        self._handed_at = 0
        self._must_reset = False
        self._answers: list[tuple[Mail, Answer]] = []
        self._since = time.monotonic()
        connected.setblocking(False)

    @property
    def takes(self) -> bool:
        """Whether another mail can be offered now."""
        return self._open and self._ahead is None and (self._handed is None or self._features.pipelining)

    @property
    def is_open(self) -> bool:
        """Whether the connection can still be used; a mail that could not be finished has been answered then."""
        return self._open

    @property
    def in_hand(self) -> int:
        """How many mails have been offered and not answered yet."""
        return (self._ahead is not None) + (self._handed is not None)

    @property
    def deadline(self) -> float | None:
        """The monotonic moment at which the answer that is waited for is overdue."""
        return self._since + self._features.timeout if self._expected and self._open else None

    @property
    def wants_to_write(self) -> bool:
        """Whether bytes are waiting to be written to the socket."""
        return bool(self._out) and self._open

    def fileno(self) -> int:
        """The socket to wait for."""
        return self._socket.fileno()

    def offer(self, mail: Mail) -> None:
        """Begin with a mail; its envelope leaves with the next `flush`."""
        options = b""
        if not (mail.sender.isascii() and mail.recipient.isascii()):
            if not self._features.smtputf8:
                words = "the mail server takes no addresses with letters outside ASCII"
                self._answers.append((mail, Answer("refused", words)))
                return
            options = b" SMTPUTF8"
        if self.eight_bit and not mail.content.isascii():
            options = b" BODY=8BITMIME" + options
        self._ahead, self._refusal = mail, None
        commands = [
            (_Stage.SENDER, b"MAIL FROM:<%s>%s\r\n" % (mail.sender.encode(), options)),
            (_Stage.RECIPIENT, b"RCPT TO:<%s>\r\n" % mail.recipient.encode()),
            (_Stage.GO_AHEAD, b"DATA\r\n"),
        ]
        if self._must_reset:
            commands.insert(0, (_Stage.RESET, b"RSET\r\n"))
            self._must_reset = False
        self._unsent.extend(commands)
        self._send_commands()

    def flush(self) -> None:
        """Write what the socket takes now."""
        try:
            while self._out:
                count = self._socket.send(self._out)
                # the server's time begins when it has something to answer, not when we meant to write it
                self._since = time.monotonic()
                self._written += count
                if count == len(self._out):
                    self._out.clear()
                else:
                    del self._out[:count]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            self._break(_shown(error))

    def pump(self) -> list[tuple[Mail, Answer]]:
        """Read what is there; the mails that were answered meanwhile. Raises TransportDownError for a refused sender.

        What was offered and not answered when it raises comes from `close`.
        """
        if self._open:
            self._read()
        if self._open and self.deadline is not None and time.monotonic() > self.deadline:
            self._break("the mail server did not answer in time")
        answers, self._answers = self._answers, []
        return answers

    def close(self) -> list[tuple[Mail, Answer]]:
        """Let go; what was on its way, with what is known of it."""
        if self._open and not self.in_hand:
            with suppress(OSError):
                self._socket.send(b"QUIT\r\n")
        self._break("the connection was closed before the mail server answered")
        answers, self._answers = self._answers, []
        return answers

    def _send_commands(self) -> None:
        """Queue the commands that may leave now: all of them where the server takes them in a row."""
        while self._unsent and (self._features.pipelining or not self._expected):
            stage, command = self._unsent.popleft()
            self._queue(stage, command)

    def _queue(self, stage: _Stage, data: bytes) -> None:
        if not self._expected:
            self._since = time.monotonic()
        self._expected.append(stage)
        self._out += data
        self._queued += len(data)

    def _hand_over(self, mail: Mail) -> None:
        content = mail.content
        if content.startswith(b".") or b"\n." in content:
            content = _LEADING_DOT.sub(b"..", content)
        self.begun(mail)
        self._queue(_Stage.END, content)
        self._out += _END
        self._queued += len(_END)
        self._handed, self._ahead = mail, None
        self._handed_at = self._queued

    def _read(self) -> None:
        try:
            while data := self._socket.recv(_READ):
                self._in += data
                if len(data) < _READ and not isinstance(self._socket, ssl.SSLSocket):
                    break
            else:
                self._take_replies()
                self._break("the mail server closed the connection")
                return
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._take_replies()
            self._break(_shown(error))
            return
        self._take_replies()

    def _take_replies(self) -> None:
        *lines, rest = bytes(self._in).split(b"\n")
        self._in[:] = rest
        for each in lines:
            line = each.rstrip(b"\r")
            code, mark = line[:3], line[3:4]
            if len(code) < 3 or not code.isdigit() or mark not in _MARKS:
                self._break(f"the mail server answered with something that is no answer: {line[:200]!r}")
            if not self._open:
                return
            self._lines.append(line[4:])
            if mark != b"-":
                text = b"\n".join(self._lines)
                self._lines.clear()
                self._take_reply(int(code), text)
        if len(rest) + sum(map(len, self._lines)) > _LONGEST_REPLY:
            self._break("the mail server answered without end")

    def _take_reply(self, code: int, text: bytes) -> None:
        if not self._expected:
            # a server that says goodbye unasked (421) closes; anything else nobody asked for is no SMTP
            self._break(_response(code, text))
            return
        stage = self._expected.popleft()
        self._since = time.monotonic()
        if stage is _Stage.END:
            self._take_verdict(code, text)
        elif self._ahead is not None:
            self._take_envelope_reply(self._ahead, stage, code, text)
        if code == 421:
            self._break(_response(code, text))
        elif self._open:
            self._send_commands()

    def _take_verdict(self, code: int, text: bytes) -> None:
        """The answer to a whole message; only this tells what became of it."""
        mail, self._handed = self._handed, None
        answer = _answer(code, text)
        if mail is not None:
            words = f"the mail server answered with something that is no answer: {_response(code, text)}"
            self._answers.append((mail, answer or Answer("unknown", words[:500])))
        if answer is None:
            self._break(_response(code, text))

    def _take_envelope_reply(self, mail: Mail, stage: _Stage, code: int, text: bytes) -> None:
        if stage is _Stage.GO_AHEAD:
            self._take_go_ahead(mail, code, text)
        elif stage is _Stage.NOTHING:
            self._refuse(mail)
        elif stage in (_Stage.SENDER, _Stage.RECIPIENT) and self._refusal is None and not 200 <= code < 300:
            if stage is _Stage.SENDER and code >= 500:
                # it is the same for every recipient: a wrong setting must not use up the whole send
                where = self._features.where
                words = f"the mail server at {where} takes no mail from {mail.sender}: {_response(code, text)}"
                raise TransportDownError(words)
            self._refusal = _answer(code, text, accepts=False) or Answer("later", _response(code, text))
            if self._unsent:
                self._unsent.clear()
                self._refuse(mail)

    def _take_go_ahead(self, mail: Mail, code: int, text: bytes) -> None:
        if code == 354 and self._refusal is not None:
            # the server wants a message for nobody: it gets an empty one
            self._queue(_Stage.NOTHING, _END)
        elif code == 354:
            self._hand_over(mail)
        else:
            self._refusal = (
                self._refusal or _answer(code, text, accepts=False) or Answer("later", _response(code, text))
            )
            self._refuse(mail)

    def _refuse(self, mail: Mail) -> None:
        self._answers.append((mail, self._refusal or _NOT_TAKEN))
        self._ahead, self._refusal, self._must_reset = None, None, True

    def _break(self, words: str) -> None:
        """Let go of the socket and say what is known of the mails in hand."""
        if not self._open:
            return
        self._open = False
        with suppress(OSError):
            self._socket.close()
        if self._handed is not None:
            whole = self._written >= self._handed_at
            self._answers.append((self._handed, Answer("unknown" if whole else "later", words[:500])))
        if self._ahead is not None:
            self._answers.append((self._ahead, self._refusal or Answer("later", words[:500])))
        self._handed = self._ahead = None
        self._expected.clear()
        self._unsent.clear()


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
    return (str(error) or type(error).__name__)[:500]
