"""Tests of the mirror: the lake has what Postgres has, and after the first time only what changed is copied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smp_pipelines.crm.catalog import Column, Table
from smp_pipelines.crm.mirror import Mirrored
from smp_pipelines.crm.mirror import mirror as mirror_tables
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.lake import rows
from smp_pipelines.stores.snapshot import NOTHING, Snapshot, oldest
from tests.support.theatre import Theatre, theatre

TABLES = ("crm.list", "crm.list_member", "crm.suppression")


@pytest.fixture
def house(embedded_url: str, migrated_template: str, tmp_path: Path) -> Iterator[Theatre]:
    with theatre(embedded_url, migrated_template, tmp_path / "state") as opened:
        opened.sql("insert into crm.list select n, 'lijst ' || n from generate_series(1, 20) n")
        mirror(opened)
        yield opened


def mirror(house: Theatre, table: str = "crm.list") -> Mirrored:
    (done,) = house.deployment.mirror([table])
    return done


def lake(house: Theatre, table: str = "crm.list") -> list[tuple[object, ...]]:
    columns = ", ".join(house.deployment.project.catalog.tables[table].columns)
    with house.deployment.lake.open() as connection:
        return rows(connection, f"select {columns} from {table} order by all")


def source(house: Theatre, table: str = "crm.list") -> list[tuple[object, ...]]:
    columns = list(house.deployment.project.catalog.tables[table].columns)
    numbers = ", ".join(str(n) for n in range(1, len(columns) + 1))
    return house.sql(f"select {', '.join(columns)} from {table} order by {numbers}")


def test_nothing_changed_copies_nothing(house: Theatre) -> None:
    assert mirror(house) == Mirrored("crm.list", 0, 0, full=False, row_count=20)


def test_a_changed_a_new_and_a_deleted_row_are_all_that_is_copied(house: Theatre) -> None:
    house.sql("update crm.list set name = 'anders' where list_id = 3")
    house.sql("insert into crm.list values (21, 'nieuw')")
    house.sql("delete from crm.list where list_id in (5, 6)")
    assert mirror(house) == Mirrored("crm.list", 2, 2, full=False, row_count=19)
    assert lake(house) == source(house)
    assert mirror(house).changed == 0


def test_a_row_that_was_deleted_and_written_again_is_there(house: Theatre) -> None:
    house.sql("delete from crm.list where list_id = 5")
    house.sql("insert into crm.list values (5, 'terug')")
    assert mirror(house).full is False
    assert lake(house) == source(house)
    house.sql("delete from crm.list where list_id = 5")
    mirror(house)
    assert lake(house) == source(house)


def test_a_row_that_got_another_key_is_not_there_twice(house: Theatre) -> None:
    house.sql("update crm.list set list_id = 99 where list_id = 4")
    mirror(house)
    assert lake(house) == source(house)


def test_an_emptied_table_is_empty_in_the_lake_and_can_be_filled_again(house: Theatre) -> None:
    house.sql("truncate crm.list cascade")
    assert mirror(house) == Mirrored("crm.list", 0, 0, full=True, row_count=0)
    house.sql("insert into crm.list values (1, 'opnieuw')")
    assert mirror(house).full is False
    assert lake(house) == source(house)


def test_rows_that_go_with_a_deleted_row_go_in_the_lake_too(house: Theatre) -> None:
    house.people(3)
    house.sql("insert into crm.list_member select 1, n, now() from generate_series(1, 3) n")
    mirror(house, "crm.list_member")
    house.sql("delete from crm.person where person_id = 2")
    assert mirror(house, "crm.list_member").deleted == 1
    assert lake(house, "crm.list_member") == source(house, "crm.list_member")


def test_a_transaction_that_commits_late_is_not_missed(house: Theatre) -> None:
    with psycopg.connect(house.url) as slow:
        slow.execute("update crm.list set name = 'laat' where list_id = 1")
        slow.execute("delete from crm.list where list_id = 2")
        house.sql("update crm.list set name = 'vroeg' where list_id = 3")
        mirror(house)
        house.sql("update crm.list set name = 'vroeger' where list_id = 4")
        mirror(house)
        slow.commit()
    mirror(house)
    assert lake(house) == source(house)


def test_a_change_that_is_rolled_back_changes_nothing(house: Theatre) -> None:
    with psycopg.connect(house.url) as connection:
        connection.execute("delete from crm.list")
        connection.rollback()
    assert mirror(house) == Mirrored("crm.list", 0, 0, full=False, row_count=20)


def test_a_new_column_copies_the_table_once_more(house: Theatre) -> None:
    house.sql("alter table crm.list add column owner text default 'anna'")
    table = house.deployment.project.catalog.tables["crm.list"]
    wider = Table(table.name, {**table.columns, "owner": Column("owner", "text")}, table.key)
    with house.deployment.lake.open() as connection:
        assert mirror_tables(connection, [wider])[0].full is True
        assert rows(connection, "select distinct owner from crm.list") == [("anna",)]
        assert mirror_tables(connection, [wider])[0].full is False


def test_notes_of_deletions_are_forgotten_once_they_are_followed(house: Theatre) -> None:
    house.sql("delete from crm.list where list_id < 10")
    assert house.sql("select count(*) from smp.crm_deletion where table_name = 'crm.list'") == [(9,)]
    mirror(house)
    assert house.sql("select count(*) from smp.crm_deletion where table_name = 'crm.list'") == [(0,)]
    assert lake(house) == source(house)


def test_a_database_restored_on_another_server_is_copied_anew(house: Theatre) -> None:
    # a restored database begins to count its transactions anew, below what the lake remembers
    with house.deployment.lake.open() as connection:
        connection.execute("update crm.mirror_state set watermark = '9999999999'")
    house.sql("update crm.list set name = 'hersteld' where list_id = 1")
    assert mirror(house).full is True
    assert lake(house) == source(house)


def test_a_damaged_watermark_is_said_in_words(house: Theatre) -> None:
    with house.deployment.lake.open() as connection:
        connection.execute("update crm.mirror_state set watermark = '1; drop'")
    with pytest.raises(SmpError, match="memory is damaged: 1; drop"):
        mirror(house)


def test_values_of_every_kind_arrive_as_they_are(house: Theatre) -> None:
    house.people(1)
    house.sql("update crm.person set birth_date = '2000-02-29', first_name = %s, city = ''", "Zoë 'O\"\\ 🎉\n\t")
    house.sql("update crm.ticket set price = 1234567.89, bought_at = '2026-03-29 01:30:00.123456+00'")
    for table in ("crm.person", "crm.ticket"):
        mirror(house, table)
        assert lake(house, table) == source(house, table)


def test_a_snapshot_reads_back_and_the_oldest_is_the_one_taken_first() -> None:
    texts = ["10:20:10,14", "10:20:10", "12:20:12", "21:21:"]
    snapshots = [Snapshot.parse(text) for text in texts]
    assert [str(each) for each in snapshots] == texts
    assert oldest(snapshots[::-1]) == snapshots[0]
    assert oldest([*snapshots, NOTHING]) == NOTHING
    assert Snapshot.parse("7") == Snapshot(7, 7)


KEYS = st.integers(1, 6)
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), KEYS, st.text("abé\"'", max_size=3)),
        st.tuples(st.just("delete"), KEYS, st.just("")),
        st.tuples(st.just("rekey"), KEYS, st.just("")),
        st.tuples(st.sampled_from(["truncate", "mirror", "mirror"]), st.just(0), st.just("")),
    ),
    max_size=12,
)


@given(EDITS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_any_edits_the_lake_has_what_the_source_has(house: Theatre, edits: list[tuple[str, int, str]]) -> None:
    statements = {
        "write": "insert into crm.suppression values (%(key)s, %(text)s, now())"
        " on conflict (email_key) do update set reason = excluded.reason",
        "delete": "delete from crm.suppression where email_key = %(key)s",
        "rekey": "update crm.suppression set email_key = 'x' || email_key where email_key = %(key)s"
        " and not exists (select 1 from crm.suppression where email_key = 'x' || %(key)s)",
        "truncate": "truncate crm.suppression",
    }
    with psycopg.connect(house.url, autocommit=True) as connection:
        for edit, key, text in edits:
            if edit == "mirror":
                mirror(house, "crm.suppression")
            else:
                connection.execute(statements[edit], {"key": f"k{key}", "text": text})
    mirror(house, "crm.suppression")
    assert lake(house, "crm.suppression") == source(house, "crm.suppression")
