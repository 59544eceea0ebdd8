"""The clock of selections: every way to ask for the present moment gives the run's moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import duckdb
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.gate import duckdb_sql

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
MOMENT = datetime(2001, 7, 1, 22, 30, 15, 123456, tzinfo=UTC)  # the second of July in Amsterdam


def answer(expression: str, now: datetime = MOMENT, zone: ZoneInfo = AMSTERDAM) -> object:
    query = sqlglot.parse_one(f"select {expression}", dialect="duckdb")
    assert isinstance(query, sqlglot.exp.Query)
    with duckdb.connect() as connection:
        connection.execute(f"set TimeZone = '{zone.key}'")
        row = connection.execute(duckdb_sql(rewrite_clock(query, now, zone))).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    "spelling",
    [
        "now()",
        "NOW()",
        "current_timestamp",
        "Current_Timestamp",
        "get_current_timestamp()",
        "transaction_timestamp()",
        '"now"()',
    ],
)
def test_the_moment_is_the_runs_moment(spelling: str) -> None:
    assert answer(spelling) == MOMENT


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("current_date", "2001-07-02"),
        ("current_date()", "2001-07-02"),
        ("today()", "2001-07-02"),
        ("localtimestamp", "2001-07-02 00:30:15.123456"),
        ("current_localtimestamp()", "2001-07-02 00:30:15.123456"),
        ("localtime", "00:30:15.123456"),
        ("current_localtime()", "00:30:15.123456"),
        ("current_time", "00:30:15.123456+02"),
        ("get_current_time()", "00:30:15.123456+02"),
        ("age(date '2001-06-01')", "1 month 1 day"),
        ("date_trunc('month', now())::date", "2001-07-01"),
        ("now()::date - 1", "2001-07-01"),
    ],
)
def test_date_and_time_are_those_of_the_projects_zone(spelling: str, expected: str) -> None:
    assert answer(f"({spelling})::text") == expected


@pytest.mark.parametrize(
    "spelling",
    ["now()", "current_date", "today()", "localtimestamp", "current_localtimestamp()", "age(date '1980-01-01')",
     "age(timestamptz '1980-01-01 00:00:00+00:00')", "age(timestamp '1980-01-01 00:00:00')"],
)  # fmt: skip
def test_a_rewritten_clock_has_the_type_and_near_value_of_the_real_one(spelling: str) -> None:
    real_now = datetime.now(UTC)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'Europe/Amsterdam'")
        row = connection.execute(f"select typeof({spelling}), date_trunc('hour', {spelling})::text").fetchone()
    assert row is not None
    assert answer(f"typeof({spelling})", real_now) == row[0]
    local = real_now.astimezone(AMSTERDAM)
    # DuckDB's own age() counts from midnight in UTC, the rewritten one from local midnight: the same day, mostly
    same_day = local.date() == real_now.date() or not spelling.startswith("age")
    if local.minute < 59 and same_day:
        assert answer(f"date_trunc('hour', {spelling})::text", real_now) == row[1]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**15), st.integers(-12 * 60, 14 * 60))
def test_any_moment_in_any_offset_comes_out_as_the_same_instant(microseconds: int, minutes: int) -> None:
    moment = datetime(1995, 1, 1, tzinfo=timezone(timedelta(minutes=minutes))) + timedelta(microseconds=microseconds)
    assert answer("now()", moment) == moment


def test_both_hours_of_the_autumn_night_are_told_apart() -> None:
    first, second = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert answer("localtime::text", first) == answer("localtime::text", second) == "02:30:00"
    assert answer("now()", first) == first
    assert answer("now()", second) == second


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        answer("now()", MOMENT.replace(tzinfo=None))


def test_the_query_that_is_rewritten_stays_as_it_was() -> None:
    query = sqlglot.parse_one("select now()", dialect="duckdb")
    assert isinstance(query, sqlglot.exp.Query)
    rewrite_clock(query, MOMENT, AMSTERDAM)
    assert query.sql(dialect="duckdb") == "SELECT NOW()"
