"""Freshness: what was committed in Postgres before a refresh began is in what the selections say, whoever is writing.

Several writers plan, settle and finish sends and withdraw consent in transactions that stay open for long and commit
out of order, while two others refresh and materialise selections all the time.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from smp_pipelines.stores.lake import rows
from tests.support.theatre import PERFORMANCE, STEP, Theatre, theatre

PEOPLE = 400
ROUNDS = 3
STEPS_IN_A_ROUND = 12
VISITORS, READERS = "visitors_in_two_days", "newsletter_readers"

PLAN = """
with one as (
    insert into smp.send (send_key, step, purpose, moment, opened_at, state)
    values (%(key)s, %(step)s, 'live', %(now)s, %(now)s, 'open')
    returning send_id
)
insert into smp.message (send_id, recipient_key, seq, person_id, record_id, state)
select send_id, md5(n::text)::uuid, n, n, %(record)s, 'planned' from one, unnest(%(people)s::int[]) as n
"""
SETTLE = """
update smp.message set state = 'accepted', settled_at = %(now)s
where send_id = (select send_id from smp.send where send_key = %(key)s)
"""
FINISH = """
update smp.send set state = 'finished', finished_at = %(now)s, changed_tx = pg_current_xact_id()
where send_key = %(key)s
"""
WITHDRAW = "update crm.consent set granted = false where person_id = any (%(people)s)"


class Writers:
    """People who get a mail and take back their consent; `mailed` are those whose transaction has committed."""

    def __init__(self, house: Theatre) -> None:
        self.house = house
        self.mailed: set[int] = set()
        self.withdrawn: set[int] = set()
        self.late = 0
        self._people = iter(range(1, PEOPLE + 1))
        self._lock = threading.Lock()
        self._work = threading.Semaphore(0)
        self._ended = threading.Event()

    def go_on(self, steps: int) -> None:
        """Let the writers do so many things more, while whoever calls this does something else."""
        self._work.release(steps)

    def end(self) -> None:
        """Let every writer commit what it has open, and stop."""
        self._ended.set()
        self._work.release(100)

    def known(self) -> tuple[set[int], set[int]]:
        """Who was mailed and who withdrew for certain, up to now."""
        with self._lock:
            return set(self.mailed), set(self.withdrawn)

    def write(self, seed: int) -> None:
        """Begin transactions, and commit them in any order, until the end."""
        dice = random.Random(seed)
        with ExitStack() as stack:
            waiting: list[tuple[psycopg.Connection, list[int], int]] = []
            spare = [stack.enter_context(psycopg.connect(self.house.url)) for _ in range(3)]
            begun = 0
            while self._work.acquire() and not self._ended.is_set():
                if spare and (not waiting or dice.random() < 0.6):
                    begun += 1
                    connection = spare.pop()
                    waiting.append((connection, self._begin(connection, f"{seed}-{begun}", dice), begun))
                else:
                    spare.append(self._commit(waiting, dice.randrange(len(waiting)), begun))
            while waiting:
                self._commit(waiting, 0, begun)

    def _begin(self, connection: psycopg.Connection, key: str, dice: random.Random) -> list[int]:
        with self._lock:
            people = [next(self._people) for _ in range(2)]
        values = {"key": key, "step": STEP, "now": self.house.now, "record": PERFORMANCE, "people": people}
        connection.execute(WITHDRAW, values)
        connection.execute(PLAN, values)
        if dice.random() < 0.6:
            # all of it in one transaction: such a send is never seen while it is open
            connection.execute(SETTLE, values)
            connection.execute(FINISH, values)
        return people

    def _commit(
        self, waiting: list[tuple[psycopg.Connection, list[int], int]], place: int, begun: int
    ) -> psycopg.Connection:
        connection, people, number = waiting.pop(place)
        connection.commit()
        with self._lock:
            self.mailed.update(people)
            self.withdrawn.update(people)
            self.late += any(other > number for _connection, _people, other in waiting) or number < begun
        return connection


@pytest.fixture
def house(embedded_url: str, migrated_template: str, tmp_path: Path) -> Iterator[Theatre]:
    with theatre(embedded_url, migrated_template, tmp_path / "state") as opened:
        opened.people(PEOPLE)
        opened.sql(
            "insert into crm.consent select person_id, 'email', 'newsletter', true, now(), 'form' from crm.person"
        )
        yield opened


def selected(house: Theatre, name: str) -> set[int]:
    """Refresh and materialise a selection: the people who are in it."""
    house.deployment.audiences.refresh(name, house.now)
    run = house.deployment.audiences.materialise(name, house.now, None).run
    with house.deployment.lake.open_for_selections() as lake:
        found = rows(lake, f"select person_id from {run.table} at (version => {run.snapshot_id})")
    return {person for (person,) in found}


def test_whatever_was_committed_before_a_refresh_began_is_in_the_selection(house: Theatre) -> None:
    writers = Writers(house)
    wrong: list[object] = []

    def look(name: str) -> list[int]:
        sizes = []
        for _ in range(ROUNDS):
            mailed, withdrawn = writers.known()
            writers.go_on(STEPS_IN_A_ROUND)
            found = selected(house, name)
            gone = mailed if name == VISITORS else withdrawn
            wrong.extend((name, person) for person in sorted(found & gone))
            sizes.append(len(found))
        return sizes

    with ThreadPoolExecutor() as pool:
        writing = [pool.submit(writers.write, seed) for seed in range(3)]
        looking = [pool.submit(look, name) for name in (VISITORS, READERS)]
        try:
            sizes = [each.result() for each in looking]
        finally:
            writers.end()
        for each in writing:
            each.result()
    assert wrong == []
    assert writers.late > 3, "transactions overtook each other"
    assert all(size[-1] < size[0] for size in sizes), "the writers worked while the selections were refreshed"
    mailed, withdrawn = writers.known()
    everybody = set(range(1, PEOPLE + 1))
    assert selected(house, VISITORS) == everybody - mailed
    assert selected(house, READERS) == everybody - withdrawn
