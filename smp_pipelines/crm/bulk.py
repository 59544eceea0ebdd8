"""Bulk copies: many rows between files and Postgres, with memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

_BLOCK = 1 << 20


def copy_in(cursor: psycopg.Cursor[Any], table: str, columns: Sequence[str], file: Path) -> int:
    """Copy a CSV file without a header (UTF-8, an empty unquoted field is null) into a table; counts its rows.

    `columns` are those in the file; `table` is a name with or without a schema. Raises psycopg.Error
    for what Postgres refuses.
    """
    names = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
    statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(sql.Identifier(*table.split(".")), names)
    with file.open("rb") as source, cursor.copy(statement) as copy:
        while block := source.read(_BLOCK):
            copy.write(block)
    return cursor.rowcount


def copy_out(cursor: psycopg.Cursor[Any], query: sql.Composed, file: Path) -> None:
    """Write the rows of a query to a CSV file without a header (UTF-8)."""
    statement = sql.SQL("copy ({}) to stdout (format csv)").format(query)
    with file.open("wb") as target, cursor.copy(statement) as copy:
        for block in copy:
            target.write(block)
