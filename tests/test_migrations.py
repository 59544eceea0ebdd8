"""Tests of the migrations: numbered files, each applied once, all of it or nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import connect, dagster_url, migrate, told
from smp_pipelines.stores.settings import Settings, read_settings
from tests.conftest import REPOSITORY, fresh_database
from tests.support.waiting import PATIENCE

TABLE = "create table crm.hall (hall_id bigint primary key, name text); comment on table crm.hall is 'Halls';"


@pytest.fixture
def empty_url(embedded_url: str) -> Iterator[str]:
    """A database with nothing in it."""
    with fresh_database(embedded_url, "template1") as url:
        yield url


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """A folder with the sample project's schema files, free to add to."""
    folder = tmp_path / "my schema"
    folder.mkdir()
    for file in (REPOSITORY / "sql" / "schema").glob("*.sql"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def ask(url: str, question: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(question).fetchall()  # type: ignore[arg-type]


def test_files_are_applied_in_order_the_engines_first_and_then_never_again(empty_url: str, schema: Path) -> None:
    applied = migrate(empty_url, schema)
    assert applied == sorted(applied)
    assert applied[0] == "engine/0001_ledger.sql"
    assert applied[-1] == "project/0003_activities.sql"
    assert migrate(empty_url, schema) == []


def test_a_new_file_is_applied_and_its_table_is_followed_by_the_mirror(empty_url: str, schema: Path) -> None:
    migrate(empty_url, schema)
    (schema / "0002_hall.sql").write_text(TABLE)
    assert migrate(empty_url, schema) == ["project/0002_hall.sql"]
    triggers = ask(empty_url, "select tgname from pg_trigger where tgrelid = 'crm.hall'::regclass order by 1")
    assert [name for (name,) in triggers] == [
        *("smp_note_change", "smp_note_deletion", "smp_note_new_key", "smp_note_truncation")
    ]


def test_processes_that_start_at_once_apply_each_file_once(empty_url: str, schema: Path) -> None:
    program = (
        "import sys, pathlib\nfrom smp_pipelines.stores.postgres import migrate\n"
        "sys.stdin.readline()\nprint(len(migrate(sys.argv[1], pathlib.Path(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", program, empty_url, str(schema)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _each in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    counts = sorted(int(process.communicate(timeout=PATIENCE)[0]) for process in processes)
    files = ask(empty_url, "select count(*) from smp.migration where name <> 'adopt'")
    assert counts == [0, 0, files[0][0]]


def test_a_file_that_was_edited_after_it_was_applied_is_refused(empty_url: str, schema: Path) -> None:
    migrate(empty_url, schema)
    file = schema / "0001_crm.sql"
    file.write_text(file.read_text() + "\n-- later thought\n")
    with pytest.raises(SmpError, match=r"project/0001_crm.sql was edited after it was applied.*next number"):
        migrate(empty_url, schema)


def test_a_failing_file_leaves_nothing_and_the_ones_before_it_stay(empty_url: str, schema: Path) -> None:
    (schema / "0002_hall.sql").write_text(TABLE)
    (schema / "0003_broken.sql").write_text("create table crm.wing (wing_id bigint primary key); select 1 / 0;")
    with pytest.raises(SmpError, match=r"project/0003_broken.sql failed, nothing of it was applied: division by zero"):
        migrate(empty_url, schema)
    assert ask(empty_url, "select to_regclass('crm.hall')::text, to_regclass('crm.wing')::text") == [("crm.hall", None)]
    (schema / "0003_broken.sql").write_text("create table crm.wing (wing_id bigint primary key);")
    assert migrate(empty_url, schema) == ["project/0003_broken.sql"]


def test_a_database_in_another_encoding_is_refused(embedded_url: str, schema: Path) -> None:
    with psycopg.connect(embedded_url, autocommit=True) as connection:
        connection.execute(
            "create database latin encoding 'SQL_ASCII' locale 'C' template template0 locale_provider libc"
        )
    try:
        with pytest.raises(SmpError, match="encoding is SQL_ASCII; create it with encoding 'UTF8'"):
            migrate(embedded_url.rsplit("/", 1)[0] + "/latin", schema)
    finally:
        with psycopg.connect(embedded_url, autocommit=True) as connection:
            connection.execute("drop database latin with (force)")


def test_no_server_is_said_with_its_address_and_without_the_password() -> None:
    with pytest.raises(SmpError, match=r"no connection to Postgres at 127.0.0.1:1/smp: .*Connection refused") as raised:
        connect("postgresql://anna:geheim@127.0.0.1:1/smp")
    assert "geheim" not in str(raised.value)


def test_a_server_that_goes_away_is_said_in_words(embedded_url: str) -> None:
    with (
        pytest.raises(SmpError, match=r"Postgres went away, or refused: .*terminating connection"),
        told(),
        connect(embedded_url) as connection,
    ):
        connection.execute("select pg_terminate_backend(pg_backend_pid())")


@pytest.mark.parametrize("url", ["localhost", "host=localhost password=geheim", "mysql://geheim@h/x"])
def test_a_postgres_url_that_is_none_is_refused_without_repeating_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMP_POSTGRES_URL", url)
    with pytest.raises(SmpError, match="SMP_POSTGRES_URL must be a URL") as raised:
        read_settings(REPOSITORY)
    assert "geheim" not in str(raised.value)


def test_the_options_of_a_postgres_url_are_kept(embedded_url: str) -> None:
    with connect(f"{embedded_url}?options=-c%20search_path%3Dpg_temp") as connection:
        assert connection.execute("select current_setting('search_path'), current_setting('timezone')").fetchone() == (
            "pg_temp",
            "UTC",
        )


def test_dagsters_own_database_is_made_beside_ours_by_any_kind_of_url(embedded_url: str, tmp_path: Path) -> None:
    settings = Settings(project=REPOSITORY, home=tmp_path, postgres_url=embedded_url)
    where = embedded_url.rsplit("/", 1)[0]
    url = dagster_url(settings, f"{where}/smp?sslmode=disable")
    assert url == where.replace("postgresql://", "postgresql+psycopg2://") + "/smp_dagster?sslmode=disable"
    given = Settings(
        project=REPOSITORY, home=tmp_path, postgres_url="x", dagster_postgres_url="postgres:///d?host=/run"
    )
    assert dagster_url(given, "postgresql:///smp?host=/run") == "postgresql+psycopg2:///d?host=/run"
