"""The sample CRM: a Dutch theatre with as many people as one asks for, the same every time.

Every value is drawn by hashing the seed, the row's number and the name of what is drawn (see
sql/sample/01_chance.sql), in SQL over whole tables: ten million people need no Python loop, and a
person is the same person however many others there are. Addresses are under *.example only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import date
from importlib.resources import files
from pathlib import Path

import duckdb

from smp_pipelines.crm.bulk import copy_in
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.lake import literal, rows
from smp_pipelines.stores.postgres import Connection, connect, engine_sql

TABLES = (
    *("organisation", "person", "consent", "suppression", "performance"),
    *("ticket", "donation", "membership", "list", "list_member"),
)
"""The tables of the sample, in an order in which every reference is to an earlier one."""

_SMALLEST = 10
_MEMORY = "1500MB"


def generate(duck: duckdb.DuckDBPyConnection, people: int, today: date, seed: int = 1) -> None:
    """Create the tables `sample.<table>`, one for each of TABLES, with `people` people around the day `today`.

    The columns are those of sql/schema/0001_crm.sql, less the computed ones. People 1 to 5 are
    colleagues (internal test persons). Raises SmpError for fewer than 10 people.
    """
    if people < _SMALLEST:
        raise SmpError(f"the sample needs at least {_SMALLEST} people, not {people}")
    # A cursor is a session of its own: its variables and temporary tables go when it closes.
    with duck.cursor() as session:
        # Literals, not parameters: with the first parameter DuckDB imports pandas, which takes two seconds.
        session.execute(f"set variable sample_people = {people:d}")
        session.execute(f"set variable sample_today = date {literal(today.isoformat())}")
        session.execute(f"set variable sample_seed = {seed:d}")
        for entry in sorted(files("smp_pipelines").joinpath("sql", "sample").iterdir(), key=lambda entry: entry.name):
            session.execute(engine_sql(f"sample/{entry.name}"))


def load(
    postgres_url: str,
    people: int,
    today: date,
    seed: int = 1,
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, int]:
    """Generate the sample and write it to schema crm in one transaction; gives the rows written per table.

    The database must have been migrated. Does nothing, and gives an empty dict, when exactly this
    sample was loaded before. Raises SmpError, with nothing written, when there are other people in
    the CRM. `progress` is told of each table that was written, with its number of rows.
    """
    with connect(postgres_url) as connection:
        # Whoever loads at the same time waits here, and then finds what was loaded.
        connection.execute("lock table smp.sample_load in exclusive mode")
        if _is_loaded(connection, people, today, seed):
            return {}
        with tempfile.TemporaryDirectory(prefix="smp sample ") as folder:
            written = _write(connection, Path(folder), (people, today, seed), progress)
        connection.execute(
            "insert into smp.sample_load (people, seed, today, loaded_at) values (%s, %s, %s, now())",
            (people, seed, today),
        )
    with connect(postgres_url) as connection:
        connection.autocommit = True
        for table in TABLES:
            connection.execute(f"analyze crm.{table}")  # the planner's figures, before the first question
    return written


def _is_loaded(connection: Connection, people: int, today: date, seed: int) -> bool:
    occupied = connection.execute("select exists (select from crm.person)").fetchone() == (True,)
    loads = connection.execute(
        "select people, seed, today from smp.sample_load order by loaded_at desc limit 1"
    ).fetchall()
    if not occupied:
        return False
    if loads == [(people, seed, today)]:
        return True
    held = "other people"
    if loads:
        held = f"a sample of {loads[0][0]} people around {loads[0][2]} (seed {loads[0][1]})"
    raise SmpError(f"the CRM already holds {held}: the sample goes only into an empty one; use another database")


def _write(
    connection: Connection, folder: Path, sample: tuple[int, date, int], progress: Callable[[str, int], None] | None
) -> dict[str, int]:
    written = {}
    aside = connection.execute(
        engine_sql("sample_load/set_aside.sql"), {"tables": [f"crm.{table}" for table in TABLES]}
    ).fetchall()
    for drop, _create in aside:
        connection.execute(drop)
    # What does not fit into the memory limit spills to the folder.
    config: dict[str, str | bool | int | float | list[str]] = {"memory_limit": _MEMORY, "temp_directory": str(folder)}
    with duckdb.connect(":memory:", config=config) as duck, connection.cursor() as cursor:
        duck.execute("set timezone = 'UTC'")
        duck.execute("set enable_progress_bar = false")
        generate(duck, *sample)
        for table in TABLES:
            file = folder / "rows.csv"
            source = f"sample.{table}"
            duck.execute(f"copy {source} to {literal(str(file))} (format csv, header false)")
            columns = [column for (column, *_rest) in rows(duck, f"describe {source}")]
            written[table] = copy_in(cursor, f"crm.{table}", columns, file)
            if progress:
                progress(table, written[table])
    for _drop, create in aside:
        connection.execute(create)
    return written
