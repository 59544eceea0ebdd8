"""The past: who met a condition at a moment of it, from a copy of the CRM in which nothing later happened yet.

The copy is a DuckDB file of its own with the tables that a flow's conditions read. In front of each table stands a view
that leaves out what came later than the moment that is set: whatever the condition, its SQL is the one of real life.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd
from sqlglot import exp

from smp_pipelines.crm.catalog import Column, Table
from smp_pipelines.problems import SmpError
from smp_pipelines.selection.clock import replace_clock
from smp_pipelines.selection.condition import Condition
from smp_pipelines.selection.gate import duckdb_sql
from smp_pipelines.stores.lake import MEMORY, identifier, literal, words_of
from smp_pipelines.stores.numbers import Query, copy_in, copy_out
from smp_pipelines.stores.postgres import Connection

_AS_TODAY = frozenset(("crm.consent",))
"""Tables whose rows are changed in their place: what they held before, nobody knows."""
_SMALL = 64 * 2**20
_MOMENT = "getvariable('smp_moment')"


def copy_tables(lake: duckdb.DuckDBPyConnection, tables: Collection[str], file: Path) -> None:
    """Copy these tables of the lake to a new DuckDB file; the caller keeps the lake up to date."""
    lake.execute(f"attach {literal(str(file))} as past")
    try:
        for schema in sorted({name.partition(".")[0] for name in tables}):
            lake.execute(f"create schema past.{identifier(schema)}")
        for name in sorted(tables):
            lake.execute(f"create table past.{_quoted(name)} as from {_quoted(name)}")
    finally:
        lake.execute("detach past")


@contextmanager
def past_judge(file: Path, tables: Mapping[str, Table], zone: ZoneInfo) -> Iterator[PastJudge]:
    """A judge over such a file, which is only read. tables: what is known of them, by name."""
    limits: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "temp_directory": str(file.parent / "spill"),
    }
    with duckdb.connect(":memory:", config=limits) as database:
        if file.stat().st_size < _SMALL:
            database.execute("set threads = 1")  # to divide so little work costs more than the work
        database.execute(f"attach {literal(str(file))} as past (read_only)")
        for schema in sorted({name.partition(".")[0] for name in tables}):
            database.execute(f"create schema {identifier(schema)}")
        database.execute(f"set variable smp_moment = null::timestamptz; set timezone = {literal(zone.key)}")
        for name, table in tables.items():
            database.execute(f"create view {_quoted(name)} as {_so_far(table)}")
        database.execute("set enable_external_access = false; set lock_configuration = true")
        yield PastJudge(database)


class PastJudge:
    """Judges conditions at moments of the past (smp_pipelines.flow.judging.Judge)."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self._written: dict[str, str] = {}

    def fill(self, connection: Connection, condition: Condition, now: datetime, people: Query) -> None:
        """As Judge has it. Raises SmpError when the condition cannot be evaluated."""
        connection.execute("delete from flow_yes")
        asked = copy_out(connection, people)
        if not len(asked):
            return
        self._database.execute(f"set variable smp_moment = timestamptz {literal(now.isoformat(sep=' '))}")
        self._database.register("asked", pd.DataFrame({"person_id": asked}))
        try:
            found = self._database.execute(self._query(condition)).fetchnumpy()["person_id"]
        except duckdb.Error as error:
            raise SmpError(f"a condition of a flow cannot be evaluated: {words_of(error)}") from None
        copy_in(connection, "flow_yes (person_id)", np.asarray(found, dtype=np.int64))

    def _query(self, condition: Condition) -> str:
        """The condition's SQL with the set moment for its clock; made once."""
        if condition.sql not in self._written:
            met = duckdb_sql(replace_clock(condition.query, _set_moment), pretty=False)
            query = f"select distinct person_id::bigint as person_id from ({met}) semi join asked using (person_id)"  # noqa: S608
            self._written[condition.sql] = query
        return self._written[condition.sql]


def _set_moment(kind: str) -> exp.Expr:
    moment = exp.Anonymous(this="getvariable", expressions=[exp.Literal.string("smp_moment")])
    return exp.cast(moment, kind, dialect="duckdb")


def _so_far(table: Table) -> str:
    """What a table held at the set moment: rows from before it, without what became of them later."""
    source = f"past.{_quoted(table.name)}"
    begin = _begin(table)
    if begin is None:
        return f"from {source}"
    day = begin.type == "date"
    later = [
        f"case when {identifier(name)} <= {_MOMENT} then {identifier(name)} end as {identifier(name)}"
        for name, column in table.columns.items()
        if name != begin.name and column.nullable and _is_instant(column)
    ]
    instead = f" replace ({', '.join(later)})" if later else ""
    return f"select *{instead} from {source} where {identifier(begin.name)} <= {_MOMENT}{'::date' if day else ''}"  # noqa: S608


def _begin(table: Table) -> Column | None:
    """The column with the moment of a row of a table about people: the only instant, or the only one that is always
    filled; of a table without instants the only day that is. None: all its rows were there always, as far as we know.
    """
    if "person_id" not in table.columns or table.name in _AS_TODAY:
        return None
    instants = [column for column in table.columns.values() if _is_instant(column)]
    days = [column for column in table.columns.values() if column.type == "date" and not column.nullable]
    if len(instants) > 1:
        instants = [column for column in instants if not column.nullable]
    found = instants or days
    return found[0] if len(found) == 1 else None


def _is_instant(column: Column) -> bool:
    return column.type.startswith("timestamp")


def _quoted(name: str) -> str:
    return ".".join(identifier(part) for part in name.split("."))
