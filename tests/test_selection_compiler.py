"""Selections as files: macros, output contract, line numbers, other selections, lineage, speed."""

# ruff: noqa: E501  SQL on one line each
from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest

from smp_pipelines.crm.catalog import read_catalog
from smp_pipelines.problems import ProjectError
from smp_pipelines.selection.analysis.lineage import column_lineage
from smp_pipelines.selection.compiler import Selection, compile_selection, load_selections, read_selections
from smp_pipelines.selection.inlining import inlined
from smp_pipelines.selection.macros import render
from smp_pipelines.stores.lake import words_of

ROOT = Path(__file__).resolve().parents[1]
CATALOG = read_catalog(ROOT / "sql" / "schema")
STEPS = {"servicemails/servicemail", "we_miss_you/we_miss_you", "feedback/aftermail", "feedback/reminder"}
AMSTERDAM = ZoneInfo("Europe/Amsterdam")
NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def write(folder: Path, name: str, sql: str) -> Path:
    path = folder / f"{name}.sql"
    path.write_text(sql, encoding="utf-8")
    return path


def problems_of(folder: Path, sql: str, **more: object) -> list[tuple[int | None, str]]:
    path = write(folder, "one", sql)
    with pytest.raises(ProjectError) as caught:
        compile_selection(path, CATALOG, STEPS, **more)  # type: ignore[arg-type]
    assert {problem.file for problem in caught.value.problems} == {path}
    return [(problem.line, f"{problem.message} {problem.remedy or ''}".strip()) for problem in caught.value.problems]


@pytest.fixture
def lake() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that plays the lake: four people, two of them sharing an address, two performances."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'Europe/Amsterdam'")
        connection.execute("attach ':memory:' as crm; attach ':memory:' as smp; create schema smp.selections")
        for name, table in CATALOG.tables.items():
            columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns.values())
            connection.execute(f"create table {name} ({columns})")
        connection.execute(
            """
            insert into crm.person (person_id, last_name, email_key, created_at) values
              (1, 'A', 'family@example.org', now()), (2, 'B', 'family@example.org', now()),
              (3, 'C', 'c@example.org', now()), (4, 'D', null, now());
            insert into crm.performance (performance_id, title, starts_at, block_service_mail) values
              (10, 'Tonight', timestamptz '2026-03-03 20:00:00+01:00', false),
              (11, 'Late', timestamptz '2026-03-03 23:30:00+01:00', false),
              (12, 'Blocked', timestamptz '2026-03-03 20:00:00+01:00', true),
              (13, 'Later', timestamptz '2026-03-04 00:15:00+01:00', false);
            insert into crm.ticket (ticket_id, person_id, performance_id, bought_at)
              select 100 * person_id + performance_id, person_id, performance_id, timestamptz '2026-02-01 12:00:00+01:00'
              from crm.person, crm.performance;
            insert into crm.ticket (ticket_id, person_id, performance_id, bought_at)
              values (999, 1, 10, timestamptz '2024-02-01 12:00:00+01:00');
            """
        )
        yield connection


def received(lake: duckdb.DuckDBPyConnection, person: int | None, record: int | None, at: str, step: str) -> None:
    lake.execute(
        "insert into smp.contact_moment (person_id, record_id, happened_at, step, received) values (?, ?, ?, ?, true)",
        [person, record, datetime.fromisoformat(at), step],
    )


def rows(lake: duckdb.DuckDBPyConnection, selection: Selection, now: datetime = NOW) -> list[tuple[object, ...]]:
    return sorted(lake.execute(selection.sql(now, AMSTERDAM)).fetchall())


def condition(lake: duckdb.DuckDBPyConnection, macro: str, table: str = "crm.person") -> list[int]:
    sql = render(f"select distinct person_id from {table} where {{{{ {macro} }}}} order by 1", STEPS)
    now = "timestamptz '2026-03-01 08:00:00+00:00'"
    return [
        row[0] for row in lake.execute(sql.replace("now()", now).replace("current_date", f"({now})::date")).fetchall()
    ]


