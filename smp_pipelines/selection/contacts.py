"""Reads from a parsed query whether it gives people who received a step, and since when (F17).

Conservative: a condition on smp.contact_moment that is not understood may leave recipients out of the answer, so
then the query does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlglot import exp

from smp_pipelines.selection.clock import clock_kind

PERSON_COLUMNS = ("person_id", "email_key")
_FOR_EVER = timedelta.max
_UNITS = {
    "MINUTE": timedelta(minutes=1),
    "HOUR": timedelta(hours=1),
    "DAY": timedelta(days=1),
    "WEEK": timedelta(weeks=1),
    "MONTH": timedelta(days=30),
    "YEAR": timedelta(days=365),
}
_RECEIVED_OUTCOMES = {"planned", "accepted", "unknown"}


@dataclass(frozen=True)
class Window:
    """How far back contact moments count: a length, from the run's moment or from local midnight (`whole_day`).

    A length of timedelta.max is for ever.
    """

    length: timedelta
    whole_day: bool = False

    def covers(self, span: timedelta) -> bool:
        """Whether somebody who received it `span` earlier on the same day is still inside."""
        return self.whole_day or self.length > span


@dataclass(frozen=True)
class Contacts:
    """Contact moments of the step: since when, and whether they are matched with a person or a record outside."""

    window: Window
    person: bool = False
    record: bool = False


@dataclass(frozen=True)
class Names:
    """What names mean at a place in the query: the step that is looked for, CTEs in sight, other selections."""

    step: str
    ctes: Mapping[str, tuple[exp.Expr, Names]]
    selections: Mapping[str, exp.Query]


def names_of(query: exp.Expr, outer: Names) -> Names:
    """The names inside a query: those outside and its own CTEs."""
    clause = query.args.get("with_")
    for cte in clause.expressions if clause else ():
        outer = replace(outer, ctes={**outer.ctes, cte.alias.lower(): (cte.this, outer)})
    return outer


def inner_query(query: exp.Expr) -> exp.Expr:
    """The query inside brackets and aliases."""
    while isinstance(query, (exp.Subquery, exp.Paren)) and not query.args.get("with_"):
        query = query.this
    return query


def conjuncts(condition: exp.Expr) -> Iterator[exp.Expr]:
    """The conditions that all have to hold."""
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        yield from conjuncts(condition.this)
        yield from conjuncts(condition.expression)
    else:
        yield condition


def joins_of(select: exp.Select) -> list[exp.Join]:
    """The joins of a SELECT, in order."""
    return list(select.args.get("joins") or [])


def resolve(source: exp.Expr, names: Names) -> tuple[exp.Expr | None, Names]:
    """The query behind a source of FROM: a subquery, a CTE or another selection; None for a table."""
    if isinstance(source, exp.Subquery):
        return source.this, names
    if isinstance(source, exp.Table) and not source.db:
        return names.ctes.get(source.name.lower(), (None, names))
    if isinstance(source, exp.Table) and source.db.lower() == "selections":
        # Each selection is looked into once on the way down; a circle is refused by the compiler.
        others = {name: query for name, query in names.selections.items() if name != source.name.lower()}
        return names.selections.get(source.name.lower()), Names(names.step, {}, others)
    return None, names


def contacts_of(query: exp.Expr, names: Names) -> Contacts | None:
    """The contact moments of the step that a query (or the right side of a join) stands for, or None.

    At least everybody who received the step within the window is in them: more people is fine, fewer is not.
    """
    if isinstance(query, exp.Join):
        on = query.args.get("on")
        return _filtered([query.this], list(conjuncts(on)) if on else [], names)
    query = inner_query(query)
    names = names_of(query, names)
    if isinstance(query, exp.Union):
        sides = [found for side in (query.this, query.expression) if (found := contacts_of(side, names))]
        return max(sides, key=lambda one: one.window.length, default=None)
    if not isinstance(query, exp.Select) or any(
        query.args.get(key) for key in ("having", "qualify", "limit", "offset")
    ):
        return None
    start, where, distinct = (query.args.get(key) for key in ("from_", "where", "distinct"))
    if start is None or (distinct is not None and distinct.args.get("on")):
        return None
    joins = joins_of(query)
    if any(join.kind.upper() not in ("", "INNER", "CROSS") or join.side.upper() in ("RIGHT", "FULL") for join in joins):
        return None
    conditions = [part for join in joins if (on := join.args.get("on")) for part in conjuncts(on)]
    conditions += list(conjuncts(where.this)) if where else []
    return _filtered([start.this, *(join.this for join in joins)], conditions, names)


def outputs_person(query: exp.Expr, names: Names) -> bool:
    """Whether the query gives the person (or the address), alone or beside the record."""
    query = inner_query(query)
    if isinstance(query, exp.SetOperation):
        return outputs_person(query.this, names_of(query, names))
    if not isinstance(query, exp.Select):
        return False
    return any(
        projection.is_star
        or (isinstance(column := projection.unalias(), exp.Column) and column.name.lower() in PERSON_COLUMNS)
        for projection in query.selects
    )


def matches_person(join: exp.Join) -> bool:
    """Whether a join is USING the person, or ON the person of both sides."""
    on = join.args.get("on")
    columns = list(join.args.get("using") or [])
    columns += [part.this for part in conjuncts(on) if _joins_columns(part)] if on else []
    return any(column.name.lower() in PERSON_COLUMNS for column in columns)


def _joins_columns(condition: exp.Expr) -> bool:
    return (
        isinstance(condition, exp.EQ)
        and isinstance(condition.this, exp.Column)
        and isinstance(condition.expression, exp.Column)
    )


def _filtered(sources: list[exp.Expr], conditions: list[exp.Expr], names: Names) -> Contacts | None:
    base = next((found for source in sources if (found := _source(source, names))), None)
    if base is None:
        members = [(part, found) for part in conditions if (found := _as_members(part, names))]
        if not members:
            return None
        base = members[0][1]
        conditions = [part for part in conditions if part is not members[0][0]]
    for condition in conditions:
        base = _narrow(base, condition, names.step)
        if base is None:
            return None
    return base


def _source(source: exp.Expr, names: Names) -> Contacts | None:
    if isinstance(source, exp.Table) and f"{source.db}.{source.name}".lower() == "smp.contact_moment":
        return Contacts(Window(_FOR_EVER))
    query, inside = resolve(source, names)
    found = contacts_of(query, inside) if query is not None else None
    return replace(found, person=False, record=False) if found else None


def _as_members(condition: exp.Expr, names: Names) -> Contacts | None:
    """`person_id in (select … who received it)` gives those people as well."""
    if isinstance(condition, exp.In) and condition.args.get("query") and isinstance(condition.this, exp.Column):
        return contacts_of(condition.args["query"], names) if condition.this.name.lower() in PERSON_COLUMNS else None
    return None


def _narrow(contacts: Contacts, condition: exp.Expr, step: str) -> Contacts | None:
    """The contact moments that are left under one more condition; None when recipients of the step may be lost."""
    if _joins_columns(condition):
        sides = {condition.this.name.lower(), condition.expression.name.lower()}
        person, record = bool(sides & set(PERSON_COLUMNS)), "record_id" in sides
        if not person and not record and len(sides) > 1:
            return None
        return replace(contacts, person=contacts.person or person, record=contacts.record or record)
    if _harmless(condition, step):
        return contacts
    window = _since(condition)
    if window is None:
        return None
    narrower = contacts.window.length <= window.length
    return contacts if narrower else replace(contacts, window=window)


def _harmless(condition: exp.Expr, step: str) -> bool:
    """Whether every contact moment in which this step was received meets the condition."""
    if isinstance(condition, exp.Boolean):
        return bool(condition.this)
    if isinstance(condition, exp.Column):
        return condition.name.lower() == "received"
    if isinstance(condition, exp.Not):
        inner = condition.this.unnest()
        return (
            isinstance(inner, exp.Is) and isinstance(inner.expression, exp.Null) and isinstance(inner.this, exp.Column)
        )
    column = condition.this
    if not isinstance(column, exp.Column):
        return False
    name = column.name.lower()
    if isinstance(condition, (exp.EQ, exp.Is)) and name == "received":
        return isinstance(condition.expression, exp.Boolean) and bool(condition.expression.this)
    accepted = {
        "step": {step},
        "campaign": {step.partition("/")[0]},
        "channel": {"email"},
        "kind": {"sent"},
        "outcome": _RECEIVED_OUTCOMES,
    }.get(name)
    return accepted is not None and _takes(condition, accepted, name == "outcome")


def _takes(condition: exp.Expr, values: set[str], every: bool) -> bool:
    """Whether the condition on a column holds for the value, or for `accepted` at least when there are several."""
    wanted = {"accepted"} if every else values
    if isinstance(condition, exp.EQ):
        return isinstance(condition.expression, exp.Literal) and condition.expression.this in wanted
    if isinstance(condition, exp.In) and not condition.args.get("query"):
        return wanted <= {item.this for item in condition.expressions if isinstance(item, exp.Literal)}
    if isinstance(condition, exp.Like) and isinstance(condition.expression, exp.Literal):
        parts = re.split(r"([%_])", condition.expression.this)
        pattern = "".join({"%": ".*", "_": "."}.get(part, re.escape(part)) for part in parts)
        return all(re.fullmatch(pattern, value, re.DOTALL) for value in wanted)
    return False


def _since(condition: exp.Expr) -> Window | None:
    """The window of `happened_at > …` in its spellings; None for anything else, so for an upper bound too."""
    if isinstance(condition, exp.Between) and _is_moment(condition.this):
        upper = _bound(condition.args["high"])
        recent = upper is not None and upper.length == timedelta() and not upper.whole_day
        return _bound(condition.args["low"]) if recent else None
    if isinstance(condition, (exp.GT, exp.GTE)) and _is_moment(condition.this):
        return _bound(condition.expression)
    if isinstance(condition, (exp.LT, exp.LTE)) and _is_moment(condition.expression):
        return _bound(condition.this)
    if (
        isinstance(condition, exp.EQ)
        and _is_day(condition.this)
        and _bound(condition.expression) == Window(timedelta(), True)
    ):
        return Window(timedelta(), True)
    return None


def _is_moment(node: exp.Expr) -> bool:
    return _is_day(node) or (isinstance(node, exp.Column) and node.name.lower() == "happened_at")


def _is_day(node: exp.Expr) -> bool:
    inner = node.this if isinstance(node, (exp.Cast, exp.TimestampTrunc, exp.DateTrunc)) else None
    return isinstance(inner, exp.Column) and inner.name.lower() == "happened_at"


def _bound(node: exp.Expr) -> Window | None:
    """A moment in the past as a window: now() - interval '30 days', current_date, a fixed date."""
    node = node.unnest()
    if clock_kind(node):
        return Window(timedelta(), whole_day=clock_kind(node) == "date")
    if isinstance(node, (exp.TimestampTrunc, exp.DateTrunc)):
        inner = _bound(node.this)
        return replace(inner, whole_day=True) if inner else None
    if isinstance(node, exp.Cast):
        if isinstance(node.this, exp.Literal):
            return Window(_FOR_EVER, whole_day=True)
        inner = _bound(node.this)
        return replace(inner, whole_day=inner.whole_day or node.to.this == exp.DataType.Type.DATE) if inner else None
    if isinstance(node, exp.Sub):
        base, length = _bound(node.this), _length(node.expression)
        return replace(base, length=base.length + length) if base and length is not None else None
    return None


def _length(node: exp.Expr) -> timedelta | None:
    node = node.unnest()
    if isinstance(node, exp.Literal) and not node.is_string and node.this.isdigit():
        return timedelta(days=int(node.this))
    if isinstance(node, exp.Interval) and isinstance(node.this, exp.Literal) and node.this.this.isdigit():
        unit = _UNITS.get(str(node.unit).upper().removesuffix("S"))
        return int(node.this.this) * unit if unit else None
    return None
