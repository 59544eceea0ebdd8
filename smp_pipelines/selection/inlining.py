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
    """The SQL of the last of these selections at a moment; the others are those that it reads, in their order.

    What a send reads from the lake's tables is here computed on the way, each selection once: counting for another
    moment leaves those tables as they are.
    """
    *upstream, name = names
    if not upstream:
        return selections[name].sql(now, zone)
    query = exp.select("*").from_(exp.Subquery(this=_pointed(selections[name], now, zone), alias="chosen"))
    for each in upstream:
        kept = [exp.column(column, quoted=True) for column in selections[each].kept]
        rows = exp.select(*kept).from_(exp.Subquery(this=_pointed(selections[each], now, zone), alias="chosen"))
        query = query.with_(f"{_PREFIX}{each}", as_=rows, materialized=True, copy=False)
    return duckdb_sql(query)


def _pointed(selection: Selection, now: datetime, zone: ZoneInfo) -> exp.Query:
    """A selection's query at a moment, with CTEs in the place of the selections that it reads."""
    query = rewrite_clock(selection.query, now, zone)
    for table in list(query.find_all(exp.Table)):
        if table.db.lower() == SELECTIONS:
            name = table.name.lower()
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(name)))
            table.set("this", exp.to_identifier(f"{_PREFIX}{name}"))
            table.set("db", None)
            table.set("catalog", None)
    for column in query.find_all(exp.Column):
        if column.db.lower() == SELECTIONS:
            column.set("db", None)
            column.set("catalog", None)
    return query
