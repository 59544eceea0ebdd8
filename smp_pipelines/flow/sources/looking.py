"""Looking: what happened since the last look at each trigger of a flow, and who enters by it (F42).

Nothing new costs a look into an index. Real life reads what was written since the last look; a simulation what
happened in a stretch of the past.
"""

from __future__ import annotations

from datetime import datetime

from psycopg import sql

from smp_pipelines.campaign.flow.sources import DateSource, Event, ManualSource, SelectionSource
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.flow.entering import Entered, enter
from smp_pipelines.flow.judging import Judge
from smp_pipelines.flow.sources import dates
from smp_pipelines.flow.sources.cursors import read_cursor, write_cursor
from smp_pipelines.flow.sources.events import Events, events_of, window
from smp_pipelines.flow.sources.moves import look_at_moves
from smp_pipelines.flow.sources.names import source_name
from smp_pipelines.flow.sources.selections import look_at_selection
from smp_pipelines.flow.tables import hold
from smp_pipelines.flow.version import FlowState, FlowVersion
from smp_pipelines.stores.postgres import Connection, engine_sql


def look(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    project: LoadedProject,
    judge: Judge,
    now: datetime,
    after: datetime | None = None,
) -> list[tuple[str, Entered]]:
    """Enrol whoever enters by a trigger of this version; what became of them, by the name of the source.

    A flow that does not run reads nothing, so that nothing is lost. after: None in real life; in a simulation (over
    tables of its own) the moment behind which events count as new, up to `now`.
    """
    if state.state != "live":
        return []
    found: list[tuple[str, Entered]] = []
    for place, trigger in enumerate(version.model.triggers):
        if isinstance(trigger, ManualSource):
            continue
        with connection.transaction():
            hold(connection, version.flow_id)
            if isinstance(trigger, SelectionSource):
                entered = look_at_selection(connection, version, state, judge, place, trigger, now, asks=after is None)
            elif isinstance(trigger, DateSource):
                entered = _look_at_dates(connection, version, state, project, judge, place, trigger, now, after)
            else:
                entered = _look_at_events(connection, version, state, project, judge, place, trigger, now, after)
        if entered is not None:
            found.append((source_name(trigger, version.flow), entered))
    with connection.transaction():
        hold(connection, version.flow_id)
        found += look_at_moves(connection, version, state, judge, now, after)
    return found


def _look_at_events(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    project: LoadedProject,
    judge: Judge,
    place: int,
    trigger: Event,
    now: datetime,
    after: datetime | None,
) -> Entered | None:
    events = events_of(trigger, version, project)
    name = source_name(trigger, version.flow)
    cursor = read_cursor(connection, version, state, name, place, twice=events.twice)
    if after is None and not cursor.has_news(connection, [events.table]):
        return None
    values = events.values(cursor.since, cursor.mark, now, after)
    _gather(connection, events, values, after)
    entered = enter(connection, version, judge, name, now)
    if after is None:
        write_cursor(connection, cursor, now)
    return entered


def _gather(connection: Connection, events: Events, values: dict[str, object], after: datetime | None) -> None:
    statement = sql.SQL(engine_sql("flow/sources/candidates.sql")).format(
        events=events.query(after), window=window(after)
    )
    connection.execute(statement, values)


def _look_at_dates(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    project: LoadedProject,
    judge: Judge,
    place: int,
    trigger: DateSource,
    now: datetime,
    after: datetime | None,
) -> Entered | None:
    name = source_name(trigger, version.flow)
    cursor = read_cursor(connection, version, state, name, place)
    if after is not None:
        days = dates.occurrences(trigger, version.zone, max(after, cursor.since), now)
    else:
        days = dates.due_occurrences(trigger, version, cursor, now)
        late = dates.late(trigger, version, cursor)
        if late is not None:
            dates.gather(connection, trigger, version, project, late.days, late.ended)
            write_cursor(connection, late.cursor, cursor.looked_at or now)
        if days or cursor.is_first:
            own = dates.begin(connection)
            seen = read_cursor(connection, version, state, name, place)
            write_cursor(connection, dates.as_of(seen, own), now)
        elif late is None:
            return None
    dates.gather(connection, trigger, version, project, days)
    return enter(connection, version, judge, name, now)
