"""The predicates of a query: its tree taken apart into conditions that can be judged for each person.

A SELECT is where its rows come from, and what its WHERE and HAVING ask of them. Sets (UNION, EXCEPT, INTERSECT) have
two sides. A CTE, a subquery in FROM or another selection that gives the person is taken apart in its turn, so that an
answer can name the predicate in there. What cannot be taken apart stays whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from smp_pipelines.selection.analysis.contacts import conjuncts, joins_of
from smp_pipelines.selection.predicates.words import macro_of, membership, only_source, short, steps_in

_MOST = 50  # bits of a score; what comes after is one predicate
_PERSON = "person_id"


@dataclass(frozen=True)
class Predicate:
    """One condition. `values` are the columns and aggregates that it names, by their text; `source` is the query
    that a person has to be in for it; `steps` those whose contact moments it looks at (`sharing`:
    of everybody with the address; `record`: about the record in this column).
    """

    label: str
    condition: exp.Expr
    values: Mapping[str, exp.Expr] = field(default_factory=dict)
    source: Node | None = None
    steps: tuple[str, ...] = ()
    sharing: bool = False
    record: str | None = None


@dataclass(frozen=True)
class Source:
    """One source of FROM with its name there and, when it is a query that gives the person, that query's node."""

    label: str
    alias: str
    node: Node | None


@dataclass(frozen=True)
class Rows:
    """A SELECT: `select` is all of it with the CTEs that it can see, `keys` the expressions of the key columns.

    `names` are those of the key columns in its rows. `kept` are conditions that link its sources. `rest` tells what
    else thins out the rows (LIMIT, QUALIFY).
    """

    selection: str
    select: exp.Select
    names: tuple[str, ...]
    keys: tuple[exp.Expr, ...]
    sources: tuple[Source, ...]
    kept: tuple[exp.Expr, ...]
    wheres: tuple[Predicate, ...]
    havings: tuple[Predicate, ...]
    rest: str | None


@dataclass(frozen=True)
class Sides:
    """Two queries and how they are put together: union, except or intersect.

    `exact`: whether somebody is in can be told from the sides; otherwise the whole query has to say so.
    """

    selection: str
    kind: str
    query: exp.Query
    names: tuple[str, ...]
    left: Node
    right: Node
    exact: bool
    label: str


@dataclass(frozen=True)
class Whole:
    """A query that is not taken apart: somebody is in it or not."""

    selection: str
    query: exp.Query
    names: tuple[str, ...]
    label: str


Node = Rows | Sides | Whole


@dataclass(frozen=True)
class _Sight:
    """What a query can see: CTEs, in order, and the other selections; and whose query it is."""

    selection: str
    ctes: tuple[exp.CTE, ...]
    selections: Mapping[str, exp.Query]

    def within(self, query: exp.Expr) -> _Sight:
        clause = query.args.get("with_")
        return replace(self, ctes=(*self.ctes, *clause.expressions)) if clause else self

    def whole(self, query: exp.Expr) -> exp.Query:
        """A copy of a query that brings along every CTE that it can see."""
        copy = query.copy()
        if not isinstance(copy, exp.Query):
            raise TypeError(f"{query.key} is no query")
        # a later CTE of the same name hides the earlier one
        ctes = {cte.alias.lower(): cte.copy() for cte in self.within(query).ctes}
        copy.set("with_", exp.With(expressions=list(ctes.values())) if ctes else None)
        return copy


def take_apart(
    selection: str, query: exp.Query, selections: Mapping[str, exp.Query], keys: Sequence[str] = (_PERSON,)
) -> Node:
    """The predicates of a selection's query; `selections` are the queries of those that it may read."""
    plain = {name: _without_places(tree) for name, tree in selections.items()}
    return _node(_without_places(query), _Sight(selection, (), plain), tuple(keys))


def _without_places(query: exp.Query) -> exp.Query:
    """A copy without line numbers, which take most of the time of every further copy."""
    copy = query.copy()
    for node in copy.walk():
        node.meta.clear()
    return copy


def _names(query: exp.Query, keys: tuple[str | int, ...]) -> tuple[str, ...]:
    """What the key columns are called in the rows of a query; a set takes the names of its left side."""
    return tuple(query.selects[key].output_name if isinstance(key, int) else key for key in keys)


def _node(query: exp.Expr, sight: _Sight, keys: tuple[str | int, ...]) -> Node:
    while isinstance(query, (exp.Subquery, exp.Paren)) and not _changes_rows(query) and not query.args.get("with_"):
        query = query.this
    whole = sight.whole(query)
    if isinstance(query, exp.SetOperation) and not _changes_rows(query):
        return _sides(query, whole, sight.within(query), keys)
    if isinstance(query, exp.Select):
        found = _rows(query, whole, sight.within(query), keys)
        if found is not None:
            return found
    return Whole(sight.selection, whole, _names(whole, keys), f"is among the rows of {short(query)}")


def _changes_rows(query: exp.Expr) -> bool:
    return any(query.args.get(key) for key in ("limit", "offset"))


