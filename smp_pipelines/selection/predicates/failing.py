"""Which predicate keeps each of many people out, as one query: what a comparison of two audiences counts (X1)."""

# ruff: noqa: S608  names are quoted, labels are literals
from __future__ import annotations

from collections.abc import Sequence

from smp_pipelines.selection.predicates.scoring import SCORE, Asked, Builder, Question, key
from smp_pipelines.selection.predicates.tree import Node, Predicate, Rows, Sides, Whole, take_apart
from smp_pipelines.stores.lake import identifier, literal

_WHY = "smp_why"


def failing_sql(question: Question, relation: str, keys: Sequence[str] = ("person_id",)) -> str:
    """The query that tells of every key in `relation`, a table of the same connection, what keeps it out.

    Its columns are the keys, `selection` and `predicate`: the first predicate that does not hold in the row that meets
    most of them, and whose it is; both are null for a key that the selection has.
    """
    node = take_apart(question.name, question.query, question.selections, keys)
    asked = Asked(relation=relation, names=tuple(keys))
    columns = ", ".join(f"{key(place)} as {identifier(name)}" for place, name in enumerate(keys))
    return (
        f"select {columns}, {_WHY}.selection as selection, {_WHY}.predicate as predicate"
        f" from ({_failing(node, Builder(question, asked), asked)})"
    )


def _failing(node: Node, builder: Builder, asked: Asked) -> str:
    """The query for a node: the keys, and why each is out: a struct that is null for who is in."""
    if isinstance(node, Rows):
        return _failing_rows(node, builder, asked)
    if isinstance(node, Sides):
        return _failing_sides(node, builder, asked)
    return _joined(node, asked, [builder.members(node)], f"if(t0.{key(0)} is null, {_told(node, node.label)}, null)")


def _failing_rows(rows: Rows, builder: Builder, asked: Asked) -> str:
    tables = [builder.row_scores(rows)]
    missing = _told(rows, "has a row in " + " with ".join(source.label for source in rows.sources))
    inside = [source.node for source in rows.sources if source.node is not None]
    upstream: list[str] = []

    def of_upstream(node: Node) -> str:
        upstream.append(_failing(node, builder, asked))
        return f"u{len(upstream) - 1}.{_WHY}"

    cases = [f"when t0.{SCORE} is null then coalesce({', '.join([*map(of_upstream, inside), missing])})"]

    def first(table: str, predicates: Sequence[Predicate]) -> None:
        count = len(predicates)
        for place, predicate in enumerate(predicates):
            told = _told(rows, predicate.label)
            if predicate.source is not None:
                told = f"coalesce({of_upstream(predicate.source)}, {told})"
            cases.append(f"when {table}.{SCORE} >> {count - 1 - place} & 1 = 0 then {told}")

    first("t0", rows.wheres)
    if rows.havings:
        tables.append(builder.group_scores(rows))
        first("t1", rows.havings)
    if rows.rest is not None:
        tables.append(builder.members(rows))
        cases.append(f"when t{len(tables) - 1}.{key(0)} is null then {_told(rows, rows.rest)}")
    return _joined(rows, asked, tables, f"case {' '.join(cases)} end", upstream)


def _failing_sides(sides: Sides, builder: Builder, asked: Asked) -> str:
    left, right = f"u0.{_WHY}", f"u1.{_WHY}"
    excluded = _told(sides, f"is not among: {sides.label}")
    why = {
        "union": f"case when {left} is null or {right} is null then null else {left} end",
        "intersect": f"coalesce({left}, {right})",
        "except": f"coalesce({left}, if({right} is null, {excluded}, null))",
    }[sides.kind]
    tables = []
    if not sides.exact:
        tables.append(builder.members(sides))
        why = f"case when t0.{key(0)} is null then coalesce({why}, {excluded}) end"
    return _joined(sides, asked, tables, why, [_failing(each, builder, asked) for each in (sides.left, sides.right)])


def _joined(node: Node, asked: Asked, tables: Sequence[str], why: str, upstream: Sequence[str] = ()) -> str:
    """Everybody who is asked about, beside what these queries say of them; of what is upstream, by the keys it has."""
    count = len(node.names)
    columns = ", ".join(f"a.{key(place)}" for place in range(count))
    own = " and ".join(f"{{0}}.{key(place)} = a.{key(place)}" for place in range(count))
    joins = [f" left join ({table}) as t{n} on {own.format(f't{n}')}" for n, table in enumerate(tables)]
    for n, table in enumerate(upstream):
        shared = own if isinstance(node, Sides) else f"{{0}}.{key(0)} = a.{key(0)}"
        joins.append(f" left join ({table}) as u{n} on {shared.format(f'u{n}')}")
    return f"select {columns}, {why} as {_WHY} from ({asked.table(count)}) as a{''.join(joins)}"


def _told(node: Rows | Sides | Whole, label: str) -> str:
    return f"{{'selection': {literal(node.selection)}, 'predicate': {literal(label)}}}"
