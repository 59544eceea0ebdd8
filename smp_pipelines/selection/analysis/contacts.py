"""Reads from a parsed query whether it gives the people who received a step, and since when (F17).

Conservative: a condition, a join or a column that is not understood may leave recipients out of the answer, so then
the query does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from smp_pipelines.crm.catalog import CONTACT_MOMENT
from smp_pipelines.selection.analysis.window import FOR_EVER, Window, window_of

PERSON, ADDRESS, RECORD = "person_id", "email_key", "record_id"
NEVER_NULL = frozenset(column.name for column in CONTACT_MOMENT.columns.values() if not column.nullable)
_MOMENT = tuple((name, name) for name in CONTACT_MOMENT.columns)
_LOSES_ROWS = ("having", "qualify", "limit", "offset", "laterals", "sample", "pivots")
_HARMLESS_IN_BRACKETS = {"this", "alias", "order"}


@dataclass(frozen=True)
class Contacts:
    """Contact moments of the step: for each received within the window there is a row with these columns together.

    `outputs` are the columns by name, with what of the moment they hold: a column of smp.contact_moment, or
    email_key; None for anything else. `exact`: there are no others, and their order is known. `links` tie columns of
    the query around to what they equal. `partial`: not every outcome in which it was received counts.
    `of_records`: only moments with a record count.
    """

    window: Window
    outputs: tuple[tuple[str, str | None], ...] = ()
    exact: bool = True
    links: tuple[tuple[str, exp.Column], ...] = ()
    partial: bool = False
    of_records: bool = False

    def kind(self, name: str) -> str | None:
        """What a column holds, by its name."""
        found = [kind for each, kind in self.outputs if each == name]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class Names:
    """What names mean at a place in the query: the step that is looked for, CTEs in sight, other selections."""

    step: str
    ctes: Mapping[str, tuple[exp.Expr, Names]]
    selections: Mapping[str, exp.Query]


def names_of(query: exp.Expr, outer: Names) -> Names:
    """The names inside a query: those outside and its own CTEs. A CTE that renames its columns is not looked into."""
    clause = query.args.get("with_")
    for cte in clause.expressions if clause else ():
        body = exp.null() if cte.alias_column_names else cte.this
        outer = replace(outer, ctes={**outer.ctes, cte.alias.lower(): (body, outer)})
    return outer


def inner_query(query: exp.Expr) -> exp.Expr:
    """The query inside brackets and aliases, as far as they leave its rows and names as they are."""
    while isinstance(query, (exp.Subquery, exp.Paren)):
        changed = {key for key, value in query.args.items() if value} - _HARMLESS_IN_BRACKETS
        if changed or query.alias_column_names:
            break
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
    """The joins of a SELECT, in order. Those of a query that begins with FROM hang on its table."""
    start = select.args.get("from_")
    of_table = start.this.args.get("joins") if start is not None else None
    return [*(of_table or []), *(select.args.get("joins") or [])]


def resolve(source: exp.Expr, names: Names) -> tuple[exp.Expr | None, Names]:
    """The query behind a source of FROM: a subquery, a CTE or another selection; None for a table.

    None too for a source that renames its columns.
    """
    if isinstance(source, (exp.Table, exp.Subquery)) and source.alias_column_names:
        return None, names
    if isinstance(source, exp.Subquery):
        return source, names
    if isinstance(source, exp.Table) and not source.db:
        return names.ctes.get(source.name.lower(), (None, names))
    if isinstance(source, exp.Table) and source.db.lower() == "selections":
        # Each selection is looked into once on the way down; a circle is refused by the compiler.
        others = {name: query for name, query in names.selections.items() if name != source.name.lower()}
        return names.selections.get(source.name.lower()), Names(names.step, {}, others)
    return None, names


def is_table(source: exp.Expr, name: str) -> bool:
    """Whether a source is this table, under its own column names."""
    if not isinstance(source, exp.Table) or source.alias_column_names:
        return False
    return f"{source.db}.{source.name}".lower() == name


def is_null_test(condition: exp.Expr) -> exp.Column | None:
    """The column that `x is null` asks about."""
    asks = isinstance(condition, exp.Is) and isinstance(condition.expression, exp.Null)
    return condition.this if asks and isinstance(condition.this, exp.Column) else None


def equal_columns(condition: exp.Expr) -> tuple[exp.Column, exp.Column] | None:
    """The two columns of `a = b`."""
    if isinstance(condition, exp.EQ):
        left, right = condition.this.unnest(), condition.expression.unnest()
        if isinstance(left, exp.Column) and isinstance(right, exp.Column):
            return left, right
    return None


def contacts_of(query: exp.Expr, names: Names) -> Contacts | None:
    """The contact moments of the step that a query stands for, or None."""
    query = inner_query(query)
    names = names_of(query, names)
    if isinstance(query, exp.Union):
        return _of_union(query, names)
    if not isinstance(query, exp.Select) or any(query.args.get(key) for key in _LOSES_ROWS):
        return None
    distinct, group, where = (query.args.get(key) for key in ("distinct", "group", "where"))
    if (distinct is not None and distinct.args.get("on")) or (group and group.find(*_GROUPINGS)):
        return None
    start = query.args.get("from_")
    if start is None:
        return None
    conditions = list(conjuncts(where.this)) if where else []
    sources = _Sources.of(start.this, joins_of(query), conditions, names)
    found = sources.contacts() if sources else None
    if sources is None or found is None:
        return None
    outputs, exact = sources.outputs(query)
    return replace(found, outputs=outputs, exact=exact)


_GROUPINGS = (exp.GroupingSets, exp.Cube, exp.Rollup)


def contacts_joined(join: exp.Join, names: Names) -> Contacts | None:
    """The contact moments that the right side of a join stands for, with what its ON or USING links them to."""
    on = join.args.get("on")
    sources = _Sources.of(join.this, [], list(conjuncts(on)) if on else [], names)
    found = sources.contacts() if sources else None
    if sources is None or found is None or join.method:
        return None
    links = list(found.links)
    for column in join.args.get("using") or ():
        kind = sources.base_kind(column.name.lower())
        if kind not in (PERSON, ADDRESS, RECORD):
            return None
        links.append((kind, exp.column(column.name)))
    return replace(found, links=tuple(links))


def _of_union(query: exp.Union, names: Names) -> Contacts | None:
    if query.args.get("by_name") or query.args.get("limit") or query.args.get("offset"):
        return None
    left, right = contacts_of(query.this, names), contacts_of(query.expression, names)
    if right is not None and right.exact:
        # the names are those of the left side
        first = inner_query(query.this)
        left_names = [each.output_name.lower() for each in first.selects] if isinstance(first, exp.Query) else []
        named = len(left_names) == len(right.outputs) and "*" not in left_names
        outputs = [(left_names[place] if named else "", kind) for place, (_name, kind) in enumerate(right.outputs)]
        right = replace(right, outputs=tuple(outputs))
    else:
        right = None
    # At least everybody of either side is in the union: more people is fine, fewer is not.
    return max((side for side in (left, right) if side), key=lambda each: each.window.rank, default=None)


@dataclass(frozen=True)
class _Sources:
    """FROM, joins and conditions of a query over contact moments.

    Of the rows for one contact moment the one is followed in which every crm.person is the recipient's own card:
    what that row passes, the moment passes.
    """

    names: Names
    moments: str
    base: Contacts
    people: frozenset[str]
    others: frozenset[str]
    conditions: tuple[exp.Expr, ...]
    using: tuple[str, ...]

    @classmethod
    def of(cls, start: exp.Expr, joins: list[exp.Join], conditions: list[exp.Expr], names: Names) -> _Sources | None:
        """None when a source may lose contact moments, or when there are none of them."""
        inner, others, using = [start], [], []
        for join in joins:
            if (
                join.method
                or join.kind.upper() not in ("", "INNER", "CROSS", "OUTER")
                or join.side.upper()
                in (
                    "RIGHT",
                    "FULL",
                )
            ):
                return None
            if join.side:
                others.append(join.this.alias_or_name.lower())
                continue
            inner.append(join.this)
            using += [column.name.lower() for column in join.args.get("using") or ()]
            on = join.args.get("on")
            conditions = [*(conjuncts(on) if on else ()), *conditions]
        people = frozenset(each.alias_or_name.lower() for each in inner if is_table(each, "crm.person"))
        found = [(each.alias_or_name.lower(), base) for each in inner if (base := _source(each, names))]
        if len(found) + len(people) != len(inner) or len(found) > 1:
            return None
        alias, base = found[0] if found else ("", None)
        made = cls(names, alias, base or Contacts(Window(FOR_EVER)), people, frozenset(others), (), tuple(using))
        if base is None:
            # people who are in a query of contact moments stand for these moments
            member = next(((each, inside) for each in conditions if (inside := made._members(each))), None)
            if member is None:
                return None
            conditions = [each for each in conditions if each is not member[0]]
            made = replace(made, base=replace(member[1], outputs=()))
        return replace(made, conditions=tuple(conditions))

    def contacts(self) -> Contacts | None:
        """The contact moments that pass all conditions, without their outputs."""
        if not all(self._joins_cards(name) for name in self.using):
            return None
        found: Contacts | None = replace(self.base, links=())
        for condition in self.conditions:
            found = self._narrow(found, condition) if found else None
        return found

    def _joins_cards(self, name: str) -> bool:
        """Whether USING this column joins the recipient with their own card."""
        if name not in (PERSON, ADDRESS) or not self.base.exact:
            return False
        there = name in [each for each, _kind in self.base.outputs]
        return self.base.kind(name) == name if there else len(self.people) > 1

    def base_kind(self, name: str) -> str | None:
        """What an unqualified column of the only source holds."""
        return self.base.kind(name) if self.moments else (name if name in (PERSON, ADDRESS) else None)

    def outputs(self, select: exp.Select) -> tuple[tuple[tuple[str, str | None], ...], bool]:
        """What the columns of the SELECT hold, and whether that is all of them in order, for `Contacts`."""
        outputs: list[tuple[str, str | None]] = []
        exact = True
        for projection in select.selects:
            column = projection.unalias()
            if isinstance(column, exp.Star) or (isinstance(column, exp.Column) and isinstance(column.this, exp.Star)):
                star = column if isinstance(column, exp.Star) else column.this
                if any(star.args.values()):
                    return (), False
                outputs += self.base.outputs
                exact = exact and self.base.exact and bool(self.moments) and not self.people and not self.others
            else:
                kind = self._kind(column) if isinstance(column, exp.Column) else None
                outputs.append((projection.output_name.lower(), kind))
        return tuple(outputs), exact

    def _kind(self, column: exp.Column) -> str | None:
        """What a column holds; None for one that is not known."""
        name, alias = column.name.lower(), column.table.lower()
        if alias in self.people or (not alias and self.people and name in (PERSON, ADDRESS)):
            return name if name in (PERSON, ADDRESS) else None
        return self.base.kind(name) if self.moments and alias in ("", self.moments) else None

    def _is_outer(self, column: exp.Column) -> bool:
        """Whether a column is certain to be one of the query around."""
        alias, name = column.table.lower(), column.name.lower()
        if alias:
            return alias not in {*self.people, *self.others, self.moments}
        known = not self.people and not self.others and self.base.exact
        return known and all(each != name for each, _kind in self.base.outputs)

    def _narrow(self, found: Contacts, condition: exp.Expr) -> Contacts | None:
        """The contact moments that are left under one more condition; None when recipients may be lost."""
        pair = equal_columns(condition)
        if pair:
            return self._under_equality(found, *pair)
        members = self._members(condition)
        if members:
            of_records, partial = found.of_records or members.of_records, found.partial or members.partial
            return replace(found, window=found.window.both(members.window), of_records=of_records, partial=partial)
        moment = window_of(condition)
        if moment:
            column, window = moment
            return replace(found, window=found.window.both(window)) if self._kind(column) == "happened_at" else None
        return self._under_test(found, condition)

    def _under_equality(self, found: Contacts, left: exp.Column, right: exp.Column) -> Contacts | None:
        for inner, outer in ((left, right), (right, left)):
            kind = self._kind(inner)
            if kind in (PERSON, ADDRESS, RECORD) and self._is_outer(outer):
                return replace(found, links=(*found.links, (kind, outer)))
        kind = self._kind(left)
        if kind is None or kind != self._kind(right):
            return None
        if kind == RECORD:
            return replace(found, of_records=True)
        return found if kind in NEVER_NULL or kind == ADDRESS else None

    def _under_test(self, found: Contacts, condition: exp.Expr) -> Contacts | None:
        """Tests of one column that every contact moment in which this step was received passes."""
        if isinstance(condition, exp.Boolean):
            return found if condition.this else None
        if isinstance(condition, exp.Not):
            asked = is_null_test(condition.this.unnest())
            kind = self._kind(asked) if asked else None
            if kind == RECORD:
                return replace(found, of_records=True)
            return found if kind in NEVER_NULL or kind == ADDRESS else None
        column = condition if isinstance(condition, exp.Column) else condition.this
        kind = self._kind(column) if isinstance(column, exp.Column) else None
        if kind == "received":
            true = condition is column or (
                isinstance(condition, (exp.EQ, exp.Is))
                and isinstance(condition.expression, exp.Boolean)
                and bool(condition.expression.this)
            )
            return found if true else None
        if kind == "outcome":
            return replace(found, partial=True) if _takes(condition, "accepted") else None
        step = self.names.step
        value = {"step": step, "campaign": step.partition("/")[0], "channel": "email", "kind": "sent"}.get(kind or "")
        return found if value is not None and _takes(condition, value) else None

    def _members(self, condition: exp.Expr) -> Contacts | None:
        """`person_id in (select … who received it)`: each recipient is among those."""
        if not isinstance(condition, exp.In) or not condition.args.get("query"):
            return None
        column = condition.this.unnest()
        kind = self._kind(column) if isinstance(column, exp.Column) else None
        found = contacts_of(condition.args["query"], self.names)
        if found is None or found.links or not found.exact or kind not in (PERSON, ADDRESS):
            return None
        return found if [each for _name, each in found.outputs] == [kind] else None


def _source(source: exp.Expr, names: Names) -> Contacts | None:
    if is_table(source, CONTACT_MOMENT.name):
        return Contacts(Window(FOR_EVER), _MOMENT)
    query, inside = resolve(source, names)
    found = contacts_of(query, inside) if query is not None else None
    return found if found and not found.links else None


def _takes(condition: exp.Expr, value: str) -> bool:
    """Whether the condition on a column holds for this value."""
    if isinstance(condition, exp.EQ):
        return isinstance(condition.expression, exp.Literal) and condition.expression.this == value
    if isinstance(condition, exp.In) and not condition.args.get("query"):
        return value in {item.this for item in condition.expressions if isinstance(item, exp.Literal)}
    if isinstance(condition, exp.Like) and isinstance(condition.expression, exp.Literal):
        parts = re.split(r"([%_])", condition.expression.this)
        pattern = "".join({"%": ".*", "_": "."}.get(part, re.escape(part)) for part in parts)
        return bool(re.fullmatch(pattern, value, re.DOTALL))
    return False