def sample_selections() -> dict[str, Selection]:
    """The sample's selections, with what its steps need of them."""
    of_records = {"performances_in_four_days"}
    keys = {name: ["performance_id"] for name in ("visitors_in_two_days", *of_records)}
    return load_selections(ROOT / "sql" / "selections", CATALOG, STEPS, keys, of_records)


def test_the_sample_selections_compile_with_their_descriptions() -> None:
    selections = sample_selections()
    assert {"visitors_in_two_days", "we_miss_you", "newsletter_readers"} <= selections.keys()
    visitors = selections["visitors_in_two_days"]
    assert visitors.columns == {"person_id": "BIGINT", "performance_id": "BIGINT"}
    assert visitors.dependencies == ("crm.performance", "crm.person", "crm.ticket", "smp.contact_moment")
    assert visitors.description.startswith("Everyone with a ticket for a performance in two days")


def test_a_selection_of_records_needs_the_records_key_and_no_person(tmp_path: Path) -> None:
    (tmp_path / "shows.sql").write_text("-- Shows.\nselect performance_id from crm.performance")
    (tmp_path / "halls.sql").write_text("-- Halls.\nselect hall from crm.performance")
    keys = {name: ["performance_id"] for name in ("shows", "halls")}
    selections, problems = read_selections(tmp_path, CATALOG, STEPS, keys, {"shows", "halls"})
    assert list(selections) == ["shows"]
    assert [(problem.file, problem.message) for problem in problems] == [
        (tmp_path / "halls.sql", "the selection does not give performance_id")
    ]
    assert len(read_selections(tmp_path, CATALOG, STEPS, keys)[1]) == 3, "people are needed of any other selection"


