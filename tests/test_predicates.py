"""Predicates: which condition of a selection keeps somebody out, judged for many people at once (X1, X4)."""

# ruff: noqa: E501  SQL on one line each
from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pytest
import sqlglot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from smp_pipelines.crm.catalog import read_catalog
from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.gate import duckdb_sql
from smp_pipelines.selection.macros import render
from smp_pipelines.selection.predicates.judging import Judgement, Question, failing_sql, judge, rows_of
from smp_pipelines.selection.predicates.moments import gather_near, near_people

ROOT = Path(__file__).resolve().parents[1]
CATALOG = read_catalog(ROOT / "sql" / "schema")
AMSTERDAM = ZoneInfo("Europe/Amsterdam")
NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
STEP = "a/b"
PEOPLE = list(range(1, 91))  # the last ten are nobody
RECEIVED = "select person_id from smp.contact_moment where step = 'a/b' and received"
OTHERS = {
    "amsterdam": "select person_id from crm.person where city = 'Amsterdam'",
    "buyers": "select person_id, count(*) as tickets from crm.ticket group by person_id having count(*) >= 3",
    "fresh": f"select person_id from selections.amsterdam where person_id not in ({RECEIVED})",
}


def parsed(sql: str) -> exp.Query:
    query = sqlglot.parse_one(render(sql, {STEP, "c/d"}), dialect="duckdb")
    assert isinstance(query, exp.Query)
    return query


def question(sql: str) -> Question:
    return Question("one", parsed(sql), NOW, AMSTERDAM, {name: parsed(text) for name, text in OTHERS.items()})


def runnable(sql: str) -> str:
    return duckdb_sql(rewrite_clock(parsed(sql), NOW, AMSTERDAM))


@pytest.fixture(scope="module")
def lake() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that plays the lake: eighty people, some without a city or an address, some sharing one."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set TimeZone = 'Europe/Amsterdam'")
        connection.execute("attach ':memory:' as crm; attach ':memory:' as smp; create schema smp.selections; use smp")
        for name, table in ((name, table) for name, table in CATALOG.tables.items() if name.startswith("crm.")):
            columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns.values())
            connection.execute(f"create table {name} ({columns})")
        connection.execute(
            """
            insert into crm.person (person_id, last_name, city, email_key, blocked, organisation_id, created_at)
            select n, 'P' || n, ['Amsterdam', 'Utrecht', null][1 + n % 3], if(n % 7 = 0, null, 'p' || n // 2 || '@x.nl'),
                n % 11 = 0, if(n % 4 = 0, n % 5, null), timestamptz '2026-01-01 12:00:00+01' from range(1, 81) r(n);
            insert into crm.organisation (organisation_id, name, kind, created_at)
            select n, 'O' || n, ['school', 'fund'][1 + n % 2], timestamptz '2026-01-01 12:00:00+01' from range(0, 3) r(n);
            insert into crm.performance (performance_id, title, genre, starts_at, block_service_mail)
            select n, 'T' || n, ['dans', 'opera'][1 + n % 2], timestamptz '2026-11-20 20:00:00+01' + to_days(n::int), n = 5
            from range(1, 10) r(n);
            insert into crm.ticket (ticket_id, person_id, performance_id, price, bought_at)
            select n, 1 + (n * n * 31) % 79, 1 + (n * 7) % 9, 5 + n % 40, timestamptz '2026-11-01 12:00:00+01' - to_days((n % 500)::int)
            from range(1, 201) r(n);
            create table smp.message (send_id bigint, person_id bigint, record_id bigint, step varchar, campaign varchar,
                channel varchar, purpose varchar, moment timestamptz, outcome varchar, reason varchar, received boolean);
            create view smp.contact_moment as
            select person_id, campaign, step, channel, 'sent' as kind, moment as happened_at, outcome, reason, received,
                record_id, send_id
            from smp.message where purpose = 'live' and (outcome <> 'skipped' or received);
            insert into smp.message (person_id, campaign, step, channel, purpose, moment, outcome, received, record_id)
            select 1 + (n * 13) % 80, 'a', if(n % 3 = 0, 'c/d', 'a/b'), 'email', 'live',
                timestamptz '2026-11-23 09:00:00+01' - to_days((n * 2)::int), if(n % 5 = 0, 'skipped', 'accepted'), n % 5 > 0, 1 + n % 9
            from range(1, 61) r(n);
            """
        )
        for name, sql in OTHERS.items():
            connection.execute(f"create table smp.selections.{name} as {runnable(sql)}")
        yield connection


