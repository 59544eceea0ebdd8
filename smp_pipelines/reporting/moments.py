"""Contact moments: the ledger mirrored to the lake, so that selections and reports read it there.

Only sends that changed are read again. A send is mirrored while it runs, too: whoever is planned
has a contact moment from then on, so that the next selection leaves them out (F17, F20).
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.lake import literal, rows, scalar
from smp_pipelines.stores.postgres import engine_sql


@dataclass(frozen=True)
class Moments:
    """What mirroring the ledger did: rows written, rows now in the lake, and the watermark it remembers."""

    written: int
    row_count: int
    watermark: str


def prepare_lake(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the lake's own tables and views (once; safe to repeat)."""
    connection.execute(engine_sql("reporting/lake.sql"))


def mirror_moments(connection: duckdb.DuckDBPyConnection) -> Moments:
    """Bring `smp.message`, `smp.send` and with them `smp.contact_moment` up to date with the ledger."""
    before = read_watermark(connection)
    watermark = str(scalar(connection, "from postgres_query('pg', 'select pg_snapshot_xmin(pg_current_snapshot())::text')"))
    for name in ("messages", "sends"):
        query = engine_sql(f"reporting/{name}.sql").format(watermark=f"'{before}'")
        connection.execute(f"create or replace temp table new_{name} as from postgres_query('pg', {literal(query)})")
    written = int(scalar(connection, "select count(*) from new_messages"))
    if written or rows(connection, "from new_sends limit 1"):
        connection.execute("begin")
        try:
            connection.execute("delete from smp.message where send_id in (select send_id from new_messages)")
            connection.execute("insert into smp.message by name from new_messages")
            connection.execute("delete from smp.send where send_id in (select send_id from new_sends)")
            connection.execute("insert into smp.send by name from new_sends")
            connection.execute("delete from smp.message_state")
            connection.execute("insert into smp.message_state values (?)", [watermark])
            connection.execute("commit")
        except duckdb.Error:
            connection.execute("rollback")
            raise
    else:
        watermark = before
    connection.execute("drop table new_messages; drop table new_sends")
    return Moments(written, int(scalar(connection, "select count(*) from smp.message")), watermark)


def read_watermark(connection: duckdb.DuckDBPyConnection) -> str:
    """The oldest transaction that was still running when the ledger was last read; 0 before the first time."""
    watermark = str(scalar(connection, "select watermark from smp.message_state") or "0")
    if not watermark.isdigit():
        raise SmpError(f"the watermark of the contact moments is damaged: {watermark}")
    return watermark
