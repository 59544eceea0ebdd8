"""Faults in flows: killed in the middle of a tick, ticks at once, again, or days late; both nights of the clocks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from smp_pipelines.selection.condition import Condition
from smp_pipelines.stores.numbers import Query
from smp_pipelines.stores.postgres import Connection
from tests.support.flow_crm import Person
from tests.support.flow_stage import Play, Stage, begin, opened, staged
from tests.support.flow_world import Event, SqlJudge
from tests.support.processes import program
from tests.support.waiting import PATIENCE, until

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
CROWD = {number: Person("a" if number % 3 else "b", f"p{number}@example.org") for number in range(1, 41)}
FLOW: dict[str, Any] = {
    "name": "Alles",
    "triggers": [{"type": "list", "list": "friends"}, {"type": "donation", "fund": "roof"}],
    "filter": {"not": {"gave_to": "youth"}},
    "exclude": {"on_list": "guests"},
    "goals": [{"type": "person", "where": {"gave_to": "youth"}}],
    "reentry": "after_leaving",
    "steps": {
        "noted": {"add_to_list": "new"},
        "half": {
            "split": [
                {"percent": 50, "steps": {"thanks": {"mail": "open_house/confirmation"}}},
                {
                    "percent": 50,
                    "steps": {"gift": {"create": {"table": "donation", "values": {"fund": "flow", "amount": 5}}}},
                },
            ]
        },
        "giver": {
            "if": {"gave_to": "flow"},
            "then": {"moved_house": {"update": {"city": "a"}}, "rest": {"wait": "1 day"}},
            "else": {"story": {"mail": "friends/story"}, "survey": {"form": "feedback/survey", "at_most": "2 days"}},
        },
        "again": {"mail": "open_house/confirmation"},
    },
}
_KILLED = """
import sys
from datetime import datetime
from pathlib import Path
from tests.support.flow_stage import Stage, opened
from tests.support.flow_world import SqlJudge
from tests.support.theatre import deployment

class Waits(SqlJudge):
    def fill(self, connection, condition, now, people):
        super().fill(connection, condition, now, people)
        if self.asked == int(sys.argv[3]):
            print("in the middle", flush=True)
            sys.stdin.readline()

