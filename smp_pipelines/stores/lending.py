"""Lending: databases that stay open between two uses, for opening one costs more than most of what is asked of it.

Each is lent to one at a time, as a connection of its own: temporary tables and open transactions end with that. What
an error was met in is closed and not lent again. Nothing is shared with a forked process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

_KEPT = 30.0
"""Seconds that a database is kept for the next use: a backup that is restored under it takes longer than that."""
_LIGHT = 64 * 2**20
"""Bytes that an idle database may hold in memory."""


@dataclass(frozen=True)
class _Idle:
    """An open database that nobody uses, since when (monotonic seconds), and the process that opened it."""

    database: duckdb.DuckDBPyConnection
    since: float
    process: int


class Lending:
    """At most one idle database of each kind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, _Idle] = {}

    @contextmanager
    def lent(self, kind: str, opening: Callable[[], duckdb.DuckDBPyConnection]) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to a database of this kind: one that is idle, or one that is opened now."""
        database = self._take(kind) or opening()
        try:
            connection = database.cursor()
            try:
                yield connection
            finally:
                connection.close()
        except BaseException:
            database.close()
            raise
        self._keep(kind, database)

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle = list(self._idle.values())
            self._idle.clear()
        for each in idle:
            if each.process == os.getpid():
                each.database.close()

    def _take(self, kind: str) -> duckdb.DuckDBPyConnection | None:
        with self._lock:
            found = self._idle.get(kind)
            if found is None or found.process != os.getpid():
                return None  # a parent's: its threads are not here, it cannot even be closed
            del self._idle[kind]
        if time.monotonic() - found.since <= _KEPT:
            return found.database
        found.database.close()
        return None

    def _keep(self, kind: str, database: duckdb.DuckDBPyConnection) -> None:
        held = database.execute("select sum(memory_usage_bytes) from duckdb_memory()").fetchone()
        with self._lock:
            if kind not in self._idle and held is not None and held[0] <= _LIGHT:
                self._idle[kind] = _Idle(database, time.monotonic(), os.getpid())
                return
        database.close()
