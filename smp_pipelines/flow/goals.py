"""Goals: who met one since they entered, by something that happened or by what they have become (F34).

Events are read as triggers read them, twice, so that somebody who entered while an event was read is not missed.
Conditions are evaluated for people whose rows changed, and for everybody when something else changed that they read.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from psycopg import sql
from sqlglot import exp

from smp_pipelines.campaign.flow.sources import Event, PersonSource
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.flow.judging import Judge
from smp_pipelines.flow.sources.cursors import Cursor, read_cursor, write_cursor
from smp_pipelines.flow.sources.events import events_of, window
from smp_pipelines.flow.version import FlowState, FlowVersion
from smp_pipelines.selection.clock import clock_kind
from smp_pipelines.selection.condition import Condition
from smp_pipelines.stores.postgres import Connection, engine_sql

_OFTEN = timedelta(minutes=15)
"""How often a condition that asks for the present moment is evaluated for everybody."""
_SELDOM = timedelta(hours=1)
"""How often any other is, though nothing seems to have changed: what was deleted is not always noted for long."""
_MOMENTS = ("smp.send", "smp.hit", "smp.submission", "smp.unsubscription")
"""What contact moments are made of."""


def mark(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    project: LoadedProject,
    judge: Judge,
    now: datetime,
    after: datetime | None = None,
) -> int:
    """Note who of this version met a goal; how many. With `on_success` stop or a move they are due at once.

    after: None in real life; in a simulation the moment behind which events count as new, up to `now`.
    """
    met = 0
    for number, goal in enumerate(version.model.goals):
        with connection.transaction():
            if isinstance(goal, PersonSource):
                met += _mark_people(connection, version, state, project, judge, number, now, after)
            else:
                met += _mark_events(connection, version, state, project, number, goal, now, after)
    return met


def may_be_met(
    connection: Connection, version: FlowVersion, state: FlowState, project: LoadedProject, now: datetime
) -> bool:
    """Whether something happened that a goal of this version looks at; costs a look into a few indexes."""
    for number, goal in enumerate(version.model.goals):
        if isinstance(goal, PersonSource):
            cursor = _cursor(connection, version, state, number)
            condition = version.conditions[f"goal:{number}"]
            everybody = _cursor(connection, version, state, number, " everybody")
            if cursor.has_news(connection, [*_written(condition), "participant"]) or _is_time(
                condition, everybody, now
            ):
                return True
        else:
            events = events_of(goal, version, project)
            if _cursor(connection, version, state, number, twice=True).has_news(connection, [events.table]):
                return True
    return False


def _mark_events(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    project: LoadedProject,
    number: int,
    goal: Event,
    now: datetime,
    after: datetime | None,
) -> int:
    events = events_of(goal, version, project)
    cursor = _cursor(connection, version, state, number, twice=True)
    if after is None and not cursor.has_news(connection, [events.table]):
        return 0
    statement = sql.SQL(engine_sql("flow/goals/mark.sql")).format(events=events.query(after), window=window(after))
    values = events.values(cursor.since, cursor.mark, now, after)
    met = connection.execute(statement, {**values, **_parameters(version, number, now)}).rowcount
    if after is None:
        write_cursor(connection, cursor, now)
    return met


def _mark_people(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    project: LoadedProject,
    judge: Judge,
    number: int,
    now: datetime,
    after: datetime | None,
) -> int:
    condition = version.conditions[f"goal:{number}"]
    parameters = _parameters(version, number, now)
    if after is not None:
        connection.execute(engine_sql("flow/goals/asked_all.sql"), parameters)
        return _judge(connection, judge, condition, parameters, now)
    cursor = _cursor(connection, version, state, number)
    everybody = _cursor(connection, version, state, number, " everybody")
    if _is_time(condition, everybody, now) or _changes_for_all(connection, project, condition, cursor):
        connection.execute(engine_sql("flow/goals/asked_all.sql"), parameters)
        write_cursor(connection, everybody, now)
    elif cursor.has_news(connection, [*_written(condition), "participant"]):
        _ask_changed(connection, project, condition, cursor, parameters)
    else:
        return 0
    write_cursor(connection, cursor, now)
    return _judge(connection, judge, condition, parameters, now)


def _judge(
    connection: Connection, judge: Judge, condition: Condition, parameters: dict[str, Any], now: datetime
) -> int:
    judge.fill(connection, condition, now, "select person_id from flow_asked")
    connection.execute("drop table flow_asked")
    return connection.execute(engine_sql("flow/goals/met.sql"), parameters).rowcount


def _ask_changed(
    connection: Connection,
    project: LoadedProject,
    condition: Condition,
    cursor: Cursor,
    parameters: dict[str, Any],
) -> None:
    """Ask about participants who have rows that changed, and about those who entered since the last look."""
    changed = [
        sql.SQL("select person_id from {} where changed_tx >= %(mark)s::xid8").format(sql.Identifier(*table.split(".")))
        for table in _written(condition)
        if table != "smp.send" and (table.startswith("smp.") or _is_of_people(project, table))
    ]
    if "smp.send" in _written(condition):
        changed.append(sql.SQL(engine_sql("flow/goals/mailed.sql")).format())
    if not changed:
        changed.append(sql.SQL("select null::bigint as person_id").format())
    statement = sql.SQL(engine_sql("flow/goals/asked_changed.sql")).format(changed=sql.SQL(" union all ").join(changed))
    connection.execute(statement, {**parameters, "mark": cursor.mark, "looked_at": cursor.looked_at})


def _changes_for_all(connection: Connection, project: LoadedProject, condition: Condition, cursor: Cursor) -> bool:
    """Whether something changed of which nobody can tell whom it is about: a table without people, or a deletion."""
    shared = [table for table in _written(condition) if table.startswith("crm.") and not _is_of_people(project, table)]
    if shared and cursor.has_news(connection, shared):
        return True
    gone = connection.execute(
        "select exists (select from smp.crm_deletion where changed_tx >= %s::xid8 and table_name = any (%s))",
        (cursor.mark, list(condition.reads)),
    ).fetchone()
    return bool(gone and gone[0])


def _is_time(condition: Condition, everybody: Cursor, now: datetime) -> bool:
    rhythm = _OFTEN if _asks_for_now(condition) else _SELDOM
    return everybody.looked_at is None or now - everybody.looked_at >= rhythm


@lru_cache(maxsize=256)
def _asks_for_now(condition: Condition) -> bool:
    """Whether a condition has a clock in it, so that it may come to hold though nothing changed."""
    return any(
        clock_kind(node) is not None or (isinstance(node, exp.Anonymous) and node.name.lower() == "age")
        for node in condition.query.walk()
    )


def _written(condition: Condition) -> list[str]:
    """The tables of Postgres that a condition comes from."""
    crm = [table for table in condition.reads if table.startswith("crm.")]
    return [*crm, *(_MOMENTS if len(crm) < len(condition.reads) else ())]


def _is_of_people(project: LoadedProject, table: str) -> bool:
    known = project.catalog.tables.get(table)
    return known is not None and "person_id" in known.columns


def _cursor(
    connection: Connection, version: FlowVersion, state: FlowState, number: int, more: str = "", *, twice: bool = False
) -> Cursor:
    return read_cursor(connection, version, state, f"goal {version.version_id} {number}{more}", twice=twice)


def _parameters(version: FlowVersion, number: int, now: datetime) -> dict[str, Any]:
    return {
        "flow_id": version.flow_id,
        "version_id": version.version_id,
        "goal": number,
        "now": now,
        "leaves": version.model.on_success != "go_on",
    }
