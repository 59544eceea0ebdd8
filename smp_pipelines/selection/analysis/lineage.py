"""Column lineage: from which columns of which tables a query's output comes, and which columns decide its rows (X6).

Read from the qualified tree, scope by scope, so that stars, CTEs, joins, subqueries and set operations resolve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope
from sqlglot.schema import MappingSchema

from smp_pipelines.crm.catalog import Catalog
from smp_pipelines.selection.compiler import Selection

Source = tuple[str, str]
"""A table, as "crm.person" or "selections.x", and one of its columns."""


@dataclass(frozen=True)
class Usage:
    """What a query reads: the sources of each output column, and the sources that decide which rows there are.

    `resolved` is False for SQL that DuckDB takes and sqlglot cannot follow: then nothing is known.
    """

    outputs: Mapping[str, frozenset[Source]]
    deciding: frozenset[Source]
    resolved: bool = True

    @property
    def columns(self) -> frozenset[Source]:
        """Every column that the query reads."""
        return self.deciding.union(*self.outputs.values())


def column_lineage(
    selection: Selection, catalog: Catalog, selections: Mapping[str, Selection] | None = None
) -> dict[str, list[Source]]:
    """Output column → its sources as (table, column), sorted; a constant has none.

    `selections` are the compiled selections that this one reads. Lineage is there to be looked at: SQL that
    sqlglot cannot resolve gives columns without sources, never an error.
    """
    usage = used_columns(selection.query, source_schema(catalog, selections or {}))
    return {name: sorted(usage.outputs.get(name, ())) for name in selection.columns}


def used_columns(query: exp.Query, schema: MappingSchema) -> Usage:
    """What a checked query reads; `schema` is that of `source_schema`."""
    try:
        # qualify changes the tree that it is given
        qualified = qualify(query.copy(), schema=schema, dialect="duckdb", validate_qualify_columns=False)
        root = build_scope(qualified)
    except (SqlglotError, TypeError):
        return Usage({}, frozenset(), resolved=False)
    if root is None:
        return Usage({}, frozenset(), resolved=False)
    reading = _Reading()
    outputs = {name.lower(): frozenset(sources) for name, sources in reading.outputs(root).items()}
    return Usage(outputs, frozenset(reading.deciding))


def source_schema(catalog: Catalog, selections: Mapping[str, Selection]) -> MappingSchema:
    """The tables of the catalogue and the selections, with their columns, for sqlglot."""
    tables: dict[str, dict[str, object]] = {}
    for name, table in catalog.tables.items():
        schema, _, short = name.partition(".")
        tables.setdefault(schema, {})[short] = {column.name: column.type for column in table.columns.values()}
    for name, selection in selections.items():
        tables.setdefault("selections", {})[name] = dict(selection.kept)
    return MappingSchema(dict(tables), dialect="duckdb")


@dataclass
class _Reading:
    """Follows the columns of a query down to tables; whatever is no output of the query decides its rows."""

    deciding: set[Source] = field(default_factory=set)
    _done: dict[int, dict[str, set[Source]]] = field(default_factory=dict)

    def outputs(self, scope: Scope) -> dict[str, set[Source]]:
        """The sources of each output column of a scope."""
        if id(scope) not in self._done:
            self._done[id(scope)] = {}
            self._done[id(scope)] = self._set(scope) if scope.set_operation_scopes else self._select(scope)
        return self._done[id(scope)]

    def _set(self, scope: Scope) -> dict[str, set[Source]]:
        left, right = (self.outputs(each) for each in scope.set_operation_scopes)
        sides = list(right.values())
        if not isinstance(scope.expression, exp.Union):
            # EXCEPT and INTERSECT give the rows of the left side; the right one decides which
            self.deciding.update(*sides)
            return left
        if len(sides) != len(left):
            return {name: sources.union(*sides) for name, sources in left.items()}
        return {name: sources | other for (name, sources), other in zip(left.items(), sides, strict=True)}

    def _select(self, scope: Scope) -> dict[str, set[Source]]:
        select = scope.expression
        if not isinstance(select, exp.Select):
            return self._table_function(scope)
        found: dict[str, set[Source]] = {}
        for projection in select.selects:
            found.setdefault(projection.output_name.lower(), set()).update(self._within(scope, projection))
        for key, part in select.args.items():
            for each in part if isinstance(part, list) else [part]:
                if key not in ("expressions", "with_") and isinstance(each, exp.Expr):
                    self.deciding |= self._within(scope, each)
        for source in scope.sources.values():
            if isinstance(source, Scope):
                self.outputs(source)  # what decides its rows decides which rows there are here
        return found

    def _table_function(self, scope: Scope) -> dict[str, set[Source]]:
        """LATERAL (select …) gives what its query gives; of UNNEST and VALUES, the columns in them decide the rows."""
        for inner in scope.subquery_scopes:
            return self.outputs(inner)
        self.deciding |= self._within(scope, scope.expression)
        return {}

    def _within(self, scope: Scope, node: exp.Expr) -> set[Source]:
        """The sources of the columns in a part of a query; those of its subqueries are what these give."""
        subqueries = {id(each.expression): each for each in scope.subquery_scopes}
        found: set[Source] = set()
        stack: list[exp.Expr] = [node]
        while stack:
            each = stack.pop()
            if isinstance(each, exp.Column):
                found |= self._at(scope, each)
            elif isinstance(each, exp.Query) and not isinstance(each, exp.Subquery):
                inner = subqueries.get(id(each))
                found.update(*(self.outputs(inner).values() if inner else ()))
            else:
                stack.extend(each.iter_expressions())
        return found

    def _at(self, scope: Scope, column: exp.Column) -> set[Source]:
        """The sources of a column, of this scope or of one around it."""
        around: Scope | None = scope
        while around is not None:
            source = around.sources.get(column.table)
            if isinstance(source, exp.Table):
                return {(f"{source.db}.{source.name}".lower(), column.name.lower())}
            if isinstance(source, Scope):
                return self.outputs(source).get(column.name.lower(), set())
            around = around.parent
        return set()
