"""Inlining: one query for a selection with the selections that it reads inside, for a look that writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlglot import exp

from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.compiler import Selection
from smp_pipelines.selection.gate import SELECTIONS, duckdb_sql

_PREFIX = "smp_selection_"
"""Of the CTE that stands for another selection."""


def inlined(names: Sequence[str], selections: Mapping[str, Selection], now: datetime, zone: ZoneInfo) -> str:
    """The SQL of the last of these selections at a moment; the others are those that it reads, in their order."""
    return duckdb_sql(rewrite_clock(inlined_query(names, selections), now, zone))


def inlined_query(names: Sequence[str], selections: Mapping[str, Selection]) -> exp.Query:
    """The query of the last of these selections, with the others inside and its clock still in it.

    What a send reads from the lake's tables is here computed on the way, each selection once: counting for another
    moment leaves those tables as they are.
    """
    *upstream, name = names
    if not upstream:
        return selections[name].query.copy()
    query = exp.select("*").from_(exp.Subquery(this=_pointed(selections[name]), alias="chosen"))
    for each in upstream:
        kept = [
            exp.alias_(exp.cast(exp.column(column, quoted=True), type_, dialect="duckdb"), column, quoted=True)
            for column, type_ in selections[each].kept.items()
        ]
        rows = exp.select(*kept).from_(exp.Subquery(this=_pointed(selections[each]), alias="chosen"))
        query = query.with_(f"{_PREFIX}{each}", as_=rows, materialized=True, copy=False)
    return query


def _pointed(selection: Selection) -> exp.Query:
    """A selection's query, with CTEs in the place of the selections that it reads."""
    query = selection.query.copy()
    read = {table.name.lower() for table in query.find_all(exp.Table) if table.db.lower() == SELECTIONS}
    point(query, {name: exp.to_table(f"{_PREFIX}{name}") for name in read})
    return query


def point(query: exp.Query, places: Mapping[str, exp.Table]) -> None:
    """Let a query read these selections from other tables; changes the tree that it is given."""
    tables = list(query.find_all(exp.Table))
    taken = {table.alias_or_name.lower() for table in tables if table.db.lower() != SELECTIONS}
    names: dict[str, str] = {}
    for table in tables:
        name = table.name.lower()
        if table.db.lower() != SELECTIONS or name not in places:
            continue
        if not table.alias:
            # a table of the CRM may have the same name
            names[name] = f"{_PREFIX}{name}" if name in taken else name
            table.set("alias", exp.TableAlias(this=exp.to_identifier(names[name])))
        for part in ("this", "db", "catalog"):
            place = places[name].args.get(part)
            table.set(part, place.copy() if place else None)
    for column in query.find_all(exp.Column):
        if column.db.lower() == SELECTIONS and column.table.lower() in places:
            column.set("table", exp.to_identifier(names.get(column.table.lower(), column.table)))
            column.set("db", None)
            column.set("catalog", None)
