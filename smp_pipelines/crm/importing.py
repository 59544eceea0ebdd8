"""Imports: a CSV or Parquet file into a table of the CRM, once or ten times with the same result (F52).

What can be loaded is loaded, in one transaction; the rows that cannot come back in a file with
the reason. A row that is in the CRM as it is in the file is not touched.
"""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import duckdb
import psycopg

from smp_pipelines.crm.catalog import Catalog, Column, Table
from smp_pipelines.crm.cells import read_cell
from smp_pipelines.crm.delimited import Layout, read_layout, read_rows
from smp_pipelines.crm.upsert import Upserted, upsert
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.lake import identifier, literal, rows, scalar
from smp_pipelines.stores.postgres import connect, engine_sql

_MEMORY = "512MB"


@dataclass(frozen=True)
class ImportResult:
    """What an import did: rows read = inserted + updated + unchanged + rejected. No rejects, no rejects file."""

    read: int
    inserted: int
    updated: int
    unchanged: int
    rejected: int
    rejects_file: Path | None


def import_file(
    postgres_url: str,
    catalog: Catalog,
    table: str,
    file: Path,
    rejects: Path | None = None,
    *,
    time_zone: str = "Europe/Amsterdam",
) -> ImportResult:
    """Load a file into a CRM table (`crm.person` or `person`) by its primary key, in one transaction.

    CSV is UTF-8 or Windows-1252, separated by commas, semicolons or tabs, with the names of columns
    in its first line; a file that ends in .parquet is Parquet. An empty cell is null. `time_zone` is
    that of moments without an offset. Rejected rows go to `rejects` (default: <file>.rejects.csv)
    with line, reason and their fields; of a key that is twice in the file the first row counts.

    Raises SmpError, with nothing written, for an unknown table or column, a missing column, a file
    that cannot be read, and for a rule of the database that the rows break as a whole.
    """
    target = _target(catalog, table)
    rejects = rejects or file.with_name(f"{file.stem}.rejects.csv")
    if rejects.resolve() == file.resolve():
        raise SmpError(f"the rejects may not go into the imported file itself: {file}")
    if not file.is_file():
        raise SmpError(f"there is no file {file}")
    with tempfile.TemporaryDirectory(prefix="smp import ") as scratch, _session(Path(scratch), time_zone) as duck:
        staging = _Staging(duck, Path(scratch), target)
        separator = staging.read_parquet(file) if file.suffix.lower() == ".parquet" else staging.read_csv(file)
        staging.judge(comma=separator == ";")
        return _apply(postgres_url, staging, rejects, separator)


def _apply(postgres_url: str, staging: _Staging, rejects: Path, separator: str) -> ImportResult:
    partial = rejects.with_name(f".{rejects.name}.partial")
    try:
        with connect(postgres_url) as connection:
            upserted = upsert(connection, staging.target, staging.names, staging.accepted(), staging.scratch)
            rejected = staging.write_rejects(upserted, partial, separator)
    except psycopg.Error as error:
        partial.unlink(missing_ok=True)
        raise SmpError(f"nothing was imported into {staging.target.name}: {str(error).strip()}") from error
    if rejected:
        partial.replace(rejects)
    else:
        partial.unlink(missing_ok=True)
        rejects.unlink(missing_ok=True)  # those of an earlier import of this file
    return ImportResult(
        read=rejected + upserted.inserted + upserted.updated + upserted.unchanged,
        inserted=upserted.inserted,
        updated=upserted.updated,
        unchanged=upserted.unchanged,
        rejected=rejected,
        rejects_file=rejects if rejected else None,
    )


def _session(scratch: Path, time_zone: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB session in memory that spills to the scratch folder, with the macros that read cells."""
    duck = duckdb.connect(":memory:", config={"memory_limit": _MEMORY, "temp_directory": str(scratch / "spill")})
    duck.execute("set timezone = 'UTC'")
    duck.execute("set enable_progress_bar = false")
    duck.execute(f"set variable import_zone = {literal(time_zone)}")
    duck.execute(engine_sql("import/cells.sql"))
    return duck


def _target(catalog: Catalog, name: str) -> Table:
    found = {table.name: table for table in catalog.crm()}
    table = found.get(name) or found.get(f"crm.{name}")
    if table is None:
        nearest = get_close_matches(name if "." in name else f"crm.{name}", found, n=1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]}?" if nearest else f"; there are {', '.join(found)}"
        raise SmpError(f"there is no table {name} to import into{hint}")
    return table


def _match(target: Table, header: Sequence[str], file: Path) -> list[Column]:
    """The table's columns that a header names, in its order. Raises SmpError for what does not fit."""
    usable = {name: column for name, column in target.columns.items() if not column.generated}
    for name, count in Counter(header).items():
        if name in target.columns and name not in usable:
            raise SmpError(f"{file}: column {name} of {target.name} is computed; leave it out of the file")
        if name not in usable:
            nearest = get_close_matches(name, usable, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]}?" if nearest else f"it has {', '.join(usable)}"
            raise SmpError(f"{file}: {target.name} has no column {name or '(empty name)'}; {hint}")
        if count > 1:
            raise SmpError(f"{file}: column {name} is in the header {count} times")
    missing = [
        name
        for name, column in usable.items()
        if name not in header and (name in target.key or not (column.nullable or column.has_default))
    ]
    if missing:
        raise SmpError(
            f"{file}: {target.name} cannot be loaded without the column{'s'[: len(missing) > 1]} {', '.join(missing)}"
        )
    return [usable[name] for name in header]