QUERIES = [
    "select person_id from crm.person",
    "select person_id from crm.person where city = 'Utrecht' and not blocked",
    "select * from crm.person where email_key is not null and (city = 'Utrecht' or blocked)",
    "select p.person_id, p.city as town from crm.person p where town = 'Utrecht' order by 1 limit 7",
    "select distinct person_id, performance_id from crm.ticket join crm.performance using (performance_id) where starts_at::date = current_date + 2 and not block_service_mail and {{ not_received('a/b', within='30 days', record='performance_id') }}",
    "select person_id from crm.ticket where {{ not_received('a/b', within='180 days') }} group by person_id having max(bought_at) < now() - interval '60 days' and count(*) > 1",
    "select p.person_id from crm.person p join crm.organisation o on o.organisation_id = p.organisation_id and o.kind = 'fund' join crm.ticket t on t.person_id = p.person_id where t.price > 10",
    "select p.person_id from crm.person p, crm.ticket t where p.person_id = t.person_id and t.price > 30 and p.city = 'Amsterdam'",
    "select p.person_id from crm.person p left join crm.ticket t on t.person_id = p.person_id and t.price > 30 where t.ticket_id is null",
    "select person_id from crm.person anti join crm.ticket using (person_id) where city is not null",
    "select person_id from crm.person semi join crm.ticket using (person_id)",
    "select p.person_id from crm.ticket t right join crm.person p using (person_id) where t.price is null or t.price < 20",
    "select person_id from selections.amsterdam where person_id in (select person_id from selections.buyers)",
    "select person_id from selections.fresh join crm.ticket using (person_id) where price > 20",
    f"select person_id from crm.person p where not exists (select 1 from smp.contact_moment m where m.person_id = p.person_id and m.step = 'a/b') and person_id not in ({RECEIVED})",
    "with t as (select person_id, sum(price) as spent from crm.ticket group by person_id having sum(price) > 40), u as (select person_id from t where spent < 120) select person_id from u where person_id in (select person_id from crm.person where city = 'Utrecht')",
    "select person_id from (select person_id, row_number() over (partition by city order by person_id) as n from crm.person where not blocked) where n <= 5",
    "select person_id from crm.person qualify row_number() over (partition by email_key order by person_id) = 1",
    "select distinct on (city) person_id from crm.person order by city, person_id",
    "select person_id from crm.person where city = 'Utrecht' union select person_id from crm.ticket where price > 40",
    "select person_id from crm.person where city = 'Utrecht' union all (select person_id from crm.ticket where price > 40 limit 3)",
    f"select person_id from crm.person except {RECEIVED}",
    "select person_id, performance_id from crm.ticket except select person_id, record_id from smp.contact_moment where received",
    "select person_id from crm.person intersect select person_id from crm.ticket where price > 25",
    "select person_id from crm.person where city = 'Utrecht' intersect all select person_id from crm.ticket",
    "(select person_id from crm.person where not blocked) except (select person_id from selections.buyers union select person_id from selections.amsterdam)",
    "select max(person_id) as person_id from crm.person where email_key is not null group by email_key",
    "select max(person_id) as person_id from crm.person",
    "select any_value(person_id) as person_id from crm.person group by city having count(*) > 3",
    "select person_id, city from crm.person group by all having count(*) = 1 and city > 'B'",
    "select p.person_id + 0 as person_id from crm.person p where p.person_id % 2 = 0",
    "select unnest([person_id, person_id + 1]) as person_id from crm.person where city = 'Utrecht'",
    "from crm.person where blocked",
    "select person_id from crm.person where city in ('Utrecht', 'Delft') and person_id in (select person_id from crm.ticket where price > 20) and (select count(*) from crm.ticket t where t.person_id = person.person_id) > 1",
    "select person_id from crm.person where {{ received('a/b') }} and {{ not_received('c/d', within='today', by='person') }}",
    "select case when blocked then null else person_id end as person_id from crm.person where city is not null",
    "select person_id from crm.person natural join crm.ticket where price between 10 and 20",
    "select a.person_id from crm.person a join crm.person b on a.email_key = b.email_key and a.person_id < b.person_id where b.city = 'Utrecht'",
]


