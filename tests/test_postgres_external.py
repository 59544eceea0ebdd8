"""Tests on a real server of one's own (SMP_POSTGRES_URL), from Debian's package `postgresql`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from smp_pipelines.catcher.server import Catcher
from smp_pipelines.deployment import Deployment
from smp_pipelines.operations.instance import open_instance
from smp_pipelines.operations.tick import Ticker
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import connect, dagster_url
from smp_pipelines.stores.settings import read_settings
from tests.support.external import external_server, installed
from tests.support.theatre import MONDAY_0900, STEP, Theatre


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    programs = installed()
    if programs is None:
        words = "no Postgres server is installed: apt-get install postgresql"
        if os.environ.get("SMP_REQUIRE_ALL"):
            pytest.fail(words)
        pytest.skip(words)
    with external_server(programs) as url:
        yield url


@pytest.fixture
def database(server_url: str) -> Iterator[str]:
    """An empty database `theatre`, owned by a role that may make databases but is no superuser."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("create role smp login createdb password 'a b:c@d'")
        connection.execute("create database theatre owner smp")
    yield server_url.replace(server_url.split("@")[0], "postgresql://smp:a%20b%3Ac%40d").replace(
        "/postgres", "/theatre"
    )
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("drop database theatre with (force)")
        connection.execute("drop database if exists theatre_dagster with (force)")
        connection.execute("drop role smp")


def databases(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute("select datname from pg_database")}


def test_a_whole_tick_works_on_a_server_of_ones_own(
    database: str, project_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "state"
    monkeypatch.setenv("SMP_POSTGRES_URL", database)
    monkeypatch.setenv("SMP_HOME", str(home))
    with Catcher(tmp_path / "in box") as catcher:
        monkeypatch.setenv("SMP_MAIL_URL", f"smtp://127.0.0.1:{catcher.smtp_port}")
        deployment = Deployment.load(read_settings(project_folder))
        assert deployment.url == database
        with deployment.running(), open_instance(deployment.settings, deployment.url) as instance:
            house = Theatre(deployment)
            house.people(5)
            house.live()
            ticker = Ticker(deployment, instance)
            (done,), _skipped = ticker.tick(MONDAY_0900, MONDAY_0900)
            assert done.failure is None
            assert done.totals is not None
            assert done.totals.accepted == catcher.mailbox.count() == 5
            assert ticker.tick(MONDAY_0900, MONDAY_0900)[0] == []
            runs = instance.get_runs_count()
            assert runs == 1
        assert deployment.settings.report_file.exists()
    assert {"theatre", "theatre_dagster"} <= databases(database)
    with psycopg.connect(database.replace("/theatre", "/theatre_dagster")) as connection:
        assert connection.execute("select count(*) from runs").fetchone() == (1,), "Dagster's runs are there too"
    assert [each.name for each in home.iterdir() if each.name.startswith("postgres")] == [], "no server of our own"
    with connect(database) as connection:
        found = connection.execute("select name from smp.migration order by name").fetchall()
    assert ("engine/0001_ledger.sql",) in found
    assert ("project/0001_crm.sql",) in found
    assert f"{STEP}@2026-11-23T09:00+01:00" == done.due.send_key


def test_a_role_that_may_make_no_database_is_told_what_to_do(
    server_url: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("alter role smp nocreatedb")
    monkeypatch.setenv("SMP_POSTGRES_URL", database)
    with pytest.raises(SmpError, match="may not create theatre_dagster: create it, or name one with SMP_DAGSTER"):
        dagster_url(read_settings(), database)


def test_a_role_that_may_make_no_schema_is_told_so(
    server_url: str, database: str, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("alter database theatre owner to owner")
    monkeypatch.setenv("SMP_POSTGRES_URL", database)
    deployment = Deployment.load(read_settings(project_folder))
    with pytest.raises(SmpError, match="/theatre cannot be prepared: permission denied"), deployment.running():
        pass


def test_the_programs_of_the_server_are_found_where_debian_puts_them() -> None:
    if shutil.which("pg_ctlcluster") is None:
        pytest.skip("no Postgres server is installed: apt-get install postgresql")
    assert installed() is not None
