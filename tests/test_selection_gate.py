"""The gate of selections: a security boundary, tried with hostile SQL against a real DuckDB."""

# ruff: noqa: E501  SQL on one line each
from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smp_pipelines.crm.catalog import Catalog, read_catalog
from smp_pipelines.problems import ProjectError
from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.functions import FUNCTIONS
from smp_pipelines.selection.gate import check_query, duckdb_sql, tables_of

CATALOG = read_catalog(Path(__file__).resolve().parents[1] / "sql" / "schema")
SECRET = "s3cr3t-canary"
LONG_AGO = datetime(1999, 2, 3, 4, 5, tzinfo=UTC)

GOOD = [
    "select person_id from crm.person",
    "from crm.person",
    "select person_id from CRM.Person -- a comment; drop table x\n;",
    'select "Person_Id" from "crm"."person"',
    "select distinct on (city) person_id from crm.person order by city, created_at desc nulls last limit 3",
    "select person_id from crm.person except select person_id from crm.ticket",
    "select 1 as person_id union all (select 2 intersect select 3)",
    "with a as (select person_id from crm.person), b as (select * from a) select * from b",
    "with crm as (select 1 as person_id) select person_id from crm",
    "select p.* exclude (city) replace (1 as email) from crm.person p join crm.ticket t using (person_id)",
    "select person_id from crm.person semi join crm.ticket using (person_id) anti join crm.donation using (person_id)",
    "select person_id from crm.person qualify row_number() over (partition by city order by person_id) = 1",
    "select person_id, (values_).i from crm.person, (values (1), (2)) as values_(i), range(3) r(n), unnest([1]) u(m)",
    "select x.n, person_id from crm.person p, lateral (select count(*) n from crm.ticket t where p.person_id = t.person_id) x",
    "select city, count(*) filter (where not blocked) from crm.person group by all having count(*) > 1 order by all",
    "select coalesce(city, 'x'), nullif(city, ''), case when blocked then 1 else 2 end, city ilike 'a%', city ~ 'a' from crm.person",
    "select date_diff('day', birth_date, current_date), extract(year from now()), age(birth_date) from crm.person",
    "select list_filter([1, 2], x -> x > 1), [1, 2][1], {'a': 1}.a, hash(person_id) % 10, md5(city) from crm.person",
    "select created_at at time zone 'Europe/Amsterdam', cast('1.5' as decimal(10, 2)), interval 3 days from crm.person",
    "select person_id from selections.others where person_id not in (select person_id from smp.contact_moment)",
    "select (select max(person_id) from crm.person), exists (select 1 from crm.ticket), 1 = any (select 1)",
]

