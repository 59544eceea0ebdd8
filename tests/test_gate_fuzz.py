"""The gate under fire: hostile SQL from a grammar, and the sample's own SQL with hostile words put into it.

Whatever passes runs in two databases: an open one, in which a file, an environment variable and every setting are
within reach (only the gate protects them), and a locked one like the lake that selections really run in. Nothing may
change, no secret may come out, and a second run gives the same to the microsecond.
"""

# ruff: noqa: E501  lists of SQL
from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from smp_pipelines.crm.catalog import read_catalog
from smp_pipelines.problems import ProjectError
from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.gate import check_query, duckdb_sql
from smp_pipelines.selection.macros import render
from smp_pipelines.selection.unit_tests.tables import Tables
from tests.conftest import REPOSITORY

CATALOG = read_catalog(REPOSITORY / "sql" / "schema")
SECRET = "s3cr3t-canary"
ZONE = ZoneInfo("Europe/Amsterdam")
LONG_AGO = datetime(1999, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
STEPS = {"servicemails/servicemail", "we_miss_you/we_miss_you", "feedback/aftermail", "feedback/reminder"}
REAL = [
    render(file.read_text(encoding="utf-8"), STEPS) for file in sorted((REPOSITORY / "sql/selections").glob("*.sql"))
]
STATE = [
    "select database_name, schema_name, table_name, column_count, estimated_size from duckdb_tables() order by all",
    "select name, value from duckdb_settings() order by all",
    "select extension_name from duckdb_extensions() where loaded order by all",
    "select schema_name, function_name from duckdb_functions() where not internal order by all",
    "select database_name from duckdb_databases() order by all",
    "select * from duckdb_variables() order by all",
    "select * from duckdb_secrets() order by all",
    "select * from duckdb_sequences() order by all",
]


@dataclass
class World:
    """Two databases and a folder with a secret in it."""

    folder: Path
    open: duckdb.DuckDBPyConnection
    locked: Tables

    def state(self) -> list[object]:
        """Everything that SQL could have changed."""
        files = [(each.name, each.read_bytes()) for each in sorted(self.folder.iterdir())]
        return [files, *(self.open.execute(query).fetchall() for query in STATE)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "secret.csv").write_text(f"a\n{SECRET}\n")
    (folder / "secret.json").write_text(f'{{"a": "{SECRET}"}}')
    os.environ["SMP_CANARY"] = SECRET
    before = Path.cwd()
    os.chdir(folder)
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection, Tables(CATALOG, ZONE) as locked:
        connection.execute("attach ':memory:' as crm; attach ':memory:' as smp; create schema smp.selections")
        connection.execute(f"set variable canary = '{SECRET}'; create sequence counter")
        for name, table in CATALOG.tables.items():
            columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns.values())
            connection.execute(f"create table {name} ({columns})")
        for each in (connection, locked.connection):
            each.execute("create table smp.selections.others as select 1::bigint as person_id")
            each.execute("insert into crm.person (person_id, last_name, city) values (1, 'x', 'a'), (2, 'y', 'b')")
            each.execute(
                "insert into crm.ticket (ticket_id, person_id, performance_id, bought_at) values (1, 1, 1, '1998-01-01')"
            )
        yield World(folder, connection, locked)
    os.chdir(before)
    del os.environ["SMP_CANARY"]


