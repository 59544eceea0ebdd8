"""Dates: whose birthday, or end of membership, comes near; in local time, each year again, 29 February too (F42)."""

from __future__ import annotations

from calendar import isleap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from psycopg import sql

from smp_pipelines.campaign.flow.sources import DateSource
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.flow.sources.cursors import Cursor
from smp_pipelines.flow.sources.events import table_of
from smp_pipelines.flow.version import FlowVersion
from smp_pipelines.flow.windows import instant
from smp_pipelines.stores.postgres import Connection, engine_sql
from smp_pipelines.stores.snapshot import Snapshot

_LATE = timedelta(days=2)
"""How long before the last look a date may have come that was written down in a transaction that was running then."""
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Occurrence:
    """A day on which somebody enters, the moment of it, and the day whose anniversary it is."""

    day: date
    moment: datetime
    base: date

    @property
    def parts(self) -> list[int]:
        """Month and day of the dates that fall on it, e.g. 1224; 29 February falls on 28 February in other years."""
        is_short = (self.base.month, self.base.day) == (2, 28) and not isleap(self.base.year)
        return [self.base.month * 100 + self.base.day, *([229] if is_short else [])]


def occurrences(trigger: DateSource, zone: ZoneInfo, after: datetime, until: datetime) -> list[Occurrence]:
    """The days whose moment lies in (after, until], both aware, in their order."""
    first = after.astimezone(zone).date() - timedelta(days=1)
    count = (until.astimezone(zone).date() - first).days + 2
    days = [first + timedelta(days=number) for number in range(count)]
    found = [Occurrence(day, instant(day, trigger.time, zone), day - timedelta(days=trigger.days)) for day in days]
    return [each for each in found if after < each.moment <= until]


def due_occurrences(trigger: DateSource, version: FlowVersion, cursor: Cursor, now: datetime) -> list[Occurrence]:
    """What came since the last look: with a flow that was paused, everything that came meanwhile."""
    begin = cursor.since - _TICK
    return occurrences(trigger, version.zone, max(begin, cursor.looked_at or begin), now)


@dataclass(frozen=True)
class Late:
    """Transactions that were running at the last look and have ended since, and the days that their rows may have
    missed; `cursor` is what to remember: those that still run.
    """

    ended: tuple[int, ...]
    days: list[Occurrence]
    cursor: Cursor


def late(trigger: DateSource, version: FlowVersion, cursor: Cursor) -> Late | None:
    """What was written down before the last look and could not be seen by it; None when there was nothing."""
    if cursor.looked_at is None or cursor.last is None:
        return None
    seen, running = cursor.last, cursor.last.running
    still = tuple(each for each in running if _runs(each, cursor.present))
    if len(still) == len(running):
        return None
    begin = max(cursor.since - _TICK, cursor.looked_at - _LATE)
    known = Snapshot(min(still, default=seen.xmax), seen.xmax, still)
    ended = tuple(each for each in running if each not in still)
    days = occurrences(trigger, version.zone, begin, cursor.looked_at)
    return Late(ended, days, replace(cursor, present=known))


def begin(connection: Connection) -> int:
    """The number of this transaction: every one that is running has a lower number. Take it before the snapshot."""
    ((own,),) = connection.execute("select pg_current_xact_id()::text::bigint").fetchall()
    return int(own)


def as_of(cursor: Cursor, own: int) -> Cursor:
    """The cursor with all transactions that run at this look: Postgres' own snapshot leaves out those behind the
    latest one that ended.
    """
    present = cursor.present
    running = tuple(sorted({*present.running, *range(present.xmax, own)} - {own}))
    return replace(cursor, present=Snapshot(min(running, default=own), own, running))


def _runs(transaction: int, present: Snapshot) -> bool:
    return transaction in present.running or transaction >= present.xmax


def gather(
    connection: Connection,
    trigger: DateSource,
    version: FlowVersion,
    project: LoadedProject,
    days: Sequence[Occurrence],
    running: Sequence[int] | None = None,
) -> None:
    """Put everybody whose date falls on one of these days into flow_candidate; only rows of `running`, if given."""
    if not days:
        return
    name, _, column = trigger.field.rpartition(".")
    table = table_of(project, version, name, "person_id", column)
    asked = [(each.day, each.moment, each.base, part) for each in days for part in each.parts]
    falls = sql.SQL("{date} <= d.base" if trigger.yearly else "{date} = d.base")
    parts = {
        "table": sql.Identifier(*table.name.split(".")),
        "date": _local_date(column, table.columns[column].type),
        "fresh": sql.SQL("true" if running is None else "s.changed_tx = any (%(running)s::xid8[])"),
    }
    statement = sql.SQL(engine_sql("flow/sources/date.sql")).format(falls=falls.format(**parts), **parts)
    names = ("day", "moment", "base", "part")
    connection.execute(
        statement,
        {
            **{name: [row[place] for row in asked] for place, name in enumerate(names)},
            "field": trigger.field.removeprefix("crm."),
            "running": [str(each) for each in running or ()],
            "zone": version.zone.key,
        },
    )


def _local_date(column: str, kind: str) -> sql.Composed:
    if kind == "timestamptz" or "with time zone" in kind:
        return sql.SQL("({} at time zone %(zone)s)::date").format(sql.Identifier("s", column))
    return sql.SQL("{}::date").format(sql.Identifier("s", column))