def _sides(query: exp.SetOperation, whole: exp.Query, sight: _Sight, keys: tuple[str | int, ...]) -> Node:
    left = _node(query.this, sight, keys)
    names = [projection.output_name.lower() for projection in query.selects]
    starred = query.is_star
    by_place = keys if starred or query.args.get("by_name") else tuple(_place(key, names) for key in keys)
    right = _node(query.expression, sight, by_place)
    kind = query.key  # union, except, intersect
    only_keys = not starred and len(names) == len(keys)
    exact = isinstance(query, exp.Union) or (only_keys and bool(query.args.get("distinct")))
    return Sides(sight.selection, kind, whole, _names(whole, keys), left, right, exact, short(query.expression))


def _place(key: str | int, names: Sequence[str]) -> str | int:
    return names.index(key) if isinstance(key, str) and key in names else key


def _rows(query: exp.Select, whole: exp.Query, sight: _Sight, keys: tuple[str | int, ...]) -> Rows | None:
    """A SELECT taken apart; None when its rows cannot be told per person."""
    start, group, distinct = (query.args.get(key) for key in ("from_", "group", "distinct"))
    expressions = [_projection(query, key) for key in keys]
    if start is None or not isinstance(whole, exp.Select):
        return None
    if any(one is None or _is_computed_from_rows(one) for one in expressions):
        return None
    if any(each.find(exp.Explode, exp.Unnest) for each in query.selects):
        return None
    if group is None and (query.args.get("having") or any(_has_aggregate(each) for each in query.selects)):
        return None
    if group is not None and any(group.args.get(key) for key in ("rollup", "cube", "grouping_sets")):
        return None
    if group is not None and group.args.get("all"):
        if query.is_star:
            return None
        # spelt out: an expression with aggregates and columns of the group in it is refused beside GROUP BY ALL
        columns = [each.unalias().copy() for each in query.selects if not _has_aggregate(each)]
        whole.set("group", exp.Group(expressions=columns))
    key_exprs = tuple(one for one in expressions if one is not None)
    kept, conditions, lifted = _conditions(query)
    if lifted is not None:
        whole.set("joins", lifted)
    where = [_predicate(part, sight, key_exprs) for part in _few(conditions)]
    having = query.args.get("having")
    groups = _few(list(conjuncts(having.this))) if having else []
    havings = [_predicate(part, sight, key_exprs, grouped=True) for part in groups]
    sources = tuple(_source(each, sight) for each in (start.this, *(join.this for join in joins_of(query))))
    on = distinct.args.get("on") if distinct is not None else None
    return Rows(
        selection=sight.selection,
        select=whole,
        names=_names(whole, keys),
        keys=key_exprs,
        sources=sources,
        kept=tuple(kept),
        wheres=tuple(where),
        havings=tuple(havings),
        rest=_rest(query, on),
    )


def _projection(query: exp.Select, key: str | int) -> exp.Expr | None:
    """The expression of an output column, by its name or its place."""
    if isinstance(key, int):
        if query.is_star or key >= len(query.selects):
            return None
        return query.selects[key].unalias()
    for projection in query.selects:
        if projection.output_name.lower() == key:
            return projection.unalias()
    return exp.column(key) if query.is_star else None


def _is_computed_from_rows(expression: exp.Expr) -> bool:
    unfit = (exp.AggFunc, exp.Window, exp.Explode, exp.Unnest, exp.Query, exp.Anonymous)
    return any(isinstance(node, unfit) for node in expression.walk())


def _has_aggregate(projection: exp.Expr) -> bool:
    def inside_window(node: exp.Expr) -> bool:
        return isinstance(node.parent, exp.Window) or (
            isinstance(node.parent, (exp.IgnoreNulls, exp.RespectNulls, exp.Filter))
            and isinstance(node.parent.parent, exp.Window)
        )

    return any(isinstance(node, exp.AggFunc) and not inside_window(node) for node in _own(projection))


def _rest(query: exp.Select, distinct_on: exp.Expr | None) -> str | None:
    parts = []
    for key in ("qualify", "limit", "offset"):
        clause = query.args.get(key)
        if clause is not None:
            parts.append(short(clause))
    if distinct_on is not None:
        parts.insert(0, f"DISTINCT ON {short(distinct_on)}")
    return f"is among the rows that are left after {', '.join(parts)}" if parts else None


def _conditions(query: exp.Select) -> tuple[list[exp.Expr], list[exp.Expr], list[exp.Join] | None]:
    """What of the WHERE links the sources, what asks something of a row, and the joins without what they ask of a row.

    Between inner joins a condition means the same in ON as in WHERE; in WHERE its failing can be told. Where
    `a.x = b.x` links two sources, leaving it out would multiply the rows, so it stays.
    """
    joins = joins_of(query)
    where = query.args.get("where")
    parts = list(conjuncts(where.this)) if where else []
    kept = [part for part in parts if joins and _links(part)]
    asked = [part for part in parts if not any(part is one for one in kept)]
    inner = all(not join.side and join.kind.upper() in ("", "INNER", "CROSS") and not join.method for join in joins)
    if not joins or not inner:
        return kept, asked, None
    lifted: list[exp.Join] = []
    from_on: list[exp.Expr] = []
    for join in joins:
        copy = join.copy()
        on = list(conjuncts(join.args["on"])) if join.args.get("on") else []
        links = [part for part in on if _links(part)]
        if links and len(links) < len(on):
            from_on += [part for part in on if not any(part is one for one in links)]
            copy.set("on", exp.and_(*(part.copy() for part in links)))
        lifted.append(copy)
    return kept, [*from_on, *asked], lifted


