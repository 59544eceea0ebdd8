"""Hits: every sign that somebody, or some program, was there, as it came; what it means is told by SQL (F15, F48).

A hit must not keep a visitor waiting, and a fault in noting it must not show: hits are written in batches, in a
thread of their own. A database that is away for a moment is waited for; hits that find no room by then are lost.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Literal
from uuid import UUID

import psycopg

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.batching import Batcher
from smp_pipelines.stores.postgres import Connection, engine_sql

Kind = Literal["open", "click", "view", "form", "page"]
"""What was asked for: a mail's picture, a link in it, the mail in a browser, a form, a page."""

MOST_A_MINUTE = 30
"""Hits of one kind that are noted of one person, or one mail, in a minute: nobody opens more by hand."""
MOST_WAITING = 50_000
"""Hits that wait to be written, at most; more are not noted."""
_PATIENCE = (0.1, 0.5, 1, 2, 4, 8, 15)
"""Seconds between tries while the database is away."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hit:
    """One hit: the columns of smp.hit. step: whose mail, form or page it is. link: click: where it leads.

    What the ledger knows of a mail (step, person, record) may be left out: it is filled in when the hit is written.
    """

    kind: Kind
    happened_at: datetime
    step: str | None
    person_id: int | None
    record_id: int | None
    send_id: int | None
    recipient_key: UUID | None
    submission_id: int | None
    link: str | None
    method: str
    prefetch: bool
    user_agent: str | None
    network: str | None


class HitRecorder:
    """Notes hits without keeping anybody waiting. `connect` opens a connection with autocommit on which it may write.

    One connection is kept open for as long as it works. `patience`: seconds to wait before each try anew
    while the database is away; then the hits of that batch are given up, and the log says how many.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[Connection]],
        patience: Sequence[float] = _PATIENCE,
    ) -> None:
        self._connect = connect
        self._patience = patience
        self._opened: tuple[ExitStack, Connection] | None = None
        self._closing = threading.Event()
        self._room = threading.BoundedSemaphore(MOST_WAITING)
        self._order = threading.Lock()
        self._minute = 0
        self._noted: Counter[tuple[Kind, UUID | int]] = Counter()
        self._last: Future[None] | None = None
        self._batcher: Batcher[Hit, None] = Batcher(self._write, "hits", most=1000)

    def note(self, hit: Hit) -> None:
        """Have a hit written soon. Never waits and never raises: whoever asked for the page gets it."""
        if self._is_flood(hit) or not self._room.acquire(blocking=False):
            return
        try:
            with self._order:
                written = self._last = self._batcher.put(hit)
        except RuntimeError:  # closed: the site is ending
            self._room.release()
            return
        written.add_done_callback(self._settled)

    def _is_flood(self, hit: Hit) -> bool:
        """Whether there are more of these in this minute than a person makes: each one costs when it is judged."""
        who = hit.recipient_key or hit.person_id
        if who is None:
            return False
        minute = int(hit.happened_at.timestamp() // 60)
        with self._order:
            if minute != self._minute:
                self._minute = minute
                self._noted.clear()
            self._noted[hit.kind, who] += 1
            return self._noted[hit.kind, who] > MOST_A_MINUTE

    def flush(self) -> None:
        """Wait until all that was noted before is written, or given up."""
        if self._last is not None:
            self._last.exception()

    def close(self) -> None:
        """Write what waits, and give back the connection. What is noted later is not written."""
        self._closing.set()
        self._batcher.close()
        self._hang_up()

    def _settled(self, written: Future[None]) -> None:
        self._room.release()
        if written.exception() is not None:
            # the error's own words could hold what the visitor sent
            _log.warning("a hit was not noted: %s", type(written.exception()).__name__)

    def _write(self, hits: Sequence[Hit]) -> list[None]:
        for pause in self._patience:
            try:
                self._insert(hits)
                return [None] * len(hits)
            except (psycopg.OperationalError, psycopg.InterfaceError, SmpError):
                self._hang_up()
                if self._closing.wait(pause):
                    break
        try:
            self._insert(hits)
        except (psycopg.OperationalError, psycopg.InterfaceError, SmpError) as error:
            self._hang_up()
            _log.warning("%d hits were not noted, the database is away: %s", len(hits), type(error).__name__)
        return [None] * len(hits)

    def _insert(self, hits: Sequence[Hit]) -> None:
        columns = zip(*map(_VALUES, hits), strict=True)
        self._connection().execute(
            engine_sql("tracking/note.sql"), dict(zip(_COLUMNS, map(list, columns), strict=True))
        )

    def _connection(self) -> Connection:
        if self._opened is None:
            stack = ExitStack()
            self._opened = stack, stack.enter_context(self._connect())
        return self._opened[1]

    def _hang_up(self) -> None:
        if self._opened is not None:
            stack, self._opened = self._opened[0], None
            with suppress(psycopg.Error):  # it was lost already
                stack.close()


_COLUMNS = [column.name for column in fields(Hit)]
_VALUES = attrgetter(*_COLUMNS)
