"""Conversation: statements over one connection, one after the other, whose answers the event loop waits for.

It is for what is asked all day: a thread that waits for the server takes the interpreter from the loop, and the loop
from it, several times per statement. Here libpq (psycopg.pq) sends and reads when the socket is ready, and nothing
waits but for that.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult

from smp_pipelines.stores.postgres import Connection

Row = tuple[Any, ...]
"""Values as the server writes them: bytes, or None for null."""
_NUMBERS = itertools.count(1)
"""Of prepared statements: names that no conversation before this one left in the session."""
_LOOK_ANYWAY = 1.0
"""Seconds after which the socket is read though the loop said nothing."""
_GOOD = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class Conversation:
    """Asks one thing at a time. To be made and used in one event loop; the connection is nobody else's meanwhile."""

    def __init__(self, connection: Connection) -> None:
        """connection: in autocommit, so that each statement is a transaction."""
        self._pg = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._names: dict[bytes, bytes] = {}
        self._waiting: asyncio.Future[PGresult] | None = None
        self._result: PGresult | None = None
        self._looking: asyncio.TimerHandle
        self._socket = self._pg.socket
        self._loop.add_reader(self._socket, self._read)

    @property
    def is_over(self) -> bool:
        """Whether nothing can be asked any more: the server went away, or somebody ended it."""
        return self._socket < 0 or self._pg.status == ConnStatus.BAD

    async def run(self, statement: bytes) -> None:
        """Run one statement without parameters. Raises psycopg.Error."""
        await self._asked(lambda: self._pg.send_query(statement))

    async def call(self, statement: bytes, parameter: bytes) -> list[Row]:
        """The rows of a statement with one parameter ($1), prepared the first time. Raises psycopg.Error."""
        name = self._names.get(statement)
        if name is None:
            name = f"call_{next(_NUMBERS)}".encode()
            await self._asked(lambda: self._pg.send_prepare(name, statement))
            self._names[statement] = name
        found = await self._asked(lambda: self._pg.send_query_prepared(name, [parameter]))
        columns = range(found.nfields)
        return [tuple([found.get_value(row, column) for column in columns]) for row in range(found.ntuples)]

    def end(self) -> None:
        """Listen no more; the connection can be closed after this."""
        if self._socket >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket = -1

    async def _asked(self, send: Callable[[], None]) -> PGresult:
        if self._socket < 0:
            raise psycopg.OperationalError("the conversation with the server is over")
        self._send(send)
        self._waiting = self._loop.create_future()
        self._write()
        self._looking = self._loop.call_later(_LOOK_ANYWAY, self._look)
        try:
            result = await self._waiting
        except asyncio.CancelledError:
            self.end()  # its answer is still to come, and the next question would get it
            raise
        finally:
            self._waiting = None
            self._looking.cancel()
        if result.status not in _GOOD:
            raise self._error(result)
        return result

    def _send(self, send: Callable[[], None]) -> None:
        try:
            send()
        except psycopg.OperationalError:
            self.end()
            raise

    def _look(self) -> None:
        """Read again and again while an answer is waited for: uvloop says only once that a connection was reset."""
        self._looking = self._loop.call_later(_LOOK_ANYWAY, self._look)
        if self._socket >= 0:
            self._read()

    def _write(self) -> None:
        """Send what libpq has not sent yet; the rest when the socket takes more."""
        try:
            if self._pg.flush():
                self._loop.add_writer(self._socket, self._write)
            else:
                self._loop.remove_writer(self._socket)
        except psycopg.OperationalError as error:
            self._lose(error)

    def _read(self) -> None:
        try:
            self._pg.consume_input()
            while self._waiting is not None and not self._pg.is_busy():
                result = self._pg.get_result()
                if result is None:
                    self._answer(self._waiting)
                    return
                self._result = result
            self._pg.consume_input()  # behind what was read may be the end, of which the loop may not speak again
        except psycopg.OperationalError as error:
            self._lose(error)

    def _answer(self, waiting: asyncio.Future[PGresult]) -> None:
        result, self._result = self._result, None
        if self._pg.status == ConnStatus.BAD:
            self.end()  # its socket is closed, and another may soon have the number
        if result is None:
            self._lose(psycopg.OperationalError("the server gave no answer"))
        elif not waiting.done():
            waiting.set_result(result)

    def _lose(self, error: psycopg.OperationalError) -> None:
        self.end()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    def _error(self, result: PGresult) -> psycopg.Error:
        """What the server said as the exception that psycopg has for its SQLSTATE."""
        message = result.get_error_message()
        state = result.error_field(DiagnosticField.SQLSTATE) or b""
        try:
            return psycopg.errors.lookup(state.decode("ascii"))(message)
        except KeyError:
            return psycopg.OperationalError(message) if self.is_over else psycopg.DatabaseError(message)
