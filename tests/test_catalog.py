"""Tests of the catalogue: what tables and columns there are, as the schema files have it after all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from smp_pipelines.crm.catalog import Table, read_catalog
from smp_pipelines.problems import ProjectError
from tests.conftest import REPOSITORY

FIRST = """
create table crm.hall (
    hall_id bigint primary key,
    title text not null,
    seats integer not null default 0,
    house_id bigint references crm.house (house_id)
);
comment on table crm.hall is 'Where it is';
comment on column crm.hall.title is 'As on the poster';
"""


def after(folder: Path, *changes: str) -> dict[str, Table]:
    """The crm tables after the first file and one more file for each change."""
    for number, text in enumerate((FIRST, *changes), 1):
        (folder / f"{number:04}_file.sql").write_text(text)
    return {table.name: table for table in read_catalog(folder).crm()}


def test_a_table_is_read_with_its_key_columns_references_and_comments(tmp_path: Path) -> None:
    hall = after(tmp_path)["crm.hall"]
    assert (hall.key, hall.comment) == (("hall_id",), "Where it is")
    assert {name: (c.type, c.nullable, c.has_default) for name, c in hall.columns.items()} == {
        "hall_id": ("bigint", False, False),
        "title": ("text", False, False),
        "seats": ("int", False, True),
        "house_id": ("bigint", True, False),
    }
    assert hall.columns["title"].comment == "As on the poster"
    assert [(key.column, key.table, key.target) for key in hall.foreign_keys] == [("house_id", "crm.house", "house_id")]


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        ("alter table crm.hall add column city text", ["hall_id", "title", "seats", "house_id", "city"]),
        ("alter table crm.hall drop column seats, drop column if exists house_id", ["hall_id", "title"]),
        ("alter table crm.hall rename column title to name", ["hall_id", "name", "seats", "house_id"]),
        ("alter table crm.hall alter column seats set not null", ["hall_id", "title", "seats", "house_id"]),
    ],
)
def test_later_files_change_the_columns(tmp_path: Path, change: str, columns: list[str]) -> None:
    assert list(after(tmp_path, change)["crm.hall"].columns) == columns


def test_a_renamed_key_column_is_still_the_key(tmp_path: Path) -> None:
    hall = after(tmp_path, "alter table crm.hall rename column hall_id to id")["crm.hall"]
    assert (hall.key, hall.columns["id"].name) == (("id",), "id")


def test_a_column_gets_another_type(tmp_path: Path) -> None:
    hall = after(tmp_path, "alter table crm.hall alter column seats type numeric(10, 2)")["crm.hall"]
    assert hall.columns["seats"].type.replace(" ", "") in ("decimal(10,2)", "numeric(10,2)")


def test_tables_are_renamed_and_dropped(tmp_path: Path) -> None:
    assert list(after(tmp_path, "alter table crm.hall rename to room")) == ["crm.room"]
    assert after(tmp_path, "alter table crm.hall rename to room", "drop table crm.room") == {}


@pytest.mark.parametrize("text", ["create table crm.x (", "select 'x", "create table crm.x (a int)"])
def test_a_file_that_does_not_parse_or_a_table_without_a_key_is_told_with_its_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ProjectError, match=r"0002_file\.sql"):
        after(tmp_path, text)


def test_the_sample_schema_is_read_whole() -> None:
    catalog = read_catalog(REPOSITORY / "sql" / "schema")
    assert all(table.comment and table.key for table in catalog.crm())
    assert catalog.tables["crm.person"].columns["email_key"].generated
    assert catalog.nearest("crm.persn") == "crm.person"
