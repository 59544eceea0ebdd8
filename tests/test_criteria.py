"""Criteria files: what they compile to, how they stand beside SQL, and what is said of mistakes (F51, F58)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest

from smp_pipelines.crm.catalog import read_catalog
from smp_pipelines.problems import ProjectError
from smp_pipelines.selection.analysis.exclusion import check_continuous, excludes
from smp_pipelines.selection.analysis.lineage import column_lineage
from smp_pipelines.selection.compiler import Selection, compile_selection, read_selections
from smp_pipelines.selection.criteria.values import OPERATORS
from smp_pipelines.selection.criteria.vocabulary import CONDITIONS, MEASURES, json_schema

ROOT = Path(__file__).resolve().parents[1]
CATALOG = read_catalog(ROOT / "sql" / "schema")
STEPS = {"servicemails/servicemail", "we_miss_you/we_miss_you"}
AMSTERDAM = ZoneInfo("Europe/Amsterdam")
NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
STEP = "we_miss_you/we_miss_you"


def write(folder: Path, where: str, more: str = "", name: str = "one") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(f"description: Some people\n{more}where: {where}\n", encoding="utf-8")
    return path


def selected(folder: Path, where: str, more: str = "") -> Selection:
    return compile_selection(write(folder, where, more), CATALOG, STEPS)


@pytest.fixture(scope="module")
def lake() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that plays the lake, with six people who differ in one thing each."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set TimeZone = 'Europe/Amsterdam'")
        connection.execute("attach ':memory:' as crm; attach ':memory:' as smp; create schema smp.selections")
        for name, table in CATALOG.tables.items():
            columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns.values())
            connection.execute(f"create table {name} ({columns})")
        connection.execute(
            """
            insert into crm.organisation (organisation_id, name, kind) values (9, 'De Brug', 'school');
            insert into crm.person (person_id, city, email, birth_date, blocked, organisation_id, created_at) values
              (1, 'Utrecht', 'a@x.nl', '1961-03-01', false, 9, '2026-02-28 23:59:59+01'),
              (2, 'utrecht', null, '1961-02-28', false, null, '2026-03-01 00:00:00+01'),
              (3, 'Nieuw-Utrecht', ' ', '2000-02-29', true, null, '2026-03-01 08:30:00+01'),
              (4, null, '', null, false, 9, '2026-03-01 09:30:00+01'),
              (5, 'Ede', 'e@x.nl', '1990-12-31', false, null, '2026-02-01 00:00:00+01'),
              (6, '100%', 'f@x.nl', '1990-01-01', false, null, '2025-12-31 12:00:00+01');
            insert into crm.performance (performance_id, title, genre, starts_at, block_service_mail) values
              (70, 'Carmen', 'opera', '2026-03-03 20:00:00+01', false), (71, 'Faust', 'opera', null, false);
            insert into crm.ticket (ticket_id, person_id, performance_id, price, bought_at) values
              (1, 1, 70, 10, '2026-02-01 12:00:00+01'), (2, 1, 70, 10.5, '2025-03-01 00:00:00+01'),
              (3, 2, 71, 30, '2025-02-28 23:00:00+01'), (4, 2, 70, 30, '2026-01-01 12:00:00+01');
            insert into crm.donation (donation_id, person_id, fund, amount, donated_at) values
              (1, 5, 'X', 60, '2026-01-01 00:00:00+01'), (2, 5, 'X', 40, '2026-06-30 23:30:00+02'),
              (3, 6, 'X', 100, '2026-07-01 00:00:00+02');
            insert into smp.contact_moment (person_id, step, kind, received, happened_at) values
              (3, 'we_miss_you/we_miss_you', 'sent', true, '2026-02-20 09:00:00+01');
            """
        )
        yield connection


MEANINGS = {
    "{field: city, is: Utrecht}": {1},
    "{field: person.city, is_not: Utrecht}": {2, 3, 4, 5, 6},
    "{field: city, in: [Utrecht, Ede]}": {1, 5},
    "{field: city, not_in: [Utrecht, Ede]}": {2, 3, 4, 6},
    "{field: city, contains: UTRECHT}": {1, 2, 3},
    "{field: city, contains: '%'}": {6},
    "{field: city, starts_with: utr}": {1, 2},
    "{field: city, ends_with: -utrecht}": {3},
    "{field: email, empty: true}": {2, 3, 4},
    "{field: email, filled: true}": {1, 5, 6},
    "{field: email, filled: false}": {2, 3, 4},
    "{field: birth_date, empty: true}": {4},
    "{field: person_id, more_than: 4}": {5, 6},
    "{field: person_id, at_least: 4, at_most: 5}": {4, 5},
    "{field: person_id, less_than: 2}": {1},
    "{field: person_id, between: [2, 3]}": {2, 3},
    "{field: person_id, is: 3}": {3},
    "{field: blocked, is: true}": {3},
    "{field: blocked, is_not: true}": {1, 2, 4, 5, 6},
    "{field: birth_date, before: 65 years ago}": {2},
    "{field: birth_date, until: 65 years ago}": {1, 2},
    "{field: birth_date, after: 1990-01-01}": {3, 5},
    "{field: birth_date, since: 1990-01-01}": {3, 5, 6},
    "{field: birth_date, between: [1990-01-01, 1990-12-31]}": {5, 6},
    "{field: birth_date, anniversary: today}": {1},
    "{field: birth_date, anniversary: 2026-02-28}": {2, 3},
    "{field: birth_date, anniversary: 2028-02-29}": {3},
    "{field: created_at, during: today}": {2, 3, 4},
    "{field: created_at, during: yesterday}": {1},
    "{field: created_at, during: last month}": {1, 5},
    "{field: created_at, during: start of last month}": {5},
    "{field: created_at, during: end of last year}": {6},
    "{field: created_at, before: this quarter}": {6},
    "{field: created_at, since: 30 minutes ago}": {3, 4},
    "{field: created_at, after: now}": {4},
    '{field: created_at, between: ["2026-03-01 00:00", "2026-03-01 08:30"]}': {2, 3},
    "{field: organisation.kind, is: school}": {1, 4},
    "{field: organisation.kind, is_not: school}": {2, 3, 5, 6},
    "{all: [{field: city, filled: true}, {field: person_id, less_than: 3}]}": {1, 2},
    "{any: [{field: city, is: Ede}, {field: person_id, less_than: 2}]}": {1, 5},
    "{not: {any: [{field: city, is: Ede}, {field: city, is: Utrecht}]}}": {2, 3, 4, 6},
    "{has: ticket}": {1, 2},
    "{has_not: ticket}": {3, 4, 5, 6},
    "{has: ticket, since: 1 year ago, count: {at_least: 2}}": {1},
    "{has: ticket, count: {of: performance_id, at_least: 2}}": {2},
    "{has: ticket, count: {less_than: 2}}": {3, 4, 5, 6},
    "{has: ticket, where: {field: performance.title, is: Carmen}, count: {at_most: 1}}": {2, 3, 4, 5, 6},
    "{not: {has: ticket, count: {at_most: 1}}}": {1, 2},
    "{has: ticket, date: performance.starts_at, during: in 2 days}": {1, 2},
    "{has: ticket, sum: {of: price, at_least: '20.5'}}": {1, 2},
    "{has: donation, where: {field: fund, is: X}, between: [2026-01-01, 2026-06-30],"
    " sum: {of: amount, at_least: 100}}": {5},
    "{received: we_miss_you/we_miss_you}": {3},
    "{not_received: we_miss_you/we_miss_you, within: 30 days}": {1, 2, 4, 5, 6},
    "{has_not: contact_moment, where: {field: step, starts_with: we_miss}, since: 5 days ago}": {1, 2, 3, 4, 5, 6},
}


@pytest.fixture(scope="module")
def meant(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Selection]:
    """The selections of MEANINGS and EXCLUDING by their condition, compiled in one go."""
    folder = tmp_path_factory.mktemp("selections")
    names = {where: f"s{number}" for number, where in enumerate([*MEANINGS, *EXCLUDING])}
    for where, name in names.items():
        write(folder, where, name=name)
    selections, problems = read_selections(folder, CATALOG, STEPS)
    assert not problems
    return {where: selections[name] for where, name in names.items()}


@pytest.mark.parametrize("where", MEANINGS)
def test_each_operator_finds_whom_it_says(
    where: str, meant: dict[str, Selection], lake: duckdb.DuckDBPyConnection
) -> None:
    found = lake.execute(meant[where].sql(NOW, AMSTERDAM)).fetchall()
    assert {person for (person,) in found} == MEANINGS[where]
    assert len(found) == len(MEANINGS[where])


def test_a_criteria_file_is_a_selection_like_any_other(tmp_path: Path) -> None:
    path = write(tmp_path, "{all: [{field: organisation.kind, is: school}, {selection: readers}]}")
    (tmp_path / "readers.sql").write_text("-- Readers.\nselect person_id from crm.consent where granted")
    (tmp_path / "adults.sql").write_text("-- Adults.\nselect person_id from selections.one")
    selections, problems = read_selections(tmp_path, CATALOG, STEPS)
    assert not problems
    assert list(selections) == ["adults", "one", "readers"]
    assert selections["one"].path == path
    assert selections["one"].description == "Some people"
    assert selections["one"].columns == {"person_id": "BIGINT"}
    assert selections["one"].dependencies == ("crm.organisation", "crm.person", "selections.readers")
    assert column_lineage(selections["adults"], CATALOG, selections) == {"person_id": [("selections.one", "person_id")]}
    assert column_lineage(selections["one"], CATALOG, selections) == {"person_id": [("crm.person", "person_id")]}


def test_the_files_beside_a_selection_are_no_selections(tmp_path: Path) -> None:
    write(tmp_path, "{has: ticket}")
    for name in ("one.checks.yaml", "one.tests.yaml", "one.overlap.sql"):
        (tmp_path / name).write_text("nonsense")
    selections, problems = read_selections(tmp_path, CATALOG, STEPS)
    assert (list(selections), problems) == (["one"], [])


def test_one_name_for_two_files_is_refused_and_stops_no_other(tmp_path: Path) -> None:
    path = write(tmp_path, "{has: ticket}")
    write(tmp_path, "{has: ticket}", name="two")
    (tmp_path / "one.sql").write_text("-- One.\nselect person_id from crm.person")
    selections, problems = read_selections(tmp_path, CATALOG, STEPS)
    assert list(selections) == ["two"]
    assert [(each.file, each.message) for each in problems] == [
        (path, "there are two selections one: one.sql and one.yaml")
    ]


def test_selections_that_name_each_other_are_a_circle_in_either_language(tmp_path: Path) -> None:
    write(tmp_path, "{selection: two}")
    (tmp_path / "two.sql").write_text("-- Two.\nselect person_id from selections.one")
    selections, problems = read_selections(tmp_path, CATALOG, STEPS)
    assert not selections
    assert "in a circle" in problems[0].message


def test_rows_of_tickets_give_each_person_with_the_performance_once(
    tmp_path: Path, lake: duckdb.DuckDBPyConnection
) -> None:
    selection = selected(tmp_path, "{field: performance.genre, is: opera}", "rows: ticket\n")
    assert selection.columns == {"person_id": "BIGINT", "performance_id": "BIGINT"}
    found = lake.execute(selection.sql(NOW, AMSTERDAM)).fetchall()
    assert sorted(found) == [(1, 70), (2, 70), (2, 71)]


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ("rows: donation\n", ["person_id", "donation_id"]),
        ("rows: ticket\nrecord: ticket\n", ["person_id", "ticket_id"]),
        ("rows: list_member\n", ["person_id", "list_id"]),
        ("rows: consent\n", ["person_id"]),
        ("rows: person\n", ["person_id"]),
    ],
)
def test_a_row_gives_the_record_that_it_is_about(rows: str, columns: list[str], tmp_path: Path) -> None:
    assert list(selected(tmp_path, "{has: ticket}", rows).columns) == columns


def test_a_selection_of_records_alone_gives_their_key(tmp_path: Path) -> None:
    write(tmp_path, "{field: starts_at, during: in 4 days}", "rows: performance\n")
    selections, problems = read_selections(tmp_path, CATALOG, STEPS, {"one": ["performance_id"]}, {"one"})
    assert not problems
    assert selections["one"].columns == {"performance_id": "BIGINT"}


EXCLUDING = {
    "{not_received: we_miss_you/we_miss_you, within: 180 days}": "NOT IN",
    "{all: [{field: city, is: Ede}, {not_received: we_miss_you/we_miss_you}]}": "NOT IN",
    "{not: {received: we_miss_you/we_miss_you, within: today}}": "NOT IN",
    "{not: {any: [{field: city, is: Ede}, {received: we_miss_you/we_miss_you}]}}": "NOT IN",
    "{has_not: contact_moment, where: {field: step, is: we_miss_you/we_miss_you}, since: 30 days ago}": "NOT EXISTS",
    "{not: {has: contact_moment, where: {all: [{field: step, is: we_miss_you/we_miss_you},"
    " {field: received, is: true}]}}}": "NOT EXISTS",
    "{any: [{field: city, is: Ede}, {not_received: we_miss_you/we_miss_you}]}": None,
    "{received: we_miss_you/we_miss_you}": None,
    "{has_not: contact_moment, where: {field: step, is: servicemails/servicemail}}": None,
    "{has_not: contact_moment, where: {field: step, is: we_miss_you/we_miss_you}, until: 30 days ago}": None,
}


@pytest.mark.parametrize("where", EXCLUDING)
def test_the_exclusion_of_a_continuous_step_is_seen_in_criteria(where: str, meant: dict[str, Selection]) -> None:
    found = excludes(meant[where].query, STEP)
    assert (found.form if found else None) == EXCLUDING[where]


def test_the_exclusion_per_record_passes_for_a_step_with_records(tmp_path: Path) -> None:
    where = "{not_received: servicemails/servicemail, within: 30 days, record: performance}"
    selection = selected(tmp_path, where, "rows: ticket\n")
    times = [time(9), time(15)]
    assert check_continuous(selection, "servicemails/servicemail", times, record_key="performance_id") == []
    assert check_continuous(selection, "servicemails/servicemail", times, record_key=None)


def test_a_step_about_a_record_needs_rows_that_give_it(tmp_path: Path) -> None:
    write(tmp_path, "{has: ticket}")
    _, problems = read_selections(tmp_path, CATALOG, STEPS, {"one": ["performance_id"]})
    assert [(each.message, each.remedy) for each in problems] == [
        (
            "the selection does not give performance_id",
            "a step that uses it is about a performance_id: say with `rows` what a row is",
        )
    ]


def test_two_references_to_people_need_the_name_of_one(tmp_path: Path) -> None:
    (tmp_path / "0001_crm.sql").write_text(
        "create table crm.person (person_id bigint primary key, city text);"
        "create table crm.gift (gift_id bigint primary key, giver_id bigint references crm.person (person_id),"
        " receiver_id bigint references crm.person (person_id), given_on date);"
    )
    catalog = read_catalog(tmp_path)
    with pytest.raises(
        ProjectError, match=r"by giver_id and by receiver_id\n.*`by: giver_id` or add `by: receiver_id`"
    ):
        compile_selection(write(tmp_path, "{has: gift}"), catalog, STEPS)
    with pytest.raises(ProjectError, match=r"\n.*write giver_id\.city or write receiver_id\.city"):
        compile_selection(
            write(tmp_path, "{has: gift, by: giver_id, where: {field: person.city, is: x}}"), catalog, STEPS
        )
    where = "{has: gift, by: giver_id, where: {field: receiver_id.city, is: Ede}, before: today}"
    sql = compile_selection(write(tmp_path, where), catalog, STEPS).sql(NOW, AMSTERDAM)
    with duckdb.connect() as connection:
        connection.execute("attach ':memory:' as crm; create table crm.person (person_id bigint, city text)")
        connection.execute("create table crm.gift (gift_id int, giver_id int, receiver_id int, given_on date)")
        connection.execute("insert into crm.person values (1, 'Ede'), (2, 'Aa'), (3, 'Ede')")
        connection.execute("insert into crm.gift values (1, 2, 1, '2026-01-01'), (2, 1, 2, '2026-01-01')")
        assert connection.execute(sql).fetchall() == [(2,)]


def test_text_of_people_never_becomes_sql(tmp_path: Path, lake: duckdb.DuckDBPyConnection) -> None:
    where = """{field: city, in: ["x' or 1=1 --", "'); drop table crm.person; --", "{{ 1 }}"]}"""
    assert lake.execute(selected(tmp_path, where).sql(NOW, AMSTERDAM)).fetchall() == []
    assert len(lake.execute("from crm.person").fetchall()) == 6


def test_the_same_file_means_another_day_tomorrow(tmp_path: Path) -> None:
    selection = selected(tmp_path, "{field: birth_date, anniversary: today}")
    assert str(date(2026, 3, 1)) in selection.sql(NOW, AMSTERDAM)
    assert str(date(2026, 3, 2)) in selection.sql(NOW.replace(day=2), AMSTERDAM)


def test_the_schema_for_editors_knows_every_operator() -> None:
    operators = {name for names in OPERATORS.values() for name in names}
    assert operators == set(CONDITIONS["field"]) - {"field"}
    definitions = json_schema()["$defs"]
    named = {each["$ref"].rpartition("/")[2] for each in definitions["Condition"]["anyOf"]}
    assert {key for name in named for key in definitions[name]["required"]} == set(CONDITIONS)
    assert set(MEASURES) == {name.lower() for name in definitions.keys() - named - {"Condition"}}
