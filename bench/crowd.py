"""Case `crowd`: a large CRM, in the lake only, for what selections, comparisons and "why" cost at that size.

A small sample CRM is loaded into Postgres and mirrored, as always; the lake's copy is then filled up with millions of
people, tickets and contact moments. For the mirror nothing has changed: it leaves them alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import duckdb
import psycopg

from bench.row import Row, Stopwatch
from bench.world import NOW, World, copy_sample
from smp_pipelines.crm.sample import load
from smp_pipelines.deployment import Deployment
from smp_pipelines.stores.lake import literal, rows, scalar
from smp_pipelines.stores.server import EmbeddedServer
from smp_pipelines.stores.settings import Settings

BUYERS, CHANGING = "loyal_buyers", "changing"
"""The selections: with an exclusion, two joins and an aggregate; and a large audience that changes every day."""
STEP = "bench/loyal"
"""The step whose target group the buyers are."""
_TEMPLATES = 2_000
"""At most so many people are in Postgres; the others are made from them."""
_DATABASE = "crowd"
_SETTINGS = ("threads", "memory_limit")
_TABLES = ("crm.person", "crm.ticket", "crm.performance", "smp.message", "smp.reaction")
_SELECTIONS = {
    BUYERS: """-- Two tickets or more in the past two years, not for youth, and no "we miss you" for a year.
select person_id, count(*) as tickets, sum(price) as spent
from crm.ticket
join crm.performance using (performance_id)
join crm.person using (person_id)
where bought_at > now() - interval '730 days'
  and genre <> 'jeugd'
  and not blocked
  and email_key is not null
  and {{ not_received("we_miss_you/we_miss_you", within="365 days") }}
group by person_id
having count(*) >= 2
""",
    CHANGING: """-- The first people of the CRM, without one in a hundred, who is another one every day.
select person_id
from crm.person
where person_id <= %(audience)d
  and person_id %% 100 <> day(current_date)
""",
}
_CAMPAIGN = """name: Meten
description: Een stap om vragen over te stellen
steps:
  loyal:
    name: Trouwe bezoekers
    channel: email
    send: one_off
    sender: "Schouwburg De Linde <nieuws@schouwburg.example>"
    subject: "Dank u wel"
    content: we_miss_you.mjml
    selection: loyal_buyers
    topic: service
"""


@dataclass(frozen=True)
class Crowd:
    """The project and the state of the large CRM, beside those of the other cases and on the same server."""

    world: World

    @property
    def home(self) -> Path:
        """The state folder (SMP_HOME)."""
        return self.world.folder / "crowd" / "home"

    @property
    def project(self) -> Path:
        """The project folder."""
        return self.world.folder / "crowd" / "project"

    def deployment(self) -> Deployment:
        """The deployment on the large CRM."""
        url = EmbeddedServer(self.world.home).url(_DATABASE)
        return Deployment.load(Settings(project=self.project, home=self.home, postgres_url=url))

    def write_project(self) -> None:
        """Copy the sample project and add the selections and the step."""
        copy_sample(self.project)
        for name, text in _SELECTIONS.items():
            text = text.replace("%(audience)d", str(self.world.sizes.crowd_audience)).replace("%%", "%")
            (self.project / "sql" / "selections" / f"{name}.sql").write_text(text, encoding="utf-8")
        folder = self.project / "campaigns" / "bench"
        folder.mkdir(exist_ok=True)
        shutil.copy(self.project / "campaigns" / "we_miss_you" / "we_miss_you.mjml", folder)
        (folder / "campaign.yaml").write_text(_CAMPAIGN, encoding="utf-8")

    @contextmanager
    def bare(self, deployment: Deployment) -> Iterator[duckdb.DuckDBPyConnection]:
        """A bare DuckDB on the same Parquet files, with the lake's own threads, memory limit and time zone."""
        with deployment.lake.open_for_selections() as lake:
            configuration = {name: scalar(lake, f"select current_setting('{name}')::varchar") for name in _SETTINGS}
            zone = scalar(lake, "select current_setting('timezone')")
            views = [_view(lake, table) for table in _TABLES]
            views.append(scalar(lake, "select sql from duckdb_views() where view_name = 'contact_moment'"))
        configuration["temp_directory"] = str(self.home / "scratch")
        file = self.home / "bare.duckdb"
        file.unlink(missing_ok=True)
        with duckdb.connect(str(file), config=configuration) as connection:
            connection.execute(f"set timezone = {literal(zone)}")
            connection.execute("create schema crm; create schema smp; use smp")
            for view in views:
                connection.execute(view)
            yield connection


def _view(lake: duckdb.DuckDBPyConnection, table: str) -> str:
    """A view for bare DuckDB on the Parquet files of a table of the lake."""
    catalog, _, name = table.partition(".")
    listed = rows(lake, f"select data_file from ducklake_list_files({literal(catalog)}, {literal(name)})")
    if not listed:  # nothing was ever written to it
        columns = rows(lake, f"select column_name, column_type from (describe {table})")
        return f"create table {table} ({', '.join(f'{column} {kind}' for column, kind in columns)})"
    return f"create view {table} as from read_parquet([{', '.join(literal(file) for (file,) in listed)}])"


def run(world: World) -> list[Row]:
    """Make the large CRM."""
    crowd = Crowd(world)
    crowd.write_project()
    with psycopg.connect(EmbeddedServer(world.home).url(), autocommit=True) as connection:
        connection.execute(f"create database {_DATABASE}")
    deployment = crowd.deployment()
    filling = Stopwatch()
    with deployment.running():
        load(deployment.url, _templates(world), NOW.date())
        deployment.mirror([table.name for table in deployment.project.catalog.crm()])
        deployment.mirror_moments()
        with filling.lap():
            counts = _fill(world, deployment)
    return [Row("crowd", "a large CRM into the lake", filling.median, "s", note=counts)]


def _templates(world: World) -> int:
    return min(_TEMPLATES, world.sizes.crowd_people // 10)


def _fill(world: World, deployment: Deployment) -> str:
    sizes = world.sizes
    with deployment.lake.open() as lake:
        values = {
            "templates": _templates(world),
            "people": sizes.crowd_people,
            "tickets": sizes.crowd_tickets,
            "moments": sizes.crowd_moments,
        }
        for name, value in values.items():
            lake.execute(f"set variable bench_{name} = {value:d}")
        lake.execute(f"set variable bench_now = timestamptz {literal(NOW.isoformat(sep=' '))}")
        for file in ("crowd.sql", "moments.sql"):
            lake.execute(files("bench").joinpath(file).read_text(encoding="utf-8"))
        found = {
            name: scalar(lake, f"select count(*) from {table}")
            for name, table in (("people", "crm.person"), ("tickets", "crm.ticket"), ("moments", "smp.contact_moment"))
        }
    folder = Path(deployment.settings.lake_folder)
    size = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    return ", ".join(f"{count:,} {name}" for name, count in found.items()) + f"; {size / 1e9:.1f} GB of Parquet"
