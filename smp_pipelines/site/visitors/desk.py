"""Desk: where submissions are handed in; what comes in while a transaction runs is stored in the next one.

It is of the event loop, not of threads like stores/batching: one hand-over to a thread per batch, and none per visitor.
While the database stores a batch, the loop reads the next: neither waits for the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress

import psycopg

from smp_pipelines.stores.postgres import Connection, PostgresGoneError, engine_sql
from smp_pipelines.submission.storing import Outcome, Submission, SubmissionStore

_MOST = 200
"""Submissions in one transaction."""
_MOST_WAITING = 5_000
_LOCK_TIMEOUT = "2s"
"""How long a row that somebody else holds, an import for example, may keep the others of a batch waiting."""


class SubmissionDesk:
    """Stores submissions in batches, in a thread of its own, over one connection that is kept open.

    connect: opens a connection with autocommit on which it may write.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._connect = connect
        self._opened: tuple[ExitStack, SubmissionStore] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="submissions")
        self._waiting: deque[tuple[Submission, asyncio.Future[Outcome]]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def put(self, submission: Submission) -> Outcome:
        """Hand in a submission; answers once it is durable. Raises what kept it from being stored."""
        if len(self._waiting) >= _MOST_WAITING:
            raise PostgresGoneError("too many submissions wait for the database")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((submission, answer))
        if self._working is None:
            self._working = loop.create_task(self._work())
        return await answer

    def close(self) -> None:
        """Wait for what is being stored, and give back the connection."""
        self._thread.submit(self._hang_up)
        self._thread.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
                outcomes = await loop.run_in_executor(self._thread, self._store, [each for each, _ in batch])
                for (_, answer), outcome in zip(batch, outcomes, strict=True):
                    if answer.done():  # the visitor went away
                        continue
                    if isinstance(outcome, Exception):
                        answer.set_exception(outcome)
                    else:
                        answer.set_result(outcome)
        finally:
            self._working = None

    def _store(self, submissions: Sequence[Submission]) -> list[Outcome | Exception]:
        """Store a batch; when that fails, each alone, so that one that cannot be stored spoils no other."""
        try:
            return list(self._write(submissions))
        except PostgresGoneError as error:
            return [error for _ in submissions]
        except Exception as error:
            if len(submissions) == 1:
                return [error]
            return [outcome for each in submissions for outcome in self._store([each])]

    def _write(self, submissions: Sequence[Submission]) -> list[Outcome]:
        try:
            return self._store_of_connection().store(submissions)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            if self._opened is not None and not self._opened[1].connection.broken:
                raise  # the server refused: a lock, a time limit
            self._hang_up()
        # Once more, on a new connection: what was stored after all is found by its key.
        try:
            return self._store_of_connection().store(submissions)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            self._hang_up()
            raise

    def _store_of_connection(self) -> SubmissionStore:
        if self._opened is None:
            stack = ExitStack()
            connection = stack.enter_context(self._connect())
            connection.execute(engine_sql("submission/session.sql"), {"lock_timeout": _LOCK_TIMEOUT})
            self._opened = stack, SubmissionStore(connection)
        return self._opened[1]

    def _hang_up(self) -> None:
        if self._opened is not None:
            stack, self._opened = self._opened[0], None
            with suppress(psycopg.Error):  # it is lost already
                stack.close()
