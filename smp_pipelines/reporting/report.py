"""The report file: a DuckDB file for analysts, replaced whole, so that nobody who has it open is in the way.

The engine's part holds person keys only, no names and no addresses. The project adds its own tables
from sql/marts: one SELECT over the lake a file, which opens with a comment that says what it holds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.problems import Problem, ProjectError
from smp_pipelines.selection.library import Mart
from smp_pipelines.stores.lake import committed, identifier, literal, rows, scalar, transaction
from smp_pipelines.stores.postgres import engine_sql


@dataclass(frozen=True)
class Published:
    """What was published: the file, its size in bytes, and rows per table."""

    file: Path
    size: int
    tables: Mapping[str, int]


def refresh_metrics(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Compute the metrics in the lake anew; says how many rows flow_metrics and skip_metrics have."""

    def compute() -> None:
        connection.execute(engine_sql("reporting/metrics.sql"))
        if rows(connection, "from smp.flow_node limit 1"):
            connection.execute(engine_sql("reporting/flows/metrics.sql"))

    committed(connection, compute)
    return (
        int(scalar(connection, "select count(*) from smp.flow_metrics")),
        int(scalar(connection, "select count(*) from smp.skip_metrics")),
    )


def publish(
    connection: duckdb.DuckDBPyConnection, project: LoadedProject, marts: Mapping[str, Mart], file: Path
) -> Published:
    """Write the report file beside its place and put it there in one rename.

    One at a time: the caller holds a lock. Raises ProjectError when a mart does not run; the file
    that is there then stays.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(file)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        connection.execute(f"attach {literal(str(fresh))} as report")
        try:
            tables = _fill(connection, project, marts)
        finally:
            connection.execute("detach report")
        with fresh.open("rb") as written:
            os.fsync(written.fileno())
        size = fresh.stat().st_size
        fresh.replace(file)
    finally:
        _remove_left_over(file)
    return Published(file, size, tables)


def _fill(connection: duckdb.DuckDBPyConnection, project: LoadedProject, marts: Mapping[str, Mart]) -> dict[str, int]:
    with transaction(connection):
        _write_steps(connection, project)
        _write_runs(connection)
        connection.execute(engine_sql("reporting/report.sql"))
        connection.execute(engine_sql("reporting/flows/report.sql"))
        _write_marts(connection, marts)
    connection.execute("checkpoint report")
    return _counts(connection)


def _remove_left_over(file: Path) -> None:
    """Remove what is beside the report file: the work of a process that was killed, or of this one if it failed."""
    for left in file.parent.glob(f".{file.name}.*"):
        left.unlink(missing_ok=True)


def _write_steps(connection: duckdb.DuckDBPyConnection, project: LoadedProject) -> None:
    connection.execute(
        "create table report.steps (step varchar primary key, campaign varchar, name varchar,"
        " description varchar, channel varchar, send varchar, topic varchar, selection varchar, next varchar)"
    )
    for ref in project.steps():
        step = ref.step
        values = [ref.key, ref.campaign, step.name, step.description, step.channel, step.send, step.topic]
        connection.execute(
            "insert into report.steps values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [*values, ", ".join(step.people) or None, step.next],
        )


def _write_runs(connection: duckdb.DuckDBPyConnection) -> None:
    query = literal(engine_sql("reporting/selection_runs.sql"))
    connection.execute(f"create table report.selection_runs as from postgres_query('pg', {query})")


def _write_marts(connection: duckdb.DuckDBPyConnection, marts: Mapping[str, Mart]) -> None:
    for name, mart in marts.items():
        try:
            connection.execute(f"create table report.{identifier(name)} as {mart.sql}")
        except duckdb.IOException:
            raise  # that is the store, not the mart
        except duckdb.Error as error:
            raise ProjectError([Problem(mart.file, None, f"this mart does not run: {error}")]) from error
        connection.execute(f"comment on table report.{identifier(name)} is {literal(mart.description)}")


def _counts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    found = rows(connection, "select table_name from duckdb_tables() where database_name = 'report'")
    names = [name for (name,) in found]
    return {name: int(scalar(connection, f"select count(*) from report.{identifier(name)}")) for name in sorted(names)}