def test_visitors_get_one_row_per_performance_in_two_days_until_they_received_it(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    visitors = sample_selections()["visitors_in_two_days"]
    assert rows(lake, visitors) == [(person, performance) for person in (1, 2, 3, 4) for performance in (10, 11)]
    received(lake, 1, 10, "2026-02-28T09:00:00+01:00", "servicemails/servicemail")
    received(lake, 3, 11, "2026-01-01T09:00:00+01:00", "servicemails/servicemail")  # longer ago than 30 days
    received(lake, 4, 11, "2026-02-28T09:00:00+01:00", "servicemails/another")
    assert rows(lake, visitors) == [(1, 11), (2, 11), (3, 10), (3, 11), (4, 10), (4, 11)]


def test_the_moment_decides_which_performances_are_in_two_days(lake: duckdb.DuckDBPyConnection) -> None:
    visitors = sample_selections()["visitors_in_two_days"]
    before_midnight, after_midnight = datetime(2026, 3, 1, 22, 59, tzinfo=UTC), datetime(2026, 3, 1, 23, 1, tzinfo=UTC)
    assert {row[1] for row in rows(lake, visitors, before_midnight)} == {10, 11}
    assert {row[1] for row in rows(lake, visitors, after_midnight)} == {13}


def test_we_miss_you_counts_the_last_ticket_not_the_first(lake: duckdb.DuckDBPyConnection) -> None:
    missed = sample_selections()["we_miss_you"]
    assert rows(lake, missed) == []
    assert rows(lake, missed, datetime(2027, 3, 1, tzinfo=UTC)) == [(1,), (2,), (3,), (4,)]
    received(lake, 2, None, "2027-02-01T09:00:00+01:00", "we_miss_you/we_miss_you")
    assert rows(lake, missed, datetime(2027, 3, 1, tzinfo=UTC)) == [(3,), (4,)]


@pytest.mark.parametrize(
    ("macro", "people"),
    [
        ('not_received("we_miss_you/we_miss_you", within="30 days")', [3, 4]),
        ('not_received("we_miss_you/we_miss_you", within="30 days", by="person")', [2, 3, 4]),
        ('received("we_miss_you/we_miss_you", within="30 days")', [1, 2]),
        ('received("we_miss_you/we_miss_you", within="30 days", by="person")', [1]),
        ('not_received("we_miss_you/we_miss_you", within="ever")', [3]),
        ('not_received("we_miss_you/we_miss_you", within="2 hours")', [1, 2, 3, 4]),
        ('not_received("we_miss_you/we_miss_you", within="today")', [3, 4]),
        ('not_received("we_miss_you/we_miss_you", within="3 years")', [3]),
    ],
)
def test_who_counts_as_received(lake: duckdb.DuckDBPyConnection, macro: str, people: list[int]) -> None:
    received(lake, 1, None, "2026-03-01T00:30:00+01:00", "we_miss_you/we_miss_you")
    received(lake, 4, None, "2025-03-01T09:00:00+01:00", "we_miss_you/we_miss_you")
    lake.execute(
        "insert into smp.contact_moment (person_id, step, received, happened_at) values (3, 'we_miss_you/we_miss_you', false, '2026-02-28')"
    )
    assert condition(lake, macro) == people


@pytest.mark.parametrize("by", ["address", "person"])
@pytest.mark.parametrize("record", ["", ', record="performance_id"'])
def test_a_null_among_those_who_received_excludes_nobody_else(
    lake: duckdb.DuckDBPyConnection, by: str, record: str
) -> None:
    received(lake, None, None, "2026-02-28T09:00:00+01:00", "servicemails/servicemail")
    received(lake, None, 10, "2026-02-28T09:00:00+01:00", "servicemails/servicemail")
    received(lake, 4, None, "2026-02-28T09:00:00+01:00", "servicemails/servicemail")
    lake.execute("insert into crm.person (person_id, last_name, email_key) values (null, 'X', 'c@example.org')")
    macro = f'not_received("servicemails/servicemail", within="30 days", by="{by}"{record})'
    assert set(condition(lake, macro, "crm.ticket")) == ({1, 2, 3, 4} if record else {1, 2, 3})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ('not_received("servicemails/servicemial", within="30 days")', "did you mean 'servicemails/servicemail'"),
        ('not_received("servicemails/servicemail", within="30 dagen")', "no period"),
        ('not_received("servicemails/servicemail", within="30 days\' or true --")', "no period"),
        ('not_received("servicemails/servicemail", within="30 days", person="1) or (1")', "not the name of a column"),
        ('not_received("servicemails/servicemail", within="30 days", record="x\' --")', "not the name of a column"),
        ('not_received("servicemails/servicemail", within="30 days", by="phone")', "unknown"),
        ('not_received("servicemails/servicemail", "30 days", foo=1)', "unexpected keyword argument"),
        ("not_received()", "missing"),
        ("not_recieved('x')", "undefined"),
        ("''.__class__.__mro__", "unsafe"),
        ("not_received.__globals__", "unsafe"),
        ("range(10)", "undefined"),
        ("1 / 0", "division"),
    ],
)
def test_a_wrong_macro_call_tells_its_line(tmp_path: Path, call: str, words: str) -> None:
    found = problems_of(tmp_path, f"-- who\nselect person_id\nfrom crm.person\nwhere {{{{ {call} }}}}\n")
    assert len(found) == 1
    assert found[0][0] == 4
    assert words in found[0][1]


