"""The SQL that judges predicates: per person, how many of them hold in the row where most do.

A row's score is one number: how many predicates hold, and below that a bit for each, the first one the highest. The
best row of a person is the one with the highest score, so a `max` finds it, for a million people as well.
"""

# ruff: noqa: S608  names are quoted, ids are whole numbers
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import sqlglot
from sqlglot import exp

from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.gate import SELECTIONS, duckdb_sql
from smp_pipelines.selection.predicates.tree import Node, Predicate, Rows
from smp_pipelines.selection.predicates.words import macro_of, membership
from smp_pipelines.stores.lake import identifier

SCORE, NEAR = "smp_score", "smp_near"
_FEW = {"crm.person": "temp.near_person", "smp.contact_moment": "temp.near_moment"}
"""Where gather_near (moments.py) has the rows of a few people."""


@dataclass(frozen=True)
class Question:
    """A query at a moment: of which selection, and the queries of the selections that it may read.

    The trees are those of compiled selections, with their clock, or those of SQL that ran before, without one. With
    `afresh` another selection is read as its query finds it now; otherwise as it was written to the lake.
    """

    name: str
    query: exp.Query
    now: datetime
    zone: ZoneInfo
    selections: Mapping[str, exp.Query]
    afresh: bool = False


@dataclass(frozen=True)
class Asked:
    """Who is asked about: ids of people, or the keys in a table of the connection (`relation`, its columns `names`).

    `near`: `gather_near` has written who shares an address with them, and no other's contact moments are looked at.
    """

    ids: tuple[int, ...] = ()
    relation: str = ""
    names: tuple[str, ...] = ("person_id",)
    near: bool = False

    def among(self, expressions: Sequence[exp.Expr]) -> exp.In:
        """The condition that these expressions are the key of somebody who is asked about (the first columns of it)."""
        one = expressions[0] if len(expressions) == 1 else exp.Tuple(expressions=[each.copy() for each in expressions])
        if not self.relation:
            return exp.In(this=one.copy(), expressions=[exp.Literal.number(each) for each in self.ids])
        members = sqlglot.parse_one(self.table(len(expressions)), dialect="duckdb")
        return exp.In(this=one.copy(), query=exp.Subquery(this=members))

    def table(self, count: int) -> str:
        """The query for the first columns of the keys, each once."""
        columns = ", ".join(f"{identifier(name)} as {key(place)}" for place, name in enumerate(self.names[:count]))
        return f"select distinct {columns} from {self.relation}"


def key(place: int) -> str:
    """The name of a key column in the queries below."""
    return f"smp_key{place}"


def keys(node: Node) -> str:
    """The key columns of a node, as a list."""
    return ", ".join(key(place) for place in range(len(node.names)))


def full(predicates: Sequence[Predicate]) -> int:
    """The score of a row that meets them all."""
    count = len(predicates)
    return (count << count) + (1 << count) - 1


def holds(score: int, place: int, count: int) -> bool:
    """Whether the predicate at this place, of so many, holds in a row with this score."""
    return bool(score >> (count - 1 - place) & 1)


