"""Tests of the report file: replaced whole, never in anyone's way, and left alone when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from smp_pipelines.problems import ProjectError, SmpError
from smp_pipelines.reporting.query import list_reports, run_report
from smp_pipelines.reporting.report import publish
from smp_pipelines.sending import ledger
from smp_pipelines.sending.ledger import Outcome
from tests.conftest import REPOSITORY, copy_project
from tests.support.theatre import STEP, Theatre, deployment, theatre


@pytest.fixture
def house(embedded_url: str, migrated_template: str, tmp_path: Path) -> Iterator[Theatre]:
    with theatre(embedded_url, migrated_template, tmp_path / "state") as opened:
        opened.live()
        opened.deployment.refresh_metrics()
        yield opened


def send_to(house: Theatre, people: list[int]) -> None:
    """A send of which everybody got the mail, and the metrics of it in the lake."""
    send = house.plan_these(people)
    claim = house.claim(send)
    with house.deployment.connection() as connection:
        done = [Outcome(message.recipient_key, "accepted") for message in claim.messages]
        ledger.settle(connection, send, claim.token, done, house.now)
        ledger.finish(connection, send, house.now)
    house.deployment.mirror_moments()
    house.deployment.refresh_metrics()


def left_over(house: Theatre) -> list[str]:
    return [file.name for file in house.deployment.settings.home.iterdir() if file.name.startswith(".reports")]


def count(connection: duckdb.DuckDBPyConnection, table: str = "contact_moments") -> int:
    (found,) = connection.execute(f"select count(*) from {table}").fetchone() or (0,)
    return int(found)


def test_who_has_the_file_open_keeps_the_old_one_and_sees_the_new_one_on_reopening(house: Theatre) -> None:
    people = house.people(5)
    send_to(house, people[:2])
    published = house.deployment.publish(house.now)
    assert published.tables["contact_moments"] == 2
    with duckdb.connect(str(published.file), read_only=True) as reader:
        assert count(reader) == 2
        old = published.file.stat().st_ino
        send_to(house, people[2:])
        house.deployment.publish(house.now)
        assert count(reader) == 2
        assert published.file.stat().st_ino != old, "another file in its place, not other bytes in the same one"
    with duckdb.connect(str(published.file), read_only=True) as reader:
        assert count(reader) == 5
        assert reader.execute("select step, planned, accepted, name from step_results").fetchall() == [
            (STEP, 5, 5, "Servicemail vooraf")
        ]
    assert left_over(house) == []


def test_the_file_holds_no_names_and_no_addresses(house: Theatre) -> None:
    house.mirror()
    send_to(house, house.people(3))
    house.mirror()
    file = house.deployment.publish(house.now).file
    content = file.read_bytes()
    assert b"example.org" not in content
    assert b"Jansen" not in content


def test_every_table_and_view_says_what_it_holds(house: Theatre) -> None:
    file = house.deployment.publish(house.now).file
    with duckdb.connect(str(file), read_only=True) as reader:
        silent = reader.execute(
            "select table_name from duckdb_tables() where comment is null"
            " union all select view_name from duckdb_views() where not internal and comment is null"
        ).fetchall()
    assert silent == []


def test_a_broken_mart_leaves_the_old_file_and_is_told_with_its_file(
    embedded_url: str, migrated_template: str, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "my project")
    with theatre(embedded_url, migrated_template, tmp_path / "state", project=project) as house:
        send_to(house, house.people(2))
        house.mirror()
        file = house.deployment.publish(house.now).file
        before = file.stat().st_ino
        (project / "sql" / "marts" / "zz_broken.sql").write_text(
            "-- A mart that fails on its data.\nselect cast(last_name as integer) as n from crm.person"
        )
        broken = deployment(house.url, house.deployment.settings.home, project=project)
        with pytest.raises(ProjectError, match=r"zz_broken.sql: this mart does not run: .*Jansen"):
            broken.publish(house.now)
        assert file.stat().st_ino == before
        assert left_over(house) == []
        with duckdb.connect(str(file), read_only=True) as reader:
            assert count(reader) == 2


def test_what_a_killed_process_left_beside_the_file_is_removed(house: Theatre) -> None:
    home = house.deployment.settings.home
    home.mkdir(exist_ok=True)
    for name in (".reports.duckdb.4711", ".reports.duckdb.4711.wal"):
        (home / name).write_bytes(b"half a file")
    house.deployment.publish(house.now)
    assert left_over(house) == []


def test_two_who_publish_at_once_both_leave_a_whole_file(house: Theatre) -> None:
    send_to(house, house.people(2))
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _n: house.deployment.publish(house.now), range(2)))
    with duckdb.connect(str(done[0].file), read_only=True) as reader:
        assert count(reader) == 2


def test_a_connection_that_failed_to_publish_can_still_be_used(house: Theatre, tmp_path: Path) -> None:
    with house.deployment.lake.open() as lake:
        lake.execute("create or replace temp view boom as select error('boom') as n")
        marts = house.deployment.library.marts(house.now)
        broken = {name: replace(mart, sql="select * from boom") for name, mart in marts.items()}
        with pytest.raises(ProjectError, match="boom"):
            publish(lake, house.deployment.project, broken, tmp_path / "r.duckdb")
        publish(lake, house.deployment.project, marts, tmp_path / "r.duckdb")


@pytest.mark.parametrize("name", sorted(list_reports(REPOSITORY)))
def test_every_report_runs_and_says_what_it_is_for(house_with_a_report: Path, name: str) -> None:
    assert list_reports(REPOSITORY)[name]
    run_report(REPOSITORY, house_with_a_report, name, "Europe/Amsterdam")


@pytest.fixture(scope="module")
def house_with_a_report(
    embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    with theatre(embedded_url, migrated_template, tmp_path_factory.mktemp("report")) as house:
        house.live()
        send_to(house, house.people(2))
        house.mirror()
        yield house.deployment.publish(house.now).file


def test_a_report_that_is_not_there_and_a_file_that_is_not_made_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(SmpError, match=r"there is no report send\n.*sends"):
        run_report(REPOSITORY, tmp_path / "reports.duckdb", "send", "Europe/Amsterdam")
    with pytest.raises(SmpError, match="is not there yet"):
        run_report(REPOSITORY, tmp_path / "reports.duckdb", "sends", "Europe/Amsterdam")
