"""Waking: who waits for a form or a page goes on once they submitted or saw it since they entered (F01, F32)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from psycopg import sql

from smp_pipelines.flow.sources.cursors import Cursor, read_cursor, write_cursor
from smp_pipelines.flow.version import FlowState, FlowVersion
from smp_pipelines.stores.postgres import Connection, engine_sql

_TABLES: Mapping[str, tuple[str, str]] = {
    "form": ("smp.submission", "submitted_at"),
    "page": ("smp.hit", "happened_at"),
}
"""By kind of step: where it is written down that somebody did it, and its moment."""


def awaited(connection: Connection, version: FlowVersion, state: FlowState) -> bool:
    """Whether somebody may have done what participants of this version wait for."""
    return any(
        _cursor(connection, version, state, kind).has_news(connection, [table])
        for kind, (table, _) in _TABLES.items()
        if _steps(version, kind)
    )


def wake(
    connection: Connection, version: FlowVersion, state: FlowState, now: datetime, after: datetime | None = None
) -> int:
    """Make those of this version due who wait at a form or page that they did meanwhile; how many.

    after: as in `look`.
    """
    return sum(_wake(connection, version, state, kind, now, after) for kind in _TABLES if _steps(version, kind))


def _wake(
    connection: Connection, version: FlowVersion, state: FlowState, kind: str, now: datetime, after: datetime | None
) -> int:
    table, moment = _TABLES[kind]
    fresh: sql.Composable = sql.SQL("s.changed_tx >= %(mark)s::xid8")
    if after is not None:
        fresh = sql.SQL("s.{0} > %(after)s and s.{0} <= %(now)s").format(sql.Identifier(moment))
    with connection.transaction():
        cursor = _cursor(connection, version, state, kind)
        if after is None and not cursor.has_news(connection, [table]):
            return 0
        done = connection.execute(
            sql.SQL(engine_sql(f"flow/sources/wake_{kind}.sql")).format(fresh=fresh),
            {
                "flow_id": version.flow_id,
                "version_id": version.version_id,
                "steps": _steps(version, kind),
                "mark": cursor.mark,
                "now": now,
                "after": after,
            },
        )
        if after is None:
            write_cursor(connection, cursor, now)
        return done.rowcount


def _cursor(connection: Connection, version: FlowVersion, state: FlowState, kind: str) -> Cursor:
    return read_cursor(connection, version, state, f"await {kind} {version.version_id}")


def _steps(version: FlowVersion, kind: str) -> list[str]:
    return sorted({str(node.options["step"]) for node in version.nodes if node.kind == kind})
