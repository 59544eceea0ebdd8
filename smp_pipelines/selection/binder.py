"""The binder: an empty DuckDB with the catalogue's tables, in which a checked query is bound but never run.

DuckDB itself says which columns and types come out, and what is wrong: an unknown column, an ambiguous one, a
function with the wrong arguments, a column missing from GROUP BY. Binding takes a millisecond or two, where
sqlglot's qualify takes ten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import duckdb
from sqlglot import exp

from smp_pipelines.crm.catalog import Catalog
from smp_pipelines.problems import Problem, ProjectError

_KIND_OF_ERROR = re.compile(r"^\w+ Error: ")
_LINE = re.compile(r"^LINE (\d+): ", re.MULTILINE)
_HINTS = (
    re.compile(r'Candidate (?:bindings|tables): :?\s*"([^"]+)"'),
    re.compile(r'Did you mean "([^"]+)"'),
)


class Binder:
    """Tells the output columns of queries over a catalogue. A context manager: closing frees the memory."""

    def __init__(self, catalog: Catalog) -> None:
        self._connection = duckdb.connect(
            config={"threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False}
        )
        self._connection.execute("attach ':memory:' as crm; attach ':memory:' as smp; create schema smp.selections")
        for name, table in catalog.tables.items():
            types = {column.name: _duckdb_type(column.type) for column in table.columns.values()}
            self._create(exp.to_table(name), types)
        # `use smp` lets `selections.x` be found in the text as people wrote it.
        self._connection.execute("use smp; set enable_external_access = false; set lock_configuration = true")

    def __enter__(self) -> Binder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def columns(self, text: str, written: str, file: Path | None) -> dict[str, str]:
        """The output columns of a checked query with their DuckDB types; `written` is the SQL as in the file.

        Raises ProjectError with DuckDB's words, the line in the file and, where DuckDB has one, the nearest name.
        """
        try:
            rows = self._connection.execute(f"describe {text}").fetchall()
        except duckdb.Error as error:
            raise ProjectError([_problem(error, self._line(written), file)]) from error
        names = [str(row[0]).lower() for row in rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            words = f"the selection gives {twice[0]!r} twice"
            raise ProjectError([Problem(file, None, words, "give one of them another name with `as`")])
        return {str(row[0]).lower(): str(row[1]) for row in rows}

    def add(self, selection: str, columns: Mapping[str, str]) -> None:
        """Let other queries read this selection as smp.selections.<name>."""
        self._create(exp.to_table(f"smp.selections.{selection}"), columns)

    def _create(self, table: exp.Table, types: Mapping[str, str]) -> None:
        definitions = [
            exp.ColumnDef(this=exp.to_identifier(name), kind=exp.DataType.build(type_, dialect="duckdb"))
            for name, type_ in types.items()
        ]
        create = exp.Create(this=exp.Schema(this=table, expressions=definitions), kind="TABLE")
        self._connection.execute(create.sql(dialect="duckdb", identify=True))

    def _line(self, written: str) -> int | None:
        """The line in the text as written, when DuckDB finds something wrong there too."""
        try:
            statements = self._connection.extract_statements(written)
            if len(statements) == 1 and statements[0].type == duckdb.StatementType.SELECT:
                self._connection.execute(f"describe {written}")
        except duckdb.Error as error:
            found = _LINE.search(str(error))
            return int(found[1]) if found else None
        return None


def _duckdb_type(postgres_type: str) -> str:
    return exp.DataType.build(postgres_type, dialect="postgres").sql(dialect="duckdb")


def _problem(error: duckdb.Error, line: int | None, file: Path | None) -> Problem:
    text = _KIND_OF_ERROR.sub("", str(error))
    message = text.partition("\n")[0].rstrip("!")
    hints = [found[1] for hint in _HINTS if (found := hint.search(text))]
    return Problem(file, line, message, f"did you mean {hints[0]}?" if hints else None)
