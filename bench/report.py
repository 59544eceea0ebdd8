"""Case `report`: how long it takes until analysts have a new reports.duckdb.

Measured: Deployment.publish (read the lake, write the file with the project's marts, sync, rename) and the metrics
before it. Against: DuckDB's own copy of the finished report file into a fresh file. Reported only.
"""

from __future__ import annotations

import duckdb

from bench.process import MEMORY_LIMIT
from bench.row import Row, Stopwatch
from bench.world import NOW, World
from smp_pipelines.stores.lake import literal


def run(world: World) -> list[Row]:
    """Time the metrics, the publication and a plain copy of the file."""
    deployment = world.deployment()
    metrics, publishing, bare = Stopwatch(), Stopwatch(), Stopwatch()
    with metrics.lap():
        deployment.refresh_metrics()
    with publishing.lap():
        published = deployment.publish(NOW)
    copy = world.folder / "copy.duckdb"
    copy.unlink(missing_ok=True)
    with duckdb.connect() as connection, bare.lap():
        connection.execute(f"set memory_limit = {literal(MEMORY_LIMIT)}")
        connection.execute(f"set temp_directory = {literal(str(world.home / 'scratch'))}")
        connection.execute(f"attach {literal(str(published.file))} as report (read_only)")
        connection.execute(f"attach {literal(str(copy))} as fresh")
        connection.execute("copy from database report to fresh")
        connection.execute("detach fresh")
    rows = published.tables["contact_moments"]
    note = f"{rows:,} contact moments, {published.size / 1e6:.0f} MB; baseline: a copy of the file"
    return [
        Row("report", "publish reports.duckdb", publishing.median, "s", bare.median, note=note),
        Row("report", "metrics before it", metrics.median, "s", bare.median),
    ]
