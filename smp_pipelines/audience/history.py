"""History: the runs of a project's selections, who was in them, what changed since, whom a send was for (X1, X7)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from smp_pipelines.audience.audiences import Audiences
from smp_pipelines.problems import SmpError
from smp_pipelines.selection.history import difference, past
from smp_pipelines.selection.history.difference import Difference, Evaluation
from smp_pipelines.selection.materialisation import Table
from smp_pipelines.selection.runs import SelectionRun, read_runs
from smp_pipelines.sending import audience
from smp_pipelines.sending.audience import SentAudience
from smp_pipelines.warehouse import Warehouse


class History:
    """The past of one project's audiences over its warehouse. A target group goes by the name of its step."""

    def __init__(self, warehouse: Warehouse, audiences: Audiences) -> None:
        self._warehouse = warehouse
        self._audiences = audiences

    def runs(self, name: str, limit: int) -> list[SelectionRun]:
        """The latest runs of a selection or target group, the last one first.

        Raises SmpError or ProjectError when there is none, and no sound selection or step of that name either.
        """
        with self._warehouse.connection() as postgres:
            found = read_runs(postgres, name, limit)
        if not found:
            self._warehouse.project.step(name) if "/" in name else self._warehouse.library.get(name)
        return found

    def run_at(self, name: str, moment: datetime) -> SelectionRun:
        """The run of a selection or target group that stood at a moment. Raises SmpError when there was none."""
        with self._warehouse.connection() as postgres:
            return past.standing(postgres, name, moment, self._warehouse.project.settings.zone)

    def run_to_compare(self, name: str, moment: datetime | None = None, number: int | None = None) -> SelectionRun:
        """The last run of a selection, the one that stood at a moment, or the one with this number.

        Raises SmpError when there is none, ProjectError for a selection with problems: nothing compares with that.
        """
        self._warehouse.library.get(name)
        if moment is not None:
            return self.run_at(name, moment)
        with self._warehouse.connection() as postgres:
            return past.latest(postgres, name) if number is None else past.numbered(postgres, name, number)

    def count(self, run: SelectionRun) -> int:
        """How many rows a past run had, counted in the lake."""
        with self._warehouse.lake.open_for_selections() as connection:
            return past.count_at(connection, run, self._keys(run.selection))

    def people(self, run: SelectionRun, limit: int) -> Table:
        """The first rows of a past run, keys only."""
        with self._warehouse.lake.open_for_selections() as connection:
            return past.head_at(connection, run, self._keys(run.selection), limit)

    def compare(
        self, name: str, now: datetime, run: SelectionRun, limit: int, people: Path | None = None
    ) -> Difference:
        """What changed between a run and what the file, edited or not, gives at this moment.

        With `limit` people a predicate; `people` is a CSV file for all who entered or left.
        """
        library, settings, zone = (
            self._warehouse.library,
            self._warehouse.settings,
            self._warehouse.project.settings.zone,
        )
        self._audiences.refresh_tables(name)
        upstream = {each: library.get(each).written for each in library.with_upstream(name)[:-1]}
        with self._warehouse.connection() as postgres:
            then = difference.evaluation_of(postgres, run)
        fresh = Evaluation(name, library.get(name).written, now, upstream, afresh=True)
        scope = difference.Scope(run, then, fresh, library.sql_afresh(name, now), library.keys(name), zone)
        with self._audiences.words_for(name):
            return difference.compare(self._warehouse.lake, settings.home / "scratch", scope, limit, people)

    def of_send(self, number: int, limit: int, people: Path | None = None) -> SentAudience:
        """The audience of a send exactly as it was, and what became of everybody; `people` is a CSV file for all."""
        with self._warehouse.connection() as postgres:
            planned = audience.read_planned_from(postgres, number)
        with self._warehouse.lake.open() as connection:
            return audience.read_audience(connection, planned, self._records_of(planned.send.step), limit, people)

    def _keys(self, selection: str) -> tuple[str, ...]:
        """The keys that the runs of a selection or target group may have, whether it is still in the files or not."""
        if selection in self._warehouse.library.names:
            return self._warehouse.library.keys(selection)
        return ("person_id", *(record.key for record in self._warehouse.project.settings.records.values()))

    def _records_of(self, step: str) -> list[str]:
        """The columns that may hold the linked record of a step, its own first; it may be in no file any more."""
        project = self._warehouse.project
        others = [record.key for record in project.settings.records.values()]
        try:
            own = project.record(project.step(step))
        except SmpError:
            own = None
        return list(dict.fromkeys([*([own.key] if own else []), *others]))
