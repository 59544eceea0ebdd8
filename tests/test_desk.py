"""The desk where submissions are handed in: what fails alone, a connection that is lost, visitors who go away."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import uvloop

from smp_pipelines.campaign.project import load_project
from smp_pipelines.site.visitors import desk
from smp_pipelines.stores.postgres import Connection, PostgresGoneError
from smp_pipelines.submission.storing import FormStep, Submission
from tests.conftest import REPOSITORY, fresh_database
from tests.support.visits import new_address
from tests.support.waiting import PATIENCE

_STEP = "open_house/registration"
_DESK = "the desk"


@pytest.fixture(name="form", scope="module")
def registration_form() -> FormStep:
    project = load_project(REPOSITORY)
    return FormStep.of(project.step(_STEP), project)


@pytest.fixture(name="url", scope="module")
def database(embedded_url: str, migrated_template: str) -> Iterator[str]:
    with fresh_database(embedded_url, migrated_template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            query = "insert into smp.step_status (step, status, since) values (%s, 'live', now())"
            connection.execute(query, (_STEP,))
        yield url


@pytest.fixture(name="other")
def another_connection(url: str) -> Iterator[Connection]:
    """A connection beside the desk's."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def submission(form: FormStep, **changes: Any) -> Submission:
    answers = {"first_name": "Piet", "last_name": "Jansen", "email": new_address(), "tour": "none", "guests": 2}
    return Submission(uuid4(), form, answers | {"remark": None} | changes, datetime.now(UTC))


@asynccontextmanager
async def desk_at(url: str, **options: Any) -> AsyncIterator[desk.SubmissionDesk]:
    opened = desk.SubmissionDesk(lambda: psycopg.connect(url, autocommit=True, application_name=_DESK, **options))
    try:
        yield opened
    finally:
        await opened.close()


def stored(other: Connection, submissions: Sequence[Submission]) -> list[int]:
    """The numbers of what is stored, once per row."""
    query = "select submission_id from smp.submission where submission_key = any (%s) order by submission_id"
    return [number for (number,) in other.execute(query, ([each.key for each in submissions],))]


def end_desk(url: str) -> None:
    """Let the server end the desk's connection."""
    query = "select pg_terminate_backend(pid, 60000) from pg_stat_activity where application_name = %s"
    with psycopg.connect(url) as connection:
        connection.execute(query, (_DESK,))


async def come_to_wait(url: str) -> None:
    """Until the desk waits for a lock."""
    query = "select 1 from pg_stat_activity where application_name = %s and wait_event_type = 'Lock'"
    with psycopg.connect(url, autocommit=True) as connection:
        async with asyncio.timeout(PATIENCE):
            while not connection.execute(query, (_DESK,)).fetchone():
                await asyncio.sleep(0.01)


def test_a_submission_that_cannot_be_stored_spoils_no_other(url: str, form: FormStep, other: Connection) -> None:
    good, bad = [submission(form) for _ in range(3)], submission(form, guests=10**12)

    async def hand_in() -> list[Any]:
        async with desk_at(url) as opened:
            batch = [opened.put(each) for each in (good[0], bad, *good[1:])]
            return await asyncio.gather(*batch, return_exceptions=True)

    outcomes = asyncio.run(hand_in())
    assert isinstance(outcomes[1], psycopg.errors.NumericValueOutOfRange)
    assert stored(other, good) == sorted(outcomes[place] for place in (0, 2, 3))
    assert stored(other, [bad]) == []
    assert other.execute("select from crm.person where email = %s", (bad.answers["email"],)).fetchall() == []


def test_a_connection_that_is_lost_is_replaced(url: str, form: FormStep, other: Connection) -> None:
    sent = [submission(form) for _ in range(2)]

    async def hand_in() -> list[Any]:
        async with desk_at(url) as opened:
            first = await opened.put(sent[0])
            end_desk(url)
            return [first, await opened.put(sent[1])]

    assert asyncio.run(hand_in()) == stored(other, sent)


def test_what_was_being_stored_when_the_connection_was_lost_is_stored_once(
    url: str, form: FormStep, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "_LOCK_TIMEOUT", "10min")
    sent = [submission(form) for _ in range(20)]

    async def hand_in() -> list[Any]:
        async with desk_at(url) as opened:
            with other.transaction():
                other.execute("lock table crm.list_member in exclusive mode")
                waiting = asyncio.gather(*[opened.put(each) for each in sent])
                await come_to_wait(url)
                end_desk(url)
            return await waiting

    numbers = asyncio.run(hand_in())
    assert len(numbers) == 20
    assert sorted(numbers) == stored(other, sent)


