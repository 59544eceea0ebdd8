"""The tables of unit tests: an in-memory DuckDB that plays the lake, with nothing in it but the rows of one case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from zoneinfo import ZoneInfo

import duckdb
from sqlglot import exp, transpile

from smp_pipelines.crm.catalog import CONTACT_MOMENT, Catalog, Column, Table
from smp_pipelines.problems import SmpError
from smp_pipelines.selection.unit_tests.file import Row, Value
from smp_pipelines.stores.lake import identifier, literal

_RECEIVED = ("planned", "accepted", "unknown")


class Tables:
    """Every table that a selection may read, empty until `put`. A context manager: closing frees the memory.

    It can reach no file, network, extension or setting, like the lake that selections really run in (invariant 4).
    """

    def __init__(self, catalog: Catalog, zone: ZoneInfo) -> None:
        self._catalog = catalog
        self._filled: list[str] = []
        self._made: list[str] = []
        self.connection = duckdb.connect(
            config={"threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False}
        )
        self.connection.execute(
            "attach ':memory:' as crm; attach ':memory:' as smp; create schema smp.selections;"
            f" set timezone = {literal(zone.key)}; set enable_external_access = false"
        )
        for name, table in catalog.tables.items():
            self._create(name, {column.name: _duckdb_type(column.type) for column in table.columns.values()})
        self.connection.execute("set lock_configuration = true")

    def __enter__(self) -> Tables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.connection.close()

    def clear(self) -> None:
        """Take out what was put in or made since the last time."""
        for name in self._filled:
            self.connection.execute(exp.delete(exp.to_table(name)).sql(dialect="duckdb", identify=True))
        for name in self._made:
            self.connection.execute(f"drop table {_quoted(name)}")
        self._filled, self._made = [], []

    def put(self, name: str, rows: Sequence[Row], now: datetime) -> None:
        """Put rows into a table of the catalogue; what they leave out becomes null or a neutral value.

        A moment that may not be null is then `now`. Raises SmpError for a value that does not fit its column.
        """
        table = self._catalog.tables[name]
        self._filled.append(name)
        complete = [_complete(table, row, number, now) for number, row in enumerate(rows, start=1)]
        self._insert(
            name, {column.name: _duckdb_type(column.type) for column in table.columns.values()}, complete, table
        )
        computed = {
            column.name: transpile(column.expression, read="postgres", write="duckdb")[0]
            for column in table.columns.values()
            if column.generated and column.expression
        }
        if computed and rows:
            update = exp.update(exp.to_table(name), {}, dialect="duckdb")
            update.set(
                "expressions",
                [exp.EQ(this=exp.column(column), expression=exp.maybe_parse(sql)) for column, sql in computed.items()],
            )
            self.connection.execute(update.sql(dialect="duckdb", identify=True))

    def make(self, name: str, types: Mapping[str, str], rows: Sequence[Row]) -> None:
        """Make a table with columns of these DuckDB types and put rows into it. Raises SmpError like `put`."""
        self._create(name, types)
        self._made.append(name)
        self._insert(name, types, [{column: row.get(column) for column in types} for row in rows], None)

    def make_from(self, name: str, types: Mapping[str, str], query: str) -> None:
        """Make a table with columns of these DuckDB types from the columns of a query with the same names."""
        self._create(name, types)
        columns = ", ".join(identifier(column) for column in types)
        self.connection.execute(f"insert into {_quoted(name)} select {columns} from ({query})")
        self._made.append(name)

    def texts(self, name: str, columns: Sequence[str]) -> list[tuple[str | None, ...]]:
        """These columns of all rows of a table, each value as DuckDB writes it."""
        query = exp.select(*(exp.cast(exp.column(column), "text") for column in columns)).from_(exp.to_table(name))
        return self.connection.execute(query.sql(dialect="duckdb", identify=True)).fetchall()

    def _create(self, name: str, types: Mapping[str, str]) -> None:
        definitions = [
            exp.ColumnDef(this=exp.to_identifier(column), kind=exp.DataType.build(type_, dialect="duckdb"))
            for column, type_ in types.items()
        ]
        create = exp.Create(this=exp.Schema(this=exp.to_table(name), expressions=definitions), kind="TABLE")
        self.connection.execute(create.sql(dialect="duckdb", identify=True))

    def _insert(self, name: str, types: Mapping[str, str], rows: Sequence[Row], table: Table | None) -> None:
        if not rows:
            return
        for row in rows:
            for column, value in row.items():
                if value is None and table and not table.columns[column].nullable:
                    raise SmpError(f"{name}.{column} is never null")
        # Literals and not parameters: binding one makes duckdb import pandas, which takes longer than all tests.
        values = [exp.Tuple(expressions=[_literal(row[column], types[column]) for column in row]) for row in rows]
        insert = exp.Insert(
            this=exp.Schema(this=exp.to_table(name), expressions=[exp.to_identifier(column) for column in rows[0]]),
            expression=exp.Values(expressions=values),
        )
        try:
            self.connection.execute(insert.sql(dialect="duckdb", identify=True))
        except duckdb.Error as error:
            raise SmpError(self._misfit(name, types, rows) or str(error)) from error

    def _misfit(self, name: str, types: Mapping[str, str], rows: Sequence[Row]) -> str | None:
        """Which value does not fit its column."""
        for row in rows:
            for column, value in row.items():
                try:
                    self.connection.execute(exp.select(_literal(value, types[column])).sql(dialect="duckdb"))
                except duckdb.Error:
                    return f"{value!r} is no value for {name}.{column}, which is {types[column].lower()}"
        return None


def _quoted(table: str) -> str:
    return exp.to_table(table).sql(dialect="duckdb", identify=True)


def _literal(value: Value, type_: str) -> exp.Expr:
    if value is None:
        return exp.null()
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return exp.cast(exp.Literal.string(text), type_, dialect="duckdb")


def _duckdb_type(postgres_type: str) -> str:
    return exp.DataType.build(postgres_type, dialect="postgres").sql(dialect="duckdb")


def _complete(table: Table, row: Row, number: int, now: datetime) -> Row:
    """The row with a value for every column that is not computed; `number` counts the rows from 1."""
    complete: dict[str, Value] = {}
    for column in table.columns.values():
        if column.name in row:
            complete[column.name] = row[column.name]
        elif (column.name,) == table.key:
            complete[column.name] = number
        elif not column.generated:
            complete[column.name] = _moment_value(column.name, row) if table is CONTACT_MOMENT else None
            if complete[column.name] is None and not column.nullable:
                complete[column.name] = _neutral(column, now)
    return complete


def _moment_value(column: str, row: Row) -> Value:
    """What a contact moment says when nobody says otherwise: a mail of this step that was accepted."""
    outcome = row.get("outcome", "accepted")
    usual: dict[str, Value] = {
        "campaign": str(row.get("step", "")).partition("/")[0],
        "channel": "email",
        "kind": "sent",
        "outcome": "accepted",
        "received": outcome in _RECEIVED,
    }
    return usual.get(column)


def _neutral(column: Column, now: datetime) -> Value:
    """The default of a column, else false, zero, nothing, or the moment of the case."""
    type_ = exp.DataType.build(column.type, dialect="postgres")
    default = exp.maybe_parse(column.expression, dialect="postgres") if column.expression else None
    if isinstance(default, (exp.Literal, exp.Boolean)):
        return str(default.this).lower() if isinstance(default, exp.Boolean) else str(default.this)
    if type_.this == exp.DataType.Type.BOOLEAN:
        return "false"
    if type_.this in exp.DataType.NUMERIC_TYPES:
        return "0"
    if type_.this == exp.DataType.Type.DATE:
        return now.date().isoformat()
    return now.isoformat() if type_.this in exp.DataType.TEMPORAL_TYPES else ""
