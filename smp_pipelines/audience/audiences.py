"""Audiences: the selections of a project, counted, looked at and written to the lake by one and the same SQL (F18)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import duckdb

from smp_pipelines.problems import Problem, ProjectError
from smp_pipelines.reporting.moments import read_seen
from smp_pipelines.selection import materialisation
from smp_pipelines.selection.audience_tests.files import AudienceTest
from smp_pipelines.selection.audience_tests.running import Result, run_audience_tests
from smp_pipelines.selection.gate import SELECTIONS
from smp_pipelines.selection.history.comparing import changes_since
from smp_pipelines.selection.runs import (
    NewRun,
    SelectionRun,
    lake_table,
    last_run,
    read_seen_by,
    record_run,
)
from smp_pipelines.sending import audience_results
from smp_pipelines.stores.lake import words_of
from smp_pipelines.stores.locks import locked
from smp_pipelines.stores.postgres import Connection
from smp_pipelines.stores.snapshot import Snapshot, oldest
from smp_pipelines.warehouse import Warehouse


@dataclass(frozen=True)
class Materialised:
    """A selection that was written to the lake: the run, its figures, and the run before."""

    run: SelectionRun
    written: materialisation.Written
    previous: SelectionRun | None
    results: tuple[Result, ...] = field(default=(), kw_only=True)
    """What its audience tests found."""


def write_run(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    query: str,
    keys: Sequence[str],
    kept: Mapping[str, str],
    seen: Snapshot,
    now: datetime,
    previous: SelectionRun | None,
) -> tuple[materialisation.Written, NewRun]:
    """Write the rows of a query to the lake as a run of a selection or target group, compared with the run before.

    `keys` and `kept` as for materialisation.write; `seen` is what the query knew of the ledger.
    """
    target = lake_table(name)
    written = materialisation.write(connection, target, query, keys, kept)
    changes = changes_since(connection, previous, f"from {target}", keys)
    new = NewRun(
        selection=name,
        moment=now,
        snapshot_id=written.snapshot_id,
        row_count=written.row_count,
        seen=str(seen),
        pin=written.read,
        entered=changes.entered if changes else None,
        departed=changes.departed if changes else None,
    )
    return written, new


class Audiences:
    """The selections of one project over its warehouse."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._library = warehouse.library

    def count(self, name: str, now: datetime) -> int:
        """How many rows a selection would have at this moment, by the SQL that sends (F18)."""
        self.refresh_tables(name)
        with self.words_for(name), self._warehouse.lake.open_for_selections() as connection:
            return materialisation.count(connection, self._library.sql_afresh(name, now))

    def preview(self, name: str, now: datetime, limit: int) -> materialisation.Table:
        """The first rows of a selection at this moment, by the SQL that sends: column names and rows."""
        self.refresh_tables(name)
        with self.words_for(name), self._warehouse.lake.open_for_selections() as connection:
            return materialisation.head(connection, self._library.sql_afresh(name, now), limit)

    def refresh(self, name: str, now: datetime, run_id: str | None = None) -> None:
        """Bring everything up to date that a selection reads: tables, contact moments, other selections."""
        self.refresh_tables(name)
        for upstream in self._library.with_upstream(name)[:-1]:
            self.materialise(upstream, now, run_id)

    def refresh_tables(self, name: str) -> None:
        """Bring the lake's copy of the tables and contact moments up to date that a selection reads, all the way up."""
        self._library.get(name)
        # people are counted with their addresses, whatever the selection reads
        self._warehouse.refresh({"crm.person", *self._library.tables(self._library.with_upstream(name))})

    @contextmanager
    def words_for(self, name: str) -> Iterator[None]:
        """Tell an error of a selection's own SQL with its file, e.g. a value that does not convert."""
        try:
            yield
        except duckdb.Error as error:
            file = self._library.file(name)
            # without its cause, which quotes values of people
            raise ProjectError([Problem(file, None, f"this selection does not run: {words_of(error)}")]) from None

    def materialise(self, name: str, now: datetime, run_id: str | None) -> Materialised:
        """Write a selection to the lake as it is at this moment, from the mirror as it is."""
        query = self._library.sql(name, now)
        with (
            self.words_for(name),
            locked(self._warehouse.url, f"selection {name}"),
            self._warehouse.lake.open_for_selections() as connection,
        ):
            # before the query: what is planned from here on, the selection may not have seen
            with self._warehouse.connection() as postgres:
                upstream = read_seen_by(postgres, self._library.with_upstream(name)[:-1])
                previous, made_from = last_run(postgres, name), self._made_from(postgres, name)
            seen, keys = oldest([read_seen(connection), *upstream]), self._library.keys(name)
            kept = self._library.get(name).kept
            written, new = write_run(connection, name, query, keys, kept, seen, now, previous)
            new = replace(new, sql=self._library.get(name).written)
            results = self._tested(connection, name, f"from {lake_table(name)}", now)
            # at once: nobody plans from a run of which the tests are not known yet
            with self._warehouse.connection() as postgres, postgres.transaction():
                run = record_run(postgres, new, written.with_address or 0, run_id)
                audience_results.record_results(postgres, run, results)
                # what it reads may have been written anew meanwhile: it may hold the people of either run
                made_from += self._made_from(postgres, name)
                audience_results.inherit(postgres, run, list(dict.fromkeys(made_from)))
        return Materialised(run, written, previous, results=tuple(results))

    def test(self, name: str, now: datetime) -> list[Result]:
        """Run the audience tests of a selection as it is at this moment; nothing is kept, nobody is mailed (X5).

        The blocking tests that failed of selections that it reads come along.
        """
        self.refresh(name, now)
        with self.words_for(name), self._warehouse.lake.open_for_selections() as connection:
            results = self._tested(connection, name, self._library.sql(name, now), now)
        with self._warehouse.connection() as postgres:
            inherited = audience_results.read_failed(postgres, self._made_from(postgres, name))
        return [*results, *inherited]

    def _tested(self, connection: duckdb.DuckDBPyConnection, name: str, query: str, now: datetime) -> list[Result]:
        """Run the audience tests of a selection over the rows of a query."""

        def history(test: AudienceTest, runs: int) -> list[int]:
            with self._warehouse.connection() as postgres:
                return audience_results.read_history(postgres, name, test.name, runs)

        tests, zone = self._library.audience_tests(name), self._warehouse.project.settings.zone
        return run_audience_tests(connection, tests, query, self._library.keys(name), now, zone, history)

    def _made_from(self, postgres: Connection, name: str) -> list[int]:
        """The numbers of the latest runs of the selections that a selection reads."""
        reads = [table.partition(".") for table in self._library.get(name).dependencies]
        runs = [last_run(postgres, other) for schema, _, other in reads if schema == SELECTIONS]
        return [run.selection_run_id for run in runs if run is not None]