# What may not come through, each with the words of the answer.
STATEMENTS = [
    "select 1; select 2",
    "select 1; delete from crm.person",
    "delete from crm.person",
    "insert into crm.person values (1)",
    "update crm.person set city = 'x'",
    "truncate crm.person",
    "drop table crm.person",
    "create table x as select 1",
    "create or replace macro upper(x) as 1",
    "alter table crm.person add column x int",
    "merge into crm.person using crm.ticket on true when matched then delete",
    "copy (select 1) to 'x.csv'",
    "copy crm.person from 'x.csv'",
    "export database 'x'",
    "import database 'x'",
    "attach 'x.db'",
    "detach crm",
    "use crm",
    "set threads = 1",
    "reset threads",
    "pragma version",
    "pragma database_list",
    "call pragma_version()",
    "install httpfs",
    "load httpfs",
    "explain select 1",
    "explain analyze select 1",
    "summarize crm.person",
    "describe crm.person",
    "show tables",
    "pivot crm.person on city",
    "unpivot crm.person on city",
    "values (1)",
    "prepare x as select 1",
    "execute x",
    "begin",
    "checkpoint",
    "vacuum",
    "select * from (summarize crm.person)",
    "select * from (describe crm.person)",
    "select * from (pivot crm.person on city using count(*))",
    "select * from crm.person pivot (count(*) for city in ('a'))",
    "with x as (delete from crm.person returning *) select * from x",
    "with recursive t as (select 1 a union all select a + 1 from t) select a from t",
    "select person_id from crm.person for update",
    "select person_id into x from crm.person",
    "",
    " ; ",
    "-- nothing",
    "selec person_id",
    "select person_id from",
    "select 'unfinished",
    "(" * 3000 + "select 1" + ")" * 3000,
]
SOURCES = [
    "'{file}'",
    '"{file}"',
    "read_text('{file}')",
    "READ_TEXT('{file}')",
    "\"read_text\"('{file}')",
    "read_blob('{file}')",
    "read_csv('{file}')",
    "read_csv_auto(['{file}'])",
    "sniff_csv('{file}')",
    "read_json('{file}')",
    "read_parquet('{file}')",
    "parquet_scan('{file}')",
    "parquet_metadata('{file}')",
    "glob('*')",
    "main.read_text('{file}')",
    "system.main.read_text('{file}')",
    "query('select 1')",
    "query_table('crm.person')",
    "'https://example.org/x.csv'",
    '"s3://bucket/x.parquet"',
    "duckdb_settings()",
    "duckdb_secrets()",
    "duckdb_tables",
    "pragma_version()",
    "pragma_table_info('crm.person')",
    "information_schema.tables",
    "pg_catalog.pg_tables",
    "sqlite_master",
    "main.sqlite_master",
    "test_all_types()",
    "repeat_row(1, num_rows = 3)",
    "json_execute_serialized_sql('{{}}')",
    "postgres_scan('host=x', 'public', 't')",
    "python_map_function()",
    "catalog",
    "person",
    "other.crm.person",
    "smp.selections.others",
    "selections.unknown",
    "crm.persn",
    "crm.person at (version => 1)",
    "crm.person tablesample 10%",
    "(select 1) using sample 3",
    "(with hidden as (select 1) select 1) a, hidden",
    '(with "{file}" as (select * from "{file}") select * from "{file}")',
    "(with catalog as (select * from catalog) select * from catalog)",
    "(with one as (select * from later), later as (select 1) select * from one)",
]
EXPRESSIONS = [
    "getenv('SMP_CANARY')",
    "GetEnv('SMP_CANARY')",
    "\"getenv\"('SMP_CANARY')",
    "main.getenv('SMP_CANARY')",
    "('SMP_CANARY').getenv()",
    "getvariable('x')",
    "current_setting('home_directory')",
    "read_text('{file}')",
    "'{file}'.read_text()",
    "('{file}').read_text()",
    "parse_path('{file}')",
    "random()",
    "setseed(0.5)",
    "uuid()",
    "gen_random_uuid()",
    "uuidv7()",
    "nextval('x')",
    "currval('x')",
    "txid_current()",
    "version()",
    "current_user",
    '"current_user"',
    "user",
    '"user"',
    "session_user",
    "current_database()",
    "current_schema()",
    "current_schemas(true)",
    "current_query()",
    "pg_postmaster_start_time()",
    "ago(interval 1 day)",
    '"current_date"',
    '"CURRENT_TIMESTAMP"',
    '"localtime"',
    "write_log('x')",
    "sleep_ms(1)",
    "error('x')",
    "list_aggregate([1], 'sum')",
    "list_aggr([1], 'sum')",
    "json_serialize_sql('select 1')",
    "columns(c -> c like 'p%')",
    "columns('p.*')",
    "#1",
    "$1",
    "?",
    "$name",
    "in_search_path('x', 'y')",
    "has_table_privilege('x', 'y')",
    "1::some_type",
    "[x for x in [1]]",
]
PLACES = [
    "select {e}",
    "select person_id from crm.person where {e} is not null",
    "with a as (select {e} as x) select * from a",
    "select (select {e})",
    "select person_id from crm.person order by {e}",
    "select person_id from crm.person group by person_id having max({e}) is not null",
    "select 1 union all select {e}",
    "select * from (values ({e})) v(x)",
    "select * from crm.person p, lateral (select {e} as x) l",
    "select case when true then {e} end",
    "select list_transform([1], x -> {e})",
    "select count(*) over (partition by {e}) from crm.person",
    "select count(*) filter (where {e} is null) from crm.person",
    "select p.person_id from crm.person p join crm.ticket t on {e} is null",
    "select * replace ({e} as city) from crm.person",
    "select distinct on ({e}) person_id from crm.person",
    "select * from unnest([{e}]) u(x)",
    "select person_id from crm.person limit (select {e})",
    "select struct_pack(a := {e})",
    "select upper(cast({e} as text))",
    "/* c */ select --\n {e} /* x */",
]
SOURCE_PLACES = [
    "select * from {s}",
    "from {s}",
    "from {s} select *",
    "table {s}",
    "select person_id from crm.person where exists (select 1 from {s})",
    "with a as (select * from {s}) select * from a",
    "select (select max(1) from {s})",
    "select * from crm.person p, {s}",
    "select * from crm.person p left join {s} on true",
    "select * from crm.person p, lateral (select * from {s}) l",
    "select 1 except (select 1 from {s})",
    "select * from (select * from (from {s}))",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a secret file, in a process with a secret environment variable."""
    folder = tmp_path_factory.mktemp("secret files")
    (folder / "secret.csv").write_text(f"a\n{SECRET}\n")
    os.environ["SMP_CANARY"] = SECRET
    yield folder
    del os.environ["SMP_CANARY"]


def lake(catalog: Catalog = CATALOG) -> duckdb.DuckDBPyConnection:
    """A DuckDB that plays the lake, with nothing forbidden: only the gate protects it."""
    connection = duckdb.connect()
    connection.execute("attach ':memory:' as crm; attach ':memory:' as smp; create schema smp.selections")
    for name, table in catalog.tables.items():
        columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns.values())
        connection.execute(f"create table {name} ({columns})")
    connection.execute("create table smp.selections.others as select 1::bigint as person_id")
    connection.execute("insert into crm.person (person_id, last_name, city) values (1, 'x', 'a'), (2, 'y', 'b')")
    return connection


def passes(sql: str) -> bool:
    try:
        check_query(sql, CATALOG, ["others"])
    except ProjectError:
        return False
    return True


@pytest.mark.parametrize("sql", GOOD)
def test_an_honest_select_passes_and_duckdb_takes_what_comes_out(sql: str) -> None:
    query = check_query(sql, CATALOG, ["others"])
    with lake() as connection:
        connection.execute("explain " + duckdb_sql(rewrite_clock(query, LONG_AGO, ZoneInfo("UTC"))))


@pytest.mark.parametrize("sql", STATEMENTS)
def test_anything_but_one_select_is_refused(sql: str) -> None:
    assert not passes(sql)


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_is_no_known_table_is_refused_wherever_it_stands(source: str, folder: Path) -> None:
    named = source.format(file=folder / "secret.csv")
    assert [place for place in SOURCE_PLACES if passes(place.format(s=named))] == []


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_that_looks_outside_is_refused_wherever_it_stands(expression: str, folder: Path) -> None:
    named = expression.format(file=folder / "secret.csv")
    assert [place for place in PLACES if passes(place.format(e=named))] == []


def test_the_places_themselves_pass_with_something_honest_in_them() -> None:
    assert [place for place in PLACES if not passes(place.format(e="1"))] == []
    assert [place for place in SOURCE_PLACES if not passes(place.format(s="crm.ticket"))] == []


FRAGMENTS = """
    select from where with as ( ) ( ) , . ; * ' " = - -- /* */ :: [ ] { } : -> $$ @ # ? \\ e' U& into set delete
    crm.person crm.ticket person_id city a b x 1 'SMP_CANARY' join on using union all values lateral exists not in
    read_text getenv query glob main system now() current_date today() current_timestamp random() columns
    pivot summarize describe table unnest range limit order by group null cast over qualify
    "current_date" "getenv" 'now'::timestamptz FROM SELECT
"""
WORDS = st.sampled_from([*FRAGMENTS.split(), "\n", "\u00a0", "\u2028", "\ufeff", "\0"])


@st.composite
def changed_queries(draw: st.DrawFn) -> str:
    """An honest query with a few words put in or replaced, or words at random."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(["select ", "select * from ", "from "])) + " ".join(
            draw(st.lists(WORDS, max_size=9))
        )
    words = draw(st.sampled_from(GOOD)).split(" ")
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(words) - 1))
        words[place : place + draw(st.integers(0, 1))] = [draw(WORDS)]
    return " ".join(words)


