"""Impact and lineage over a whole project: what a column feeds, and from which CRM columns a selection comes (X6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import sqlglot
from sqlglot import exp

from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.problems import ProjectError, SmpError
from smp_pipelines.selection.analysis.lineage import Source, Usage, source_schema, used_columns
from smp_pipelines.selection.gate import SELECTIONS
from smp_pipelines.selection.library import SelectionLibrary

_PREFIX = f"{SELECTIONS}."
_ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
"""The columns of a mart are the same at every moment."""


@dataclass(frozen=True)
class Fed:
    """A selection or mart that reads a column: whether it decides on the rows, and what comes out of it.

    `through` are the selections that bring it; empty when it is read directly. `certain` is False for SQL that could
    not be followed.
    """

    name: str
    decides: bool
    outputs: tuple[str, ...]
    through: tuple[str, ...]
    certain: bool = True


@dataclass(frozen=True)
class Impact:
    """What a column or table feeds: selections, marts and the steps whose target group they are part of."""

    name: str
    selections: tuple[Fed, ...]
    marts: tuple[Fed, ...]
    steps: tuple[tuple[StepRef, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Origin:
    """Where a selection comes from: the table columns of each output column, and those that decide who is in it."""

    outputs: Mapping[str, tuple[Source, ...]]
    deciding: tuple[Source, ...]


class Lineage:
    """The lineage of one project, computed once for as many questions as are asked."""

    def __init__(self, project: LoadedProject, library: SelectionLibrary) -> None:
        self._project = project
        self._library = library
        self._usages: dict[str, Usage] = {}
        self._origins: dict[str, Origin] = {}

    def origin(self, name: str) -> Origin:
        """Down to the tables, through joins, CTEs, stars and other selections. Raises as `SelectionLibrary.get`."""
        if name not in self._origins:
            selection, usage = self._library.get(name), self._usage(name)
            outputs = {column: self._down(usage.outputs.get(column, ())) for column in selection.columns}
            read = [part.removeprefix(_PREFIX) for part in selection.dependencies if part.startswith(_PREFIX)]
            deciding = {*self._down(usage.deciding), *(each for one in read for each in self.origin(one).deciding)}
            self._origins[name] = Origin(outputs, tuple(sorted(deciding)))
        return self._origins[name]

    def impact(self, name: str) -> Impact:
        """What `crm.person.city` or the whole of `crm.person` feeds. Raises SmpError for a name that is not known."""
        table, column = self._find(name)
        spread = _Spread(table, column)
        feeding = [table.removeprefix(_PREFIX)] if table.startswith(_PREFIX) else []
        for each in self._in_order():
            dependencies = self._library.compiled[each].dependencies
            if each not in feeding and spread.reaches(dependencies):
                spread.add(each, self._usage(each), dependencies)
        selections = tuple(sorted(spread.fed, key=lambda fed: fed.name))
        named = {fed.name for fed in selections} | set(feeding if column is None else ())
        steps = [(ref, tuple(one for one in ref.step.selections if one in named)) for ref in self._project.steps()]
        return Impact(
            name=table if column is None else f"{table}.{column}",
            selections=selections,
            marts=tuple(self._fed_marts(spread)),
            steps=tuple((ref, through) for ref, through in steps if through),
        )

    def _fed_marts(self, spread: _Spread) -> Iterator[Fed]:
        try:
            marts = self._library.marts(_ANY_MOMENT)
        except ProjectError:
            return  # its own problems are told by `smp check`
        for name, mart in sorted(marts.items()):
            if spread.reaches(mart.dependencies):
                query = sqlglot.parse_one(mart.sql, dialect="duckdb")
                usage = used_columns(query, self._schema) if isinstance(query, exp.Query) else None
                fed = spread.feeds(name, usage, mart.dependencies) if usage else None
                if fed:
                    yield fed

    def _down(self, sources: Iterable[Source]) -> tuple[Source, ...]:
        found: set[Source] = set()
        for table, column in sources:
            upstream = self.origin(table.removeprefix(_PREFIX)).outputs if table.startswith(_PREFIX) else None
            found.update([(table, column)] if upstream is None else upstream.get(column, ()))
        return tuple(sorted(found))

    def _usage(self, name: str) -> Usage:
        if name not in self._usages:
            self._usages[name] = used_columns(self._library.get(name).query, self._schema)
        return self._usages[name]

    @cached_property
    def _schema(self) -> sqlglot.MappingSchema:
        return source_schema(self._project.catalog, self._library.compiled)

    def _in_order(self) -> list[str]:
        """The selections, those that others read first."""
        return list(
            dict.fromkeys(each for name in self._library.compiled for each in self._library.with_upstream(name))
        )

    def _find(self, name: str) -> Source | tuple[str, None]:
        """The table and the column (None: all of the table) that a name means."""
        tables = {table.name: list(table.columns) for table in self._project.catalog.tables.values()}
        tables |= {f"{_PREFIX}{each}": list(one.columns) for each, one in self._library.compiled.items()}
        name = name.lower()
        if name in tables:
            return name, None
        table, _, column = name.rpartition(".")
        if column in tables.get(table, ()):
            return table, column
        everywhere = _all_names(tables)
        known = [f"{table}.{each}" for each in tables[table]] if table in tables else everywhere
        known = [each for each in everywhere if each.endswith(f".{name}")] or known
        remedy = did_you_mean(name, known)
        raise SmpError(f"there is no table or column {name}" + (f"\n    → {remedy}" if remedy else ""))


def _all_names(tables: Mapping[str, Iterable[str]]) -> list[str]:
    return [*tables, *(f"{table}.{column}" for table, columns in tables.items() for column in columns)]


class _Spread:
    """How far a column gets: which columns of which selections hold it, and whose rows it decides."""

    def __init__(self, table: str, column: str | None) -> None:
        self._table, self._column = table, column
        self._columns: set[Source] = set()
        self._rows: set[str] = set()
        self.fed: list[Fed] = []

    def reaches(self, dependencies: Iterable[str]) -> bool:
        """Whether a query that reads these tables and selections can be fed at all."""
        names = {self._table, *self._rows, *(table for table, _column in self._columns)}
        return not names.isdisjoint(dependencies)

    def add(self, name: str, usage: Usage, dependencies: Iterable[str]) -> None:
        """Take a selection in, when it is fed."""
        fed = self.feeds(name, usage, dependencies)
        if fed is None:
            return
        self.fed.append(fed)
        self._columns |= {(f"{_PREFIX}{name}", output) for output in fed.outputs}
        if fed.decides:
            self._rows.add(f"{_PREFIX}{name}")

    def feeds(self, name: str, usage: Usage, dependencies: Iterable[str]) -> Fed | None:
        """What the column does in a query; None when it does nothing there."""
        outputs = {output for output, sources in usage.outputs.items() if any(map(self._holds, sources))}
        whole = self._column is None and self._table in dependencies
        rows = self._rows.intersection(dependencies)
        decides = whole or bool(rows) or any(map(self._holds, usage.deciding)) or not usage.resolved
        if not decides and not outputs:
            return None
        read = {table for table, column in usage.columns if self._holds((table, column))} | rows
        through = sorted(table.removeprefix(_PREFIX) for table in read - {self._table})
        return Fed(name, decides, tuple(sorted(outputs)), tuple(through), certain=usage.resolved)

    def _holds(self, source: Source) -> bool:
        table, column = source
        return source in self._columns or (table == self._table and self._column in (None, column))
