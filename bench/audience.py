"""Case `audience`: a selection over millions of people, with an exclusion, two joins and an aggregate.

Measured: Audiences.materialise, which runs the query, writes its rows to the lake, counts keys and addresses, compares
with the run before and records the run. Against: the same SQL written as a table by bare DuckDB, over the same Parquet
files, with the same threads and memory limit. Laps alternate; the first of each warms up and does not count.
"""

from __future__ import annotations

from statistics import median

from bench.crowd import BUYERS, Crowd
from bench.row import Row, Stopwatch, at_most, spread
from bench.world import NOW, World
from smp_pipelines.stores.lake import scalar


def run(world: World) -> list[Row]:
    """Time materialising and the bare query."""
    crowd = Crowd(world)
    deployment = crowd.deployment()
    query = deployment.library.sql(BUYERS, NOW)
    ours, bare = Stopwatch(), Stopwatch()
    for _lap in range(world.sizes.laps + 1):
        with ours.lap():
            done = deployment.audiences.materialise(BUYERS, NOW, None)
        with crowd.bare(deployment) as connection:
            with bare.lap():
                connection.execute(f"create or replace table chosen as {query}")
            expected = int(scalar(connection, "select count(*) from chosen"))
    if expected != done.run.row_count:
        raise AssertionError(f"the selection has {done.run.row_count} rows, bare DuckDB {expected}")
    for watch in (ours, bare):
        del watch.seconds[0], watch.processor[0]
    used = f"processor {median(ours.processor):.1f} s, bare {median(bare.processor):.1f} s"
    note = f"{expected:,} rows; {spread(ours.seconds)}; bare {spread(bare.seconds)}; {used}"
    what = f"of {world.sizes.crowd_people:,} people"
    return [at_most("audience", what, ours.median, bare.median, 1.5, note)]
