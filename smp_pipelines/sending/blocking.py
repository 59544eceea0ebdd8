"""Blocking connections, for a worker that never waits: each runs on a thread of its own and knocks when it is done."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections import deque
from collections.abc import Callable

from smp_pipelines.sending.transport import Answer, Connection, Mail, TransportDownError


class ThreadedStream:
    """A blocking connection that behaves like a stream: one mail at a time, handed over by a thread."""

    def __init__(self, connection: Connection) -> None:
        self.eight_bit = connection.eight_bit
        self.begun: Callable[[Mail], None] = lambda _mail: None
        self._connection = connection
        self._open = True
        self.down: TransportDownError | None = None
        """Why nothing can be handed over any more; the mail that found out was certainly not begun with."""
        self._mail: Mail | None = None
        self._mails: queue.SimpleQueue[Mail | None] = queue.SimpleQueue()
        self._answers: deque[tuple[Mail, Answer]] = deque()
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def takes(self) -> bool:
        """Whether another mail can be offered now."""
        return self.is_open and self._mail is None

    @property
    def is_open(self) -> bool:
        """Whether the connection can still be used."""
        return self._open and self.down is None

    @property
    def in_hand(self) -> int:
        """How many mails have been offered and not answered yet."""
        return int(self._mail is not None)

    @property
    def deadline(self) -> float | None:
        """None: whoever blocks keeps its own time."""
        return None

    @property
    def wants_to_write(self) -> bool:
        """False: the thread writes."""
        return False

    def fileno(self) -> int:
        """The socket on which the thread knocks."""
        return self._ours.fileno()

    def offer(self, mail: Mail) -> None:
        """Give a mail to the thread."""
        self._mail = mail
        self.begun(mail)
        self._mails.put(mail)

    def flush(self) -> None:
        """Nothing: the thread writes."""

    def pump(self) -> list[tuple[Mail, Answer]]:
        """The mails that were answered meanwhile."""
        with contextlib.suppress(BlockingIOError):
            self._ours.recv(64)
        return self._taken()

    def close(self) -> list[tuple[Mail, Answer]]:
        """Wait for the mail in hand, and let go."""
        if self._open:
            self._open = False
            self._mails.put(None)
            self._thread.join()
            self._ours.close()
            self._theirs.close()
        taken = self._taken()
        if self.down is not None and self._mail is not None:
            # nothing can be handed over, so this mail was not
            taken.append((self._mail, Answer("later", str(self.down)[:500])))
            self._mail = None
        return taken

    def _taken(self) -> list[tuple[Mail, Answer]]:
        taken = []
        while self._answers:
            taken.append(self._answers.popleft())
            self._mail = None
        return taken

    def _work(self) -> None:
        while (mail := self._mails.get()) is not None:
            try:
                answer = self._connection.send(mail)
                self._answers.append((mail, answer))
            except TransportDownError as error:
                self.down = error  # what became of the mail comes with `close`
            except Exception as error:
                # whatever broke in there, nobody can tell whether the mail had left
                self._answers.append((mail, Answer("unknown", f"{type(error).__name__}: {error}"[:500])))
            with contextlib.suppress(OSError):
                self._theirs.send(b"!")
        with contextlib.suppress(Exception):
            self._connection.close()
