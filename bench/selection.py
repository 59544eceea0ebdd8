"""Case `selection`: a target group with exclusion and de-duplication, through the Dagster asset.

Measured: the asset of smp_pipelines.assets.selections, materialised in process by Dagster's own job (with
Dagster's storage in Postgres, as `smp tick` does it), which writes the rows to DuckLake, counts them and
previews them. Against: the same SQL, written as a table, in bare DuckDB on a local file with the same tables,
with the same threads and memory limit. Laps alternate; the first of each warms up and does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import dagster as dg
import duckdb

from bench.row import Row, Stopwatch, at_most, spread
from bench.world import NOW, REACHABLE, World
from smp_pipelines.assets.facts import CLOCK_TAG
from smp_pipelines.assets.runs import JOB_NAME
from smp_pipelines.assets.selections import selection_key
from smp_pipelines.definitions import build_definitions
from smp_pipelines.deployment import Deployment
from smp_pipelines.operations.instance import open_instance
from smp_pipelines.stores.lake import literal, rows, scalar

_QUIET_LOG = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run(world: World) -> list[Row]:
    """Time the asset and the bare query."""
    deployment = world.deployment()
    query = deployment.library.sql(REACHABLE, NOW)
    asset, op, bare = Stopwatch(), Stopwatch(), Stopwatch()
    with open_instance(deployment.settings, deployment.url) as instance:
        job = build_definitions(deployment).resolve_job_def(JOB_NAME)
        for _lap in range(2 * world.sizes.laps):
            with asset.lap():
                result = _materialise(job, instance)
            op.seconds.append(_op_seconds(instance, result.run_id))
            with _bare(world, deployment) as connection, bare.lap():
                connection.execute(f"create or replace table chosen as {query}")
    with _bare(world, deployment) as connection, deployment.lake.open() as lake:
        expected, found = (
            int(scalar(connection, "select count(*) from chosen")),
            int(scalar(lake, f"select count(*) from smp.selections.{REACHABLE}")),
        )
    if expected != found:
        raise AssertionError(f"the asset has {found} rows, bare DuckDB {expected}")
    for watch in (asset, op, bare):
        del watch.seconds[0]
    used = f"processor {median(asset.processor):.1f} s, bare {median(bare.processor):.1f} s"
    return [
        at_most(
            "selection",
            "the asset's step",
            op.median,
            bare.median,
            2,
            f"{found:,} rows; {spread(op.seconds)}; bare {spread(bare.seconds)}",
        ),
        Row(
            "selection",
            "the whole Dagster run around it",
            asset.median,
            "s",
            bare.median,
            note=f"{spread(asset.seconds)}; {used}",
        ),
    ]


def _materialise(job: dg.JobDefinition, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return job.execute_in_process(
        instance=instance,
        asset_selection=[selection_key(REACHABLE)],
        tags={CLOCK_TAG: NOW.isoformat()},
        run_config=_QUIET_LOG,
    )


def _op_seconds(instance: dg.DagsterInstance, run_id: str) -> float:
    """From Dagster's own start of the step to its end, by Dagster's event log."""
    (stats,) = instance.get_run_step_stats(run_id)
    if stats.start_time is None or stats.end_time is None:
        raise AssertionError(f"the step of run {run_id} has not ended")
    return stats.end_time - stats.start_time


@contextmanager
def _bare(world: World, deployment: Deployment) -> Iterator[duckdb.DuckDBPyConnection]:
    """The local file, opened with the lake's own threads, memory limit and time zone."""
    with deployment.lake.open_for_selections() as lake:
        ((threads, memory, zone),) = rows(
            lake, "select current_setting('threads'), current_setting('memory_limit'), current_setting('timezone')"
        )
    configuration = {"threads": str(threads), "memory_limit": memory, "temp_directory": str(world.home / "scratch")}
    with duckdb.connect(str(world.bare_file), config=configuration) as connection:
        connection.execute(f"set timezone = {literal(zone)}")
        yield connection