class _Staging:
    """The rows of one file in DuckDB: `raw` as text, `broken` what has no fields, `judged` values and reasons."""

    def __init__(self, duck: duckdb.DuckDBPyConnection, scratch: Path, target: Table) -> None:
        self._duck = duck
        self._columns: list[Column] = []
        self.scratch = scratch
        self.target = target

    @property
    def names(self) -> list[str]:
        """The names of the file's columns."""
        return [column.name for column in self._columns]

    @property
    def _raw(self) -> list[str]:
        return [f"smp_raw_{index}" for index in range(len(self._columns))]

    def read_csv(self, file: Path) -> str:
        """Stage a CSV file; gives its separator."""
        if file.stat().st_size == 0:
            raise SmpError(f"{file} is empty")
        layout = read_layout(file, self.target.columns)
        self._columns = _match(self.target, layout.header, file)
        good, bad = self.scratch / "raw.csv", self.scratch / "broken.csv"
        _split(file, layout, good, bad)
        self._stage("raw", good, ("smp_line", *self._raw))
        self._stage("broken", bad, ("smp_line", "smp_reason", "smp_text", *self._raw))
        return layout.separator

    def read_parquet(self, file: Path) -> str:
        """Stage a Parquet file, whose lines are the numbers of its rows; gives the separator for its rejects."""
        source = f"read_parquet({literal(str(file))}, file_row_number = true, binary_as_string = true)"
        try:
            found = [(name, kind) for name, kind, *_rest in rows(self._duck, f"describe from {source}")]
        except duckdb.Error as error:
            raise SmpError(f"{file} is not a Parquet file that can be read: {error}") from error
        found = [(name, kind) for name, kind in found if name != "file_row_number"]
        self._columns = _match(self.target, [name.strip().lower() for name, _kind in found], file)
        texts = ", ".join(
            f"{_as_text(name, kind)} as {raw}" for (name, kind), raw in zip(found, self._raw, strict=True)
        )
        self._duck.execute(f"create table raw as from {source} select file_row_number + 1 as smp_line, {texts}")
        none = self.scratch / "broken.csv"
        none.touch()
        self._stage("broken", none, ("smp_line", "smp_reason", "smp_text", *self._raw))
        return ","

    def _stage(self, table: str, file: Path, columns: Sequence[str]) -> None:
        types = ", ".join(f"{column}: '{'bigint' if column == 'smp_line' else 'varchar'}'" for column in columns)
        statement = engine_sql("import/stage.sql")
        self._duck.execute(statement.format(table=table, file=literal(str(file)), columns=f"{{{types}}}"))

    def judge(self, *, comma: bool) -> None:
        """Turn the text into values and find out what is wrong with each row, duplicates included."""
        cells = [read_cell(column, raw, comma=comma) for column, raw in zip(self._columns, self._raw, strict=True)]
        self._duck.execute(
            engine_sql("import/judge.sql").format(
                values=", ".join(f"{cell.value} as {identifier(cell.column.name)}" for cell in cells),
                faults=", ".join(cell.fault for cell in cells),
                key=", ".join(identifier(name) for name in self.target.key),
                names=", ".join(identifier(name) for name in self.names),
            )
        )

    def accepted(self) -> Path:
        """A CSV file of the rows that may be loaded: their line and their values."""
        file = self.scratch / "accepted.csv"
        self._duck.execute(f"copy accepted to {literal(str(file))} (format csv, header false)")
        return file

    def write_rejects(self, upserted: Upserted, file: Path, separator: str) -> int:
        """Write the rejected rows, in the order of their lines, and count them."""
        self._stage("refused", upserted.refused, ("smp_line", "smp_reason"))
        same_key = literal(f"the same {', '.join(self.target.key)} as on line ")
        self._duck.execute(engine_sql("import/rejected.sql").format(raw=", ".join(self._raw), same_key=same_key))
        fields = ", ".join(f"{raw} as {identifier(name)}" for raw, name in zip(self._raw, self.names, strict=True))
        text = ", smp_text as original" if scalar(self._duck, "select count(*) from broken") else ""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._duck.execute(
            f"copy (from rejected select smp_line as line, smp_reason as reason, {fields}{text} order by smp_line)"
            f" to {literal(str(file))} (format csv, header true, delimiter {literal(separator)})"
        )
        return int(scalar(self._duck, "select count(*) from rejected"))


def _split(file: Path, layout: Layout, good: Path, bad: Path) -> None:
    """Write the rows of a file as clean CSV with their line numbers, and those that cannot be read apart."""
    with good.open("w", encoding="utf-8", newline="") as whole, bad.open("w", encoding="utf-8", newline="") as broken:
        # All fields quoted: Python leaves a lone carriage return bare, which DuckDB takes for the end of a row.
        take = csv.writer(whole, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow
        refuse = csv.writer(broken, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow
        for row in read_rows(file, layout):
            if row.fault is None:
                take([row.line, *row.fields])
            else:
                refuse([row.line, row.fault, row.text.replace("\0", ""), *row.fields])


def _as_text(name: str, kind: str) -> str:
    """A Parquet column as the text that a CSV file would have; pandas writes whole numbers with gaps as doubles."""
    column = identifier(name)
    if kind in ("DOUBLE", "FLOAT"):
        return (
            f"case when isnan({column}) then null when abs({column}) < 1e15 and {column} = trunc({column})"
            f" then {column}::bigint::varchar else {column}::varchar end"
        )
    return f"{column}::varchar"
