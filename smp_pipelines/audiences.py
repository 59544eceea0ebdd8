"""Audiences: the selections of a project, counted, looked at and written to the lake by one and the same SQL (F18)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import duckdb

from smp_pipelines.problems import Problem, ProjectError
from smp_pipelines.reporting.moments import read_seen
from smp_pipelines.selection import materialisation
from smp_pipelines.sending.runs import (
    NewRun,
    SelectionRun,
    lake_table,
    last_run,
    read_seen_by,
    record_run,
)
from smp_pipelines.stores.locks import locked
from smp_pipelines.stores.snapshot import oldest
from smp_pipelines.warehouse import Warehouse


@dataclass(frozen=True)
class Materialised:
    """A selection that was written to the lake: the run, its figures, and the run before."""

    run: SelectionRun
    written: materialisation.Written
    previous: SelectionRun | None


class Audiences:
    """The selections of one project over its warehouse."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._library = warehouse.library

    def count(self, name: str, now: datetime) -> int:
        """How many rows a selection would have at this moment, by the SQL that sends (F18)."""
        self.refresh(name, now)
        with self._words_for(name), self._warehouse.lake.open_for_selections() as connection:
            return materialisation.count(connection, self._library.sql(name, now))

    def preview(self, name: str, now: datetime, limit: int) -> materialisation.Table:
        """The first rows of a selection at this moment, by the SQL that sends: column names and rows."""
        self.refresh(name, now)
        with self._words_for(name), self._warehouse.lake.open_for_selections() as connection:
            return materialisation.head(connection, self._library.sql(name, now), limit)

    def refresh(self, name: str, now: datetime, run_id: str | None = None) -> None:
        """Bring everything up to date that a selection reads: tables, contact moments, other selections."""
        selections = self._library.with_upstream(name)
        tables = {table for each in selections for table in self._library.get(each).dependencies}
        self._warehouse.mirror(sorted(table for table in tables if table.startswith("crm.")))
        self._warehouse.mirror_moments()
        for upstream in selections[:-1]:
            self.materialise(upstream, now, run_id)

    @contextmanager
    def _words_for(self, name: str) -> Iterator[None]:
        """Tell an error of a selection's own SQL with its file, e.g. a value that does not convert."""
        try:
            yield
        except duckdb.Error as error:
            file = self._library.folder / f"{name}.sql"
            raise ProjectError([Problem(file, None, f"this selection does not run: {error}")]) from error

    def materialise(self, name: str, now: datetime, run_id: str | None) -> Materialised:
        """Write a selection to the lake as it is at this moment, from the mirror as it is."""
        query = self._library.sql(name, now)
        with (
            self._words_for(name),
            locked(self._warehouse.url, f"selection {name}"),
            self._warehouse.lake.open_for_selections() as connection,
        ):
            # before the query: what is planned from here on, the selection may not have seen
            with self._warehouse.connection() as postgres:
                upstream = read_seen_by(postgres, self._library.with_upstream(name)[:-1])
            seen = oldest([read_seen(connection), *upstream])
            written = materialisation.write(connection, lake_table(name), query, self._library.keys(name))
        new = NewRun(
            selection=name,
            moment=now,
            snapshot_id=written.snapshot_id,
            row_count=written.row_count,
            seen=str(seen),
            pin=written.read,
            sql=query,
        )
        with self._warehouse.connection() as postgres:
            previous = last_run(postgres, name)
            run = record_run(postgres, new, written.with_address or 0, run_id)
        return Materialised(run, written, previous)
