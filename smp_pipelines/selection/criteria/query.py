"""Parts of the query of a criteria file: records that a row has, in three shapes that DuckDB runs in one pass."""

from __future__ import annotations

from sqlglot import exp

from smp_pipelines.selection.criteria.scope import Link
from smp_pipelines.selection.criteria.values import Operand


def having_records(link: Link, conditions: list[exp.Expr], negated: bool) -> exp.Expr:
    """Whether there is a record that meets the conditions."""
    match = exp.EQ(this=link.inner_key.expression, expression=link.outer_key.expression)
    records = link.inner.add_sources(exp.select(exp.Literal.number(1))).where(match, *conditions, copy=False)
    found = exp.Exists(this=records)
    return exp.not_(found, copy=False) if negated else found


def having_many_records(link: Link, conditions: list[exp.Expr], having: exp.Expr, out: bool) -> exp.Expr:
    """Whether a row is in, or `out` of, the groups of records that meet a condition on their count or sum."""
    key, own = link.inner_key, link.outer_key
    filled = [is_filled(key)] if key.nullable else []
    groups = link.inner.add_sources(exp.select(key.expression.copy())).where(*filled, *conditions, copy=False)
    groups = groups.group_by(key.expression.copy(), copy=False).having(having, copy=False)
    members = exp.In(this=own.expression, query=groups.subquery(copy=False))
    if not out:
        return members
    outside = exp.not_(members, copy=False)
    return exp.or_(is_null(own), outside, copy=False) if own.nullable else outside


def in_selection(name: str, alias: str, own: Operand, key: str, negated: bool) -> exp.Expr:
    """Whether a row is in another selection, read as a table under an alias."""
    table = exp.table_(name, db="selections", alias=alias if alias != name else None)
    column = exp.column(key, table=alias)
    if not negated:
        return exp.In(this=own.expression, query=exp.select(column).from_(table).subquery(copy=False))
    # not `not in`: that would be empty as soon as the other selection gives a null
    match = exp.EQ(this=column, expression=own.expression)
    return exp.not_(exp.Exists(this=exp.select(exp.Literal.number(1)).from_(table).where(match, copy=False)))


def parts(found: exp.Expr) -> list[exp.Expr]:
    """The conditions that all have to hold, without the brackets around them."""
    return list(found.flatten()) if isinstance(found, exp.And) else [found]


def is_filled(operand: Operand) -> exp.Expr:
    """That a column is not null."""
    return exp.not_(is_null(operand), copy=False)


def is_null(operand: Operand) -> exp.Expr:
    """That a column is null."""
    return exp.Is(this=operand.expression.copy(), expression=exp.null())
