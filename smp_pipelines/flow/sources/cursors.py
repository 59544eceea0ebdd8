"""Cursors: what a flow has seen of a source, so that its next look reads what is new and misses nothing (F42).

A look takes a snapshot before it reads. The next one reads what was written since the oldest transaction that was
still running then: whatever commits late is read, and what is read twice is known by its entry key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql

from smp_pipelines.flow.version import FlowState, FlowVersion
from smp_pipelines.stores.postgres import Connection, engine_sql
from smp_pipelines.stores.snapshot import Snapshot

SETTLES = timedelta(seconds=2)
"""How old a hit must be before it is judged whose it is: a scanner's other clicks follow within a second.

Clocks of two machines may differ by as much."""


@dataclass(frozen=True)
class Cursor:
    """What was seen of a source at the last look (None: there was none), and the present snapshot.

    twice: each row is read at two looks, twice SETTLES apart. since: what happened before counts for nothing.
    """

    flow_id: int
    source: str
    twice: bool
    present: Snapshot
    seen: Snapshot | None
    read_from: Snapshot | None
    looked_at: datetime | None
    since: datetime

    @property
    def is_first(self) -> bool:
        """Whether nobody has looked at this source yet."""
        return self.looked_at is None

    @property
    def last(self) -> Snapshot | None:
        """The snapshot of the last look; None when it says nothing here: there was none, or on another server,
        of which this one is a restored copy.
        """
        found = self.read_from if self.twice else self.seen
        return found if found is not None and found.xmax <= self.present.xmax else None

    @property
    def mark(self) -> str:
        """The transaction from which on rows are to be read, as Postgres writes it."""
        return str(self.last.xmin if self.last else 0)

    def has_news(self, connection: Connection, tables: Sequence[str]) -> bool:
        """Whether any of these tables (with changed_tx) was written to since; costs a look into an index each."""
        newest = [
            sql.SQL("coalesce((select changed_tx from {} order by changed_tx desc limit 1) >= {}::xid8, false)").format(
                sql.Identifier(*table.split(".")), sql.Literal(self.mark)
            )
            for table in tables
        ]
        found = connection.execute(sql.SQL("select ") + sql.SQL(" or ").join(newest)).fetchone()
        return self.is_first or bool(found and found[0])


def read_cursor(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    source: str,
    place: int | None = None,
    *,
    twice: bool = False,
) -> Cursor:
    """What was seen of a source. Take it before reading. place: the number of the trigger, for one that is new."""
    ((present, seen, read_from, looked_at, since),) = connection.execute(
        engine_sql("flow/sources/cursor.sql"),
        {
            "flow_id": version.flow_id,
            "version_id": version.version_id,
            "source": source,
            "place": place,
            "live_since": state.live_since,
        },
    ).fetchall()
    return Cursor(
        version.flow_id,
        source,
        twice,
        Snapshot.parse(present),
        Snapshot.parse(seen) if seen else None,
        Snapshot.parse(read_from) if read_from else None,
        looked_at,
        since,
    )


def look_again(connection: Connection, version: FlowVersion) -> None:
    """Forget what was seen for the people of a version, when others were moved to it: it may count for them (F46)."""
    connection.execute(
        "delete from smp.flow_cursor where flow_id = %s and source like any (%s)",
        (version.flow_id, [f"goal {version.version_id} %", f"await % {version.version_id}"]),
    )


def write_cursor(connection: Connection, cursor: Cursor, now: datetime) -> None:
    """Remember a look at `now`, which read everything that the cursor's present snapshot shows."""
    if cursor.twice and cursor.looked_at is not None and now - cursor.looked_at < 2 * SETTLES:
        return  # what was young at the last look may be so still: begin there again
    connection.execute(
        engine_sql("flow/sources/cursor_write.sql"),
        {
            "flow_id": cursor.flow_id,
            "source": cursor.source,
            "seen": str(cursor.present),
            "read_from": str(cursor.seen) if cursor.twice and cursor.seen else None,
            "now": now,
            "since": cursor.since,
        },
    )
