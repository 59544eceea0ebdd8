"""Acts: what a step of a flow changes in the CRM, as a part of the statement that moves people on (F32).

Tables and columns are quoted identifiers from the project's own schema files; values are parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString, cast

from psycopg import sql

from smp_pipelines.campaign.flow.graph import Node
from smp_pipelines.campaign.flow.sources import table_name
from smp_pipelines.crm.catalog import Catalog, Column, Table
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import engine_sql

PERSON = "crm.person"


@dataclass(frozen=True)
class Act:
    """A part of a statement, with its parameters."""

    statement: sql.Composable
    parameters: Mapping[str, Any] = field(default_factory=dict)


def acting(node: Node, catalog: Catalog, now: datetime) -> Act:
    """What everybody who goes on from this step gets done: update, create, add_to_list or remove_from_list."""
    if node.options.get("as_if"):  # a simulation changes nothing
        return Act(sql.SQL(""))
    if node.kind == "update":
        values = node.options["update"]
        return _update(values, _table(catalog, PERSON, values))
    if node.kind == "create":
        row = node.options["create"]
        return _create(row["values"], _table(catalog, table_name(row["table"]), row["values"]), now)
    file = "join" if node.kind == "add_to_list" else "leave"
    return Act(sql.SQL(engine_sql(f"flow/advance/{file}.sql")), {"list": node.options[node.kind]})


def _table(catalog: Catalog, name: str, columns: Iterable[str]) -> Table:
    """A table with these columns. Raises SmpError: a version outlives the schema files that it was checked against."""
    table = catalog.tables.get(name)
    gone = name if table is None else next((column for column in columns if column not in table.columns), None)
    if table is None or gone is not None:
        raise SmpError(f"{gone} of {name} is in no schema file any more; put it back, or apply a flow without it")
    return table


def _update(values: Mapping[str, Any], person: Table) -> Act:
    assignments = [
        sql.SQL("{} = {}").format(sql.Identifier(name), _value(name, person.columns[name])) for name in values
    ]
    statement = sql.SQL(engine_sql("flow/advance/update.sql")).format(
        assignments=sql.SQL(", ").join(assignments),
        now=sql.SQL(", ").join(sql.SQL("p.{}").format(sql.Identifier(name)) for name in values),
        becomes=sql.SQL(", ").join(_value(name, person.columns[name]) for name in values),
    )
    return Act(statement, _parameters(values))


def _create(values: Mapping[str, Any], table: Table, now: datetime) -> Act:
    columns: dict[str, sql.Composable] = {
        table.key[0]: sql.SQL("nextval('smp.new_person_id')"),
        "person_id": sql.SQL("j.person_id"),
    }
    for name, column in table.columns.items():
        is_due = not (column.nullable or column.has_default or column.generated or name in columns)
        if name in values:
            columns[name] = _value(name, column)
        elif is_due and column.type.startswith("timestamp"):
            columns[name] = sql.SQL("%(created_at)s")
    statement = sql.SQL(engine_sql("flow/advance/create.sql")).format(
        table=sql.Identifier(*table.name.split(".")),
        columns=sql.SQL(", ").join(sql.Identifier(name) for name in columns),
        values=sql.SQL(", ").join(columns.values()),
    )
    return Act(statement, {**_parameters(values), "created_at": now})


def _value(name: str, column: Column) -> sql.Composed:
    # a type is a word of the project's own schema file
    kind: LiteralString = cast("Any", column.type)
    return sql.SQL("{}::{}").format(sql.Placeholder(f"value_{name}"), sql.SQL(kind))


def _parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"value_{name}": value for name, value in values.items()}
