"""Case `diff`: two audiences of a million people are compared.

Measured: History.compare, as `smp selection diff` calls it: the file is evaluated again, who entered and who left is
found, and for each of them the predicate that did it. Against: bare DuckDB's full outer join of the same two audiences
in two Parquet files, counted only.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from statistics import median

import duckdb

from bench.crowd import CHANGING, Crowd
from bench.process import MEMORY_LIMIT
from bench.row import Row, Stopwatch, spread
from bench.world import NOW, World
from smp_pipelines.stores.lake import literal, rows

_PATIENCE = 5.0
_JOIN = """
select count(*) filter (where b.person_id is null), count(*) filter (where a.person_id is null)
from read_parquet({before}) as a full join read_parquet({after}) as b using (person_id)
"""


def run(world: World) -> list[Row]:
    """Time the comparison and the bare join."""
    crowd = Crowd(world)
    deployment = crowd.deployment()
    tomorrow = NOW + timedelta(days=1)
    before = deployment.audiences.materialise(CHANGING, NOW, None).run
    files = (crowd.home / "before.parquet", crowd.home / "after.parquet")
    with crowd.bare(deployment) as connection:
        for file, moment in zip(files, (NOW, tomorrow), strict=True):
            query = deployment.library.sql(CHANGING, moment)
            connection.execute(f"copy ({query}) to {literal(str(file))} (compression lz4)")
    ours, bare = Stopwatch(), Stopwatch()
    for _lap in range(world.sizes.laps):
        with ours.lap():
            changes = deployment.history.compare(CHANGING, tomorrow, before, 3).changes
        with bare.lap():
            expected = _join(*files)
    if expected != (changes.departed, changes.entered):
        raise AssertionError(f"the comparison says {changes}, bare DuckDB {expected}")
    used = f"{spread(ours.seconds)}; processor {median(ours.processor):.1f} s"
    note = f"{changes.entered:,} entered, {changes.departed:,} left; baseline: the join alone; {used}"
    what = f"two audiences of {changes.was:,}"
    return [Row("diff", what, ours.median, "s", bare.median, f"< {_PATIENCE:g} s", ours.median < _PATIENCE, note)]


def _join(before: Path, after: Path) -> tuple[int, int]:
    """How many left and entered, by two Parquet files."""
    with duckdb.connect(config={"memory_limit": MEMORY_LIMIT}) as connection:
        query = _JOIN.format(before=literal(str(before)), after=literal(str(after)))
        ((departed, entered),) = rows(connection, query)
    return departed, entered
