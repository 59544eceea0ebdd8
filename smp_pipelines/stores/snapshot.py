"""Snapshots of Postgres: which transactions a reader had seen, so that the next reader knows what it has not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from smp_pipelines.problems import SmpError

_TEXT = re.compile(r"(\d+):(\d+):(\d+(?:,\d+)*)?")


@dataclass(frozen=True)
class Snapshot:
    """What `pg_current_snapshot()` says: every transaction before `xmin` had ended; from `xmax` on none had begun.

    `running` are those in between that had not ended.
    """

    xmin: int
    xmax: int
    running: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.running))}"

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Read Postgres's own text; a bare number means that everything before it was seen. Raises SmpError."""
        if text.isdigit():
            return cls(int(text), int(text))
        found = _TEXT.fullmatch(text)
        if found is None:
            raise SmpError(f"this is no snapshot of Postgres, the lake's memory is damaged: {text}")
        running = tuple(int(each) for each in found[3].split(",")) if found[3] else ()
        return cls(int(found[1]), int(found[2]), running)


NOTHING = Snapshot(1, 1)
"""The snapshot of who has seen nothing yet."""


def oldest(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The one that was taken first, of snapshots of one server."""
    return min(snapshots, key=lambda each: (each.xmax, each.xmin, -len(each.running)))


def current(connection: duckdb.DuckDBPyConnection) -> Snapshot:
    """The present snapshot of the Postgres database that is attached as `pg`.

    Take it before reading: what is committed in between is then read twice rather than never.
    """
    query = "select text from postgres_query('pg', 'select pg_current_snapshot()::text as text')"
    found = connection.execute(query).fetchone()
    if found is None:
        raise SmpError("Postgres does not say which transactions are running")
    return Snapshot.parse(str(found[0]))
