"""Selections as triggers: who is in one now and was not before; many at once wait for a yes (F42, F44)."""

from __future__ import annotations

from datetime import datetime, timedelta

from smp_pipelines.campaign.flow.sources import SelectionSource
from smp_pipelines.flow.admission import decide, forget, read_waiting
from smp_pipelines.flow.entering import Entered, enter
from smp_pipelines.flow.judging import Judge
from smp_pipelines.flow.sources.cursors import Cursor, read_cursor, write_cursor
from smp_pipelines.flow.sources.names import source_name
from smp_pipelines.flow.version import FlowState, FlowVersion
from smp_pipelines.stores.postgres import Connection, engine_sql

_EVERYBODY = "select person_id from crm.person"


def is_due(connection: Connection, trigger: SelectionSource, cursor: Cursor, now: datetime) -> bool:
    """Whether it is time to evaluate a selection: for the first time, by its rhythm, or because of an answer."""
    if cursor.looked_at is None or now - cursor.looked_at >= timedelta(minutes=trigger.every_minutes):
        return True
    waiting = read_waiting(connection, cursor.flow_id, cursor.source)
    return waiting is not None and waiting.answer is not None


def look_at_selection(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    judge: Judge,
    place: int,
    trigger: SelectionSource,
    now: datetime,
    *,
    asks: bool = True,
) -> Entered | None:
    """Evaluate the selection of a trigger when it is time, and enrol who is new in it; None when nobody is judged.

    The first look only notes who is in it. asks: many at once wait for a yes; a simulation cannot ask.
    """
    cursor = read_cursor(connection, version, state, source_name(trigger, version.flow), place)
    if not is_due(connection, trigger, cursor, now):
        return None
    parameters = {"flow_id": version.flow_id, "source": cursor.source, "now": now, "first": cursor.is_first}
    judge.fill(connection, version.conditions[f"trigger:{place}"], now, _EVERYBODY)
    write_cursor(connection, cursor, now)
    connection.execute(engine_sql("flow/sources/departed.sql"), parameters)
    people = connection.execute(engine_sql("flow/sources/arrived.sql"), parameters).rowcount
    may: bool | None = False
    if cursor.is_first:
        forget(connection, version.flow_id, cursor.source, now)
    else:
        most = trigger.ask_above if asks else people
        may = decide(connection, version.flow_id, cursor.source, people, most, now)
    if may is not None:
        connection.execute(engine_sql("flow/sources/members.sql"), parameters)
    if may:
        key = f"selection:{trigger.selection}" + (f":{_microseconds(now)}" if trigger.again else "")
        connection.execute(
            "insert into flow_candidate (person_id, entry_key)"
            " select person_id, %s from flow_arrived order by person_id",
            (key,),
        )
    connection.execute("drop table flow_arrived")
    return enter(connection, version, judge, cursor.source, now) if may and people else None


def _microseconds(now: datetime) -> int:
    return round(now.timestamp() * 1_000_000)
