"""The sample CRM: what is in it, that it is the same every time, and that loading is all or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import psycopg
import pytest

from smp_pipelines.crm import sample
from smp_pipelines.crm.catalog import read_catalog
from smp_pipelines.problems import SmpError

REPOSITORY = Path(__file__).resolve().parents[1]
TODAY = date(2026, 1, 14)
PEOPLE = 20_000


@pytest.fixture(scope="module")
def crm() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        sample.generate(connection, PEOPLE, TODAY)
        yield connection


def one(connection: duckdb.DuckDBPyConnection, query: str) -> float:
    row = connection.execute(query).fetchone()
    assert row is not None
    return float(row[0])


def share(connection: duckdb.DuckDBPyConnection, condition: str, table: str = "person") -> float:
    return one(connection, f"select avg(({condition})::integer) from sample.{table}")


def test_every_crm_table_is_there_with_the_columns_of_the_schema(crm: duckdb.DuckDBPyConnection) -> None:
    catalog = read_catalog(REPOSITORY / "sql" / "schema")
    by_visitors = {"registration", "survey_answer", "activity", "request"}  # or by flows
    assert set(sample.TABLES) == {table.short_name for table in catalog.crm()} - by_visitors
    for table in catalog.crm():
        if table.short_name in by_visitors:
            continue
        described = [name for name, *_ in crm.execute(f"describe sample.{table.short_name}").fetchall()]
        assert described == [name for name, column in table.columns.items() if not column.generated]
        keys = ", ".join(table.key)
        query = f"select count(*) - count(distinct ({keys})) from sample.{table.short_name}"
        assert one(crm, query) == 0, f"a key of {table.name} is there twice"


def test_addresses_are_shared_missing_and_broken_as_often_as_promised(crm: duckdb.DuckDBPyConnection) -> None:
    assert 0.05 < share(crm, "email is null") < 0.07
    good = r"regexp_full_match(trim(email), '(?i)[a-z]+([.][a-z]+)*[0-9]*@[a-z]+[.]example')"
    assert 0.006 < share(crm, f"email is not null and not {good}") < 0.014
    shared = "select lower(trim(email)) from sample.person where email is not null group by all having count(*) > 1"
    shared_people = f"select email from sample.person where lower(trim(email)) in ({shared})"
    assert 0.03 < share(crm, f"email is not null and lower(trim(email)) in ({shared})") < 0.055
    largest = f"select max(n) from (select count(*) as n from ({shared_people}) group by lower(trim(email)))"
    assert one(crm, largest) == 3
    assert one(crm, f"select count(distinct email) from sample.person where lower(trim(email)) in ({shared})") > one(
        crm, f"select count(*) from ({shared})"
    ), "no family member writes the address in another way"
    assert share(crm, "email is null or lower(email) like '%.example%'") == 1


def test_people_look_like_people(crm: duckdb.DuckDBPyConnection) -> None:
    assert (
        one(
            crm,
            "select count(*) from sample.person where strftime(birth_date, '%m-%d') = '02-29'",
        )
        > 10
    )
    assert share(crm, "postal_code is null or regexp_full_match(postal_code, '[1-9][0-9]{3} [A-Z]{2}')") == 1
    assert 0 < share(crm, "salutation is null") < 0.08
    assert {"nl", "en", "de", "fr"} == {
        row[0] for row in crm.execute("select distinct language from sample.person").fetchall()
    }
    assert 0.002 < share(crm, "blocked") < 0.01
    colleagues = crm.execute(
        "select person_id, blocked, email like '%@schouwburgdelinde.example' from sample.person"
        " where internal_test order by person_id"
    )
    assert colleagues.fetchall() == [(number, False, True) for number in range(1, 6)]
    assert one(crm, "select count(*) from sample.organisation") == PEOPLE // 40
    assert (
        one(
            crm,
            "select count(*) from sample.person anti join sample.organisation using (organisation_id)"
            " where organisation_id is not null",
        )
        == 0
    )


def test_consent_and_suppression_have_the_promised_shares(crm: duckdb.DuckDBPyConnection) -> None:
    def answered(topic: str, granted: bool) -> float:
        return one(
            crm,
            f"select count(*) / {PEOPLE} from sample.consent"
            f" where channel = 'email' and topic = '{topic}' and granted = {granted}",
        )

    assert 0.015 < answered("service", False) < 0.025
    assert answered("service", True) == 0
    assert 0.53 < answered("newsletter", True) < 0.57
    assert 0.13 < answered("newsletter", False) < 0.17
    assert one(crm, "select count(*) from sample.consent where wording is null or wording = '' or source = ''") == 0
    assert 0.003 < one(crm, f"select count(*) / {PEOPLE} from sample.suppression") < 0.007
    assert share(crm, "email_key = lower(trim(email_key))", "suppression") == 1


def test_the_coming_weeks_have_four_performances_a_day_and_some_are_blocked(crm: duckdb.DuckDBPyConnection) -> None:
    local = "timezone('Europe/Amsterdam', starts_at)"
    counts = dict(crm.execute(f"select {local}::date, count(*) from sample.performance group by all").fetchall())
    assert all(counts[TODAY + timedelta(days=ahead)] >= 4 for ahead in range(-1, 15))
    assert 1300 < sum(counts.values()) < 2200
    assert min(counts) >= TODAY - timedelta(days=730)
    assert max(counts) <= TODAY + timedelta(days=120)
    blocked = [
        day
        for (day,) in crm.execute(f"select {local}::date from sample.performance where block_service_mail").fetchall()
    ]
    coming = [day for day in blocked if TODAY <= day <= TODAY + timedelta(days=14)]
    assert coming
    assert len(coming) == len(set(coming)), "more than one performance is blocked on a day"
    times = {
        row[0] for row in crm.execute(f"select distinct strftime({local}, '%H:%M') from sample.performance").fetchall()
    }
    assert {"20:15", "14:30"} <= times
    assert times <= {"10:30", "12:30", "14:30", "19:30", "20:00", "20:15", "20:30", "20:45"}


def test_each_of_the_next_four_days_has_enough_ticket_holders(crm: duckdb.DuckDBPyConnection) -> None:
    holders = crm.execute(
        "select timezone('Europe/Amsterdam', starts_at)::date as day, count(distinct person_id)"
        " from sample.ticket join sample.performance using (performance_id) group by all"
    ).fetchall()
    by_day = dict(holders)
    for ahead in range(1, 5):
        assert 1500 < by_day[TODAY + timedelta(days=ahead)] < 2500


def test_families_go_together_and_nothing_is_bought_in_the_future(crm: duckdb.DuckDBPyConnection) -> None:
    together = one(
        crm,
        "with families as (select lower(trim(email)) as address, list(person_id) as members from sample.person"
        " where email is not null group by all having count(*) > 1)"
        " select count(*) from families where exists ("
        " select 1 from sample.ticket as a join sample.ticket as b using (performance_id)"
        " where a.person_id = members[1] and b.person_id = members[2])",
    )
    assert together > 50
    midnight = datetime(2026, 1, 14, tzinfo=ZoneInfo("UTC"))
    for table, moment in (
        ("ticket", "bought_at"),
        ("donation", "donated_at"),
        ("consent", "changed_at"),
        ("person", "created_at"),
    ):
        assert (
            one(crm, f"select count(*) from sample.{table} where {moment} > timestamptz '{midnight.isoformat()}'") == 0
        )
    early = "select count(*) from sample.ticket join sample.person using (person_id) where bought_at < created_at"
    assert one(crm, early) == 0
    late = (
        "select count(*) from sample.ticket join sample.performance using (performance_id) where bought_at >= starts_at"
    )
    assert one(crm, late) == 0


def test_a_person_is_the_same_among_more_people_and_on_one_core(crm: duckdb.DuckDBPyConnection) -> None:
    with duckdb.connect(config={"threads": 1}) as other:
        sample.generate(other, 1000, TODAY)
        for table, columns in (
            ("person", "* exclude organisation_id"),
            ("consent", "*"),
            ("ticket", "*"),
            ("donation", "*"),
        ):
            query = f"select {columns} from sample.{table} where person_id < 950 order by all"
            assert other.execute(query).fetchall() == crm.execute(query).fetchall(), table


def test_another_seed_gives_other_people(crm: duckdb.DuckDBPyConnection) -> None:
    query = (
        "select first_name, last_name, city from sample.person where person_id between 100 and 200 order by person_id"
    )
    with duckdb.connect() as other:
        sample.generate(other, 1000, TODAY, seed=2)
        pairs = zip(other.execute(query).fetchall(), crm.execute(query).fetchall(), strict=True)
        assert sum(left == right for left, right in pairs) < 5


def test_loading_writes_the_whole_sample_once(postgres_url: str) -> None:
    told: list[tuple[str, int]] = []
    written = sample.load(postgres_url, 1000, TODAY, progress=lambda table, count: told.append((table, count)))
    assert dict(told) == written
    assert list(written) == list(sample.TABLES)
    with psycopg.connect(postgres_url) as connection, duckdb.connect() as duck:
        sample.generate(duck, 1000, TODAY)
        for table, count in written.items():
            assert connection.execute(f"select count(*) from crm.{table}").fetchone() == (count,)
        query = "select person_id, infix, email, birth_date, created_at from {}.person order by person_id"
        assert connection.execute(query.format("crm")).fetchall() == duck.execute(query.format("sample")).fetchall()
        before = connection.execute("select max(changed_tx::text::bigint) from crm.ticket").fetchone()
    assert sample.load(postgres_url, 1000, TODAY) == {}
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select max(changed_tx::text::bigint) from crm.ticket").fetchone() == before
        assert connection.execute("select people, seed, today from smp.sample_load").fetchall() == [(1000, 1, TODAY)]


def test_loading_leaves_the_keys_and_indexes_as_they_were(postgres_url: str) -> None:
    query = (
        "select conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated from pg_constraint"
        " where connamespace = 'crm'::regnamespace"
        " union all select tablename, indexname, indexdef, true from pg_indexes where schemaname = 'crm' order by 1, 2"
    )
    with psycopg.connect(postgres_url) as connection:
        before = connection.execute(query).fetchall()
    sample.load(postgres_url, 200, TODAY)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute(query).fetchall() == before
        assert len(before) > 25


def test_another_sample_or_other_people_in_the_crm_are_refused(postgres_url: str) -> None:
    sample.load(postgres_url, 100, TODAY)
    with pytest.raises(SmpError, match="a sample of 100 people around 2026-01-14"):
        sample.load(postgres_url, 100, TODAY + timedelta(days=1))
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select count(*) from crm.person").fetchone() == (100,)


def test_a_load_that_fails_leaves_nothing_behind(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("alter table crm.donation add check (amount < 500)")
    with pytest.raises(psycopg.errors.CheckViolation):
        sample.load(postgres_url, 2000, TODAY)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select count(*) from crm.person").fetchone() == (0,)
        assert connection.execute("select count(*) from smp.sample_load").fetchone() == (0,)
        assert connection.execute(
            "select count(*) from pg_constraint where contype = 'f' and connamespace = 'crm'::regnamespace"
        ).fetchone() == (13,)


def test_fewer_than_ten_people_are_refused() -> None:
    with duckdb.connect() as connection, pytest.raises(SmpError, match="at least 10"):
        sample.generate(connection, 9, TODAY)