@pytest.mark.parametrize(
    ("sql", "line", "words"),
    [
        ("-- who\nselect person_id,\n  frist_name\nfrom crm.person", 3, "did you mean first_name"),
        ("-- who\nselect p.person_id\nfrom crm.person p\nwhere p.cty = 'x'", 4, "did you mean city"),
        ("-- who\nselect person_id\nfrom crm.person\njoin crm.ticket on true", 2, "Ambiguous"),
        ("-- who\nselect person_id\nfrom crm.person\ngroup by city", 2, "GROUP BY"),
        ("-- who\nselect person_id\nfrom crm.person\nwhere birth_date > 3", 4, "Cannot compare"),
        ("-- who\nselect person_id\nfrom crm.person\nwhere upper(city, 1)= 'x'", 4, "number of provided arguments"),
        ("-- who\nselect person_id\nfrom crm.person\nwhere round(city) = 'x'", 4, "No function matches"),
        ("-- who\nselect person_id\nfrom 'file.csv'", 3, "no table"),
        ("-- who\nselect person_id\nfrom crm.person\nwhere city = read_csv('x')", 4, "read_csv"),
        ("-- who\nselect email from crm.person", None, "does not give person_id"),
        ("-- who\nselect last_name as person_id from crm.person", None, "not a whole number"),
        ("-- who\nselect person_id, count(*) from crm.person group by all", None, "no plain name"),
        ("-- who\nselect person_id, person_id from crm.person", None, "twice"),
        ("-- who\nselect p.person_id, t.person_id from crm.person p join crm.ticket t on true", None, "twice"),
        ("select person_id from crm.person", 1, "who is in it"),
        ("-- who\nselect person_id from crm.person {% if %}", 2, "the template"),
        ("-- who\nselect person_id\nfrom crm.person; delete from crm.person", 3, "2 statements"),
        ("-- who\nselect person_id\nfrom crm.person\nwhere person_id not in (select organisation_id from crm.person)", 4, "may be null"),
        ("-- who\nselect person_id from crm.person where email <> all (select p.email_key from crm.person p)", 2, "is not null"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_line_and_remedy(
    tmp_path: Path, sql: str, line: int | None, words: str
) -> None:
    found = problems_of(tmp_path, sql)
    assert len(found) == 1
    assert found[0][0] == line
    assert words in found[0][1]


def test_a_not_in_over_a_column_without_nulls_passes(tmp_path: Path) -> None:
    sql = "-- who\nselect person_id from crm.person where email not in (select email_key from crm.suppression)"
    assert compile_selection(write(tmp_path, "one", sql), CATALOG, STEPS).columns == {"person_id": "BIGINT"}
    sql = "-- who\nselect person_id from crm.person where email not in (select email from crm.person where email is not null)"
    assert compile_selection(write(tmp_path, "two", sql), CATALOG, STEPS).columns == {"person_id": "BIGINT"}


def test_a_step_with_a_record_needs_the_records_key(tmp_path: Path) -> None:
    found = problems_of(tmp_path, "-- who\nselect person_id from crm.person", record_keys=["performance_id"])
    assert "does not give performance_id" in found[0][1]


def test_selections_read_each_other_in_any_order(tmp_path: Path, lake: duckdb.DuckDBPyConnection) -> None:
    write(
        tmp_path,
        "b_base",
        "-- base\nselect person_id, person_id + 1 as neighbour, email from crm.person where person_id < 3",
    )
    write(
        tmp_path, "a_first", "/* from\n base */\nselect person_id, selections.b_base.neighbour from Selections.B_base"
    )
    selections = load_selections(tmp_path, CATALOG, STEPS)
    first = selections["a_first"]
    assert first.description == "from base"
    assert first.dependencies == ("selections.b_base",)
    assert first.columns == {"person_id": "BIGINT", "neighbour": "BIGINT"}
    lake.execute("create table smp.selections.b_base as " + selections["b_base"].sql(NOW, AMSTERDAM))
    assert rows(lake, first) == [(1, 2), (2, 3)]
    assert column_lineage(first, CATALOG, selections) == {
        "person_id": [("selections.b_base", "person_id")],
        "neighbour": [("selections.b_base", "neighbour")],
    }
    # computed on the way, it is the same without any table
    lake.execute("drop table smp.selections.b_base")
    afresh = inlined(["b_base", "a_first"], selections, NOW, AMSTERDAM)
    assert sorted(lake.execute(afresh).fetchall()) == [(1, 2), (2, 3)]


def test_words_and_dates_of_people_are_not_kept_so_no_other_selection_reads_them(tmp_path: Path) -> None:
    write(tmp_path, "base", "-- base\nselect person_id, email, birth_date, 1.5 as score, blocked from crm.person")
    reader = write(tmp_path, "reader", "-- who\nselect person_id from selections.base where email like '%@example.org'")
    selections, problems = read_selections(tmp_path, CATALOG, STEPS)
    assert list(selections["base"].kept) == ["person_id", "score", "blocked"]
    (problem,) = problems
    assert (problem.file, problem.line) == (reader, 2)
    assert "take email from the CRM's own table" in str(problem.remedy)


def test_a_selection_called_like_a_table_of_the_crm_is_inlined_beside_it(
    tmp_path: Path, lake: duckdb.DuckDBPyConnection
) -> None:
    write(tmp_path, "person", "-- base\nselect person_id, sum(person_id) as total from crm.person group by person_id")
    sql = (
        "-- who\nselect selections.person.person_id, total from selections.person"
        " join crm.person on crm.person.person_id = selections.person.person_id where crm.person.person_id = 2"
    )
    write(tmp_path, "reader", sql)
    selections = load_selections(tmp_path, CATALOG, STEPS)
    # Parquet has no whole numbers of 128 bits: they would lose their last digits
    assert selections["person"].kept == {"person_id": "BIGINT", "total": "DECIMAL(38,0)"}
    assert lake.execute(inlined(["person", "reader"], selections, NOW, AMSTERDAM)).fetchall() == [(2, 2)]


def test_what_does_not_run_is_told_without_the_value_that_it_tripped_over() -> None:
    connection = duckdb.connect()
    for value in ("anna@example.org", "o'brien@example.org", 'the "boss"@example.org'):
        with pytest.raises(duckdb.Error) as raised:
            connection.execute("select cast(x as integer) from (select ? as x)", [value])
        assert "example.org" not in words_of(raised.value)
        assert "Could not convert" in words_of(raised.value)
    with pytest.raises(duckdb.Error) as raised:
        connection.execute("select nobody from (select 1 as somebody)")
    assert '"nobody"' in words_of(raised.value)


def test_one_broken_selection_hides_no_other_and_breaks_what_reads_it(tmp_path: Path) -> None:
    write(tmp_path, "good", "-- who\nselect person_id from crm.person")
    broken = write(tmp_path, "broken", "-- who\nselect persn_id from crm.person")
    reader = write(tmp_path, "a_reader", "-- who\nselect person_id from selections.broken")
    hostile = write(tmp_path, "hostile", "-- who\nselect person_id from 'x.csv'")
    odd = write(tmp_path, "Odd Name", "-- who\nselect person_id from crm.person")
    selections, problems = read_selections(tmp_path, CATALOG, STEPS)
    assert list(selections) == ["good"]
    assert {problem.file for problem in problems} == {broken, reader, hostile, odd}
    with pytest.raises(ProjectError):
        load_selections(tmp_path, CATALOG, STEPS)


def test_a_circle_of_selections_is_refused_and_the_others_compile(tmp_path: Path) -> None:
    write(tmp_path, "a", "-- who\nselect person_id from selections.b")
    write(tmp_path, "b", "-- who\nselect person_id from selections.c")
    write(tmp_path, "c", "-- who\nselect person_id from selections.a")
    write(tmp_path, "itself", "-- who\nselect person_id from selections.itself")
    write(tmp_path, "good", "-- who\nselect person_id from crm.person")
    selections, problems = read_selections(tmp_path, CATALOG, STEPS)
    assert list(selections) == ["good"]
    assert sorted("circle" in problem.message for problem in problems) == [True, True]


def test_a_file_that_is_no_utf8_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "latin.sql").write_bytes(b"-- caf\xe9\nselect person_id from crm.person")
    assert "cannot be read" in read_selections(tmp_path, CATALOG, STEPS)[1][0].message


def test_lineage_goes_through_ctes_stars_and_expressions(tmp_path: Path) -> None:
    sql = """-- who
    with bought as (select person_id, sum(price) as paid from crm.ticket group by person_id)
    select *, paid * 2 as twice, upper(first_name || city) as label, 1 as one
    from bought join (select person_id, first_name, city from crm.person) using (person_id)"""
    selection = compile_selection(write(tmp_path, "one", sql), CATALOG, STEPS)
    lineage = column_lineage(selection, CATALOG)
    assert lineage["twice"] == lineage["paid"] == [("crm.ticket", "price")]
    assert lineage["label"] == [("crm.person", "city"), ("crm.person", "first_name")]
    assert lineage["one"] == []
    assert ("crm.ticket", "person_id") in lineage["person_id"]
