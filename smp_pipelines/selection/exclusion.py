"""The exclusion of a continuous send: does the selection leave out who already received the step? (F17, F21)

Read from the parsed query, not from a naming convention: `not in`, `<> all`, `not exists`, EXCEPT, ANTI JOIN or
LEFT JOIN … IS NULL over smp.contact_moment (contacts.py), in the query itself or in a CTE, a subquery or another
selection that its rows come from. What is not certain to exclude counts as no exclusion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from sqlglot import exp

from smp_pipelines.problems import Problem
from smp_pipelines.selection.compiler import Selection
from smp_pipelines.selection.contacts import (
    PERSON_COLUMNS,
    Names,
    Window,
    conjuncts,
    contacts_of,
    inner_query,
    joins_of,
    matches_person,
    names_of,
    outputs_person,
    resolve,
)

_NEVER_NULL = {"person_id", "campaign", "step", "channel", "kind", "happened_at", "outcome", "received"}


@dataclass(frozen=True)
class Exclusion:
    """How a selection leaves out who received the step: with what SQL, for how long, and whether per linked record."""

    form: str
    window: Window
    by_record: bool


def excludes(query: exp.Query, step_key: str, selections: Mapping[str, exp.Query] | None = None) -> Exclusion | None:
    """How every row of the query is kept from people who already received the step; None when nothing does that.

    `selections` are the queries of the selections that this one may read.
    """
    return _of_rows(query, Names(step_key, {}, selections or {}))


def check_continuous(
    selection: Selection,
    step_key: str,
    times: Sequence[time],
    has_record: bool,
    selections: Mapping[str, Selection] | None = None,
) -> list[Problem]:
    """The problems of a continuous step with this selection: no exclusion (F17), one per record for a step without
    records, and as a warning several times a day without covering the day (F21). `times` are the local times of a day,
    `selections` the compiled selections that this one may read.
    """
    record = ', record="<record key>"' if has_record else ""
    macro = f'and {{{{ not_received("{step_key}", within="30 days"{record}) }}}}'
    queries = {name: other.query for name, other in (selections or {}).items()}
    found = excludes(selection.query, step_key, queries)
    if found is None:
        words = f"the continuous step {step_key} needs a selection that leaves out who already received it"
        return [Problem(selection.path, None, words, f"add to the WHERE: {macro}")]
    if found.by_record and not has_record:
        words = f"the selection leaves people out per record, but the step {step_key} has no record: nobody is left out"
        return [Problem(selection.path, None, words, "take `record` out of not_received, or give the step a record")]
    if len(times) > 1 and not found.window.covers(_span(times)):
        words = (
            f"the step {step_key} is sent {len(times)} times a day, but the selection is not sure to leave out "
            "who received it earlier that day"
        )
        return [Problem(selection.path, None, words, 'use within="today" or a day or more', warning=True)]
    return []


def _span(times: Sequence[time]) -> timedelta:
    day = datetime(2000, 1, 1)  # noqa: DTZ001  a difference of local times on one day
    return datetime.combine(day, max(times)) - datetime.combine(day, min(times))


def _of_rows(query: exp.Expr, names: Names) -> Exclusion | None:
    """The exclusion that holds for every row of a query."""
    query = inner_query(query)
    names = names_of(query, names)
    if isinstance(query, exp.SetOperation):
        return _of_set(query, names)
    if not isinstance(query, exp.Select):
        return None
    for look in (_in_conditions, _in_joins, _in_sources):
        found = look(query, names)
        if found:
            return found
    return None


def _of_set(query: exp.SetOperation, names: Names) -> Exclusion | None:
    left, right = _of_rows(query.this, names), _of_rows(query.expression, names)
    if isinstance(query, exp.Union):
        if left and right:
            return min(left, right, key=lambda one: one.window.length)
        return None
    if isinstance(query, exp.Intersect):
        return left or right
    removed = contacts_of(query.expression, names)
    if removed and query.args.get("distinct") and outputs_person(query.expression, names):
        return Exclusion("EXCEPT", removed.window, len(query.selects) > 1)
    return left


def _in_conditions(select: exp.Select, names: Names) -> Exclusion | None:
    clauses = [clause for key in ("where", "having", "qualify") if (clause := select.args.get(key))]
    for condition in (part for clause in clauses for part in conjuncts(clause.this)):
        found = _of_condition(condition, names)
        if found:
            return found
    return None


def _of_condition(condition: exp.Expr, names: Names) -> Exclusion | None:
    if isinstance(condition, exp.NEQ) and isinstance(condition.expression, exp.All):
        return _not_in(condition.this, condition.expression.this, "<> ALL", names)
    if isinstance(condition, exp.In) and condition.args.get("query"):
        # Rows that are in a query which excludes are excluded too.
        members = condition.args["query"]
        return _of_rows(members, names) if _is_person(condition.this) and outputs_person(members, names) else None
    if not isinstance(condition, exp.Not):
        return None
    inner = condition.this.unnest()
    if isinstance(inner, exp.In) and inner.args.get("query"):
        return _not_in(inner.this, inner.args["query"], "NOT IN", names)
    if isinstance(inner, exp.Exists):
        found = contacts_of(inner.this, names)
        if found and found.person:
            return Exclusion("NOT EXISTS", found.window, found.record)
    return None


def _not_in(left: exp.Expr, query: exp.Expr, form: str, names: Names) -> Exclusion | None:
    found = contacts_of(query, names)
    if found is None or not _is_person(left) or not outputs_person(query, names):
        return None
    return Exclusion(form, found.window, found.record or isinstance(left.unnest(), exp.Tuple))


def _is_person(left: exp.Expr) -> bool:
    left = left.unnest()
    parts = left.expressions if isinstance(left, exp.Tuple) else [left]
    return any(isinstance(part, exp.Column) and part.name.lower() in PERSON_COLUMNS for part in parts)


def _in_joins(select: exp.Select, names: Names) -> Exclusion | None:
    for join in joins_of(select):
        kind, side = join.kind.upper(), join.side.upper()
        if kind != "ANTI" and side != "LEFT":
            continue
        found = contacts_of(join, names)
        if found is None or not (found.person or matches_person(join)):
            continue
        by_record = found.record or any(
            part.name.lower() not in PERSON_COLUMNS for part in join.args.get("using") or []
        )
        if kind == "ANTI":
            return Exclusion("ANTI JOIN", found.window, by_record)
        if _is_missing(select, join.this.alias_or_name.lower()):
            return Exclusion("LEFT JOIN … IS NULL", found.window, by_record)
    return None


def _is_missing(select: exp.Select, alias: str) -> bool:
    """Whether the WHERE asks that the joined contact moment is not there."""
    where = select.args.get("where")
    return where is not None and any(
        isinstance(part, exp.Is)
        and isinstance(part.expression, exp.Null)
        and isinstance(part.this, exp.Column)
        and part.this.table.lower() == alias
        and part.this.name.lower() in _NEVER_NULL
        for part in conjuncts(where.this)
    )


def _in_sources(select: exp.Select, names: Names) -> Exclusion | None:
    """Rows that take their person from a source which excludes are excluded, unless an outer join may add others."""
    start = select.args.get("from_")
    joins = joins_of(select)
    if start is None or any(join.side.upper() in ("RIGHT", "FULL") for join in joins):
        return None
    inner = [join.this for join in joins if not join.side and join.kind.upper() in ("", "INNER", "CROSS", "SEMI")]
    linked = any(matches_person(join) for join in joins)
    for source in (start.this, *inner):
        query, inside = resolve(source, names)
        if query is None or not outputs_person(query, inside):
            continue
        if linked or _person_table(select) in ("", source.alias_or_name.lower()):
            found = _of_rows(query, inside)
            if found:
                return found
    return None


def _person_table(select: exp.Select) -> str:
    """The table before person_id in the output; empty when it is not named, for then only one can give it."""
    for projection in select.selects:
        if projection.output_name.lower() == "person_id":
            column = projection.unalias()
            return column.table.lower() if isinstance(column, exp.Column) else "an expression"
    return ""
