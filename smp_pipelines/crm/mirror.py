"""The mirror: every table of schema crm, copied from Postgres to the lake; after the first time only what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb

from smp_pipelines.crm.catalog import Table
from smp_pipelines.stores.lake import identifier, literal, rows, scalar, transaction
from smp_pipelines.stores.snapshot import Snapshot, current

_STATE = "crm.mirror_state"


@dataclass(frozen=True)
class Mirrored:
    """What mirroring one table did: rows written and deleted, whether all was copied; the rows it has, if counted."""

    table: str
    changed: int
    deleted: int
    full: bool
    row_count: int | None = None


@dataclass(frozen=True)
class _News:
    """Whether a table has rows that were written or deleted since the last time, and whether it was emptied."""

    changed: bool
    deleted: bool
    emptied: bool


def mirror(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], *, counted: bool = True) -> list[Mirrored]:
    """Bring the lake's copy of the tables up to date (one transaction a table).

    The watermark is the oldest transaction that was still running at the last time: rows written
    by it or a later one are read again, which changes nothing when they were there already.
    """
    if not tables:
        return []
    state = {name: (mark, columns) for name, mark, columns in rows(connection, f"from {_STATE}")}
    watermark = current(connection).xmin
    marks = {
        table.name: Snapshot.parse(state[table.name][0]).xmin
        for table in tables
        if table.name in state and state[table.name][1] == _signature(table)
    }
    # A mark from the future was made on another server, of which this one is a restored copy: it says nothing here.
    marks = {name: mark for name, mark in marks.items() if mark <= watermark}
    # One look at Postgres says which tables have anything new; most of the time none has.
    news = _news(connection, marks)
    done = [
        _mirror_table(connection, table, marks.get(table.name), news.get(table.name), watermark) for table in tables
    ]
    if not counted:
        return done
    counts = _counts(connection, tables)
    return [replace(one, row_count=count) for one, count in zip(done, counts, strict=True)]


def _mirror_table(
    connection: duckdb.DuckDBPyConnection, table: Table, mark: int | None, news: _News | None, watermark: int
) -> Mirrored:
    if mark is None or news is None or news.emptied:
        done = _copy(connection, table, watermark)
    elif news.changed or news.deleted:
        done = _follow(connection, table, mark, watermark)
    else:
        return Mirrored(table.name, 0, 0, full=False)
    if news is None or news.deleted:
        _forget_deletions(connection, table, watermark)
    return done


def _news(connection: duckdb.DuckDBPyConnection, marks: Mapping[str, int]) -> dict[str, _News]:
    if not marks:
        return {}
    questions = " union all ".join(
        f"select {literal(name)} as name,"
        f" exists (select from {_source(name)} where changed_tx >= {_xid(mark)}) as changed,"
        f" count(d.table_name) > 0 as deleted,"
        f" count(d.table_name) > count(d.key) as emptied"
        f" from (select 1) as one left join smp.crm_deletion d"
        f" on d.table_name = {literal(name)} and d.changed_tx >= {_xid(mark)}"
        for name, mark in marks.items()
    )
    found = rows(connection, f"from postgres_query('pg', {literal(questions)})")
    return {name: _News(changed, deleted, emptied) for name, changed, deleted, emptied in found}


def _copy(connection: duckdb.DuckDBPyConnection, table: Table, watermark: int) -> Mirrored:
    columns = _names(table.columns)
    query = f"select {columns} from {_source(table.name)}"
    with transaction(connection):
        connection.execute(
            f"create or replace table {_target(table)} as select {columns} from postgres_query('pg', {literal(query)})"
        )
        _remember(connection, table, watermark)
    (written,) = _counts(connection, [table])
    return Mirrored(table.name, written, 0, full=True)


def _follow(connection: duckdb.DuckDBPyConnection, table: Table, mark: int, watermark: int) -> Mirrored:
    columns, key = _names(table.columns), _names(table.key)
    changed = f"select {columns} from {_source(table.name)} where changed_tx >= {_xid(mark)}"
    # The keys of deleted rows, with the table's own types. Deleted first, changed second: a row that is deleted and
    # written again in between is among the changed ones.
    gone_key = ", ".join(f"gone.{identifier(name)}" for name in table.key)
    gone = (
        f"select distinct {gone_key} from smp.crm_deletion as d,"
        f" jsonb_populate_record(null::{_source(table.name)}, d.key) as gone"
        f" where d.table_name = {literal(table.name)} and d.changed_tx >= {_xid(mark)} and d.key is not null"
    )
    connection.execute(f"create or replace temp table gone as from postgres_query('pg', {literal(gone)})")
    connection.execute(f"create or replace temp table changed as from postgres_query('pg', {literal(changed)})")
    with transaction(connection):
        old = f"select ({key}) from changed union all select ({key}) from gone"
        connection.execute(f"delete from {_target(table)} where ({key}) in ({old})")
        connection.execute(f"insert into {_target(table)} ({columns}) select {columns} from changed")
        _remember(connection, table, watermark)
    written = int(scalar(connection, "select count(*) from changed"))
    deleted = int(scalar(connection, f"select count(*) from gone where ({key}) not in (select ({key}) from changed)"))
    connection.execute("drop table changed; drop table gone")
    return Mirrored(table.name, written, deleted, full=False)


def _forget_deletions(connection: duckdb.DuckDBPyConnection, table: Table, watermark: int) -> None:
    """Remove the notes of deletions that the lake has followed: they would only grow, and hold keys of gone people."""
    statement = (
        f"delete from smp.crm_deletion where table_name = {literal(table.name)} and changed_tx < {_xid(watermark)}"
    )
    connection.execute(f"call postgres_execute('pg', {literal(statement)})")


def _remember(connection: duckdb.DuckDBPyConnection, table: Table, watermark: int) -> None:
    connection.execute(f"delete from {_STATE} where table_name = ?", [table.name])
    connection.execute(f"insert into {_STATE} values (?, ?, ?)", [table.name, str(watermark), _signature(table)])


def _signature(table: Table) -> str:
    return ", ".join(f"{column.name} {column.type}" for column in table.columns.values())


def _counts(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table]) -> tuple[int, ...]:
    # one statement: each looks up the lake's latest snapshot first
    (counts,) = rows(connection, "select " + ", ".join(f"(select count(*) from {_target(table)})" for table in tables))
    return counts


def _names(columns: Sequence[str] | Mapping[str, object]) -> str:
    return ", ".join(identifier(name) for name in columns)


def _target(table: Table) -> str:
    return f"crm.{identifier(table.short_name)}"


def _source(name: str) -> str:
    return f"crm.{identifier(name.partition('.')[2])}"


def _xid(transaction: int) -> str:
    return f"'{int(transaction)}'::xid8"
