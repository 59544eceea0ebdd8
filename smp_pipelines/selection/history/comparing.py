"""Comparing two audiences of a selection: how many came, went and stayed (X1).

Both sides are relations in the lake, compared by their keys (person, linked record) in one statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from smp_pipelines.problems import SmpError
from smp_pipelines.selection.history.past import columns_of, keys_query
from smp_pipelines.selection.runs import SelectionRun
from smp_pipelines.stores.lake import identifier, rows
from smp_pipelines.stores.postgres import engine_sql


@dataclass(frozen=True)
class Changes:
    """How many rows, each key once, an audience had and has, and how many of them entered, left and stayed.

    was = departed + stayed, and now = entered + stayed.
    """

    was: int
    now: int
    entered: int
    departed: int
    stayed: int


def sides(before: str, now: str, keys: Sequence[str]) -> str:
    """The query that has every row of two queries once, with the `side` it is on: 1 before, 2 now, 3 both."""
    names = ", ".join(identifier(key) for key in keys)
    return engine_sql("selection/sides.sql").format(keys=names, before=before, now=now)


def changes_between(connection: duckdb.DuckDBPyConnection, before: str, now: str, keys: Sequence[str]) -> Changes:
    """How two queries differ in their rows, told apart by the keys."""
    return count_sides(connection, sides(before, now, keys))


def count_sides(connection: duckdb.DuckDBPyConnection, relation: str) -> Changes:
    """The counts of a relation that `sides` made."""
    return Changes(*rows(connection, engine_sql("selection/changes.sql").format(sides=relation))[0])


def changes_since(
    connection: duckdb.DuckDBPyConnection, run: SelectionRun | None, now: str, keys: Sequence[str]
) -> Changes | None:
    """How a query differs from an earlier run of the selection.

    None when there is nothing to compare with: no run, one that the lake does not keep, or one without a key.
    """
    if run is None:
        return None
    try:
        there = columns_of(connection, run)
    except SmpError:
        return None
    return changes_between(connection, keys_query(run, keys), now, keys) if set(keys) <= set(there) else None
