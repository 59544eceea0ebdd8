"""Tests of materialisation: a table of the lake is filled anew, so that nobody has to load its schema again."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from smp_pipelines.reporting.moments import prepare_lake
from smp_pipelines.reporting.report import refresh_metrics
from smp_pipelines.selection.materialisation import Written, write
from smp_pipelines.stores.lake import rows, scalar
from tests.support.theatre import theatre

TABLE = 'smp.selections."some"'
KEPT = {"person_id": "bigint", "seats": "integer"}


@pytest.fixture(scope="module")
def lake(
    embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[duckdb.DuckDBPyConnection]:
    folder = tmp_path_factory.mktemp("materialisation")
    with theatre(embedded_url, migrated_template, folder / "state") as house:
        house.people(3, tickets=False)
        house.mirror()
        with house.deployment.lake.open() as connection:
            yield connection


@pytest.fixture(autouse=True)
def written(lake: duckdb.DuckDBPyConnection) -> Written:
    """A selection of three people."""
    return put(lake, "from (values (1, 10), (2, 20), (3, 30)) as t (person_id, seats)")


def put(lake: duckdb.DuckDBPyConnection, query: str, kept: dict[str, str] = KEPT) -> Written:
    return write(lake, TABLE, query, ["person_id"], kept)


def schema(lake: duckdb.DuckDBPyConnection) -> int:
    return int(scalar(lake, "select max(schema_version) from smp.snapshots()"))


def as_of(lake: duckdb.DuckDBPyConnection, run: Written) -> list[tuple[object, ...]]:
    return rows(lake, f"from {TABLE} at (version => {run.snapshot_id}) order by all")


def test_a_selection_that_is_written_again_leaves_the_schema_as_it_is_and_every_run_can_be_read(
    lake: duckdb.DuckDBPyConnection, written: Written
) -> None:
    before = schema(lake)
    again = put(lake, "from (values (3, 31), (4, 40)) as t (person_id, seats)")
    assert schema(lake) == before
    assert as_of(lake, written) == [(1, 10), (2, 20), (3, 30)]
    assert as_of(lake, again) == rows(lake, f"from {TABLE} order by all") == [(3, 31), (4, 40)]
    assert (again.row_count, again.with_address) == (2, 1)
    assert again.snapshot_id > written.snapshot_id


def test_a_selection_with_other_columns_or_types_is_made_anew_and_the_earlier_run_keeps_its_own(
    lake: duckdb.DuckDBPyConnection, written: Written
) -> None:
    wider = put(lake, "select 1 as person_id, 2 as seats", {**KEPT, "seats": "bigint"})
    assert rows(lake, f"select column_type from (describe {TABLE})") == [("BIGINT",), ("BIGINT",)]
    fewer = put(lake, "select 7 as person_id", {"person_id": "bigint"})
    assert as_of(lake, fewer) == [(7,)]
    assert as_of(lake, wider) == [(1, 2)]
    assert as_of(lake, written) == [(1, 10), (2, 20), (3, 30)]


def test_however_often_it_is_written_joins_are_planned_by_about_the_rows_that_are_there(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    versions = set()
    for _ in range(20):
        put(lake, "from (values (1, 10), (2, 20), (3, 30)) as t (person_id, seats)")
        size = scalar(lake, "select estimated_size from duckdb_tables() where schema_name = 'selections'")
        assert 3 <= size <= 8 * 3
        versions.add(schema(lake))
    assert len(versions) <= 4


def test_nobody_is_a_run_too_also_when_there_was_nobody_before(
    lake: duckdb.DuckDBPyConnection, written: Written
) -> None:
    nobody = f"select person_id, seats from {TABLE} where false"
    emptied, still = put(lake, nobody), put(lake, nobody)
    assert written.snapshot_id < emptied.snapshot_id < still.snapshot_id
    assert as_of(lake, emptied) == as_of(lake, still) == []
    before = schema(lake)
    somebody = put(lake, "select 5 as person_id, 50 as seats")
    assert schema(lake) > before, "an empty table is made anew: two at once would not notice each other"
    assert as_of(lake, still) == []
    assert as_of(lake, somebody) == [(5, 50)]


def test_the_metrics_are_filled_anew_in_tables_that_stay(lake: duckdb.DuckDBPyConnection) -> None:
    before = schema(lake)
    assert refresh_metrics(lake) == refresh_metrics(lake)
    assert schema(lake) == before


def test_a_lake_that_was_made_by_these_statements_is_left_alone_and_one_by_others_is_made_anew(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    prepare_lake(lake)
    before = schema(lake)
    prepare_lake(lake)
    assert schema(lake) == before
    lake.execute("drop view smp.contact_moment; update smp.prepared set digest = 'of an earlier version'")
    prepare_lake(lake)
    assert rows(lake, "from smp.contact_moment") == []
    assert rows(lake, "select count(*) from smp.prepared") == [(1,)]
