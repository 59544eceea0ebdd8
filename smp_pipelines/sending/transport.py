"""Transports: where mails go. One small interface; a mail server, a folder or a provider's API can be behind it.

A transport is made from a URL (`smp_pipelines.sending.transports.open_transport`) and gives
connections. What a connection says of a mail decides what becomes of its row in the ledger, so the
four answers must be told apart exactly: `later` and `refused` only when the mail was certainly not
taken, `unknown` whenever that cannot be told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from smp_pipelines.problems import SmpError

Kind = Literal["accepted", "refused", "later", "unknown"]


class Mail(NamedTuple):
    """One mail: its envelope and its bytes, with CRLF line ends. The Message-ID is the same whenever it is built."""

    message_id: str
    sender: str
    recipient: str
    content: bytes


class Answer(NamedTuple):
    """What is known of one mail. `later`: it was certainly not taken and may be tried again."""

    kind: Kind
    response: str


class TransportDownError(SmpError):
    """The transport cannot be used: no connection can be had, or it takes nothing from this sender."""


@runtime_checkable
class Connection(Protocol):
    """A connection that hands over one mail at a time; used by one thread at a time.

    `eight_bit` says whether bodies may hold bytes above 127 as they are.
    """

    eight_bit: bool

    def send(self, mail: Mail) -> Answer:
        """Hand over one mail and wait for the answer. Raises TransportDownError when nothing can be handed over."""
        ...

    def close(self) -> None:
        """Let go; what was handed over stays handed over."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """A connection that never waits: the worker offers mails and comes back when its socket has something to say."""

    eight_bit: bool
    begun: Callable[[Mail], None]
    """Called just before a mail's content may leave: from then on its fate may be unknown."""

    @property
    def takes(self) -> bool:
        """Whether another mail can be offered now."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether the connection can still be used; a mail that it could not finish has been answered then."""
        ...

    @property
    def in_hand(self) -> int:
        """How many mails have been offered and not answered yet."""
        ...

    @property
    def deadline(self) -> float | None:
        """The monotonic moment at which the answer that is waited for is overdue."""
        ...

    @property
    def wants_to_write(self) -> bool:
        """Whether bytes are waiting to be written to the socket."""
        ...

    def fileno(self) -> int:
        """The socket to wait for."""
        ...

    def offer(self, mail: Mail) -> None:
        """Begin with a mail; what is to be written leaves with `flush`."""
        ...

    def flush(self) -> None:
        """Write what can be written without waiting."""
        ...

    def pump(self) -> list[tuple[Mail, Answer]]:
        """Read what is there; the mails that were answered meanwhile. Raises TransportDownError."""
        ...

    def close(self) -> list[tuple[Mail, Answer]]:
        """Let go; what was on its way, with what is known of it."""
        ...


class Transport(Protocol):
    """A way out for mails. `name` is the scope of its limits; it holds no secret."""

    name: str

    def connect(self) -> Connection | Streaming:
        """Open a connection. Raises TransportDownError when none can be had."""
        ...

    def look_up(self, message_ids: Sequence[str]) -> dict[str, Answer]:
        """What became of these mails, as far as it can be told now; {} for a transport that cannot tell."""
        ...
