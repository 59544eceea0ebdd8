"""Upserts: rows of a file into a CRM table by its primary key, counted, without touching what is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from smp_pipelines.crm.bulk import copy_in, copy_out
from smp_pipelines.crm.catalog import ForeignKey, Table
from smp_pipelines.stores.postgres import Connection, engine_sql


@dataclass(frozen=True)
class Upserted:
    """How many rows were inserted, updated and left as they were; the file has line and reason of those refused."""

    inserted: int
    updated: int
    unchanged: int
    refused: Path


def upsert(connection: Connection, target: Table, columns: Sequence[str], file: Path, scratch: Path) -> Upserted:
    """Load a CSV file of line numbers and values of `columns` into a table, within the caller's transaction.

    No key may be in the file twice. A row that refers to a row that does not exist is refused.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    table = sql.Identifier(*target.name.split("."))
    refused = scratch / "refused.csv"
    with connection.cursor() as cursor:
        # As a query, so that the columns have the table's types but none of its rules.
        cursor.execute(
            sql.SQL(
                "create temp table smp_incoming on commit drop as select 0::bigint as smp_line, {} from {} with no data"
            ).format(names, table)
        )
        cursor.execute("create temp table smp_refused (smp_line bigint, reason text) on commit drop")
        copy_in(cursor, "smp_incoming", ["smp_line", *columns], file)
        cursor.execute("analyze smp_incoming")
        _refuse_orphans(cursor, target, columns)
        copy_out(cursor, sql.SQL("select smp_line, reason from smp_refused").format(), refused)
        cursor.execute("select count(*) from smp_incoming")
        (incoming,) = cursor.fetchone() or (0,)
        cursor.execute(_statement(target, columns))
        inserted, updated = cursor.fetchone() or (0, 0)
    return Upserted(inserted, updated, incoming - inserted - updated, refused)


def _refuse_orphans(cursor: psycopg.Cursor[Any], target: Table, columns: Sequence[str]) -> None:
    """Take out the rows that refer to nothing; again when that leaves others of the file without what they refer to."""
    keys = [key for key in target.foreign_keys if key.column in columns]
    removed = True
    while removed:
        removed = False
        for key in keys:
            cursor.execute(_orphans(target, key))
            removed = removed or (cursor.rowcount > 0 and key.table == target.name)


def _orphans(target: Table, key: ForeignKey) -> sql.Composed:
    within = sql.SQL(
        "and not exists (select from smp_incoming as other where other.{target} = incoming.{column})"
    ).format(target=sql.Identifier(key.target), column=sql.Identifier(key.column))
    return sql.SQL(engine_sql("import/orphans.sql")).format(
        column=sql.Identifier(key.column),
        table=sql.Identifier(*key.table.split(".")),
        target=sql.Identifier(key.target),
        within=within if key.table == target.name else sql.SQL(""),
        name=sql.Literal(key.column),
        other=sql.Literal(key.table),
    )


def _statement(target: Table, columns: Sequence[str]) -> sql.Composed:
    others = [column for column in columns if column not in target.key]
    same_key = (sql.SQL("known.{0} = incoming.{0}").format(sql.Identifier(key)) for key in target.key)
    return sql.SQL(engine_sql("import/upsert.sql")).format(
        table=sql.Identifier(*target.name.split(".")),
        same_key=sql.SQL(" and ").join(same_key),
        first_key=sql.Identifier(target.key[0]),
        differs=_differs("known", "incoming", others),
        names=sql.SQL(", ").join(map(sql.Identifier, columns)),
        keys=sql.SQL(", ").join(map(sql.Identifier, target.key)),
        action=_action(others),
    )


def _action(others: Sequence[str]) -> sql.Composable:
    """What to do with a key that is there: nothing, when the key is all there is."""
    if not others:
        return sql.SQL("do nothing")
    assignments = (sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in others)
    return sql.SQL("do update set {} where {}").format(
        sql.SQL(", ").join(assignments), _differs("kept", "excluded", others)
    )


def _differs(left: str, right: str, columns: Sequence[str]) -> sql.Composable:
    if not columns:
        return sql.SQL("false")
    sides = [sql.SQL(", ").join(sql.Identifier(side, column) for column in columns) for side in (left, right)]
    return sql.SQL("row({}) is distinct from row({})").format(*sides)
