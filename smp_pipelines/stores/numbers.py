"""Numbers: columns of whole numbers between Postgres and memory, a million in a fraction of a second.

Postgres' binary COPY has a fixed width for rows of bigints without nulls: numpy reads and writes it as one block.
"""

from __future__ import annotations

from typing import Any, LiteralString, TypeAlias

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from smp_pipelines.stores.postgres import Connection

Query: TypeAlias = LiteralString | sql.Composable
"""SQL without parameters."""
_HEAD = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TAIL = b"\xff\xff"
_ROW = np.dtype([("fields", ">i2"), ("length", ">i4"), ("value", ">i8")])
_AT_ONCE = 1 << 16
"""Rows in one piece of a COPY."""


def copy_out(connection: Connection, query: Query) -> NDArray[np.int64]:
    """The one column, a bigint without nulls, of a query without parameters."""
    text = query if isinstance(query, sql.Composable) else sql.SQL(query)
    statement = sql.SQL("copy ({}) to stdout (format binary)").format(text)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        data = b"".join(bytes(part) for part in copy)
    rows: NDArray[Any] = np.frombuffer(data[len(_HEAD) : -len(_TAIL)], dtype=_ROW)
    return rows["value"].astype(np.int64)


def copy_in(connection: Connection, target: LiteralString, numbers: NDArray[Any]) -> None:
    """Write numbers to a column: `table (column)`."""
    statement = sql.SQL("copy {} from stdin (format binary)").format(sql.SQL(target))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_HEAD)
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            rows = np.empty(len(some), dtype=_ROW)
            rows["fields"], rows["length"], rows["value"] = 1, 8, some
            copy.write(rows.tobytes())
        copy.write(_TAIL)
