"""The library: all selections and marts of a project, compiled once; a broken one only breaks what uses it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlglot import exp

from smp_pipelines.campaign.models import Schedule
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.problems import Problem, ProjectError, SmpError
from smp_pipelines.selection.analysis.exclusion import check_continuous
from smp_pipelines.selection.analysis.lineage import column_lineage
from smp_pipelines.selection.audience_tests.files import AudienceTest, read_audience_tests
from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.compiler import Selection, describe, read_selections, selection_files
from smp_pipelines.selection.gate import SELECTIONS, duckdb_sql, examine, tables_of
from smp_pipelines.selection.inlining import inlined

_ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
"""For checking a mart, which is the same at every moment."""


@dataclass(frozen=True)
class Mart:
    """A table of the project in the report file: its file, what it holds, and the SQL over the lake at a moment."""

    file: Path
    description: str
    sql: str
    dependencies: tuple[str, ...]


class SelectionLibrary:
    """The selections of one project, with the problems of those that are broken."""

    def __init__(
        self,
        project: LoadedProject,
        selections: Mapping[str, Selection],
        problems: list[Problem],
        tests: Mapping[str, tuple[AudienceTest, ...]],
    ) -> None:
        self._project = project
        self._tests = tests
        self._selections = dict(selections)
        self.folder = project.folder / "sql" / "selections"
        self._files = selection_files(self.folder)
        self.names: tuple[str, ...] = tuple(self._files)
        self.problems = problems

    def file(self, name: str) -> Path:
        """The file that a selection is written in: SQL or criteria; where it would be, when there is none."""
        return self._files.get(name, self.folder / f"{name}.sql")

    def get(self, name: str) -> Selection:
        """A compiled selection. Raises ProjectError with its problems, SmpError when there is none of that name."""
        if name in self._selections:
            return self._selections[name]
        problems = [problem for problem in self.problems if problem.file == self.file(name)]
        if problems:
            raise ProjectError(problems)
        if name in self._files:
            # the problem of a circle stands in one of its files
            words = "this selection reads itself through others"
            raise ProjectError([Problem(self.file(name), None, words, "`smp check` shows the circle")])
        remedy = did_you_mean(name, self.names)
        raise SmpError(f"there is no selection {name}" + (f"\n    → {remedy}" if remedy else ""))

    @property
    def compiled(self) -> Mapping[str, Selection]:
        """The selections without problems of their own, by name."""
        return self._selections

    def sql(self, name: str, now: datetime) -> str:
        """The SQL that DuckDB runs for a selection at this moment."""
        return self.get(name).sql(now, self._project.settings.zone)

    def sql_afresh(self, name: str, now: datetime) -> str:
        """The SQL of a selection with the selections that it reads inside: nothing has to be materialised for it."""
        self.get(name)
        return inlined(self.with_upstream(name), self._selections, now, self._project.settings.zone)

    def dependencies(self, name: str) -> tuple[str, ...]:
        """The tables that a selection and its audience tests read; none for a broken one."""
        if name not in self._selections:
            return ()
        # the built-in tests read crm.person, which is brought up to date for every selection
        tests = {table for test in self.audience_tests(name) if test.file is not None for table in test.reads}
        return tuple(sorted({*self._selections[name].dependencies, *tests}))

    def audience_tests(self, name: str) -> tuple[AudienceTest, ...]:
        """The audience tests of a selection, the built-in ones first (X5)."""
        return self._tests.get(name, ())

    def description(self, name: str) -> str:
        """What a selection says of itself, or what is wrong with it."""
        if name in self._selections:
            return self._selections[name].description
        return "BROKEN. " + " ".join(str(p) for p in self.problems if p.file == self.file(name))

    def keys(self, name: str) -> tuple[str, ...]:
        """The columns that tell the rows of a selection apart: the person, and the linked records of its steps."""
        people = () if self.is_of_records(name) else ("person_id",)
        return tuple(dict.fromkeys((*people, *sorted(_record_keys(self._project)[name]))))

    def is_of_records(self, name: str) -> bool:
        """Whether a selection is there for an internal send's records only: its rows are no people (F26)."""
        return name in _of_records(self._project)

    def with_upstream(self, *names: str) -> list[str]:
        """Selections and the selections they read, each once and the ones that are read first."""
        prefix = f"{SELECTIONS}."
        ordered: list[str] = []
        for name in names:
            upstream = [part.removeprefix(prefix) for part in self.dependencies(name) if part.startswith(prefix)]
            ordered += [*self.with_upstream(*upstream), name]
        return list(dict.fromkeys(ordered))

    def tables(self, names: Iterable[str]) -> set[str]:
        """The tables and selections that these selections and their audience tests read."""
        return {table for name in names for table in self.dependencies(name)}

    def lineage(self, name: str) -> dict[str, list[tuple[str, str]]]:
        """Output column → the columns it comes from."""
        return column_lineage(self.get(name), self._project.catalog, self._selections)

    def marts(self, now: datetime) -> dict[str, Mart]:
        """The project's own tables for the report file. Raises ProjectError for one that is no read-only SELECT."""
        return dict(_marts(self._project, now))

    def mart_tables(self) -> list[str]:
        """The crm tables that the marts read; a broken mart reads none."""
        try:
            marts = self.marts(_ANY_MOMENT)
        except ProjectError:
            return []
        return sorted({name for mart in marts.values() for name in mart.dependencies if name.startswith("crm.")})


