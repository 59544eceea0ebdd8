"""The mirror: every table of schema crm, copied from Postgres to the lake; after the first time only what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from smp_pipelines.crm.catalog import Table
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.lake import identifier, literal, rows, scalar

_STATE = "crm.mirror_state"


@dataclass(frozen=True)
class Mirrored:
    """What mirroring one table did: rows now in the lake, rows written, rows deleted, and whether all was copied."""

    table: str
    row_count: int
    changed: int
    deleted: int
    full: bool


def mirror(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table]) -> list[Mirrored]:
    """Bring the lake's copy of the tables up to date (one transaction a table).

    The watermark is the oldest transaction that was still running at the last time: rows written
    by it or a later one are read again, which changes nothing when they were there already.
    """
    if not tables:
        return []
    connection.execute(f"create table if not exists {_STATE} (table_name varchar, watermark varchar, columns varchar)")
    state = {name: (mark, columns) for name, mark, columns in rows(connection, f"from {_STATE}")}
    # One look at Postgres says which tables have anything new; most of the time none has.
    watermark = str(scalar(connection, "from postgres_query('pg', 'select pg_snapshot_xmin(pg_current_snapshot())::text')"))
    news = _news(connection, [table for table in tables if table.name in state], state)
    done = []
    for table in tables:
        mark, columns = state.get(table.name, (None, None))
        if mark is None or columns != _signature(table):
            done.append(_copy(connection, table, watermark))
            continue
        changed, deleted, emptied = news[table.name]
        if emptied:
            done.append(_copy(connection, table, watermark))
        elif changed or deleted:
            done.append(_follow(connection, table, mark, watermark))
        else:
            done.append(Mirrored(table.name, _count(connection, table), 0, 0, full=False))
    return done


def _news(
    connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], state: dict[str, tuple[str, str]]
) -> dict[str, tuple[bool, bool, bool]]:
    if not tables:
        return {}
    questions = " union all ".join(
        f"select {literal(table.name)} as name,"
        f" exists (select from {_source(table)} where changed_tx >= {mark}) as changed,"
        f" coalesce(bool_or(d.table_name is not null), false) as deleted,"
        f" coalesce(bool_or(d.table_name is not null and d.key is null), false) as emptied"
        f" from (select 1) as one left join smp.crm_deletion d"
        f" on d.table_name = {literal(table.name)} and d.changed_tx >= {mark}"
        for table in tables
        for mark in [_mark(state[table.name][0])]
    )
    found = rows(connection, f"from postgres_query('pg', {literal(questions)})")
    return {name: (changed, deleted, emptied) for name, changed, deleted, emptied in found}


def _copy(connection: duckdb.DuckDBPyConnection, table: Table, watermark: str) -> Mirrored:
    columns = ", ".join(identifier(name) for name in table.columns)
    with _transaction(connection):
        query = f"select {columns} from {_source(table)}"
        connection.execute(
            f"create or replace table {_target(table)} as select {columns} from postgres_query('pg', {literal(query)})"
        )
        _remember(connection, table, watermark)
    count = _count(connection, table)
    return Mirrored(table.name, count, count, 0, full=True)


def _follow(connection: duckdb.DuckDBPyConnection, table: Table, mark: str, watermark: str) -> Mirrored:
    columns = ", ".join(identifier(name) for name in table.columns)
    key = ", ".join(identifier(name) for name in table.key)
    changed = f"select {columns} from {_source(table)} where changed_tx >= {_mark(mark)}"
    gone_key = ", ".join(
        f"(key ->> {literal(name)})::{table.columns[name].type} as {identifier(name)}" for name in table.key
    )
    gone = (
        f"select distinct {gone_key} from smp.crm_deletion"
        f" where table_name = {literal(table.name)} and changed_tx >= {_mark(mark)} and key is not null"
    )
    # A row that was deleted and written again is among the changed ones.
    connection.execute(f"create or replace temp table changed as from postgres_query('pg', {literal(changed)})")
    connection.execute(f"create or replace temp table gone as from postgres_query('pg', {literal(gone)})")
    with _transaction(connection):
        connection.execute(
            f"delete from {_target(table)} where ({key}) in (select ({key}) from changed union all select ({key}) from gone)"
        )
        connection.execute(f"insert into {_target(table)} ({columns}) select {columns} from changed")
        _remember(connection, table, watermark)
    written, deleted = scalar(connection, "select count(*) from changed"), scalar(connection, "select count(*) from gone")
    connection.execute("drop table changed; drop table gone")
    return Mirrored(table.name, _count(connection, table), written, deleted, full=False)


def _remember(connection: duckdb.DuckDBPyConnection, table: Table, watermark: str) -> None:
    connection.execute(f"delete from {_STATE} where table_name = ?", [table.name])
    connection.execute(f"insert into {_STATE} values (?, ?, ?)", [table.name, watermark, _signature(table)])


class _transaction:  # noqa: N801  (reads as a statement)
    """A DuckDB transaction as a block: committed at its end, rolled back on an error."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("begin")

    def __exit__(self, kind: object, *_rest: object) -> None:
        self._connection.execute("commit" if kind is None else "rollback")


def _signature(table: Table) -> str:
    return ", ".join(f"{column.name} {column.type}" for column in table.columns.values())


def _count(connection: duckdb.DuckDBPyConnection, table: Table) -> int:
    return int(scalar(connection, f"select count(*) from {_target(table)}"))


def _target(table: Table) -> str:
    return f"crm.{identifier(table.short_name)}"


def _source(table: Table) -> str:
    return f"crm.{identifier(table.short_name)}"


def _mark(watermark: str) -> str:
    if not watermark.isdigit():
        raise SmpError(f"the mirror's watermark is damaged: {watermark}")
    return f"'{watermark}'::xid8"
