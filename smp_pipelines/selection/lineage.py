"""Column lineage of a selection: from which columns of which tables each output column comes."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope
from sqlglot.schema import MappingSchema

from smp_pipelines.crm.catalog import Catalog
from smp_pipelines.selection.compiler import Selection


def column_lineage(
    selection: Selection, catalog: Catalog, selections: Mapping[str, Selection] | None = None
) -> dict[str, list[tuple[str, str]]]:
    """Output column → its sources as (table, column), sorted; a constant has none.

    `selections` are the compiled selections that this one reads. Lineage is there to be looked at: SQL that
    DuckDB takes and sqlglot cannot resolve gives columns without sources, never an error.
    """
    schema = _schema(catalog, selections or {})
    try:
        # `query` is the statement as it passed the gate; qualify changes the tree that it is given.
        qualified = qualify(selection.query.copy(), schema=schema, dialect="duckdb", validate_qualify_columns=False)
        scope = build_scope(qualified)
        return {name: _sources(name, qualified, schema, scope) for name in selection.columns}
    except (SqlglotError, TypeError):
        return {name: [] for name in selection.columns}


def _sources(name: str, query: exp.Expr, schema: MappingSchema, scope: object) -> list[tuple[str, str]]:
    root = lineage(name, query, schema=schema, dialect="duckdb", scope=scope, trim_selects=False)
    found = set()
    for node in root.walk():
        if isinstance(node.expression, exp.Table) and not node.downstream:
            table = node.expression
            column = node.name.rpartition(".")[2].strip('"').lower()
            found.add((f"{table.db}.{table.name}".lower(), column))
    return sorted(found)


def _schema(catalog: Catalog, selections: Mapping[str, Selection]) -> MappingSchema:
    tables: dict[str, dict[str, object]] = {}
    for name, table in catalog.tables.items():
        schema, _, short = name.partition(".")
        tables.setdefault(schema, {})[short] = {column.name: column.type for column in table.columns.values()}
    for name, selection in selections.items():
        tables.setdefault("selections", {})[name] = dict(selection.columns)
    return MappingSchema(dict(tables), dialect="duckdb")
