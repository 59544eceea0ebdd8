"""Dates as triggers: birthdays and ends of memberships, in local time, in every kind of year (F42)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.support.flow_watched import NOON, Watched, after, watched

Watch = Callable[..., Watched]
DONATED = "insert into crm.donation values (%s, %s, %s, %s, %s, %s)"
BIRTHDAY = {"type": "date", "field": "person.birth_date", "time": "09:00"}


@pytest.fixture
def watch(postgres_url: str) -> Iterator[Watch]:
    """Makes a live flow with these triggers; closes its connection at the end."""
    with ExitStack() as stack:
        yield lambda *triggers, **file: stack.enter_context(closing(watched(postgres_url, *triggers, **file)))


def entered_on(flow: Watched, days: int, start: datetime, hours: int = 24) -> list[tuple[str, int]]:
    """Look that often; the ISO dates of the entry keys, with the people."""
    for number in range(days):
        flow.look(start + timedelta(hours=hours * number))
    return [(key.removeprefix("date:person.birth_date:"), person) for person, key in flow.entered()]


def test_a_birthday_comes_each_year_and_29_february_is_the_28th_in_other_years(watch: Watch) -> None:
    flow = watch(BIRTHDAY, reentry="after_leaving")
    flow.people(1, birth_date="1980-02-29")
    flow.people(2, birth_date="1980-02-28")
    flow.people(3, birth_date="1980-03-01")
    found = []
    for year in (2027, 2028):
        found += [each for each in entered_on(flow, 3, datetime(year, 2, 27, 12, tzinfo=UTC)) if each not in found]
        found += [
            each
            for each in entered_on(flow, 3, datetime(year, 2, 29 - (year % 4 > 0), 12, tzinfo=UTC))
            if each not in found
        ]
        for person in (1, 2, 3):
            flow.leave(person, datetime(year, 3, 20, tzinfo=UTC))
    assert found == [
        *(("2027-02-28", 1), ("2027-02-28", 2), ("2027-03-01", 3)),
        *(("2028-02-28", 2), ("2028-02-29", 1), ("2028-03-01", 3)),
    ]


def test_days_before_and_after_a_date_are_counted_over_the_end_of_the_year(watch: Watch) -> None:
    flow = watch({**BIRTHDAY, "days": -10}, {**BIRTHDAY, "days": 30})
    flow.people(1, birth_date="1990-01-05")
    flow.people(2, birth_date="1990-11-26")
    assert entered_on(flow, 45, NOON) == [("2026-12-26", 1), ("2026-12-26", 2)]


def test_a_date_that_does_not_come_back_comes_once_and_a_future_one_not_before_its_year(watch: Watch) -> None:
    once = {"type": "date", "field": "membership.ends_on", "days": -30, "yearly": False}
    flow = watch(once, {**once, "yearly": True, "days": -29})
    flow.people(1, 2)
    flow.sql(
        "insert into crm.membership values (1, 1, 'x', '2020-01-01', '2026-12-26'),"
        " (2, 2, 'x', '2020-01-01', '2027-12-26')"
    )
    for number in range(9):
        flow.look(NOON + timedelta(days=number))
    assert flow.entered() == [(1, "date:membership.ends_on:2026-11-26")]


def test_the_time_is_local_in_summer_and_in_winter_and_in_the_night_between(watch: Watch) -> None:
    flow = watch({**BIRTHDAY, "time": "02:30"}, reentry="after_leaving")
    for person, day in enumerate(("03-27", "03-28", "03-29", "10-30", "10-31", "11-01"), 1):
        flow.people(person, birth_date=f"1990-{day}")
    flow.look(datetime(2027, 3, 26, 12, tzinfo=UTC))
    for hours in range(24 * 225 * 2):
        now = datetime(2027, 3, 26, 12, tzinfo=UTC) + timedelta(hours=hours / 2)
        if (now.month, now.day) in ((3, 27), (3, 28), (3, 29), (10, 30), (10, 31), (11, 1)):
            flow.look(now)
    found = flow.sql("select person_id, entered_at from smp.participant order by 1")
    assert [moment.strftime("%m-%d %H:%M") for _, moment in found] == [
        # the night of 28 March has no 02:30: it is 03:30 then; that of 31 October has two: the first counts
        *("03-27 01:30", "03-28 01:30", "03-29 00:30"),
        *("10-30 00:30", "10-31 00:30", "11-01 01:30"),
    ]


def test_no_date_is_lost_while_a_flow_is_paused(watch: Watch) -> None:
    flow = watch(BIRTHDAY, {"type": "donation"})
    flow.people(1, birth_date="1990-11-25")
    flow.people(2)
    flow.look(after(0))
    flow.turn("paused")
    flow.sql(DONATED, 1, 2, "roof", None, 5, after(60))
    assert flow.look(NOON + timedelta(days=5)) == {}
    flow.turn("live")
    flow.look(NOON + timedelta(days=9))
    assert flow.entered() == [(1, "date:person.birth_date:2026-11-25"), (2, "record:donation:1")]


def test_a_birthday_that_is_written_down_in_time_and_commits_late_is_not_missed(
    watch: Watch, postgres_url: str
) -> None:
    flow = watch({**BIRTHDAY, "time": "13:00"})
    flow.people(1, 2)
    flow.look(after(1))
    with psycopg.connect(postgres_url) as slow:
        slow.execute("update crm.person set birth_date = '1990-11-23' where person_id = 1")
        flow.look(after(61))
        assert not flow.is_new(after(62))
    assert flow.is_new(after(62))
    flow.look(after(62))
    assert flow.who() == [1]
    flow.sql("update crm.person set birth_date = '1990-11-23' where person_id = 2")
    flow.look(after(63))
    assert not flow.is_new(after(64))
    assert flow.who() == [1], "who is written down after the time has to wait a year"
