"""Connections: a few that are kept open between requests, because opening one takes longer than most questions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

import psycopg

from smp_pipelines.stores.postgres import Connection

Open = Callable[[], AbstractContextManager[Connection]]
"""Opens a connection, which is closed when the block ends."""


class KeptConnections:
    """Lends connections, one borrower each. One that the server has dropped is noticed and replaced."""

    def __init__(self, opens: Open, most: int = 8) -> None:
        """most: connections that are kept; when more are lent at once, the rest is closed after use."""
        self._opens = opens
        self._most = most
        self._idle: list[tuple[ExitStack, Connection]] = []
        self._lock = threading.Lock()

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """A connection in autocommit. Raises SmpError when the server does not answer."""
        stack, connection = self._kept() or self._opened()
        try:
            yield connection
        except BaseException:
            _close(stack)
            raise
        with self._lock:
            if len(self._idle) < self._most:
                self._idle.append((stack, connection))
                return
        _close(stack)

    def close(self) -> None:
        """Close what is kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for stack, _ in idle:
            _close(stack)

    def _kept(self) -> tuple[ExitStack, Connection] | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                stack, connection = self._idle.pop()
            try:
                connection.execute("select")
            except psycopg.Error:
                _close(stack)
            else:
                return stack, connection

    def _opened(self) -> tuple[ExitStack, Connection]:
        stack = ExitStack()
        return stack, stack.enter_context(self._opens())


def _close(stack: ExitStack) -> None:
    with suppress(psycopg.Error):  # it may be lost already
        stack.close()
