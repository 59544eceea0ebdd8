"""The names in audience tests: which tables a test reads, and which topic, column, step or selection does not exist."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.selection.audience_tests.models import AnyTest, FilledTest, FreshTest, NoOptOutTest, NoOverlapTest
from smp_pipelines.selection.compiler import Selection

Finding: TypeAlias = tuple[str, str, str | None]
"""The key of a test that is wrong, what is wrong with it, and what to do."""


@dataclass(frozen=True)
class Scope:
    """What a test may name: the project's tables, topics and steps, and its selections (the compiled ones by name).

    `of_records` are the selections whose rows are no people (F26).
    """

    project: LoadedProject
    selections: Mapping[str, Selection]
    names: Collection[str]
    of_records: Collection[str]


def reads_of(rule: AnyTest) -> tuple[str, ...]:
    """The tables and selections that a test reads besides the one that it is about."""
    match rule:
        case NoOptOutTest():
            return ("crm.consent",)
        case FilledTest() if rule.person_column is not None:
            return ("crm.person",)
        case FreshTest():
            return (rule.table,)
        case NoOverlapTest():
            return (rule.no_overlap_with,) if rule.selection is not None else ("smp.contact_moment",)
    return ()


def unknown_names(rule: AnyTest, selection: str, scope: Scope) -> Iterator[Finding]:
    """What a test of a selection names that does not exist, or asks of rows that are no people."""
    match rule:
        case NoOptOutTest():
            yield from _people("no_opt_out", selection, scope)
            topics = scope.project.settings.topics
            if rule.no_opt_out not in topics:
                remedy = did_you_mean(rule.no_opt_out, topics)
                yield "no_opt_out", f"there is no topic {rule.no_opt_out} in smp.yaml", remedy
        case FilledTest() if rule.person_column is not None:
            yield from _people("filled", selection, scope)
            yield from _column("filled", "crm.person", rule.person_column, scope)
        case FilledTest():
            yield from _given(rule.filled, selection, scope)
        case FreshTest():
            yield from _fresh(rule, scope)
        case NoOverlapTest():
            yield from _people("no_overlap_with", selection, scope)
            yield from _other(rule, selection, scope)


def _people(key: str, selection: str, scope: Scope) -> Iterator[Finding]:
    if selection in scope.of_records:
        yield key, f"the rows of {selection} are no people", "test a column that the selection gives"


def _column(key: str, table: str, column: str, scope: Scope) -> Iterator[Finding]:
    columns = scope.project.catalog.tables[table].columns
    if column not in columns:
        yield key, f"{table} has no column {column}", did_you_mean(column, columns)


def _given(column: str, selection: str, scope: Scope) -> Iterator[Finding]:
    compiled = scope.selections.get(selection)
    if compiled is None or column in compiled.kept:
        return  # a broken selection is told of by itself
    of_person = column in scope.project.catalog.tables["crm.person"].columns
    remedy = f"did you mean person.{column}?" if of_person else did_you_mean(column, compiled.kept)
    yield "filled", f"{selection} gives no column {column}", remedy


def _fresh(rule: FreshTest, scope: Scope) -> Iterator[Finding]:
    table = scope.project.catalog.tables.get(rule.table)
    if table is None:
        known = [each.name for each in scope.project.catalog.crm()]
        yield "fresh", f"there is no table {rule.table}", did_you_mean(rule.table, known)
        return
    yield from _column("fresh", rule.table, rule.column, scope)
    column = table.columns.get(rule.column)
    if column is not None and not column.type.startswith(("date", "timestamp")):
        moments = [name for name, each in table.columns.items() if each.type.startswith(("date", "timestamp"))]
        yield "fresh", f"{rule.fresh} is no date and no moment", did_you_mean(rule.column, moments)


def _other(rule: NoOverlapTest, selection: str, scope: Scope) -> Iterator[Finding]:
    key, steps = "no_overlap_with", [ref.key for ref in scope.project.steps()]
    if rule.step is not None and rule.step not in steps:
        yield key, f"there is no step {rule.step}", did_you_mean(rule.step, steps)
    if rule.selection is None:
        return
    if rule.selection == selection:
        yield key, "a selection overlaps with itself", "name another one"
    elif rule.selection not in scope.names:
        yield key, f"there is no selection {rule.selection}", did_you_mean(rule.selection, scope.names)
    elif rule.selection not in scope.selections:
        yield key, f"reads {rule.no_overlap_with}, which has problems of its own", None
    elif rule.selection in scope.of_records:
        yield key, f"the rows of {rule.selection} are no people", "name another one"
