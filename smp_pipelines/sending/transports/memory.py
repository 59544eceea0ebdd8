"""Memory: a transport that keeps mails in this process and answers as a test tells it to.

    box = outbox("mine")
    box.answer = lambda recipient: Answer("refused", "550 no") if recipient == "no@example.org" else ACCEPTED
    … SMP_MAIL_URL=memory://mine …
    assert box.recipients == [...]

Every process has outboxes of its own: workers in other processes do not fill this one's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from smp_pipelines.sending.transport import Answer, Mail, TransportDownError

ACCEPTED = Answer("accepted", "250 kept in memory")

_outboxes: dict[str, Outbox] = {}
_guard = threading.Lock()


class Outbox:
    """What was handed over to memory://name, safe to use from several threads.

    answer: what to say of a mail to this recipient; what it raises, the connection raises.
    down: words for why no connection can be had, e.g. "the line is cut"; None while it can be.
    mails: the mails that were taken, in their order. One that was answered `unknown` was taken: the
    answer got lost, which is the case that must never lead to a second mail.
    tried: all that were handed over, whatever was answered.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget the mails, and answer `accepted` again."""
        with self._lock:
            self.answer: Callable[[str], Answer] = _accept
            self.down: str | None = None
            self.mails: list[Mail] = []
            self.tried: list[Mail] = []
            self._known: dict[str, Answer] = {}

    @property
    def recipients(self) -> list[str]:
        """Who got mails, one entry a mail."""
        with self._lock:
            return [mail.recipient for mail in self.mails]

    def take(self, mail: Mail) -> Answer:
        """Answer a mail, and keep it when it is taken."""
        # not under the lock: an answer may wait, or look at the outbox
        answer = self.answer(mail.recipient)
        with self._lock:
            self.tried.append(mail)
            if answer.kind in ("accepted", "unknown"):
                self.mails.append(mail)
                self._known[mail.message_id] = Answer("accepted", answer.response)
            else:
                self._known.setdefault(mail.message_id, answer)
        return answer

    def look_up(self, message_ids: Sequence[str]) -> dict[str, Answer]:
        """What became of the mails that were handed over here."""
        with self._lock:
            return {each: self._known[each] for each in message_ids if each in self._known}


class MemoryTransport:
    """The transport of memory://name."""

    def __init__(self, name: str) -> None:
        self.name = f"memory:{name}"
        self.outbox = outbox(name)

    def connect(self) -> MemoryConnection:
        """A connection. Raises TransportDownError while the outbox is down."""
        if self.outbox.down is not None:
            raise TransportDownError(f"the outbox {self.outbox.name} cannot be used: {self.outbox.down}")
        return MemoryConnection(self.outbox)

    def look_up(self, message_ids: Sequence[str]) -> dict[str, Answer]:
        """What became of the mails that were handed over here."""
        return self.outbox.look_up(message_ids)


class MemoryConnection:
    """A connection to an outbox."""

    eight_bit = True

    def __init__(self, box: Outbox) -> None:
        self._box = box

    def send(self, mail: Mail) -> Answer:
        """Hand over a mail; raises what the outbox's `answer` raises, and TransportDownError while it is down."""
        if self._box.down is not None:
            raise TransportDownError(f"the outbox {self._box.name} cannot be used: {self._box.down}")
        return self._box.take(mail)

    def close(self) -> None:
        """Nothing is open."""


def outbox(name: str) -> Outbox:
    """The outbox with this name in this process, made when it is not there yet."""
    with _guard:
        return _outboxes.setdefault(name, Outbox(name))


def _accept(_recipient: str) -> Answer:
    return ACCEPTED
