"""Unit tests of selections: the rows that a selection gives at a moment from given rows, compared with the expected.

They run in memory, with the very SQL that counts and sends, in the project's time zone; no Postgres, no lake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import TracebackType

import duckdb

from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.problems import Problem, ProjectError, SmpError
from smp_pipelines.selection.compiler import Selection
from smp_pipelines.selection.library import SelectionLibrary
from smp_pipelines.selection.unit_tests.file import SUFFIX, Case, read_cases, unit_test_files
from smp_pipelines.selection.unit_tests.tables import Tables

_PREFIX = "selections."
_GOT = "smp.selections.the_rows_that_came_out"
_WANTED = "smp.selections.the_rows_that_were_expected"

ResultRow = tuple[str | None, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a case: rows that did not come and rows that came too many, by the compared columns.

    `error` tells why the selection could not run, `counts` the rows expected and found where only they count.
    """

    case: Case
    columns: tuple[str, ...] = ()
    missing: tuple[ResultRow, ...] = ()
    too_many: tuple[ResultRow, ...] = ()
    counts: tuple[int, int] | None = None
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the selection did what the case expects."""
        counted = self.counts is None or self.counts[0] == self.counts[1]
        return not self.error and not self.missing and not self.too_many and counted

    def difference(self) -> str:
        """What is different from what was expected, a line each; empty for a case that passed."""
        lines = [self.error] if self.error else []
        if self.counts and not self.passed:
            lines.append(f"expected {self.counts[0]} rows, found {self.counts[1]}")
        lines += [f"- missing:  {self._shown(row)}" for row in self.missing]
        lines += [f"+ too many: {self._shown(row)}" for row in self.too_many]
        return "\n".join(lines)

    def _shown(self, row: ResultRow) -> str:
        return ", ".join(
            f"{column}: {'null' if value is None else value}" for column, value in zip(self.columns, row, strict=True)
        )


class UnitTestRunner:
    """Runs cases over the selections of one project, one after the other. A context manager, like its tables."""

    def __init__(self, project: LoadedProject, library: SelectionLibrary) -> None:
        self._library = library
        self._zone = project.settings.zone
        self._tables = Tables(project.catalog, self._zone)

    def __enter__(self) -> UnitTestRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the memory."""
        self._tables.connection.close()

    def run(self, case: Case) -> Outcome:
        """Run one case. What is wrong with the selection or a given value is the outcome's error."""
        try:
            self._tables.clear()
            selection = self._library.get(case.selection)
            self._fill(case, selection)
            return self._compare(case, selection)
        except (SmpError, duckdb.Error) as error:
            return Outcome(case, error=str(error))

    def _fill(self, case: Case, selection: Selection) -> None:
        for table, rows in case.given.items():
            if table.startswith(_PREFIX):
                types = self._library.get(table.removeprefix(_PREFIX)).kept
                self._tables.make(f"smp.{table}", types, rows)
            else:
                self._tables.put(table, rows, case.now)
        self._compute_upstream(case, selection, {name for name in case.given if name.startswith(_PREFIX)})
        self._tables.make_from(_GOT, selection.columns, selection.sql(case.now, self._zone))

    def _compute_upstream(self, case: Case, selection: Selection, there: set[str]) -> None:
        """Compute the selections that this one reads and that are not given, the ones that they read first."""
        for name in selection.dependencies:
            if name.startswith(_PREFIX) and name not in there:
                there.add(name)
                upstream = self._library.get(name.removeprefix(_PREFIX))
                self._compute_upstream(case, upstream, there)
                self._tables.make_from(f"smp.{name}", upstream.kept, upstream.sql(case.now, self._zone))

    def _compare(self, case: Case, selection: Selection) -> Outcome:
        if case.expect is None:
            found = len(self._tables.texts(_GOT, list(selection.columns)))
            return Outcome(case, counts=(case.expect_count or 0, found))
        named = {column for row in case.expect for column in row}
        columns = tuple(column for column in selection.columns if column in named or not named)
        self._tables.make(_WANTED, {column: selection.columns[column] for column in columns}, case.expect)
        got, wanted = (Counter(self._tables.texts(table, columns)) for table in (_GOT, _WANTED))
        return Outcome(case, columns, missing=_sorted(wanted - got), too_many=_sorted(got - wanted))


def read_all_cases(
    project: LoadedProject, library: SelectionLibrary, names: Collection[str] = ()
) -> tuple[list[Case], list[Problem]]:
    """The cases of these selections (of all of them without names), and what is wrong in the files that hold them.

    Raises SmpError for a name that has no unit tests.
    """
    files = unit_test_files(library.folder)
    for name in names:
        if name not in files:
            remedy = did_you_mean(name, files) if files else f"write sql/selections/{name}{SUFFIX}"
            raise SmpError(f"there are no unit tests for {name!r}" + (f"\n    → {remedy}" if remedy else ""))
    cases: list[Case] = []
    problems: list[Problem] = []
    for name, file in files.items():
        if names and name not in names:
            continue
        if name not in library.names:
            words = f"there is no selection {name}"
            problems.append(Problem(file, None, words, did_you_mean(name, library.names)))
            continue
        try:
            cases += read_cases(file, project.catalog, library.compiled, project.settings.zone)
        except ProjectError as error:
            problems += error.problems
    return cases, problems


def _sorted(rows: Counter[ResultRow]) -> tuple[ResultRow, ...]:
    return tuple(sorted(rows.elements(), key=_order))


def _order(row: Sequence[str | None]) -> list[tuple[bool, int, str]]:
    """Numbers by size, the rest as text, nulls last."""
    return [(value is None, int(value or 0) if (value or "").isdigit() else 0, value or "") for value in row]
