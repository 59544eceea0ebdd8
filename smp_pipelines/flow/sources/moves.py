"""Moves: people who come from other flows, by a step there or because they met its goal (F32, F34)."""

from __future__ import annotations

from datetime import datetime

from psycopg import sql

from smp_pipelines.flow.entering import Entered, enter
from smp_pipelines.flow.judging import Judge
from smp_pipelines.flow.sources.cursors import Cursor, read_cursor, write_cursor
from smp_pipelines.flow.sources.events import Events, window
from smp_pipelines.flow.sources.names import MOVED
from smp_pipelines.flow.version import FlowState, FlowVersion
from smp_pipelines.stores.postgres import Connection, engine_sql


def has_moves(connection: Connection, version: FlowVersion, cursor: Cursor) -> bool:
    """Whether somebody moved to this flow since the last look."""
    found = connection.execute(
        "select exists (select from participant where outcome = 'moved' and reason = %s and changed_tx >= %s::xid8)",
        (version.flow, cursor.mark),
    ).fetchone()
    return bool(found and found[0])


def look_at_moves(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    judge: Judge,
    now: datetime,
    after: datetime | None = None,
) -> list[tuple[str, Entered]]:
    """Enrol who moved to this flow, by the rules of this one; what became of them, by the flow they came from."""
    cursor = read_cursor(connection, version, state, MOVED)
    if after is None and not cursor.is_first and not has_moves(connection, version, cursor):
        return []
    about = {"flow": version.flow, "flow_id": version.flow_id, "record": version.model.record}
    events = Events("moved", "participant", sql.SQL("s.left_at"), {}, about)
    values = events.values(cursor.since, cursor.mark, now, after)
    connection.execute(
        sql.SQL(engine_sql("flow/sources/moved_now.sql")).format(events=events.query(after), window=window(after)),
        values,
    )
    origins = connection.execute("select distinct flow from flow_moved order by flow").fetchall()
    found = [(name, _enter(connection, version, judge, name, now)) for (name,) in origins]
    connection.execute("drop table flow_moved")
    if after is None:
        write_cursor(connection, cursor, now)
    return [(f"flow {name}", entered) for name, entered in found]


def _enter(connection: Connection, version: FlowVersion, judge: Judge, origin: str, now: datetime) -> Entered:
    connection.execute(
        "insert into flow_candidate (person_id, record_id, entry_key)"
        " select person_id, record_id, entry_key from flow_moved where flow = %s order by happened_at, entry_key",
        (origin,),
    )
    return enter(connection, version, judge, f"flow {origin}", now)
