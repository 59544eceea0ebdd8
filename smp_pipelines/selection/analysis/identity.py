"""Identity: which columns of one SELECT hold the same value in every row, by their names alone.

No catalogue is needed: the binder has made sure that every name means one column. Where several tables might give
an unqualified name, it equals nothing but itself.
"""

from __future__ import annotations

from sqlglot import exp

from smp_pipelines.crm.catalog import CONTACT_MOMENT
from smp_pipelines.selection.analysis.contacts import (
    ADDRESS,
    PERSON,
    Names,
    conjuncts,
    equal_columns,
    inner_query,
    is_table,
    joins_of,
    resolve,
)

Key = tuple[str, str]
"""Alias and column name; an empty alias is a column that USING has merged, or one of an unknown table."""


class Rows:
    """The rows of a SELECT: its sources by alias, and which of its columns are equal."""

    def __init__(self, select: exp.Select, names: Names) -> None:
        start = select.args.get("from_")
        self.select, self.names = select, names
        self.joins = joins_of(select)
        self.sources: dict[str, exp.Expr] = {}
        self._same: dict[Key, Key] = {}
        self._merged: set[str] = set()
        self._blended: set[str] = set()
        if start is not None:
            self.sources[start.this.alias_or_name.lower()] = start.this
        for join in self.joins:
            self._join(join)
        where = select.args.get("where")
        for condition in conjuncts(where.this) if where else ():
            self._equate(condition)

    def key(self, column: exp.Expr) -> Key | None:
        """What a column of this SELECT is called; None for an expression, and for a column of a query around."""
        column = column.unnest()
        if not isinstance(column, exp.Column) or isinstance(column.this, exp.Star):
            return None
        alias = column.table.lower()
        if alias:
            return (alias, column.name.lower()) if alias in self.sources else None
        return self._unqualified(column.name.lower())

    def equal(self, one: Key | None, other: Key | None) -> bool:
        """Whether two columns hold the same value wherever both hold one."""
        return one is not None and other is not None and self._root(one) == self._root(other)

    def all_equal(self, key: Key) -> list[Key]:
        """The columns that are known to be equal to this one, with itself."""
        return [key, *(each for each in list(self._same) if each != key and self.equal(each, key))]

    def is_person(self, column: exp.Expr, kind: str, person: Key) -> bool:
        """Whether a column that is compared with recipients (by `kind`: person or address) stands for this person."""
        key = self.key(column)
        if key is None or kind != ADDRESS:
            return kind == PERSON and self.equal(key, person)
        source = self.sources.get(key[0])
        return (
            key[1] == ADDRESS
            and source is not None
            and is_table(source, "crm.person")
            and self.equal((key[0], PERSON), person)
        )

    def output(self, want: str | int) -> Key | None:
        """The column behind an output, by its name or position; None when it is an expression or uncertain."""
        found: list[Key | None] = []
        for place, projection in enumerate(self.select.selects):
            column = projection.unalias()
            if isinstance(column, exp.Star) or (isinstance(column, exp.Column) and isinstance(column.this, exp.Star)):
                found += self._starred(column, want, place)
            elif want in (place, projection.output_name.lower()):
                found.append(self.key(column))
        return found[0] if len(found) == 1 else None

    def output_name(self, key: Key) -> str | None:
        """The name under which a column, or one that equals it, comes out."""
        for projection in self.select.selects:
            if self.equal(self.key(projection.unalias()), key):
                return str(projection.output_name.lower())
        return next((key[1] for each in self.select.selects if each.is_star), None)

    def _starred(self, column: exp.Expr, want: str | int, place: int) -> list[Key | None]:
        star = column if isinstance(column, exp.Star) else column.this
        if any(star.args.values()) or (isinstance(want, int) and (place or len(self.select.selects) > 1)):
            return [None, None]  # what it gives, and where, is not known
        alias = column.table.lower() if isinstance(column, exp.Column) else ""
        if isinstance(want, int):
            alias = alias or (next(iter(self.sources)) if len(self.sources) == 1 else "")
            outputs = self._outputs(self.sources[alias]) if alias in self.sources else None
            return [(alias, outputs[want]) if outputs and want < len(outputs) else None]
        return [(alias, want) if alias in self.sources else None if alias else self._unqualified(want)]

    def _unqualified(self, name: str) -> Key | None:
        if name in self._blended:
            return ("either side", name)
        if name in self._merged:
            return ("", name)
        outputs = {alias: self._outputs(source) for alias, source in self.sources.items()}
        giving = [alias for alias, known in outputs.items() if known is not None and name in known]
        unknown = [alias for alias, known in outputs.items() if known is None]
        if len(giving) == 1:
            return (giving[0], name)
        if not giving and len(unknown) == 1:
            return (unknown[0], name)
        return ("", name) if giving or unknown else None

    def _outputs(self, source: exp.Expr) -> list[str] | None:
        """The columns of a source, where its text says so."""
        if is_table(source, CONTACT_MOMENT.name):
            return list(CONTACT_MOMENT.columns)
        query, _names = resolve(source, self.names)
        query = inner_query(query) if query is not None else None
        while isinstance(query, exp.SetOperation):
            query = inner_query(query.this)
        if not isinstance(query, exp.Select) or any(each.is_star for each in query.selects):
            return None
        return [each.output_name.lower() for each in query.selects]

    def _join(self, join: exp.Join) -> None:
        side, alias = join.side.upper(), join.this.alias_or_name.lower()
        inner = not side and not join.method and join.kind.upper() in ("", "INNER", "CROSS", "SEMI")
        left_only = side == "LEFT" or join.kind.upper() in ("ANTI", "SEMI")
        for column in join.args.get("using") or ():
            name = column.name.lower()
            left = self._unqualified(name)
            self._merged.add(name)
            if name in self._blended:
                continue  # it may come from either side of the outer join before: of no table is it known
            if side in ("RIGHT", "FULL"):
                self._blended.add(name)
            if left is not None and (inner or left_only):
                self._unite(("", name), left)
            if inner:
                self._unite(("", name), (alias, name))
        if join.method:
            # NATURAL may merge any name from here on: none is known to be of one table
            self._blended |= {PERSON, ADDRESS}
        self.sources[alias] = join.this
        on = join.args.get("on")
        for condition in conjuncts(on) if on and inner else ():
            self._equate(condition)

    def _equate(self, condition: exp.Expr) -> None:
        pair = equal_columns(condition)
        left, right = (self.key(pair[0]), self.key(pair[1])) if pair else (None, None)
        if left is not None and right is not None:
            self._unite(left, right)

    def _root(self, key: Key) -> Key:
        while self._same.get(key, key) != key:
            key = self._same[key]
        return key

    def _unite(self, one: Key, other: Key) -> None:
        self._same.setdefault(one, one)
        self._same.setdefault(other, other)
        self._same[self._root(one)] = self._root(other)