class Builder:
    """Writes the queries about one question."""

    def __init__(self, question: Question, asked: Asked) -> None:
        self._question = question
        self._asked = asked

    def row_scores(self, rows: Rows, values: Sequence[exp.Expr] = ()) -> str:
        """The best score in the WHERE of everybody who has a row; with the values of that row, as a struct."""
        select = self._bare(rows)
        grouped = bool(rows.select.args.get("group"))
        kept = [each for each in select.selects if not grouped or not _needs_groups(each)]
        select.set("group", None)
        select.set("where", _where([*rows.kept, self._asked.among(rows.keys)]))
        select.set("expressions", [*kept, *self._columns(rows, rows.wheres, values)])
        return self._best(rows, select, values)

    def group_scores(self, rows: Rows, values: Sequence[exp.Expr] = ()) -> str:
        """The same for the HAVING, of the groups of rows that the WHERE leaves."""
        select = self._bare(rows)
        wheres = [self._narrow(each.condition, rows) for each in rows.wheres]
        select.set("where", _where([*rows.kept, *wheres, self._asked.among(rows.keys)]))
        select.set("expressions", [*select.selects, *self._columns(rows, rows.havings, values)])
        return self._best(rows, select, values)

    def present(self, rows: Rows, joins: int) -> str:
        """Who has a row in the first source with so many of the joins, whatever the WHERE asks."""
        select = self._bare(rows)
        select.set("joins", (select.args.get("joins") or [])[:joins])
        select.set("group", None)
        named = {source.alias for source in rows.sources[: joins + 1]}
        sources = len(rows.sources)
        linked = [each for each in rows.kept if joins + 1 == sources or _tables(each) <= named]
        select.set("where", _where([*linked, self._asked.among(rows.keys)]))
        select.set("expressions", self._key_columns(rows))
        return f"select distinct {keys(rows)} from ({self._text(select)})"

    def members(self, node: Node, more: Sequence[str] = ()) -> str:
        """Who is in, by the whole query as it is written; with `more` of its columns, under their own names."""
        named = [exp.alias_(exp.column(name, table="whole"), key(place)) for place, name in enumerate(node.names)]
        select = exp.select(*named, *(exp.column(name, table="whole") for name in more))
        alias = exp.TableAlias(this=exp.to_identifier("whole"))
        select = select.from_(exp.Subquery(this=self._whole(node), alias=alias))
        select = select.where(self._asked.among([exp.column(name, table="whole") for name in node.names]))
        return self._text(select.distinct())

    def _whole(self, node: Node) -> exp.Query:
        """The whole query; its rows of other people are left out where that changes nothing for these."""
        if not isinstance(node, Rows):
            return node.query.copy()
        select = node.select.copy()
        if node.rest is None:
            wheres = [self._narrow(each.condition, node) for each in node.wheres]
            select.set("where", _where([*node.kept, *wheres, self._asked.among(node.keys)]))
        return select

    def _best(self, rows: Rows, select: exp.Select, values: Sequence[exp.Expr]) -> str:
        near = f", arg_max({NEAR}, {{'a': {SCORE}, 'b': {NEAR}::varchar}}) as {NEAR}" if values else ""
        return f"select {keys(rows)}, max({SCORE}) as {SCORE}{near} from ({self._text(select)}) group by {keys(rows)}"

    def _bare(self, rows: Rows) -> exp.Select:
        select = rows.select.copy()
        for clause in ("distinct", "having", "order", "qualify", "limit", "offset"):
            select.set(clause, None)
        return select

    def _key_columns(self, rows: Rows) -> list[exp.Expr]:
        return [exp.alias_(each.copy(), key(place)) for place, each in enumerate(rows.keys)]

    def _columns(self, rows: Rows, predicates: Sequence[Predicate], values: Sequence[exp.Expr]) -> list[exp.Expr]:
        columns = [*self._key_columns(rows), exp.alias_(self._score(rows, predicates), SCORE)]
        if values:
            fields = [
                exp.PropertyEQ(this=exp.to_identifier(f"v{place}"), expression=each.copy())
                for place, each in enumerate(values)
            ]
            columns.append(exp.alias_(exp.Struct(expressions=fields), NEAR))
        return columns

    def _score(self, rows: Rows, predicates: Sequence[Predicate]) -> exp.Expr:
        count = len(predicates)
        score: exp.Expr = exp.cast(exp.Literal.number(0), "bigint")
        for place, predicate in enumerate(predicates):
            truth = exp.cast(exp.paren(self._narrow(predicate.condition, rows)), "boolean")
            met = exp.cast(exp.Coalesce(this=truth, expressions=[exp.false()]), "bigint")
            weight = exp.Literal.number((1 << count) + (1 << (count - 1 - place)))
            score = exp.Add(this=score, expression=exp.Mul(this=met, expression=weight))
        return score

    def _narrow(self, condition: exp.Expr, rows: Rows) -> exp.Expr:
        """A copy of a condition; in a macro about the person only those who share an address with who is asked about.

        A macro matches people by themselves or by their address, so what others received makes no difference.
        """
        copy = condition.copy()
        macro = macro_of(condition)
        if not self._asked.near or macro is None or macro.person != rows.keys[0]:
            return copy
        _negated, members = membership(copy)
        for table in list(members.find_all(exp.Table)) if members is not None else ():
            few = _FEW.get(f"{table.db}.{table.name}".lower())
            if few is not None:
                table.replace(exp.to_table(few, alias=table.alias_or_name))
        return copy

    def _text(self, select: exp.Query) -> str:
        if self._question.afresh:
            self._inline(select)
        return duckdb_sql(rewrite_clock(select, self._question.now, self._question.zone), pretty=False)

    def _inline(self, select: exp.Query) -> None:
        """Put the queries of other selections in the place of their tables; a circle is refused by the compiler."""
        tables = [each for each in select.find_all(exp.Table) if each.db.lower() == SELECTIONS]
        for table in tables:
            query = self._question.selections[table.name.lower()].copy()
            self._inline(query)
            alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name))
            table.replace(exp.Subquery(this=query, alias=alias.copy()))


def _where(conditions: Sequence[exp.Expr]) -> exp.Where:
    return exp.Where(this=exp.and_(*(exp.paren(each.copy()) for each in conditions)))


def _needs_groups(projection: exp.Expr) -> bool:
    return projection.find(exp.AggFunc, exp.Anonymous, exp.Window) is not None


def _tables(condition: exp.Expr) -> set[str]:
    return {column.table.lower() for column in condition.find_all(exp.Column)}