def _links(condition: exp.Expr) -> bool:
    """Whether a condition says that columns of two sources are the same."""
    return (
        isinstance(condition, exp.EQ)
        and isinstance(condition.this, exp.Column)
        and isinstance(condition.expression, exp.Column)
        and (not condition.this.table or condition.this.table.lower() != condition.expression.table.lower())
    )


def _few(conditions: list[exp.Expr]) -> list[exp.Expr]:
    if len(conditions) <= _MOST:
        return conditions
    return [*conditions[: _MOST - 1], exp.and_(*(each.copy() for each in conditions[_MOST - 1 :]))]


def _predicate(condition: exp.Expr, sight: _Sight, keys: tuple[exp.Expr, ...], grouped: bool = False) -> Predicate:
    macro = macro_of(condition)
    negated, members = membership(condition)
    source = None
    if macro is None and members is not None and not negated:
        left = condition.unnest().this.unnest()
        first = left.expressions[0] if isinstance(left, exp.Tuple) else left
        if isinstance(first, exp.Column) and first.name.lower() in (_PERSON, keys[0].name.lower()):
            source = _members(members, sight)
    values = {name: node for name, node in _values(condition, grouped) if node not in keys}
    steps = (macro.step,) if macro else steps_in(condition)
    record = short(macro.record) if macro and macro.record is not None else None
    sharing = macro is not None and macro.by == "address"
    return Predicate(short(condition), condition, values, source, steps, sharing, record)


def _members(members: exp.Expr, sight: _Sight) -> Node | None:
    """The node of the query in `person_id in (…)`; of another selection where it only reads that."""
    query, table = members.unnest(), only_source(members)
    if table is not None and isinstance(query, exp.Select) and query.selects[0].name.lower() == _PERSON:
        return _query_behind(table, sight)
    return _node(members, sight, (0,))


def _values(condition: exp.Expr, grouped: bool) -> Iterator[tuple[str, exp.Expr]]:
    """The columns that a condition names outside of its subqueries; of groups, the aggregates."""
    if isinstance(condition, (exp.Query, exp.Lambda)):
        return
    unit = (exp.AggFunc, exp.Filter, exp.Anonymous) if grouped else ()
    whole = bool(unit) and isinstance(condition, unit) and condition.find(exp.Column, exp.Star) is not None
    if whole or isinstance(condition, exp.Column):
        yield short(condition), condition
        return
    for child in condition.iter_expressions():
        yield from _values(child, grouped)


def _own(expression: exp.Expr) -> Iterator[exp.Expr]:
    """The nodes of an expression outside of its subqueries."""
    if isinstance(expression, exp.Query):
        return
    yield expression
    for child in expression.iter_expressions():
        yield from _own(child)


def _source(source: exp.Expr, sight: _Sight) -> Source:
    name = short(source) if isinstance(source, exp.Table) and not source.db else source.alias_or_name
    if isinstance(source, exp.Table) and source.db:
        name = f"{source.db}.{source.name}".lower()
    alias = source.alias_or_name.lower()
    return Source(name or "a subquery", alias, _query_behind(source, sight))


def _query_behind(source: exp.Expr, sight: _Sight) -> Node | None:
    """The node of a CTE, a subquery or another selection that gives the person; None for anything else."""
    alias = source.args.get("alias")
    if alias is not None and alias.args.get("columns"):
        return None
    query: exp.Expr | None = None
    if isinstance(source, exp.Subquery):
        query = source.this
    elif isinstance(source, exp.Table) and not source.db:
        place = next((i for i, cte in reversed(list(enumerate(sight.ctes))) if cte.alias == source.name), None)
        if place is None or sight.ctes[place].args["alias"].args.get("columns"):
            return None
        query, sight = sight.ctes[place].this, replace(sight, ctes=sight.ctes[:place])
    elif isinstance(source, exp.Table) and source.db.lower() == "selections":
        name = source.name.lower()
        query = sight.selections.get(name)
        # each selection is looked into once on the way down; a circle is refused by the compiler
        others = {other: tree for other, tree in sight.selections.items() if other != name}
        sight = _Sight(name, (), others)
    if query is None or not _gives_person(query):
        return None
    return _node(query, sight, (_PERSON,))


def _gives_person(query: exp.Expr) -> bool:
    query = query.unnest()
    if not isinstance(query, exp.Query):
        return False
    return any(each.is_star or each.output_name.lower() == _PERSON for each in query.selects)
