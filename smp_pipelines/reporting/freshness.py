"""Freshness: what the report file shows of the database, so that the reports follow what happens and rest otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from smp_pipelines.stores.postgres import Connection, engine_sql


@dataclass(frozen=True)
class Freshness:
    """What changed since the latest report file was made (`sends`, …), and when that was published (None: never)."""

    changed: tuple[str, ...]
    published_at: datetime | None


def read_freshness(connection: Connection) -> Freshness:
    """Compare the database as it is now with the latest report file; a few look-ups in indexes."""
    found = connection.execute(engine_sql("reporting/changed.sql")).fetchone()
    assert found is not None  # noqa: S101  (it is one row, always)
    *changed, published_at = found
    names = ("sends", "submissions", "hits", "flows")
    return Freshness(tuple(name for name, is_so in zip(names, changed, strict=True) if is_so), published_at)


def begin(connection: Connection) -> str:
    """What can be seen of the database now; for `note_mirrored`, once everything up to here is in the lake."""
    found = connection.execute("select pg_current_snapshot()::text").fetchone()
    return str(found[0]) if found else "1:1:"


def note_mirrored(connection: Connection, seen: str) -> None:
    """Write down what the contact moments in the lake have seen."""
    connection.execute(
        "insert into smp.report_state (mirrored) values (%s::pg_snapshot)"
        " on conflict (only_row) do update set mirrored = excluded.mirrored",
        (seen,),
    )


def read_mirrored(connection: Connection) -> str | None:
    """What the contact moments in the lake have seen; None when nobody mirrored them yet."""
    found = connection.execute("select mirrored::text from smp.report_state").fetchone()
    return str(found[0]) if found else None


def note_published(connection: Connection, seen: str | None, now: datetime) -> None:
    """Write down that the report file shows this; `seen` was read before the file was made."""
    connection.execute("update smp.report_state set published = %s::pg_snapshot, published_at = %s", (seen, now))
