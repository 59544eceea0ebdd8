"""Desk: where submissions are handed in; what comes in while a transaction runs is stored in the next one.

It is of the event loop, not of threads like stores/batching: while the database stores a batch, the loop reads the
next, and neither waits for the other. Only a connection is opened and closed in a thread, not one of those that pages
wait for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import NamedTuple

import psycopg

from smp_pipelines.stores.conversation import Conversation
from smp_pipelines.stores.postgres import Connection, PostgresGoneError, engine_sql
from smp_pipelines.submission.storing import Outcome, Submission, SubmissionStore

_MOST = 200
"""Submissions in one transaction."""
_MOST_WAITING = 5_000
_LOCK_TIMEOUT = "2s"
"""How long a row that somebody else holds, an import for example, may keep the others of a batch waiting."""


class _Line(NamedTuple):
    """An open connection, and what is stored over it."""

    stack: ExitStack
    database: Conversation
    store: SubmissionStore


class SubmissionDesk:
    """Stores submissions in batches over one connection that is kept open. Of one event loop.

    connect: opens a connection with autocommit on which it may write.
    """

    def __init__(self, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._connect = connect
        self._line: _Line | None = None
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

    async def close(self) -> None:
        """Wait for what is being stored, and give back the connection."""
        if self._working is not None:
            await asyncio.wait([self._working])
        await self._hang_up()

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
                outcomes = await self._store([each for each, _ in batch])
                for (_, answer), outcome in zip(batch, outcomes, strict=True):
                    if answer.done():  # the visitor went away
                        continue
                    if isinstance(outcome, Exception):
                        answer.set_exception(outcome)
                    else:
                        answer.set_result(outcome)
        finally:
            self._working = None

    async def _store(self, submissions: Sequence[Submission]) -> list[Outcome | Exception]:
        """Store a batch; when that fails, each alone, so that one that cannot be stored spoils no other."""
        try:
            return list(await self._write(submissions))
        except PostgresGoneError as error:
            return [error for _ in submissions]
        except Exception as error:
            if len(submissions) == 1:
                return [error]
            return [outcome for each in submissions for outcome in await self._store([each])]

    async def _write(self, submissions: Sequence[Submission]) -> list[Outcome]:
        try:
            return await (await self._opened()).store.store(submissions)
        except psycopg.OperationalError:
            if self._line is not None and not self._line.database.is_over:
                raise  # the server refused: a lock, a time limit
            await self._hang_up()
        # Once more, on a new connection: what was stored after all is found by its key.
        try:
            return await (await self._opened()).store.store(submissions)
        except psycopg.OperationalError:
            await self._hang_up()
            raise

    async def _opened(self) -> _Line:
        if self._line is None:
            stack, connection = await asyncio.to_thread(self._open)
            database = Conversation(connection)
            self._line = _Line(stack, database, SubmissionStore(database))
        return self._line

    def _open(self) -> tuple[ExitStack, Connection]:
        with ExitStack() as stack:
            connection = stack.enter_context(self._connect())
            connection.execute(engine_sql("submission/session.sql"), {"lock_timeout": _LOCK_TIMEOUT})
            return stack.pop_all(), connection

    async def _hang_up(self) -> None:
        if self._line is None:
            return
        line, self._line = self._line, None
        line.database.end()
        with suppress(psycopg.Error):  # it is lost already
            await asyncio.to_thread(line.stack.close)
