"""Flows in the lake: who is where and the path that each took, mirrored for the reports; only what changed is read."""

from __future__ import annotations

import duckdb

from smp_pipelines.reporting.moments import marks
from smp_pipelines.stores.lake import committed, literal, rows, scalar
from smp_pipelines.stores.postgres import engine_sql
from smp_pipelines.stores.snapshot import NOTHING, Snapshot

_KEYS = {
    "participants": ("flow_participant", "participant_id"),
    "visits": ("flow_visit", "(participant_id, version_id, node)"),
    "mails": ("flow_mail", "send_id"),
}
"""What is fetched, the table of the lake that it goes to, and what a row of it takes the place of."""


def mirror_flows(connection: duckdb.DuckDBPyConnection) -> int:
    """Bring the lake's participants, paths and mails of flows up to date with Postgres; says how many rows came."""
    text = scalar(connection, "select watermark from smp.flow_state")
    before, now = marks(connection, NOTHING if text is None else Snapshot.parse(str(text)))
    _fetch(connection, "nodes", before)
    if not rows(connection, "from new_nodes limit 1"):
        return 0  # no flow was ever live
    for name in _KEYS:
        _fetch(connection, name, before)
    written = sum(int(scalar(connection, f"select count(*) from new_{name}")) for name in _KEYS)
    if written or text is None:
        committed(connection, lambda: _write(connection, str(now)))
    for name in ("nodes", *_KEYS):
        connection.execute(f"drop table new_{name}")
    return written


def _fetch(connection: duckdb.DuckDBPyConnection, name: str, before: Snapshot) -> None:
    query = engine_sql(f"reporting/flows/{name}.sql").format(watermark=f"'{before.xmin}'")
    connection.execute(f"create or replace temp table new_{name} as from postgres_query('pg', {literal(query)})")


def _write(connection: duckdb.DuckDBPyConnection, seen: str) -> None:
    connection.execute("delete from smp.flow_node")
    connection.execute("insert into smp.flow_node by name from new_nodes")
    for name, (table, key) in _KEYS.items():
        connection.execute(f"delete from smp.{table} where {key} in (select {key} from new_{name})")
        connection.execute(f"insert into smp.{table} by name from new_{name}")
    connection.execute("delete from smp.flow_state")
    connection.execute("insert into smp.flow_state values (?)", [seen])
