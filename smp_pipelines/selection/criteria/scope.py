"""Scopes of criteria: the rows that a condition is about, and the fields that they have through foreign keys.

In a scope of tickets `price` and `ticket.price` are the ticket's own, `performance.genre` is that of the
performance it refers to, `organisation.kind` that of the organisation of the ticket's person.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from sqlglot import exp

from smp_pipelines.crm.catalog import CONTACT_MOMENT, Catalog, Column, ForeignKey, Table
from smp_pipelines.selection.criteria.values import Operand, RefusedError, kind_of

PERSON = "crm.person"
_FARTHEST = 3
"""References that are followed one after another."""

Path = tuple[ForeignKey, ...]


class Names:
    """Gives every table of one query a name of its own: ticket, ticket_2, …"""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """A name that no other table of this query has."""
        number, taken = 1, name
        while taken in self._taken:
            number += 1
            taken = f"{name}_{number}"
        self._taken.add(taken)
        return taken


@dataclass(frozen=True)
class Link:
    """How the records of an inner scope belong to a row of the outer one: two columns that are equal."""

    inner: Scope
    outer_key: Operand
    inner_key: Operand


class Scope:
    """The rows of one table in a query, with the tables that its conditions join."""

    def __init__(self, table: Table, catalog: Catalog, names: Names) -> None:
        self.table = table
        self._catalog = catalog
        self._names = names
        self._aliases: dict[Path, str] = {(): names.take(table.short_name)}
        self._paths = list(_paths(table, catalog))

    def field(self, written: str) -> Operand:
        """The field of this name: `city`, `person.city`, or `buyer_id.city` where a table is referred to twice.

        Raises RefusedError with the nearest name.
        """
        prefix, _, name = written.rpartition(".")
        path = self._path_of(prefix, written)
        table = self._table_at(path)
        if name not in table.columns:
            raise RefusedError(f"there is no field {written}", self._nearest_field(written))
        return self._operand(path, table.columns[name], written)

    def person(self) -> Operand | None:
        """The key of the person that a row belongs to; None when it belongs to nobody."""
        if self.table.name == PERSON:
            return self._key(())
        path = self._path_to(self._paths, PERSON, "")
        return self._key(path) if path else None

    def key(self) -> Operand | None:
        """The rows' own key; None when it is not one column."""
        return self._key(())

    def record(self, table: Table) -> Operand | None:
        """The key of the record that a row is about: its own, or that of a table it refers to."""
        if table.name == self.table.name:
            return self._key(())
        path = self._path_to(self._paths, table.name, "")
        return self._key(path) if path else None

    def records(self) -> list[str]:
        """The tables that the rows refer to themselves, besides people."""
        return sorted({path[0].table for path in self._paths if len(path) == 1} - {PERSON})

    def link(self, table: Table, by: str | None) -> Link:
        """The records of another table that refer to a row of this scope, or else to its person.

        `by` names the foreign key where there are several. Raises RefusedError when none does.
        """
        inner = Scope(table, self._catalog, self._names)
        paths = [path for path in inner._paths if by is None or path[0].column == by]
        for target in dict.fromkeys((self.table.name, PERSON)):
            outer = () if target == self.table.name else self._path_to(self._paths, target, "")
            path = self._path_to(paths, target, "add `by: {0}`")
            if path and outer is not None:
                wanted = self._table_at(outer).columns[path[-1].target]
                return Link(inner, self._reference(outer, wanted), inner._reference(path, wanted))
        raise RefusedError(f"{table.short_name} does not refer to {self.table.short_name}", self._other_way(table, by))

    def add_sources(self, select: exp.Select) -> exp.Select:
        """The select with FROM this table and the joins that the conditions asked for."""
        select = select.from_(_source(self.table.name, self._aliases[()]), copy=False)
        for path, alias in self._aliases.items():
            if path:
                on = exp.EQ(
                    this=exp.column(path[-1].column, table=self._aliases[path[:-1]]),
                    expression=exp.column(path[-1].target, table=alias),
                )
                side = "LEFT" if self._may_miss(path) else ""
                select = select.join(_source(path[-1].table, alias), on=on, join_type=side, copy=False)
        return select

    def _key(self, path: Path) -> Operand | None:
        table = self._table_at(path)
        if len(table.key) != 1:
            return None
        return self._reference(path, table.columns[table.key[0]])

    def _reference(self, path: Path, column: Column) -> Operand:
        """A column at the end of a path; the foreign key itself when it bears the same name: no join is needed."""
        if path and path[-1].target == column.name == path[-1].column:
            own = self._table_at(path[:-1]).columns[column.name]
            return self._operand(path[:-1], own, column.name)
        return self._operand(path, column, column.name)

    def _operand(self, path: Path, column: Column, label: str) -> Operand:
        expression = exp.column(column.name, table=self._alias(path))
        return Operand(expression, kind_of(column.type), column.nullable or self._may_miss(path), label)

    def _alias(self, path: Path) -> str:
        for length in range(1, len(path) + 1):
            if path[:length] not in self._aliases:
                self._aliases[path[:length]] = self._names.take(path[length - 1].table.partition(".")[2])
        return self._aliases[path]

    def _may_miss(self, path: Path) -> bool:
        """Whether a row need not have a record at the end of this path."""
        return any(self._table_at(path[:index]).columns[key.column].nullable for index, key in enumerate(path))

    def _table_at(self, path: Path) -> Table:
        return self._catalog.tables[path[-1].table] if path else self.table

    def _path_of(self, prefix: str, written: str) -> Path:
        if prefix in ("", self.table.short_name, self.table.name):
            return ()
        found = [path for path in self._paths if prefix in (path[-1].table, path[-1].table.partition(".")[2])]
        by_column = [path for path in self._paths if path[-1].column == prefix]
        name = written.rpartition(".")[2]
        path = self._path_to(found or by_column, None, f"write {{0}}.{name}")
        if path is not None:
            return path
        other = find_table(prefix, self._catalog)
        if other is not None:
            here = self.table.short_name
            has = f"write `has: {other.short_name}` with this condition under its `where`"
            raise RefusedError(f"a {here} has no one {other.short_name}, so no field {written}", has)
        raise RefusedError(f"there is no field {written}", self._nearest_field(written))

    def _path_to(self, paths: Iterable[Path], target: str | None, remedy: str) -> Path | None:
        """The shortest path to a table; RefusedError when two are as short, with what to write instead."""
        found = [path for path in paths if target in (None, path[-1].table)]
        shortest = [path for path in found if len(path) == len(found[0])]
        if len(shortest) > 1:
            columns = sorted({path[0].column for path in shortest})
            table = shortest[0][-1].table.partition(".")[2]
            words = f"{table} can be reached in more than one way: by {' and by '.join(columns)}"
            raise RefusedError(words, " or ".join(remedy.format(column) for column in columns) if remedy else None)
        return found[0] if found else None

    def _nearest_field(self, written: str) -> str | None:
        known = list(self.table.columns)
        known += [f"{self.table.short_name}.{name}" for name in self.table.columns]
        for path in self._paths:
            table = self._table_at(path)
            known += [f"{table.short_name}.{name}" for name in table.columns]
        return nearest(written, known) or f"choose from: {', '.join(self.table.columns)}"

    def _other_way(self, table: Table, by: str | None) -> str | None:
        """What to write instead of `has` with a table that does not refer to these rows."""
        if by is not None:
            columns = [key.column for key in references(table, self._catalog)]
            return nearest(by, columns) or f"its references are: {', '.join(columns) or 'none'}"
        if any(path[-1].table == table.name for path in self._paths):
            return f"a {self.table.short_name} has at most one: write `field: {table.short_name}.…`"
        targets = {self.table.name, PERSON}
        fitting = [
            other.short_name
            for other in self._catalog.tables.values()
            if any(path[-1].table in targets for path in _paths(other, self._catalog))
        ]
        between = [
            other.short_name
            for other in self._catalog.tables.values()
            if other.short_name in fitting and table.name in {key.table for key in references(other, self._catalog)}
        ]
        if between:
            return f"write `has: {between[0]}` with conditions on {table.short_name}.… under its `where`"
        return f"choose from: {', '.join(fitting)}" if fitting else None


def references(table: Table, catalog: Catalog) -> list[ForeignKey]:
    """The foreign keys of a table; a contact moment refers to its person, though the lake has no constraints."""
    keys = [key for key in table.foreign_keys if key.table in catalog.tables]
    if table.name == CONTACT_MOMENT.name and PERSON in catalog.tables:
        keys.append(ForeignKey("person_id", PERSON, "person_id"))
    return keys


def find_table(name: str, catalog: Catalog) -> Table | None:
    """A table by its name, with or without its schema."""
    for full in (name, f"crm.{name}", f"smp.{name}"):
        if full in catalog.tables:
            return catalog.tables[full]
    return None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """A remedy with the known name that a misspelt one most looks like; None when none does."""
    found = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else None


def _paths(table: Table, catalog: Catalog) -> Iterable[Path]:
    """The ways along foreign keys, the shortest first."""
    ends: list[Path] = [()]
    for _step in range(_FARTHEST):
        ends = [
            (*path, key)
            for path in ends
            for key in references(catalog.tables[path[-1].table] if path else table, catalog)
        ]
        yield from ends


def _source(name: str, alias: str) -> exp.Table:
    schema, _, short = name.partition(".")
    return exp.table_(short, db=schema, alias=alias if alias != short else None)
