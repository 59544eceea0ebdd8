"""Conditions: who meets what a flow asks, as one query that needs nothing beside the lake's tables.

What a version of a flow keeps must mean the same whatever becomes of the files: the selections that a condition reads
are inside its SQL, and its clock is still in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast
from zoneinfo import ZoneInfo

import sqlglot
from sqlglot import exp

from smp_pipelines.campaign.document import Document, Place
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.problems import ProjectError
from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.compiler import Selection
from smp_pipelines.selection.criteria.file import read_condition
from smp_pipelines.selection.gate import SELECTIONS, duckdb_sql, examine, tables_of
from smp_pipelines.selection.inlining import inlined_query
from smp_pipelines.selection.library import SelectionLibrary

_NAME = "condition"


@dataclass(frozen=True)
class Condition:
    """A query that gives person_id, as DuckDB's SQL with its clock in it; the tables that it reads (crm.person …)."""

    sql: str
    reads: tuple[str, ...]

    @property
    def query(self) -> exp.Query:
        """The tree of the query, to be changed at will."""
        return cast("exp.Query", sqlglot.parse_one(self.sql, dialect="duckdb"))

    def at(self, now: datetime, zone: ZoneInfo) -> str:
        """The SQL that DuckDB runs at this moment; the session's time zone must be `zone`."""
        return duckdb_sql(rewrite_clock(self.query, now, zone), pretty=False)


def compile_condition(document: Document, place: Place, project: LoadedProject, library: SelectionLibrary) -> Condition:
    """Compile a condition as it stands in a file. Raises ProjectError with every problem, each with its line."""
    steps = [ref.key for ref in project.steps()]
    written = read_condition(document, place, project.catalog, steps, library.names)
    try:
        query, _text = examine(
            written.sql(dialect="duckdb", identify=True), project.catalog, library.names, document.file
        )
    except ProjectError as error:
        line = document.line(place)  # the lines are those of SQL that nobody wrote
        raise ProjectError([replace(problem, line=line) for problem in error.problems]) from error
    return _self_contained(Selection(_NAME, document.file, "", query, tables_of(query), {}), library)


def condition_of(name: str, library: SelectionLibrary) -> Condition:
    """Being in a selection, as a condition. Raises ProjectError when the selection is broken, SmpError without one."""
    return _self_contained(library.get(name), library)


def _self_contained(selection: Selection, library: SelectionLibrary) -> Condition:
    upstream = [part.removeprefix(f"{SELECTIONS}.") for part in selection.dependencies if part.startswith(SELECTIONS)]
    names = library.with_upstream(*upstream)
    for name in names:
        library.get(name)
    selections: Mapping[str, Selection] = {**library.compiled, _NAME: selection}
    query = inlined_query([*names, _NAME], selections)
    reads = {*selection.dependencies, *library.tables(names)}
    return Condition(
        duckdb_sql(query, pretty=False), tuple(sorted(each for each in reads if not each.startswith(SELECTIONS)))
    )