@settings(max_examples=500, deadline=None)
@given(changed_queries())
@example("select 'now'::timestamptz")
@example("select now(), current_date, today(), current_timestamp")
def test_what_passes_changes_nothing_and_sees_neither_secrets_nor_the_real_clock(sql: str) -> None:
    try:
        query = check_query(sql, CATALOG, ["others"])
    except ProjectError:
        return
    with lake() as connection:
        tables = "select database_name, table_name, column_count, estimated_size from duckdb_tables() order by all"
        before = connection.execute(tables).fetchall()
        try:
            rows = connection.execute(duckdb_sql(rewrite_clock(query, LONG_AGO, ZoneInfo("UTC")))).fetchall()
        except duckdb.Error:
            rows = []
        assert connection.execute(tables).fetchall() == before
    assert SECRET not in str(rows)
    assert str(datetime.now(UTC).year) not in str(rows)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(EXPRESSIONS),
    st.lists(st.sampled_from([place for place in PLACES if "--" not in place]), min_size=1, max_size=3),
    st.sampled_from([str.upper, str.lower, str]),
)
def test_nesting_and_case_do_not_hide_an_expression(expression: str, places: list[str], case: type[str]) -> None:
    sql = case(expression.replace("{file}", "x.csv"))
    for place in places:
        sql = f"({place.format(e=sql)})"
    assert not passes(sql[1:-1])


def test_every_allowed_function_exists_in_duckdb_and_gives_the_same_answer_twice() -> None:
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select lower(function_name), bool_or(stability <> 'CONSISTENT') from duckdb_functions() group by all"
        )
        functions = dict(rows.fetchall())
    assert {name for name in FUNCTIONS if name not in functions} == set()
    assert {name for name in FUNCTIONS if functions[name]} == set()


def test_a_problem_tells_the_line_and_the_nearest_name() -> None:
    with pytest.raises(ProjectError) as caught:
        check_query(
            "select person_id\nfrom crm.person\njoin crm.tickets using (person_id)\nwhere uppr(city) = 'X'", CATALOG, []
        )
    found = {(problem.line, problem.remedy) for problem in caught.value.problems}
    assert found == {(3, "did you mean crm.ticket?"), (4, "did you mean upper?")}


def test_a_table_without_its_schema_gets_the_full_name_as_remedy() -> None:
    with pytest.raises(ProjectError, match=r"did you mean crm\.person"):
        check_query("select person_id from person", CATALOG, [])


def test_a_cte_hides_a_table_only_where_it_is_visible() -> None:
    assert passes("with person as (select 1 as person_id) select person_id from person")
    assert not passes("select 1 from (with t as (select 1) select * from t) x, t")
    assert tables_of(
        check_query("with person as (select person_id from crm.ticket) select * from person", CATALOG, [])
    ) == ("crm.ticket",)
