"""Case `mirror`: bringing the lake up to date when nothing, or little, changed.

Measured: Deployment.mirror over every crm table, and the contact moments. Against: the first mirror of
the same tables (case `data`), which is a full copy. That 10,000 changed people are no full copy is
shown by the rows that were written and by the bytes of the new Parquet files.
"""

from __future__ import annotations

from pathlib import Path

from bench.data import FIRST_MIRROR
from bench.process import read_rows
from bench.row import Row, Stopwatch, spread
from bench.world import World
from smp_pipelines.crm.mirror import Mirrored

_PATIENCE = 2.0


def run(world: World) -> list[Row]:
    """Time the mirror with nothing changed and with some people changed."""
    full_copy = next(row.measured for row in read_rows(world.folder, "data") if row.what == FIRST_MIRROR)
    deployment = world.deployment()
    tables = [table.name for table in deployment.project.catalog.crm()]
    idle, following = Stopwatch(), Stopwatch()
    for _lap in range(world.sizes.laps):
        with idle.lap():
            unchanged = deployment.mirror(tables)
            deployment.mirror_moments()
    _expect(not any(each.changed or each.deleted or each.full for each in unchanged), "something changed by itself")
    before = _bytes(world.home / "lake" / "crm")
    with deployment.connection() as postgres:
        postgres.execute(
            "update crm.person set city = 'Utrecht' where person_id %% %s = 0",
            (world.sizes.people // world.sizes.changed,),
        )
    with following.lap():
        changed = deployment.mirror(tables)
    written, copied = sum(each.changed for each in changed), any(each.full for each in changed)
    added = _bytes(world.home / "lake" / "crm") - before
    return [
        Row(
            *("mirror", "nothing changed", idle.median, "s", full_copy),
            *(f"< {_PATIENCE:g} s", idle.median < _PATIENCE, f"baseline: a full copy; {spread(idle.seconds)}"),
        ),
        Row(
            *("mirror", f"{world.sizes.changed:,} people changed", following.median, "s", full_copy),
            *(
                "no full copy",
                not copied,
                f"{written:,} rows and {added / 1e6:.1f} MB written, of {before / 1e6:.1f} MB",
            ),
        ),
        Row(
            *("mirror", "rows written for them", float(written), "rows", float(_person(changed).row_count)),
            *(f"= {world.sizes.changed:,}", written == world.sizes.changed, "baseline: the rows of crm.person"),
        ),
    ]


def _person(mirrored: list[Mirrored]) -> Mirrored:
    return next(each for each in mirrored if each.table == "crm.person")


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.parquet"))


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