def members(lake: duckdb.DuckDBPyConnection, sql: str) -> set[int]:
    return {person for (person,) in lake.execute(f"select person_id from ({runnable(sql)})").fetchall()}


def check(lake: duckdb.DuckDBPyConnection, sql: str) -> dict[int, Judgement]:
    """Judge everybody, and compare with the query itself: who is in, and that whoever is out knows why."""
    asked = question(sql)
    found = judge(lake, asked, PEOPLE)
    expected = members(lake, sql) & set(PEOPLE)
    assert {person for person, one in found.items() if one.is_in} == expected
    assert found.keys() == set(PEOPLE)
    assert [one for one in found.values() if not one.is_in and all(each.holds for each in one.findings)] == []
    lake.execute(f"create or replace temp table asked as select unnest({PEOPLE}) as person_id")
    rows = lake.execute(failing_sql(asked, "temp.asked")).fetchall()
    assert sorted(person for person, *_why in rows) == PEOPLE
    assert {person for person, _selection, predicate in rows if predicate is None} == expected
    return found


@pytest.mark.parametrize("sql", QUERIES)
def test_who_is_in_is_who_the_query_gives_and_whoever_is_out_knows_a_predicate_that_fails(
    lake: duckdb.DuckDBPyConnection, sql: str
) -> None:
    check(lake, sql)


CONDITIONS = st.sampled_from(
    [
        "p.city = 'Utrecht'", "not p.blocked", "p.email_key is not null", "p.organisation_id > 1", "p.city in ('Amsterdam')",
        "p.person_id not in (select person_id from selections.buyers)", "p.person_id in (select person_id from selections.fresh)",
        "{{ not_received('a/b', within='60 days', person='p.person_id') }}", "(p.city is null or p.person_id < 20)",
        "exists (select 1 from crm.ticket t where t.person_id = p.person_id and t.price > 30)",
    ]
)  # fmt: skip
SOURCES = st.sampled_from(
    [
        "crm.person p",
        "crm.person p join crm.ticket t using (person_id)",
        "crm.person p join crm.organisation using (organisation_id)",
        "(select * from crm.person where person_id > 9) p",
    ]
)
PLAIN = st.builds(
    lambda source, parts: f"select p.person_id from {source}" + (f" where {' and '.join(parts)}" if parts else ""),
    SOURCES,
    st.lists(CONDITIONS, max_size=4, unique=True),
)
TREES = st.recursive(
    PLAIN,
    lambda inner: st.builds(
        "({}) {} ({})".format, inner, st.sampled_from(["union", "except", "intersect", "union all"]), inner
    ),
    max_leaves=3,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sql=TREES)
def test_any_mix_of_conditions_and_sets_agrees_with_the_query(lake: duckdb.DuckDBPyConnection, sql: str) -> None:
    check(lake, sql)


def told(lake: duckdb.DuckDBPyConnection, sql: str, person: int) -> list[tuple[str, str, bool, dict[str, object]]]:
    """What is told of one person: whose predicate, its words, whether it holds, the values found."""
    found = judge(lake, question(sql), [person])[person]
    return [(each.selection, each.predicate, each.holds, dict(each.found)) for each in found.findings]


def test_every_condition_is_told_as_people_write_it_with_the_value_found(lake: duckdb.DuckDBPyConnection) -> None:
    sql = "select person_id from crm.person where city = 'Utrecht' and email_key is not null and created_at::date < current_date - 30"
    assert told(lake, sql, 3)[:2] == [
        ("one", "city = 'Utrecht'", False, {"city": "Amsterdam"}),
        ("one", "email_key is not null", True, {"email_key": "p1@x.nl"}),
    ]
    assert told(lake, sql, 3)[2][1] == "created_at::date < current_date - 30"