def load_library(project: LoadedProject) -> SelectionLibrary:
    """Compile all selections of a project; collect what is wrong with them, with how steps use them, with marts."""
    steps = [ref.key for ref in project.steps()]
    folder = project.folder / "sql" / "selections"
    keys, of_records = _record_keys(project), _of_records(project)
    selections, problems = read_selections(folder, project.catalog, steps, keys, of_records)
    for ref in project.steps():
        problems += _exclusion_problems(project, ref, selections)
    try:
        dict(_marts(project, _ANY_MOMENT))
    except ProjectError as error:
        problems += error.problems
    tests, unreadable = read_audience_tests(project, selections, of_records)
    return SelectionLibrary(project, selections, [*problems, *unreadable], tests)


def _at(query: exp.Query, now: datetime, project: LoadedProject) -> str:
    return duckdb_sql(rewrite_clock(query, now, project.settings.zone))


def _record_keys(project: LoadedProject) -> dict[str, set[str]]:
    keys: dict[str, set[str]] = defaultdict(set)
    for ref in project.steps():
        record = project.record(ref)
        # the record comes with the people; of an internal step it does not come with the colleagues
        giving = ref.step.people if ref.step.internal is None else ref.step.selections[-1:]
        for name in giving:
            keys[name] |= {record.key} if record else set()
    return keys


def _of_records(project: LoadedProject) -> set[str]:
    steps = [ref.step for ref in project.steps()]
    return {step.internal.records for step in steps if step.internal} - {name for step in steps for name in step.people}


def _exclusion_problems(project: LoadedProject, ref: StepRef, selections: Mapping[str, Selection]) -> list[Problem]:
    if not isinstance(ref.step.schedule, Schedule) or ref.step.is_frozen:
        return []  # a send leaves out whoever of a frozen group got the step already, whatever the selections say
    if ref.step.internal is not None:
        return []  # colleagues get whatever the records of the day are: nobody is left out (F26)
    record, times = project.record(ref), ref.step.schedule.times
    key = record.key if record else None
    found = (selections[name] for name in ref.step.people if name in selections)
    start = ref.step.schedule.start
    return [each for one in found for each in check_continuous(one, ref.key, times, key, selections, start)]


def _marts(project: LoadedProject, now: datetime) -> Iterator[tuple[str, Mart]]:
    for path in sorted((project.folder / "sql" / "marts").glob("*.sql")):
        source = path.read_text(encoding="utf-8")
        query, _text = examine(source, project.catalog, (), path)
        description = describe(source)
        if not description:
            words = "the mart does not say what it holds"
            raise ProjectError([Problem(path, 1, words, "open the file with a comment")])
        yield path.stem, Mart(path, description, _at(query, now, project), tables_of(query))
