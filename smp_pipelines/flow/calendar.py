"""Calendar: the moments of a stretch of the past at which something happened that a flow looks at.

A simulation stands still at these, and whenever somebody is due; at no other moment could anything change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql

from smp_pipelines.campaign.flow.sources import (
    DateSource,
    Event,
    ManualSource,
    PersonSource,
    SelectionSource,
)
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.flow.sources.dates import occurrences
from smp_pipelines.flow.sources.events import events_of, window
from smp_pipelines.flow.version import FlowVersion
from smp_pipelines.stores.postgres import Connection, engine_sql

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_SEASON = timedelta(days=92)
"""In a longer stretch, who meets a condition is looked at once a week, beside whenever anything happens."""
_MOST = 500
_LONGER = (1, 2, 3, 4, 6, 8, 12, 24)


@dataclass(frozen=True)
class Calendar:
    """Moments in their order. looks: at which events may enrol somebody; others: at which goals may be met, or what
    people wait for be done. every: how long events are gathered for one look.
    """

    looks: tuple[datetime, ...]
    others: tuple[datetime, ...]
    every: timedelta


def read_calendar(
    connection: Connection, version: FlowVersion, project: LoadedProject, start: datetime, end: datetime
) -> Calendar:
    """The calendar from start to end: by the hour, and coarser when so many events happen that it would take long."""
    looks: set[datetime] = set()
    others: set[datetime] = {end}
    rhythms: list[timedelta] = []
    exact: set[datetime] = set()
    for trigger in version.model.triggers:
        if isinstance(trigger, DateSource):
            exact |= {each.moment for each in occurrences(trigger, version.zone, start, end)}
        elif isinstance(trigger, SelectionSource):
            rhythms.append(timedelta(minutes=trigger.every_minutes))
        elif not isinstance(trigger, ManualSource):
            looks |= set(_moments(connection, version, project, trigger, start, end))
    for goal in version.model.goals:
        if isinstance(goal, PersonSource):
            others |= set(_grid(start, end, _DAY if end - start <= _SEASON else 7 * _DAY))
        else:
            others |= set(_moments(connection, version, project, goal, start, end))
    others |= set(_awaited(connection, version, start, end))
    looks |= {moment for rhythm in rhythms for moment in _grid(start, end, max(_HOUR, rhythm))}
    every = next((hours for hours in _LONGER if len(_gathered(looks, start, hours)) <= _MOST), _LONGER[-1])
    looks = {min(moment, end) for moment in _gathered(looks, start, every)} | exact
    return Calendar(tuple(sorted(looks)), tuple(sorted({min(each, end) for each in others})), every * _HOUR)


def _gathered(moments: Iterable[datetime], start: datetime, hours: int) -> set[datetime]:
    """The ends of the stretches of so many hours, counted from the start, that the moments fall in."""
    length = hours * _HOUR
    return {start + -((start - moment) // length) * length for moment in moments}


def _grid(start: datetime, end: datetime, length: timedelta) -> Iterator[datetime]:
    moment = start + length
    while moment < end:
        yield moment
        moment += length


def _moments(
    connection: Connection, version: FlowVersion, project: LoadedProject, source: Event, start: datetime, end: datetime
) -> list[datetime]:
    events = events_of(source, version, project)
    statement = sql.SQL(engine_sql("flow/simulate/moments.sql")).format(
        events=events.query(start), window=window(start)
    )
    return [moment for (moment,) in connection.execute(statement, events.values(start, "0", end, start))]


def _awaited(connection: Connection, version: FlowVersion, start: datetime, end: datetime) -> list[datetime]:
    steps = [str(node.options["step"]) for node in version.nodes if node.kind in ("form", "page")]
    if not steps:
        return []
    found = connection.execute(engine_sql("flow/simulate/awaited.sql"), {"steps": steps, "after": start, "now": end})
    return [moment for (moment,) in found]
