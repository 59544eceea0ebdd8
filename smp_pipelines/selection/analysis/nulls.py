"""The null trap: one null in `x not in (select …)` empties the whole selection, without any error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlglot import exp

from smp_pipelines.crm.catalog import Catalog
from smp_pipelines.problems import Problem
from smp_pipelines.selection.gate import line_of


def null_traps(query: exp.Query, catalog: Catalog, file: Path | None = None) -> list[Problem]:
    """A problem for every `not in` over a column that may be null and is not filtered in the subquery."""
    return [
        Problem(
            file,
            line_of(column),
            f"{column.name} may be null, and one null in NOT IN (select …) empties the selection",
            f"add `where {column.sql(dialect='duckdb')} is not null` to the subquery",
        )
        for subquery in _negated(query)
        for column in _nullable(subquery, catalog)
    ]


def _negated(query: exp.Query) -> Iterator[exp.Select]:
    """The subqueries of `x not in (select …)` and `x <> all (select …)`."""
    for node in query.find_all(exp.Not, exp.NEQ):
        if isinstance(node, exp.Not):
            inner = node.this.unnest()
            found = inner.args.get("query") if isinstance(inner, exp.In) else None
        else:
            found = node.expression.this if isinstance(node.expression, exp.All) else None
        found = found.unnest() if isinstance(found, exp.Subquery) else found
        if isinstance(found, exp.Select):
            yield found


def _nullable(select: exp.Select, catalog: Catalog) -> Iterator[exp.Column]:
    where = select.args.get("where")
    filtered = {column.name.lower() for column in where.find_all(exp.Column)} if where else set()
    joins = select.args.get("joins") or []
    sources = [select.args["from_"].this, *(join.this for join in joins)] if select.args.get("from_") else []
    for projection in select.expressions:
        column = projection.unalias()
        if not isinstance(column, exp.Column) or column.name.lower() in filtered:
            continue
        for source in sources:
            table = catalog.tables.get(f"{source.db}.{source.name}".lower()) if isinstance(source, exp.Table) else None
            known = table.columns.get(column.name.lower()) if table else None
            if known and known.nullable and column.table.lower() in ("", source.alias_or_name.lower()):
                yield column
