"""Materialisation: a selection written to the lake, counted and looked at, by one and the same SQL (F18)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from smp_pipelines.stores.lake import Pin, committed, current_pin, identifier, rows, scalar, transaction

_CHOSEN = "temp.chosen"
_MOST_TIMES = 8
"""How many times its rows a table may be taken to have: the lake counts those that came, not those that went, and joins
are planned by that."""

Table = tuple[tuple[str, ...], list[tuple[object, ...]]]
"""Column names and rows."""


@dataclass(frozen=True)
class Written:
    """A selection as it now stands in the lake: the snapshot that holds it, what its query read, and its figures.

    `with_address` is None for a selection whose rows are no people.
    """

    snapshot_id: int
    read: Pin
    row_count: int
    with_address: int | None
    preview: Table


def write(
    connection: duckdb.DuckDBPyConnection, target: str, query: str, keys: Sequence[str], kept: Mapping[str, str]
) -> Written:
    """Write the rows of a query to a table of the lake (`smp.selections."x"`), all or nothing, as a new snapshot.

    `keys` tell the rows apart, `kept` are the columns that are written, with their types.
    """
    columns = ", ".join(f"{identifier(name)}::{type_} as {identifier(name)}" for name, type_ in kept.items())
    # Once into memory, and from there to the lake: DuckDB runs the query on all cores when it does not write Parquet
    # at the same time, and what is counted below need not be read back.
    with transaction(connection):
        read = current_pin(connection)
        connection.execute(f"create or replace temp table {_CHOSEN} as select {columns} from ({query})")
    row_count = int(scalar(connection, f"select count(*) from {_CHOSEN}"))
    committed(connection, lambda: _put(connection, target, row_count))
    snapshot = int(scalar(connection, "select id from ducklake_last_committed_snapshot('smp') as s (id)"))
    with_address = None
    if "person_id" in keys:
        has_address = f"select count(*) from {_CHOSEN} join crm.person using (person_id) where email_key is not null"
        with_address = int(scalar(connection, has_address))
    written = Written(
        snapshot_id=snapshot,
        read=read,
        row_count=row_count,
        with_address=with_address,
        preview=head(connection, f"select * from {_CHOSEN}", 10),
    )
    connection.execute(f"drop table {_CHOSEN}")
    return written


def _put(connection: duckdb.DuckDBPyConnection, target: str, row_count: int) -> None:
    """Put what was chosen in the place of what the table held."""
    # a table that is made anew changes the lake's schema, and whoever reads next loads the names of all tables again
    if _can_stay(connection, target, row_count):
        connection.execute(f"delete from {target}")
        connection.execute(f"insert into {target} from {_CHOSEN}")
    else:
        connection.execute(f"create or replace table {target} as from {_CHOSEN}")


def _can_stay(connection: duckdb.DuckDBPyConnection, target: str, row_count: int) -> bool:
    """Whether a table can be filled anew: it is there, with the same columns, and is still taken for its size."""
    named = "concat_ws('.', database_name, schema_name, '\"' || table_name || '\"')"
    taken_for = scalar(connection, f"select estimated_size from duckdb_tables() where {named} = ?", [target])
    # nothing in the place of nothing would be no snapshot, and two that fill an empty table do not notice each other
    if not taken_for or not row_count or int(taken_for) + row_count > _MOST_TIMES * row_count:
        return False
    described = (f"select column_name, column_type from (describe {table})" for table in (target, _CHOSEN))
    there, new = (rows(connection, question) for question in described)
    return there == new


def count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    """How many rows a selection's query has."""
    return int(scalar(connection, f"select count(*) from ({query})"))


def head(connection: duckdb.DuckDBPyConnection, query: str, limit: int) -> Table:
    """The first rows of a selection's query, in a fixed order."""
    cursor = connection.execute(f"select * from ({query}) order by all limit {int(limit)}")
    return tuple(column[0] for column in cursor.description or ()), cursor.fetchall()