CLOCKS = [
    "now()", "current_date", "current_timestamp", "current_time", "localtime", "localtimestamp", "today()", "get_current_timestamp()",
    "transaction_timestamp()", "current_localtimestamp()", "get_current_time()", "date_trunc('year', now())",
]  # fmt: skip
OUTSIDE = [
    "getenv('SMP_CANARY')", "getvariable('canary')", "current_setting('threads')", "nextval('counter')", "random()", "uuid()",
    "pg_postmaster_start_time()", "txid_current()", "version()", "user", "current_user", "session_user", "current_query()",
    "clock_timestamp()", "statement_timestamp()", "timeofday()", "read_text('secret.csv')", "query('select 1')",
    "list_aggregate([1], 'getenv')", "write_log('x')", "error('x')", "rowid", "crm.person.rowid",
    "(select content from read_text('secret.csv'))", "(from 'secret.csv')", "(select max(a) from 'secret.json')", "columns('*')",
    "current_database()", "current_schema()", "getenv('SMP_' || 'CANARY')", "random() > 2", "setseed(0.5)", "$1", "?", "current_role",
]  # fmt: skip
HARMLESS = [
    "'now'::timestamptz", "date 'today'", "timestamp 'now'", "cast('tomorrow' as date)", "age(birth_date)", "epoch(now())",
    "person_id", "city", "1", "null", "'a'", "x", "*", "max(bought_at)", "count(*)",
]  # fmt: skip
TABLES = [
    "crm.person", "crm.ticket", "smp.contact_moment", "selections.others", "'secret.csv'", '"secret.csv"', "secret.csv",
    "read_csv('secret.csv')", "read_text('*')", "glob('*')", "duckdb_settings()", "duckdb_secrets()", "pragma_version()",
    "'https://127.0.0.1:1/x.csv'", "'s3://x/y.parquet'", "read_json_auto('secret.json')", "query_table('crm.person')",
    "information_schema.tables", "sqlite_master", "pg_catalog.pg_class", "smp.selections.others", "crm.main.person",
    "memory.main.x", "duckdb_variables()", "range(3)", "unnest([1])", "(values (1)) v(x)", "crm.persn", "person", "x",
    "parquet_scan('x')", "read_blob('secret.csv')", "sniff_csv('secret.csv')", "postgres_scan('', '', '')", "test_all_types()",
    "crm.person at (version => 1)", "crm.person tablesample 1", "repeat_row(1, num_rows = 3)", "json_execute_serialized_sql('{}')",
    "crm.list_member",
]  # fmt: skip
STATEMENTS = [
    "{q}; drop table crm.person", "copy ({q}) to 'out.csv'", "copy crm.person from 'secret.csv'", "create table y as {q}",
    "insert into crm.person (person_id) {q}", "delete from crm.person", "update crm.person set city = 'z'", "set threads = 1; {q}",
    "install httpfs; {q}", "load httpfs", "attach 'x.db'", "export database 'y'", "explain analyze {q}", "create macro f() as 1",
    "pragma threads = 1", "call pragma_version()", "set variable canary = 1", "checkpoint", "prepare p as {q}", "{q} returning *",
    "with y as (insert into crm.person (person_id) values (9) returning *) {q}", "pivot crm.person on city", "summarize crm.person",
    "({q}) into outfile 'x'", "reset all", "use crm", "vacuum", "begin; {q}; commit", "create secret (type s3)", "describe crm.person",
]  # fmt: skip
WORDS = [*CLOCKS, *OUTSIDE, *HARMLESS, *TABLES, *(each.replace("{q}", "select 1") for each in STATEMENTS)]
WORDS += [
    ";",
    "--",
    "/*",
    "*/",
    "'",
    '"',
    "$$",
    "(",
    ")",
    ",",
    ".",
    "::",
    "union",
    "from",
    "select",
    "as",
    "with",
    "into",
    "\0",
    "\u00a0",
]

EXPRESSIONS = st.recursive(
    st.sampled_from([*CLOCKS, *OUTSIDE, *HARMLESS]),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["upper({0}::text)", "coalesce({0}, {1})", "[{0}]", "{{'a': {0}}}", "{0} = {1}", "({0})", "{0}::text",
                                   "case when {0} is null then {1} end", "list_transform([1], y -> {0})", "{0} || {1}", "-- c\n{0}",
                                   "max({0}) over (partition by {1})", "{0} at time zone 'UTC'", "try_cast({0} as date)", "{0} in ({1})",
                                   "exists (select {0})", "date_trunc('day', {0})", "count(*) filter (where {0} is null)"]),
                  inner, inner).map(lambda parts: parts[0].format(parts[1], parts[2])),
    ),
    max_leaves=4,
)  # fmt: skip


