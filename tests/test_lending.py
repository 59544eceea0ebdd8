"""Tests of lending: the lake's databases stay open between two uses, and nothing of one use is left for the next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from smp_pipelines.problems import SmpError
from smp_pipelines.stores import lending
from smp_pipelines.stores.lake import scalar
from smp_pipelines.stores.lending import Lending
from smp_pipelines.stores.server import EmbeddedServer
from tests.support.theatre import Theatre, deployment, theatre


@pytest.fixture(scope="module")
def house(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """One theatre with an empty lake, whose databases are lent."""
    with theatre(embedded_url, migrated_template, tmp_path_factory.mktemp("lending")) as opened:
        yield opened


class Opened:
    """Opens databases in memory, and counts them."""

    def __init__(self) -> None:
        self.databases: list[duckdb.DuckDBPyConnection] = []

    def __call__(self) -> duckdb.DuckDBPyConnection:
        self.databases.append(duckdb.connect(":memory:"))
        return self.databases[-1]


def test_a_database_is_lent_again_to_the_next_and_to_one_at_a_time() -> None:
    lends, opened = Lending(), Opened()
    with lends.lent("some", opened):
        assert len(opened.databases) == 1
        with lends.lent("some", opened):
            assert len(opened.databases) == 2
    with lends.lent("some", opened), lends.lent("others", opened):
        assert len(opened.databases) == 3
    lends.close()
    with lends.lent("some", opened):
        assert len(opened.databases) == 4


def test_temporary_tables_and_open_transactions_end_with_the_loan() -> None:
    lends, opened = Lending(), Opened()
    with lends.lent("some", opened) as connection:
        connection.execute("create table kept as select 1 as one")
        connection.execute("create temp table passing as select 1 as one; begin; insert into kept values (2)")
    with lends.lent("some", opened) as connection:
        assert connection.execute("from kept").fetchall() == [(1,)]
        with pytest.raises(duckdb.CatalogException, match="passing"):
            connection.execute("from passing")
        connection.execute("begin; insert into kept values (3); commit")
    assert len(opened.databases) == 1


def test_a_database_that_an_error_was_met_in_that_is_heavy_or_was_idle_for_long_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lends, opened = Lending(), Opened()
    with pytest.raises(duckdb.CatalogException), lends.lent("some", opened) as connection:
        connection.execute("from nothing")
    with lends.lent("some", opened) as connection:
        connection.execute("create table heavy as select range as n, md5(n::varchar) as text from range(2000000)")
    with lends.lent("some", opened):
        pass
    monkeypatch.setattr(lending, "_KEPT", -1.0)
    with lends.lent("some", opened):
        pass
    assert len(opened.databases) == 4
    for each in opened.databases[:3]:
        with pytest.raises(duckdb.ConnectionException):
            each.execute("select 1")


def test_the_lake_is_the_same_to_whoever_opens_it_again(house: Theatre) -> None:
    lake = house.deployment.lake
    for open_lake in (lake.open, lake.open_for_selections):
        for _time in range(2):
            with open_lake() as connection:
                assert scalar(connection, "select current_setting('timezone')") == "Europe/Amsterdam"
                connection.execute("create temp table mine as select 1")
    house.people(2)
    house.mirror()
    with lake.open_for_selections() as connection:
        assert scalar(connection, "select count(*) from crm.person") == 2
        with pytest.raises(duckdb.Error, match="disabled"):
            connection.execute("from read_text('/etc/hostname')")
    with lake.open_for_selections() as connection, pytest.raises(duckdb.Error, match="locked"):
        connection.execute("set enable_external_access = true")


def test_a_lake_whose_server_was_started_anew_meanwhile_is_read_again(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    with server.use() as url:
        made = deployment(url, tmp_path)
        with made.running():
            assert made.mirror_moments().row_count == 0
            with made.lake.open_for_selections() as connection:
                assert scalar(connection, "select count(*) from smp.message") == 0
            server.stop()
            with pytest.raises(SmpError, match="no connection to Postgres"):
                made.mirror_moments()
            with server.use() as again:
                assert again == url
                for open_lake in (made.lake.open_for_selections, made.lake.open):
                    with open_lake() as connection:
                        assert scalar(connection, "select count(*) from smp.message") == 0
                assert made.mirror_moments().row_count == 0
