"""Conversations with a real server, in a real event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any

import psycopg
import pytest
import uvloop

from smp_pipelines.stores.conversation import Conversation
from smp_pipelines.stores.postgres import Connection
from tests.support.waiting import PATIENCE

_NAME = "a conversation"


@pytest.fixture(name="connection")
def a_connection(embedded_url: str) -> Iterator[Connection]:
    with closing(psycopg.connect(embedded_url, autocommit=True, application_name=_NAME)) as connection:
        yield connection


@pytest.fixture(name="other")
def another_connection(embedded_url: str) -> Iterator[Connection]:
    with psycopg.connect(embedded_url, autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def conversation_over(connection: Connection) -> AsyncIterator[Conversation]:
    made = Conversation(connection)
    try:
        yield made
    finally:
        made.end()


async def come_to(condition: Callable[[], Any]) -> None:
    """Let the loop go on until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def end_of(other: Connection, connection: Connection) -> None:
    """Let the server end a connection, and wait until it has."""
    other.execute("select pg_terminate_backend(%s, 60000)", (connection.info.backend_pid,))


def test_what_is_asked_is_answered_in_order_and_rows_come_as_the_server_writes_them(connection: Connection) -> None:
    async def ask() -> list[Any]:
        async with conversation_over(connection) as database:
            await database.run(b"create temp table said (word text)")
            for word in (b"one", "dwé €".encode(), b"three"):
                assert await database.call(b"insert into said values ($1)", word) == []
            kept = await database.call(b"select word, null, length(word) = $1::int from said", b"5")
            return [*kept, *await database.call(b"select where $1::boolean", b"no")]

    assert asyncio.run(ask()) == [
        (b"one", None, b"f"),
        ("dwé €".encode(), None, b"t"),
        (b"three", None, b"t"),
    ]
    assert connection.execute("select count(*) from pg_prepared_statements").fetchone() == (3,)


def test_what_the_server_refuses_is_raised_and_the_next_question_is_answered(connection: Connection) -> None:
    async def ask() -> Any:
        async with conversation_over(connection) as database:
            with pytest.raises(psycopg.errors.DivisionByZero, match="division by zero"):
                await database.call(b"select 1 / $1::int", b"0")
            with pytest.raises(psycopg.errors.UndefinedTable, match="nowhere"):
                await database.call(b"select from nowhere where $1", b"yes")
            with pytest.raises(psycopg.errors.SyntaxError):
                await database.run(b"selekt 1")
            assert not database.is_over
            return await database.call(b"select 1 / $1::int", b"1")

    assert asyncio.run(ask()) == [(b"1",)]


def test_the_loop_goes_on_while_the_server_works(connection: Connection, other: Connection) -> None:
    async def ask() -> Any:
        async with conversation_over(connection) as database:
            other.execute("select pg_advisory_lock(8642)")
            asked = asyncio.create_task(database.call(b"select pg_advisory_lock($1::bigint)", b"8642"))
            query = "select 1 from pg_stat_activity where application_name = %s and wait_event_type = 'Lock'"
            await come_to(lambda: other.execute(query, (_NAME,)).fetchone())
            assert not asked.done()
            other.execute("select pg_advisory_unlock(8642)")
            return await asked

    assert asyncio.run(ask()) == [(b"",)]


def test_what_is_larger_than_the_socket_takes_at_once_goes_in_parts(connection: Connection) -> None:
    large = b"x" * 30_000_000

    async def ask() -> Any:
        async with conversation_over(connection) as database:
            return await database.call(b"select length($1), $1::text", large)

    assert asyncio.run(ask()) == [(b"30000000", large)]


def test_a_server_that_goes_away_is_noticed_at_once(connection: Connection, other: Connection) -> None:
    async def ask() -> None:
        async with conversation_over(connection) as database:
            asked = asyncio.create_task(database.call(b"select pg_sleep($1::int)", b"600"))
            query = "select 1 from pg_stat_activity where application_name = %s and wait_event = 'PgSleep'"
            await come_to(lambda: other.execute(query, (_NAME,)).fetchone())
            end_of(other, connection)
            with pytest.raises(psycopg.OperationalError):
                await asked
            assert database.is_over
            with pytest.raises(psycopg.OperationalError):
                await database.call(b"select $1", b"still there?")

    asyncio.run(ask())


def test_a_server_that_goes_away_while_nothing_is_asked_is_noticed(connection: Connection, other: Connection) -> None:
    async def ask() -> None:
        async with conversation_over(connection) as database:
            assert await database.call(b"select $1", b"there?") == [(b"there?",)]
            end_of(other, connection)
            await come_to(lambda: database.is_over)

    asyncio.run(ask())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("size", [1, 300_000])
def test_a_question_to_a_server_that_went_away_unnoticed_fails(
    connection: Connection, other: Connection, run: Callable[[Any], Any], size: int
) -> None:
    """What is written after the end resets the connection: uvloop tells of that once, with words before the end."""

    async def ask() -> None:
        async with conversation_over(connection) as database, asyncio.timeout(PATIENCE):
            await database.call(b"select $1", b"there?")
            end_of(other, connection)  # the loop sees nothing of it
            with pytest.raises(psycopg.OperationalError):
                await database.call(b"select $1", b"x" * size)
            assert database.is_over

    run(ask())


def test_an_answer_that_nobody_waits_for_any_more_is_given_to_no_other_question(connection: Connection) -> None:
    async def ask() -> None:
        async with conversation_over(connection) as database:
            asked = asyncio.create_task(database.call(b"select pg_sleep(0.2), $1", b"first"))
            await asyncio.sleep(0)
            asked.cancel()
            await asyncio.wait([asked])
            assert database.is_over
            with pytest.raises(psycopg.OperationalError, match="is over"):
                await database.call(b"select $1", b"second")

    asyncio.run(ask())
