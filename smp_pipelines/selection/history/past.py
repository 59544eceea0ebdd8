"""The past of a selection: who was in it at a run, as the lake keeps it, in bare keys (X7).

A run's people stay in the lake's catalogue `smp` at the run's snapshot. Only their keys are read back, so that
somebody who was erased from the CRM is a number here and nothing else (invariant 9).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from zoneinfo import ZoneInfo

import duckdb

from smp_pipelines.problems import SmpError
from smp_pipelines.selection.materialisation import Table, count, head
from smp_pipelines.selection.runs import SelectionRun, last_run, read_run, run_at
from smp_pipelines.stores.lake import identifier
from smp_pipelines.stores.postgres import Connection

_GONE = ("No snapshot found", "does not exist at version")
_NEVER = "it runs with every send of its step, and when it is materialised in Dagster"


def standing(connection: Connection, name: str, moment: datetime, zone: ZoneInfo) -> SelectionRun:
    """The run of a selection or target group that stood at a moment. Raises SmpError when it had not run yet."""
    found = run_at(connection, name, moment)
    if found is None:
        when = f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"
        raise SmpError(f"{name} had not run at {when}\n    → {_first(connection, name, zone)}")
    return found


def latest(connection: Connection, name: str) -> SelectionRun:
    """The last run of a selection or target group. Raises SmpError when it never ran."""
    found = last_run(connection, name)
    if found is None:
        raise SmpError(f"{name} never ran, so there is nothing to compare with\n    → {_NEVER}")
    return found


def numbered(connection: Connection, name: str, number: int) -> SelectionRun:
    """The run of a selection with this number. Raises SmpError when it is another selection's, or nobody's."""
    found = read_run(connection, number)
    if found.selection != name:
        raise SmpError(f"run {number} is one of {found.selection}; see `smp selection history {name}`")
    return found


def _first(connection: Connection, name: str, zone: ZoneInfo) -> str:
    query = "select min(moment) from smp.selection_run where selection = %s"
    ((moment,),) = connection.execute(query, (name,)).fetchall()
    return _NEVER if moment is None else f"its first run was for {moment.astimezone(zone):%Y-%m-%d %H:%M}"


def rows_of(run: SelectionRun) -> str:
    """The lake's table of a selection or target group as a run left it, for a FROM clause."""
    return f"{run.table} at (version => {int(run.snapshot_id)})"


@contextmanager
def told(run: SelectionRun) -> Iterator[None]:
    """Say in words that the lake does not keep a run's people, in the place of DuckDB's error. Raises SmpError."""
    try:
        yield
    except (duckdb.InvalidInputException, duckdb.CatalogException) as error:
        if not any(words in str(error) for words in _GONE):
            raise
        words = f"the lake does not keep the people of run {run.selection_run_id} of {run.selection} any more"
        remedy = f"`smp selection history {run.selection}` shows the runs; a later one may be kept"
        raise SmpError(f"{words}: its old snapshots were removed\n    → {remedy}") from None


def columns_of(connection: duckdb.DuckDBPyConnection, run: SelectionRun) -> tuple[str, ...]:
    """The columns that the selection had at a run. Raises SmpError when the lake does not keep its people."""
    with told(run):
        described = connection.execute(f"select * from {rows_of(run)} limit 0").description
    return tuple(column[0] for column in described or ())


def keys_at(connection: duckdb.DuckDBPyConnection, run: SelectionRun, keys: Sequence[str]) -> tuple[str, ...]:
    """Those of the keys that the selection had at a run. Raises SmpError when it had none of them, or is not kept."""
    there = columns_of(connection, run)
    found = tuple(key for key in keys if key in there)
    if not found:
        words = f"run {run.selection_run_id} of {run.selection} has none of the keys {', '.join(keys)}"
        raise SmpError(f"{words}: its columns were {', '.join(there)}")
    return found


def keys_query(run: SelectionRun, keys: Sequence[str]) -> str:
    """The query for the bare keys of a run's rows, each once."""
    return f"select distinct {', '.join(identifier(key) for key in keys)} from {rows_of(run)}"


def head_at(connection: duckdb.DuckDBPyConnection, run: SelectionRun, keys: Sequence[str], limit: int) -> Table:
    """The first people (or records) of a run in the order of their keys: the names of the keys, and the rows."""
    found = keys_at(connection, run, keys)
    return head(connection, keys_query(run, found), limit)


def count_at(connection: duckdb.DuckDBPyConnection, run: SelectionRun, keys: Sequence[str]) -> int:
    """How many people (with their linked record), or records, a run had, counted in the lake anew."""
    found = keys_at(connection, run, keys)
    return count(connection, keys_query(run, found))


def changed_sql(runs: Sequence[SelectionRun]) -> list[bool | None]:
    """Whether the SQL of each run differs from that of the run before, newest first; None when nobody can tell.

    The last of the runs has none before it here.
    """
    texts = [run.sql for run in runs]
    pairs = zip(texts, [*texts[1:], None], strict=True)
    return [None if now is None or before is None else now != before for now, before in pairs]
