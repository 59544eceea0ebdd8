"""Contact moments: the ledger mirrored to the lake, so that selections and reports read it there.

Only sends that changed are read again. A send is mirrored while it runs, too: whoever is planned
has a contact moment from then on, so that the next selection leaves them out (F17, F20).
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from smp_pipelines.stores.lake import committed, literal, rows, scalar
from smp_pipelines.stores.postgres import engine_sql
from smp_pipelines.stores.snapshot import NOTHING, Snapshot, current


@dataclass(frozen=True)
class Moments:
    """What mirroring the ledger did: rows written, and the rows that the lake has, if they were counted."""

    written: int
    row_count: int | None = None


def prepare_lake(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the lake's own tables and views (once; safe to repeat)."""
    connection.execute(engine_sql("reporting/lake.sql"))


def mirror_moments(connection: duckdb.DuckDBPyConnection, *, counted: bool = True) -> Moments:
    """Bring `smp.message`, `smp.send` and with them `smp.contact_moment` up to date with the ledger."""
    before, now = read_seen(connection), current(connection)
    if before.xmax > now.xmax:
        # the mark was made on another server, of which this one is a restored copy: it says nothing here
        before = NOTHING
    # Sends first: a send that ends in between is then still open in the lake, and read again the next time.
    for name in ("sends", "messages"):
        query = engine_sql(f"reporting/{name}.sql").format(watermark=f"'{before.xmin}'")
        connection.execute(f"create or replace temp table new_{name} as from postgres_query('pg', {literal(query)})")
    written = int(scalar(connection, "select count(*) from new_messages"))
    if rows(connection, "from new_sends limit 1"):
        committed(connection, lambda: _write(connection, str(now)))
    connection.execute("drop table new_messages; drop table new_sends")
    return Moments(written, int(scalar(connection, "select count(*) from smp.message")) if counted else None)


def _write(connection: duckdb.DuckDBPyConnection, seen: str) -> None:
    # never a message without its send: one that came in between waits for the next time
    connection.execute("delete from new_messages where send_id not in (select send_id from new_sends)")
    connection.execute("delete from smp.message where send_id in (select send_id from new_sends)")
    connection.execute("insert into smp.message by name from new_messages")
    connection.execute("delete from smp.send where send_id in (select send_id from new_sends)")
    connection.execute("insert into smp.send by name from new_sends")
    connection.execute("delete from smp.message_state")
    connection.execute("insert into smp.message_state values (?)", [seen])


def read_seen(connection: duckdb.DuckDBPyConnection) -> Snapshot:
    """What the lake's contact moments have seen of the ledger."""
    text = scalar(connection, "select watermark from smp.message_state")
    return NOTHING if text is None else Snapshot.parse(str(text))