def test_the_row_that_meets_most_conditions_is_the_one_that_is_told(lake: duckdb.DuckDBPyConnection) -> None:
    sql = "select person_id from crm.ticket where price < 0 and performance_id = 8 and ticket_id > 0"
    (person,) = lake.execute(
        "select person_id from crm.ticket where performance_id = 8 order by ticket_id"
    ).fetchone() or (0,)
    assert [holds for _selection, _words, holds, _found in told(lake, sql, person)] == [False, True, True]


def test_whoever_has_no_row_is_told_in_which_table(lake: duckdb.DuckDBPyConnection) -> None:
    sql = "select p.person_id from crm.person p join crm.organisation o using (organisation_id) join crm.ticket t on t.person_id = p.person_id"
    assert told(lake, sql, 85) == [("one", "has a row in crm.person", False, {})]
    assert told(lake, sql, 1) == [("one", "has a row in crm.organisation", False, {})]
    assert told(lake, "select person_id from crm.person anti join crm.ticket using (person_id)", 1) == [
        ("one", "has no row in crm.ticket", False, {})
    ]


def test_a_group_is_told_with_its_aggregate(lake: duckdb.DuckDBPyConnection) -> None:
    tickets = lake.execute("select count(*) from crm.ticket where person_id = 1").fetchone()
    assert tickets
    sql = "select person_id from crm.ticket where price > 0 group by person_id having count(*) > 99"
    assert told(lake, sql, 1)[1] == ("one", "count(*) > 99", False, {"count(*)": tickets[0]})


def test_the_predicate_of_another_selection_that_keeps_somebody_out_is_named(lake: duckdb.DuckDBPyConnection) -> None:
    sql = "select person_id from crm.person where person_id in (select person_id from selections.fresh)"
    assert told(lake, sql, 1) == [
        ("one", "is in selections.fresh", False, {}),
        ("fresh", "has a row in selections.amsterdam", False, {}),
        ("amsterdam", "city = 'Amsterdam'", False, {"city": "Utrecht"}),
    ]


def test_who_received_a_step_is_told_when_and_by_whom_also_of_sql_that_ran(lake: duckdb.DuckDBPyConnection) -> None:
    sql = "select person_id from crm.person where {{ not_received('a/b', within='180 days') }}"
    ran = Question("one", parsed(runnable(sql)), NOW, AMSTERDAM, {})
    for asked in (question(sql), ran):
        found = {person: one.findings[0] for person, one in judge(lake, asked, PEOPLE).items() if not one.is_in}
        told_ = [each for each in found.values() if each.predicate.startswith("not received")]
        assert {each.predicate for each in told_} == {"not received a/b within 180 days"}
        assert all(isinstance(each.found["received a/b"], datetime) for each in told_)
        others = {person: each.found["by person"] for person, each in found.items() if "by person" in each.found}
        assert others
        addresses = dict(lake.execute("select person_id, email_key from crm.person").fetchall())
        assert all(addresses[person] == addresses[other] for person, other in others.items())


def test_contact_moments_of_a_few_people_give_the_same_answer_as_those_of_all(lake: duckdb.DuckDBPyConnection) -> None:
    for sql in (each for each in QUERIES if "received(" in each):
        everybody = judge(lake, question(sql), PEOPLE)
        for person in (2, 11, 41, 79):
            near = near_people(lake, [person])
            gather_near(lake, near)
            assert judge(lake, question(sql), [person], near=True)[person] == everybody[person]
            rows = rows_of(lake, question(sql), near, near=True)
            assert {row[0] for row in rows} == members(lake, sql) & set(near)


def test_the_first_failing_predicate_is_counted_for_many_people_in_one_query(lake: duckdb.DuckDBPyConnection) -> None:
    sql = "select person_id, performance_id from crm.ticket join crm.performance using (performance_id) where not block_service_mail and price > 0"
    lake.execute("create or replace temp table changed as select distinct person_id, performance_id from crm.ticket")
    text = failing_sql(question(sql), "temp.changed", ("person_id", "performance_id"))
    found = lake.execute(f"select performance_id, selection, predicate from ({text})").fetchall()
    assert set(found) == {(n, None, None) if n != 5 else (5, "one", "not block_service_mail") for n in range(1, 10)}
