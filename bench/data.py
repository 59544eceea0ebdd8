"""Case `data`: the sample CRM, its first mirror and millions of contact moments, made set-based.

The first mirror is a full copy: its time is the baseline of the case `mirror`. Contact moments are
written straight to where the product keeps them (smp.message in the lake), clustered by send as
they would be after years of sends, with send ids below zero, which the ledger never gives.
"""

from __future__ import annotations

from importlib.resources import files

from bench.row import Row, Stopwatch
from bench.world import NOW, World
from smp_pipelines.crm.sample import load
from smp_pipelines.deployment import Deployment
from smp_pipelines.operations.instance import open_instance
from smp_pipelines.stores.lake import literal, rows, scalar

FIRST_MIRROR = "first mirror (full copy)"


def run(world: World) -> list[Row]:
    """Make everything that the other cases measure on."""
    world.write_project()
    deployment = world.deployment()
    loading, mirroring, receiving = Stopwatch(), Stopwatch(), Stopwatch()
    with deployment.running():
        with loading.lap():
            load(deployment.url, world.sizes.people, NOW.date())
        with mirroring.lap():
            mirrored = deployment.mirror([table.name for table in deployment.project.catalog.crm()])
        with receiving.lap():
            moments = _write_moments(world, deployment)
        _write_bare_file(world, deployment)
        with open_instance(deployment.settings, deployment.url):
            pass  # makes the tables of Dagster's storage, which no case is to wait for
    return [
        Row("data", "sample CRM into Postgres", loading.median, "s", note=f"{world.sizes.people:,} people"),
        Row("data", FIRST_MIRROR, mirroring.median, "s", note=f"{sum(each.row_count for each in mirrored):,} rows"),
        Row("data", "contact moments into the lake", receiving.median, "s", note=f"{moments:,} moments"),
    ]


def _write_moments(world: World, deployment: Deployment) -> int:
    text = files("bench").joinpath("moments.sql").read_text(encoding="utf-8")
    with deployment.lake.open() as lake:
        for name, value in (("people", world.sizes.people), ("moments", world.sizes.moments)):
            lake.execute(f"set variable bench_{name} = {value:d}")
        lake.execute(f"set variable bench_now = timestamptz {literal(NOW.isoformat(sep=' '))}")
        lake.execute(text)
        return int(scalar(lake, "select count(*) from smp.contact_moment"))


def _write_bare_file(world: World, deployment: Deployment) -> None:
    """The tables that the measured selection reads, in a DuckDB file of their own, in the same order."""
    with deployment.lake.open() as lake:
        ((view,),) = rows(lake, "select sql from duckdb_views() where view_name = 'contact_moment'")
        lake.execute(f"attach {literal(str(world.bare_file))} as bare")
        lake.execute("create schema bare.crm; create schema bare.smp")
        lake.execute("create table bare.crm.person as from crm.person")
        lake.execute("create table bare.smp.message as from smp.message")
        lake.execute("create table bare.smp.reaction as from smp.reaction")
        lake.execute("detach bare; detach crm; detach smp")
        lake.execute(f"attach {literal(str(world.bare_file))} as bare; use bare.smp")
        lake.execute(view)
