"""Case `why`: why one person of millions gets a step, or does not.

Measured: Explaining.why, as `smp person why` calls it, for a few people in turn: the mirror looks for news, every rule
and every predicate is judged with the values found. Against: bare DuckDB's look-up of the person, their tickets and
contact moments in the same Parquet files.
"""

from __future__ import annotations

from statistics import median

from bench.crowd import STEP, Crowd
from bench.row import Row, Stopwatch, spread
from bench.world import NOW, World
from smp_pipelines.stores.lake import rows

_PATIENCE = 1.0
_PEOPLE = (101, 201, 301)
"""Three of those who are in Postgres too."""


def run(world: World) -> list[Row]:
    """Time the answers and the bare look-ups."""
    crowd = Crowd(world)
    deployment = crowd.deployment()
    ref = deployment.project.step(STEP)
    ours, bare = Stopwatch(), Stopwatch()
    deployment.explaining.why(ref, _PEOPLE[:1], NOW)
    for person in _PEOPLE[: world.sizes.laps]:
        with ours.lap():
            (why,) = deployment.explaining.why(ref, [person], NOW)
        if not any(rule.name.startswith("selection ") for rule in why.rules):
            raise AssertionError(f"nothing is told of the selection: {why}")
        with crowd.bare(deployment) as connection, bare.lap():
            for table in ("crm.person", "crm.ticket", "smp.contact_moment"):
                rows(connection, f"from {table} where person_id = {person:d}")
    used = f"{spread(ours.seconds)}; processor {median(ours.processor):.1f} s"
    note = f"{len(why.rules)} rules; baseline: their rows, looked up; {used}"
    what = f"one person of {world.sizes.crowd_people:,}"
    return [Row("why", what, ours.median, "s", bare.median, f"< {_PATIENCE:g} s", ours.median < _PATIENCE, note)]