@st.composite
def queries(draw: st.DrawFn) -> str:
    """A query with something in it that reaches outside, perhaps."""
    table, other = draw(st.sampled_from(TABLES)), draw(st.sampled_from(TABLES))
    expression, condition = draw(EXPRESSIONS), draw(EXPRESSIONS)
    query = draw(
        st.sampled_from(
            [
                "select {e} as x from crm.person", "select person_id, {e} as x from crm.person where {c} is not null", "select * from {t}",
                "from {t} select {e}", "with a as (select {e} as x from crm.person) select * from a, {t}", "select {e} from {t} join {o} on true",
                "select person_id from crm.person where person_id in (select {e} from {t})", "select {e} from crm.person order by {c}",
                "select {e} from crm.person group by all having {c} is null", "select 1 union all select {e} from {t}", "table {t}",
                "select * replace ({e} as city) from crm.person", "select person_id from crm.person limit {e}", "select {e}",
                "select * from crm.person p, lateral (select {e} as x from {t}) l", "select distinct on ({e}) person_id from crm.person",
                "with {t} as (select 1) select * from {t}", 'select "{e}" from crm.person', "select p.person_id from crm.person p anti join {t} using (person_id)",
            ]
        )
    ).format(e=expression, c=condition, t=table, o=other)  # fmt: skip
    if draw(st.integers(0, 4)) == 0:
        query = draw(st.sampled_from(STATEMENTS)).replace("{q}", query)
    return draw(st.sampled_from([str, str, str.upper, str.swapcase]))(query)  # type: ignore[operator]


@st.composite
def changed(draw: st.DrawFn) -> str:
    """A selection of the sample with words put in, taken out or changed."""
    sql = draw(st.sampled_from(REAL))
    tokens = sqlglot.tokenize(sql, dialect="duckdb")
    words = [sql[token.start : token.end + 1] for token in tokens]
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(words) - 1))
        words[place : place + draw(st.integers(0, 2))] = draw(st.lists(st.sampled_from(WORDS), max_size=1))
        if not words:
            return ""
    return " ".join(words)


def run(connection: duckdb.DuckDBPyConnection, text: str) -> list[tuple[object, ...]] | str:
    """The rows in some order, or what went wrong."""
    try:
        return sorted(connection.execute(text).fetchall(), key=str)
    except duckdb.Error as error:
        return type(error).__name__


def attack(world: World, sql: str) -> None:
    """Let a query through the gate, if it goes, and see that nothing happened."""
    try:
        query = check_query(sql, CATALOG, ["others"])
    except ProjectError:
        return
    text = duckdb_sql(rewrite_clock(query, LONG_AGO, ZONE))
    before = world.state()
    results = [run(world.open, text), run(world.locked.connection, text)]
    assert world.state() == before
    assert SECRET not in str(results)
    assert str(datetime.now(UTC).year) not in str(results)
    again = [run(world.open, text), run(world.locked.connection, text)]
    assert again == results, "a second run gives the same"
    assert "PermissionException" not in results, "the second wall was not needed"


@settings(max_examples=80, deadline=None)
@given(sql=queries())
def test_hostile_sql_of_a_grammar_reaches_nothing(world: World, sql: str) -> None:
    attack(world, sql)


@settings(max_examples=40, deadline=None)
@given(sql=changed())
def test_the_samples_own_sql_with_hostile_words_in_it_reaches_nothing(world: World, sql: str) -> None:
    attack(world, sql)


@pytest.mark.parametrize("sql", REAL)
def test_the_sample_itself_passes_and_runs(world: World, sql: str) -> None:
    query = check_query(sql, CATALOG, ["others"])
    assert isinstance(run(world.locked.connection, duckdb_sql(rewrite_clock(query, LONG_AGO, ZONE))), list)


@pytest.mark.parametrize("word", OUTSIDE)
def test_every_way_out_that_the_fuzz_uses_is_refused(word: str) -> None:
    with pytest.raises(ProjectError):
        check_query(f"select {word} as x from crm.person", CATALOG, ["others"])


@pytest.mark.parametrize("word", CLOCKS)
def test_every_clock_that_the_fuzz_uses_tells_the_moment_of_the_run(world: World, word: str) -> None:
    query = check_query(f"select ({word})::varchar as x from crm.person limit 1", CATALOG, ["others"])
    (row,) = run(world.locked.connection, duckdb_sql(rewrite_clock(query, LONG_AGO, ZONE)))
    assert str(row[0]).startswith(("1999-0", "05:05:06"))