def test_whatever_happens_to_the_connection_under_load_all_are_answered_and_stored_once(
    url: str, form: FormStep, other: Connection
) -> None:
    sent, done = [submission(form) for _ in range(200)], threading.Event()

    def end_again_and_again() -> None:
        while not done.wait(0.02):
            end_desk(url)

    async def put(opened: desk.SubmissionDesk, one: Submission) -> Any:
        while True:
            # a visitor sends the same form again
            with contextlib.suppress(psycopg.Error):
                return await opened.put(one)

    async def hand_in() -> list[Any]:
        async with desk_at(url) as opened, asyncio.timeout(PATIENCE):
            numbers: list[Any] = []
            for start in range(0, len(sent), 10):
                numbers += await asyncio.gather(*[put(opened, one) for one in sent[start : start + 10]])
            done.set()
            return numbers

    ending = threading.Thread(target=end_again_and_again)
    ending.start()
    try:
        numbers = uvloop.run(hand_in())
    finally:
        done.set()
        ending.join()
    assert sorted(numbers) == stored(other, sent)


def test_a_lock_that_is_held_for_long_refuses_and_keeps_the_connection(
    url: str, form: FormStep, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "_LOCK_TIMEOUT", "100ms")

    async def hand_in() -> tuple[Any, Any]:
        async with desk_at(url) as opened:
            await opened.put(submission(form))
            before = other.execute("select pid from pg_stat_activity where application_name = %s", (_DESK,)).fetchall()
            with other.transaction():
                other.execute("lock table crm.list_member in exclusive mode")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    await opened.put(submission(form))
            assert isinstance(await opened.put(submission(form)), int)
            after = other.execute("select pid from pg_stat_activity where application_name = %s", (_DESK,)).fetchall()
            return before, after

    before, after = asyncio.run(hand_in())
    assert before == after


def test_a_database_that_is_away_is_told_and_used_again_when_it_is_back(
    url: str, form: FormStep, other: Connection
) -> None:
    sent, open_to = submission(form), [""]

    def connect() -> psycopg.Connection[tuple[Any, ...]]:
        if not open_to[0]:
            raise PostgresGoneError("no connection to Postgres")
        return psycopg.connect(open_to[0], autocommit=True)

    async def hand_in() -> Any:
        opened = desk.SubmissionDesk(connect)
        try:
            with pytest.raises(PostgresGoneError):
                await opened.put(sent)
            open_to[0] = url
            return await opened.put(sent)
        finally:
            await opened.close()

    assert [asyncio.run(hand_in())] == stored(other, [sent])


def test_a_visitor_who_goes_away_takes_nobody_along(
    url: str, form: FormStep, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "_LOCK_TIMEOUT", "10min")
    sent = [submission(form) for _ in range(3)]

    async def hand_in() -> list[Any]:
        async with desk_at(url) as opened:
            with other.transaction():
                other.execute("lock table crm.list_member in exclusive mode")
                waiting = [asyncio.create_task(opened.put(each)) for each in sent]
                await come_to_wait(url)
                waiting[1].cancel()
                await asyncio.wait([waiting[1]])
            return [await waiting[0], await waiting[2]]

    numbers = asyncio.run(hand_in())
    assert set(numbers) < set(stored(other, sent)), "who went away had sent it"


def test_what_was_handed_in_is_stored_before_the_desk_closes(url: str, form: FormStep, other: Connection) -> None:
    sent = [submission(form) for _ in range(300)]

    async def hand_in() -> list[asyncio.Task[Any]]:
        async with desk_at(url) as opened:
            waiting = [asyncio.create_task(opened.put(each)) for each in sent]
            await asyncio.sleep(0)  # they begin
        return waiting

    assert sorted(task.result() for task in asyncio.run(hand_in())) == stored(other, sent)
    assert len(stored(other, sent)) == 300


def test_letters_arrive_as_they_are_whatever_the_connection_was_opened_with(
    url: str, form: FormStep, other: Connection
) -> None:
    name = "Łukasiewicz € 日本"

    async def hand_in() -> Any:
        async with desk_at(url, client_encoding="latin1") as opened:
            return await opened.put(submission(form, last_name=name))

    query = "select answers ->> 'last_name' from smp.submission where submission_id = %s"
    assert other.execute(query, (asyncio.run(hand_in()),)).fetchone() == (name,)