with opened(sys.argv[1]) as connection:
    stage = Stage(deployment(sys.argv[1], Path(sys.argv[2])), connection)
    judge = Waits()
    stage.tick(datetime.fromisoformat(sys.argv[4]), judge)
    print(f"done after {judge.asked}", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def stage(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(embedded_url, migrated_template, tmp_path_factory.mktemp("flows")) as made:
        yield made


def crowded(stage: Stage) -> tuple[Play, datetime]:
    """A flow with people at its steps, and the moment of a tick that has to do everything that a tick ever does."""
    play = begin(stage, {"all": FLOW}, CROWD, START)
    hour = timedelta(hours=1)
    play.happen(*(Event("join", person, "friends", START + hour / 2) for person in range(1, 25)))
    play.happen(*(Event("consent", person, ("offers", True), START + hour / 2) for person in range(1, 20)))
    play.tick(START + hour)
    now = START + timedelta(days=1, hours=2)
    play.happen(*(Event("give", person, ("roof", 10), now - hour) for person in range(20, 36)))
    play.happen(*(Event("give", person, ("youth", 10), now - hour) for person in (1, 2, 30)))
    play.happen(*(Event("form", person, "feedback/survey", now - hour) for person in (3, 4, 5, 6, 7)))
    play.happen(Event("delete", 8, None, now), Event("join", 9, "guests", now), Event("outbox", 0, None, now))
    return play, now


def open_transactions(stage: Stage) -> int:
    ((count,),) = stage.connection.execute(
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        " and xact_start is not null and backend_type = 'client backend'"
    ).fetchall()
    return int(count)


@pytest.mark.parametrize("fill", [1, 3, 6, 12])
def test_a_tick_that_is_killed_in_the_middle_is_made_up_for_by_the_next(
    stage: Stage, tmp_path: Path, fill: int
) -> None:
    play, now = crowded(stage)
    with program(_KILLED, stage.deployment.url, tmp_path, fill, now.isoformat()) as killed:
        assert killed.line() == "in the middle"
        killed.kill()
    until(lambda: open_transactions(stage) == 0, "the server to notice")
    stage.tick(now)
    play.expect(now)


def test_a_tick_that_is_killed_behind_its_last_word_was_a_whole_one(stage: Stage, tmp_path: Path) -> None:
    play, now = crowded(stage)
    with program(_KILLED, stage.deployment.url, tmp_path, 0, now.isoformat()) as killed:
        asked = int(killed.line().removeprefix("done after "))
        killed.kill()
    assert asked >= 12, "the test above kills in places where no tick comes"
    play.expect(now)


class Gate(SqlJudge):
    """Waits in the middle of a tick until it may go on."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.inside, self.opened = at, threading.Event(), threading.Event()

    def fill(self, connection: Connection, condition: Condition, now: datetime, people: Query) -> None:
        super().fill(connection, condition, now, people)
        if self.asked == self.at:
            self.inside.set()
            assert self.opened.wait(PATIENCE)


@pytest.mark.parametrize("fill", [1, 3, 5, 8])
def test_two_ticks_at_once_do_what_one_does(stage: Stage, fill: int) -> None:
    play, now = crowded(stage)
    gate = Gate(fill)

    def waits() -> bool:
        found = stage.connection.execute("select count(*) from pg_locks where locktype = 'advisory' and not granted")
        return found.fetchall() == [(1,)]

    def other(connection: Connection, judge: SqlJudge) -> None:
        Stage(stage.deployment, connection).tick(now, judge)

    url = stage.deployment.url
    with opened(url) as one, opened(url) as two, ThreadPoolExecutor(2) as pool:
        first = pool.submit(other, one, gate)
        assert gate.inside.wait(PATIENCE), first.result(0)
        second = pool.submit(other, two, SqlJudge())
        until(waits, "the second tick to come to the first")
        gate.opened.set()
        first.result(PATIENCE)
        second.result(PATIENCE)
    play.expect(now)


def test_a_tick_that_is_repeated_does_nothing(stage: Stage) -> None:
    play, now = crowded(stage)
    play.tick(now)
    for _ in range(3):
        assert not any(each.did_something for each in stage.tick(now))
        play.expect(now)


def test_a_clock_that_was_set_back_moves_nobody_back(stage: Stage) -> None:
    play, now = crowded(stage)
    play.tick(now)
    before = play.facts()
    assert not any(each.did_something for each in stage.tick(now - timedelta(hours=3)))
    assert play.facts() == before


RULES: dict[str, Any] = {
    "name": "Regels",
    "triggers": [{"type": "list", "list": "friends"}],
    "steps": {
        "rest": {"wait": "1 day"},
        "home": {"if": {"city": "a"}, "then": {"more": {"wait": "90 minutes"}}, "else": {"less": {"wait": "1 week"}}},
        "date": {"wait_until": "2026-11-25 12:00"},
        "half": {"split": [{"percent": 50, "steps": {"short": {"wait": "1 hour"}}}, {"percent": 50}]},
        "last": {"end": "through"},
    },
}


@pytest.mark.parametrize("hours", [1, 7, 100, 1000])
def test_however_late_its_ticks_are_a_flow_of_rules_comes_to_the_same(stage: Stage, hours: int) -> None:
    play = begin(stage, {"rules": RULES}, CROWD, START)
    play.happen(*(Event("join", person, "friends", START + timedelta(minutes=1)) for person in CROWD))
    first, last = START + timedelta(minutes=2), START + timedelta(hours=1000)
    stage.tick(first)
    now = first
    while now < last:
        now = min(now + timedelta(hours=hours if now < START + timedelta(days=10) else 1000), last)
        stage.tick(now)
    play.reference.tick(first)
    play.expect(last)
    ended = {outcome[9] for outcome in play.facts()["participants"].values()}
    assert min(ended) == datetime(2026, 11, 25, 11, 0, tzinfo=UTC)
    assert max(ended) == first + timedelta(days=8, hours=1)


def due(stage: Stage, step: dict[str, Any], entered: datetime, **more: Any) -> datetime | None:
    """Until when somebody who entered at a moment waits at a step; None: they were let through at once."""
    file = {"name": "x", "triggers": [{"type": "list", "list": "friends"}], "steps": {"it": step}, **more}
    play = begin(stage, {"night": file}, {1: Person("a", "a@example.org")}, entered - timedelta(hours=1))
    play.happen(Event("join", 1, "friends", entered - timedelta(seconds=5)))
    play.tick(entered)
    (participant,) = play.facts()["participants"].values()
    moment: datetime | None = participant[6]
    if moment is not None:
        for late in (-1, 0, 60 * 24 * 3):
            play.tick(moment + timedelta(minutes=late))
    return moment


def utc(day: str, clock: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}:00+00:00")


SATURDAY_NIGHT = {"days": ["sat"], "from": "22:00", "until": "06:00"}
SPRING, AUTUMN = "2026-03-29", "2026-10-25"
"""At 01:00 UTC clocks go from 02:00 to 03:00, and from 03:00 to 02:00."""


@pytest.mark.parametrize(
    ("step", "entered", "until_then"),
    [
        ({"wait": "1 day"}, utc("2026-03-28", "01:30"), utc(SPRING, "01:30")),  # 02:30 is not there: 03:30
        ({"wait": "1 day"}, utc("2026-03-28", "12:00"), utc(SPRING, "11:00")),
        ({"wait": "24 hours"}, utc("2026-03-28", "12:00"), utc(SPRING, "12:00")),
        ({"wait": "1 week"}, utc("2026-03-22", "01:30"), utc(SPRING, "01:30")),
        ({"wait": "30 minutes"}, utc(SPRING, "00:45"), utc(SPRING, "01:15")),
        ({"wait": "1 day"}, utc("2026-10-24", "00:30"), utc(AUTUMN, "01:30")),  # of both 02:30 the second
        ({"wait": "1 day"}, utc("2026-10-24", "12:00"), utc(AUTUMN, "13:00")),
        ({"wait": "24 hours"}, utc("2026-10-24", "12:00"), utc(AUTUMN, "12:00")),
        ({"wait": "30 minutes"}, utc(AUTUMN, "00:15"), utc(AUTUMN, "00:45")),
        ({"wait": "1 hour"}, utc(AUTUMN, "00:15"), utc(AUTUMN, "01:15")),
        ({"wait": "1 day"}, utc(AUTUMN, "00:15"), utc("2026-10-26", "01:15")),
        ({"wait_until": f"{SPRING} 02:30"}, utc("2026-03-28", "12:00"), utc(SPRING, "01:30")),
        ({"wait_until": f"{AUTUMN} 02:30"}, utc("2026-10-24", "12:00"), utc(AUTUMN, "00:30")),
        ({"wait_until": f"{AUTUMN} 03:00"}, utc("2026-10-24", "12:00"), utc(AUTUMN, "02:00")),
        ({"window": {"from": "02:30", "until": "09:00"}}, utc(SPRING, "00:30"), utc(SPRING, "01:30")),
        ({"window": {"from": "02:15", "until": "02:45"}}, utc(SPRING, "00:30"), utc(SPRING, "01:15")),
        ({"window": {"from": "02:30", "until": "03:15"}}, utc(SPRING, "00:30"), utc("2026-03-30", "00:30")),
        ({"window": {"from": "22:00", "until": "02:30"}}, utc(SPRING, "01:15"), None),
        ({"window": SATURDAY_NIGHT}, utc(SPRING, "03:59"), None),
        ({"window": SATURDAY_NIGHT}, utc(SPRING, "04:00"), utc("2026-04-04", "20:00")),
        ({"window": {"from": "02:30", "until": "09:00"}}, utc(AUTUMN, "00:15"), utc(AUTUMN, "00:30")),
        ({"window": {"from": "02:30", "until": "09:00"}}, utc(AUTUMN, "01:15"), None),
        ({"window": SATURDAY_NIGHT}, utc(AUTUMN, "04:59"), None),
        ({"window": {"days": ["sun"], "from": "22:00"}}, utc(AUTUMN, "22:59"), None),
        ({"window": {"days": ["sun"], "from": "22:00"}}, utc(AUTUMN, "23:00"), utc("2026-11-01", "21:00")),
        ({"form": "feedback/survey", "at_most": "1 day"}, utc("2026-03-28", "01:30"), utc(SPRING, "01:30")),
        ({"form": "feedback/survey", "at_most": "60 minutes"}, utc(AUTUMN, "00:15"), utc(AUTUMN, "01:15")),
    ],
)  # fmt: skip
def test_waits_in_both_nights_of_the_clocks_end_when_they_should(
    stage: Stage, step: dict[str, Any], entered: datetime, until_then: datetime | None
) -> None:
    assert due(stage, step, entered) == until_then


@pytest.mark.parametrize(
    ("entered", "until_then"),
    [
        (utc(SPRING, "00:30"), utc(SPRING, "01:30")),
        (utc(AUTUMN, "00:15"), utc(AUTUMN, "00:30")),
        (utc(AUTUMN, "01:15"), None),
    ],
)
def test_the_hours_of_a_flow_hold_in_both_nights(stage: Stage, entered: datetime, until_then: datetime | None) -> None:
    hours = {"from": "02:30", "until": "09:00"}
    assert due(stage, {"mail": "open_house/confirmation"}, entered, hours=hours) == until_then
