"""Tests of comparing audiences: by keys, as sets, whatever is there twice or null; and of the SQL of two runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from smp_pipelines.selection.gate import duckdb_sql
from smp_pipelines.selection.history.comparing import Changes, changes_between, sides
from smp_pipelines.selection.history.difference import Evaluation, Scope, edits_of
from smp_pipelines.selection.history.past import changed_sql
from smp_pipelines.selection.runs import SelectionRun

MONDAY = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
AMSTERDAM = ZoneInfo("Europe/Amsterdam")
KEYS = ("person_id", "performance_id")
VISITORS = (
    "select person_id from crm.ticket where starts_at::date = current_date + 2 and bought_at < now() - interval '1 day'"
)

Row = tuple[int, int | None]
audiences = st.lists(st.tuples(st.integers(1, 12), st.none() | st.integers(1, 3)), max_size=40)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


def table(connection: duckdb.DuckDBPyConnection, name: str, rows: list[Row]) -> str:
    """Make a table of an audience with one more column that is no key; the query for it."""
    connection.execute(f"create or replace table {name} (person_id int, performance_id int, place int)")
    if rows:
        values = ", ".join(f"({p}, {'null' if r is None else r}, {i})" for i, (p, r) in enumerate(rows))
        connection.execute(f"insert into {name} values {values}")
    return f"from {name}"


@settings(max_examples=40, deadline=None)
@given(before=audiences, now=audiences)
def test_the_changes_are_the_differences_of_two_sets(
    connection: duckdb.DuckDBPyConnection, before: list[Row], now: list[Row]
) -> None:
    queries = table(connection, "before", before), table(connection, "now_", now)
    was, is_ = set(before), set(now)
    found = changes_between(connection, *queries, KEYS)
    assert found == Changes(len(was), len(is_), len(is_ - was), len(was - is_), len(was & is_))
    told = connection.execute(sides(*queries, KEYS)).fetchall()
    assert len(told) == len(was | is_)
    for side, rows in ((1, was - is_), (2, is_ - was), (3, was & is_)):
        assert {(person, record) for person, record, where in told if where == side} == rows


def test_people_are_compared_by_the_keys_that_are_asked_for_only(connection: duckdb.DuckDBPyConnection) -> None:
    before, now = table(connection, "before", [(1, 1), (2, 1)]), table(connection, "now_", [(1, 2), (1, 3), (4, 1)])
    assert changes_between(connection, before, now, KEYS[:1]) == Changes(2, 2, 1, 1, 1)
    assert changes_between(connection, before, now, KEYS) == Changes(2, 3, 3, 2, 0)


def ran(number: int, query: str | None, moment: datetime = MONDAY) -> SelectionRun:
    """A run of a query at a moment, with the SQL that it would have noted."""
    sql = None if query is None else noted(query)
    return SelectionRun(
        selection_run_id=number, selection="visitors", moment=moment, snapshot_id=1, row_count=1, seen="1:1:", sql=sql
    )


def noted(query: str) -> str:
    parsed = sqlglot.parse_one(query, dialect="duckdb")
    assert isinstance(parsed, exp.Query)
    return duckdb_sql(parsed)


def test_a_run_tells_whether_the_sql_was_edited_since_the_run_before() -> None:
    runs = [
        ran(4, VISITORS.replace("+ 2", "+ 3"), MONDAY + timedelta(hours=7)),
        ran(3, VISITORS, MONDAY + timedelta(days=200, microseconds=5)),  # in summer time
        ran(2, VISITORS),
        ran(1, None),
    ]
    assert changed_sql(runs) == [True, False, None, None]


def edits(then: str | None, now: str) -> tuple[bool | None, tuple[str, ...], tuple[str, ...]]:
    old = None if then is None else Evaluation("visitors", noted(then), MONDAY)
    fresh = Evaluation("visitors", noted(now), MONDAY + timedelta(days=1))
    scope = Scope(ran(1, then), old, fresh, "", ("person_id",), AMSTERDAM)
    found = edits_of(scope)
    return found.changed, found.added, found.removed


def test_an_edit_is_told_by_the_predicates_that_came_and_went() -> None:
    assert edits(VISITORS, VISITORS) == (False, (), ())
    changed, added, removed = edits(VISITORS, VISITORS.replace("+ 2", "+ 3") + " and not blocked")
    assert changed
    assert [each.lower() for each in added] == ["starts_at::date = current_date + 3", "not blocked"]
    assert [each.lower() for each in removed] == ["starts_at::date = current_date + 2"]
    assert edits(VISITORS, VISITORS.replace("select", "select distinct")) == (True, (), ())
    assert edits(None, VISITORS) == (None, (), ())


def test_predicates_inside_a_cte_a_union_and_a_having_are_told_as_well() -> None:
    inside = (
        "with buyers as (select person_id from crm.ticket where price > 10 group by person_id having count(*) > 1)"
        " select person_id from buyers union select person_id from crm.person where internal_test"
    )
    _changed, added, removed = edits(inside, inside.replace("> 10", "> 20").replace("> 1)", "> 3)"))
    assert [each.lower() for each in added] == ["price > 20", "count(*) > 3"]
    assert [each.lower() for each in removed] == ["price > 10", "count(*) > 1"]
