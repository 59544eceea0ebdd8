"""Soundness of the exclusion (F17, F21): what the analysis accepts never gives somebody who received the step.

Random queries are put together from forms that people write, right and wrong; whatever the analysis accepts runs in
DuckDB over random contact moments.
"""

# ruff: noqa: E501  SQL on one line each
from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from smp_pipelines.crm.catalog import Catalog, read_catalog
from smp_pipelines.selection.analysis.exclusion import Exclusion, excludes
from smp_pipelines.selection.analysis.window import FOR_EVER
from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.gate import duckdb_sql
from smp_pipelines.selection.macros import render
from smp_pipelines.selection.unit_tests.tables import Tables
from tests.conftest import REPOSITORY

ZONE = ZoneInfo("Europe/Amsterdam")
NOW = datetime(2026, 2, 20, 15, 0, tzinfo=ZONE)
CATALOG: Catalog = read_catalog(REPOSITORY / "sql" / "schema")
STEP = "a/b"
AGES = [timedelta(hours=hours) for hours in (1, 5, 11, 14, 16, 23, 25, 50, 100, 167, 169, 700, 730, 900, 5000)]
PEOPLE, RECORDS = range(1, 7), range(1, 4)


def fill(tables: Tables, seed: int) -> None:
    """Random people, tickets, donations and contact moments; some addresses are shared, some are missing."""
    dice = random.Random(seed)
    address = {person: dice.choice(["a@x", "b@x", "c@x", f"{person}@x", None]) for person in PEOPLE}
    tables.put(
        "crm.person",
        [
            {
                "person_id": p,
                "email": address[p],
                "organisation_id": dice.choice(PEOPLE),
                "blocked": dice.random() < 0.3,
            }
            for p in PEOPLE
        ],
        NOW,
    )
    bought = [{"person_id": p, "performance_id": r} for p in PEOPLE for r in RECORDS if dice.random() < 0.7]
    tables.put("crm.ticket", bought, NOW)
    tables.put("crm.donation", [{"person_id": p} for p in PEOPLE if dice.random() < 0.5], NOW)
    with_record = seed % 2 == 1
    moments = []
    for _ in range(dice.randint(0, 6)):
        outcome = dice.choice(["accepted", "accepted", "planned", "unknown", "rejected"])
        moments.append(
            {
                "person_id": dice.choice(PEOPLE),
                "record_id": dice.choice(RECORDS) if with_record else None,
                "step": dice.choice([STEP, STEP, STEP, "c/d"]),
                "outcome": outcome,
                "reason": dice.choice([None, "x"]),
                "send_id": dice.choice(PEOPLE),
                "happened_at": (NOW - dice.choice(AGES)).isoformat(),
            }
        )
    tables.put("smp.contact_moment", moments, NOW)


@pytest.fixture(scope="module")
def worlds() -> Iterator[list[Tables]]:
    """Small CRMs with contact moments: of a step with records (odd places) and of one without."""
    made = [Tables(CATALOG, ZONE) for _ in range(10)]
    for seed, tables in enumerate(made):
        fill(tables, seed)
    yield made
    for tables in made:
        tables.connection.close()


def one_of(*texts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


CONDITIONS = st.lists(
    one_of(
        *["m.step = 'a/b'", "m.received"] * 20,
        *["m.happened_at > now() - interval '30 days'", "m.happened_at >= current_date", "m.person_id is not null"] * 2,
        *("m.step in ('a/b', 'c/d')", "m.step like 'a/%'", "m.campaign = 'a'", "m.received = true", "true"),
        *("m.kind = 'sent'", "m.channel in ('email', 'sms')", "m.outcome = 'accepted'", "m.outcome <> 'rejected'"),
        *("m.happened_at > now() - interval '6 hours'", "m.happened_at::date >= current_date - 7"),
        *("m.happened_at::date > current_date - 2", "m.happened_at::date = current_date", "m.record_id is not null"),
        *("m.happened_at::date > current_date", "m.happened_at::date > now() - interval '6 hours'"),
        *("date_trunc('month', m.happened_at) > now() - interval '9 days'", "m.happened_at < current_date"),
        *("m.happened_at >= date_trunc('day', now() - interval '2 days')", "m.happened_at > date '2026-02-10'"),
        *("m.happened_at >= date_trunc('hour', now())", "m.happened_at >= (now() - interval '12 hours')::date"),
        *("m.happened_at between now() - interval '3 days' and now()", "m.happened_at::date between current_date - 3 and current_date"),
        *("m.happened_at > timestamptz '2026-01-01 00:00:00+01:00'", "m.happened_at > timestamptz 'infinity'"),
        *("m.happened_at > date_trunc('month', now())", "m.happened_at::timestamptz > now() - interval 2 weeks"),
        *("not m.received", "m.step = 'c/d'", "m.reason is not null", "m.send_id is not null", "m.record_id = 2"),
        *("m.send_id = m.person_id", "m.record_id = m.person_id", "m.campaign = m.step", "m.step = m.step", "false"),
        *("m.person_id in (select person_id from crm.donation)", "m.person_id > 2", "not (m.person_id = 3)"),
        *("(m.received or m.reason is null)", "m.record_id = m.record_id", "m.reason = m.reason", "m.person_id = 2"),
    ),
    min_size=1,
    max_size=4,
).map(" and ".join)  # fmt: skip

SOURCES = one_of(
    *["smp.contact_moment m"] * 30,
    *["smp.contact_moment m join crm.person x on x.person_id = m.person_id"] * 6,
    "(select * from smp.contact_moment) m",
    "(select person_id, record_id, step, received, happened_at, campaign from smp.contact_moment) m",
    "(select send_id as person_id, person_id as x, step, received, happened_at from smp.contact_moment) m",
    "(select * replace (send_id as person_id) from smp.contact_moment) m",
    "(select * from smp.contact_moment limit 2) m",
    "((select * from smp.contact_moment) limit 1) m",
    "(select * from smp.contact_moment where received) m(person_id, campaign, step)",
    "(select distinct on (step) * from smp.contact_moment) m",
    "(select distinct * from smp.contact_moment where step = 'a/b') m",
    "crm.person x join smp.contact_moment m using (person_id)",
    "smp.contact_moment m join crm.donation x using (person_id)",
    "smp.contact_moment m semi join crm.donation x using (person_id)",
    "smp.contact_moment m, crm.person x",
    "smp.contact_moment m, (select 1 as n where false) x",
    "smp.contact_moment m left join crm.donation x using (person_id)",
    "smp.contact_moment m left join crm.person x on x.person_id = m.send_id",
    "smp.contact_moment m right join crm.donation x on x.person_id = m.person_id",
    "smp.contact_moment m join crm.person x on x.email_key = 'a@x' and x.person_id = m.person_id",
    "smp.contact_moment m join crm.person w using (person_id) join crm.person x on x.email_key = w.email_key",
    "smp.contact_moment m join crm.person x on x.organisation_id = m.person_id",
)
TAILS = one_of(
    *[""] * 25, " group by 1", " limit 1", " order by 1", " having count(*) > 1", " offset 1", " group by all"
)


@st.composite
def received(draw: st.DrawFn, output: str, condition: str = "") -> str:
    """A query of people who received a step, or of something like it."""
    where = draw(CONDITIONS) + condition
    plain = f"select {output} from {draw(SOURCES)} where {where}{draw(TAILS)}"
    form = draw(st.integers(0, 9))
    if form == 0 and not condition:
        return f"{plain} union all select {output} from smp.contact_moment m where {draw(CONDITIONS)}"
    if form == 1 and not condition:
        word = draw(one_of("union", "intersect", "except"))
        return f"select {output} from smp.contact_moment m where {draw(CONDITIONS)} {word} {plain}"
    if form == 2:
        return f"with m as (select * from smp.contact_moment where {draw(CONDITIONS).replace('m.', '')}) {plain}"
    return f"({plain})" if form == 3 else plain


OUTPUTS = one_of(*["m.person_id"] * 15, "m.send_id", "m.send_id as person_id", "max(m.person_id)", "m.record_id")
PERSON = one_of(
    *["p.person_id"] * 15, *["person_id"] * 2, "t.person_id", "d.person_id", "p.organisation_id", "s.person_id"
)
LINKS = one_of(
    *["m.person_id = p.person_id"] * 15, "m.person_id = t.person_id", "m.person_id = p.organisation_id", "m.send_id = p.person_id",
    "m.person_id = p.person_id and m.record_id = t.performance_id", "m.person_id = m.person_id", "m.person_id = d.person_id",
)  # fmt: skip
SHORT = "select m.person_id from smp.contact_moment m where m.step = 'a/b' and m.received"


@st.composite
def leaves_out(draw: st.DrawFn) -> str:
    """A condition that leaves people out, or seems to."""
    form = draw(st.integers(0, 9))
    person = draw(PERSON)
    if form <= 1:
        return f"{person} not in ({draw(received(draw(OUTPUTS)))})"
    if form == 2:
        left = draw(
            one_of(
                "(p.person_id, t.performance_id)", "(t.performance_id, p.person_id)", "(t.person_id, t.performance_id)"
            )
        )
        right = draw(
            one_of("m.person_id, m.record_id", "m.record_id, m.person_id", "m.person_id, 2", "m.person_id, m.send_id")
        )
        return f"{left} not in ({draw(received(right))})"
    if form <= 4:
        return f"not exists ({draw(received(draw(one_of('1', '*', 'm.step')), f' and {draw(LINKS)}'))})"
    if form == 5:
        link = draw(one_of("x.email_key = p.email_key", "x.person_id = p.person_id", "x.email_key = o.email_key"))
        inside = "smp.contact_moment m join crm.person x using (person_id)"
        return f"not exists (from {inside} where {link} and {draw(CONDITIONS)})"
    if form == 6:
        return f"{person} {draw(one_of('<> all', 'not in', '= any'))} ({draw(received(draw(OUTPUTS)))})"
    if form == 7:
        inside = draw(one_of("p.email_key", "o.email_key", "email_key"))
        return f"{inside} not in (select x.email_key from smp.contact_moment m join crm.person x using (person_id) where x.email_key is not null and {draw(CONDITIONS)})"
    if form == 8:
        macro = draw(
            one_of(
                "within='30 days'",
                "within='today'",
                "within='6 hours', by='person'",
                "within='9 days', record='t.performance_id'",
            )
        )
        return f"{{{{ not_received('a/b', person='{person}', {macro}) }}}}"
    output = draw(one_of("q.person_id", "q.organisation_id", "q.person_id, q.city"))
    return f"{person} in (select {output} from crm.person q where q.person_id not in ({SHORT}))"


@st.composite
def conditions(draw: st.DrawFn) -> str:
    first, second = draw(leaves_out()), draw(leaves_out())
    return draw(
        one_of(
            first, first, first, f"({first} and not p.blocked)", f"({first} or {second})", f"({first} and {second})",
            f"not ({first})", f"not (p.blocked or not ({first}))", f"not (p.blocked and not ({first}))", f"({first}) is not false",
        )
    )  # fmt: skip


FROMS = one_of(
    *["crm.person p"] * 12,
    *["crm.person p join crm.ticket t using (person_id)", "crm.person p join crm.ticket t on t.person_id = p.person_id"]
    * 6,
    "crm.ticket t join crm.person p using (person_id)",
    "crm.ticket t left join crm.person p using (person_id)",
    "crm.person p left join crm.ticket t using (person_id)",
    "crm.person p right join crm.ticket t using (person_id)",
    "crm.person p full join crm.ticket t on t.person_id = p.organisation_id",
    "crm.person p join crm.person o using (person_id) full join crm.ticket t using (person_id)",
    "crm.person p, crm.ticket t",
    "crm.person p join crm.person o on o.person_id = p.organisation_id join crm.ticket t on t.person_id = o.person_id",
    "crm.person p join crm.donation d on true join crm.ticket t on t.person_id = d.person_id",
    "crm.person p natural join crm.donation d join crm.ticket t using (person_id)",
    f"crm.person p anti join ({SHORT}) m using (person_id) join crm.ticket t on true",
    "crm.person p anti join smp.contact_moment m on m.person_id = p.person_id and m.step = 'a/b'",
    f"crm.person p join (select person_id from crm.person where person_id not in ({SHORT})) s on true",
    f"crm.person p join (select person_id from crm.person where person_id not in ({SHORT})) s using (person_id)",
    f"crm.person p left join ({SHORT}) g on g.person_id = p.person_id",
    "crm.person p left join smp.contact_moment g on g.person_id = p.person_id and g.step = 'a/b' and g.received",
    "crm.person p left join smp.contact_moment g on g.person_id = p.organisation_id and g.step = 'a/b'",
    "crm.person p left join smp.contact_moment g on g.person_id = p.person_id and g.step = 'a/b' and p.blocked",
    "crm.person p left join smp.contact_moment g on g.person_id = p.person_id and g.step = 'a/b' full join crm.ticket t on t.person_id = p.person_id",
    "selections.fresh p",
    "selections.fresh p join crm.ticket t on t.person_id = p.organisation_id",
    "wild p",
)
GONE = one_of(
    *["true"] * 3,
    "not p.blocked",
    "g.person_id is null",
    "g.step is null",
    "g.record_id is null",
    "p.person_id = t.person_id",
)
CHOSEN = one_of(
    *["p.person_id"] * 20, "person_id", "t.person_id", "p.organisation_id as person_id", "p.person_id, t.performance_id",
    "t.person_id, t.performance_id", "s.person_id", "d.person_id", "max(p.person_id) as person_id", "*", "p.*",
    "* replace (organisation_id as person_id)", "distinct person_id", "case when p.blocked then p.person_id else 1 end as person_id",
)  # fmt: skip


@st.composite
def selections(draw: st.DrawFn, depth: int = 2) -> str:
    """A query that gives people, and may leave recipients out."""
    where = " and ".join(draw(st.lists(st.one_of(conditions(), GONE), min_size=1, max_size=2)))
    plain = f"select {draw(CHOSEN)} from {draw(FROMS)} where {where}"
    if depth == 0:
        return plain
    inner = draw(selections(depth - 1))  # type: ignore[call-arg]
    return draw(
        one_of(
            plain, plain, plain, inner,
            f"{plain} except {draw(received('m.person_id'))}",
            f"{plain} except all {SHORT}",
            f"({plain}) {draw(one_of('union', 'union all', 'intersect', 'except', 'union by name'))} ({inner})",
            f"select person_id from ({plain}) p",
            f"with p as ({plain}) select p.person_id from p",
            f"with p(organisation_id, person_id) as ({plain}) select person_id from p",
            f"with p as ({plain}) select t.person_id from crm.ticket t join p on true",
            f"with p as ({plain}) select * from p {draw(one_of('join', 'left join', 'right join', 'semi join'))} crm.ticket t using (person_id)",
            f"select person_id from crm.person where person_id in (select person_id from ({plain}) p)",
            f"with q as (select person_id, t.performance_id from crm.ticket t where (person_id, performance_id) not in (select m.person_id, m.record_id from smp.contact_moment m where m.step = 'a/b')) select q.person_id, {draw(one_of('q', 't'))}.performance_id from q join crm.ticket t using (person_id)",
        )
    )  # fmt: skip


WILD = "select organisation_id as person_id, person_id as organisation_id, blocked, email_key from crm.person where person_id not in (select person_id from smp.contact_moment where step = 'a/b')"
FRESH = "select person_id, organisation_id, blocked from crm.person where person_id not in (select person_id from smp.contact_moment where step = 'a/b' and received and happened_at > now() - interval '9 days')"


def accepted(sql: str) -> tuple[exp.Query, Exclusion] | None:
    """The query and the exclusion that the analysis sees in it, if any."""
    text = render(sql, {STEP}).replace("from wild p", f"from ({WILD}) p")
    query = sqlglot.parse_one(text, dialect="duckdb")
    assert isinstance(query, exp.Query)
    fresh = sqlglot.parse_one(FRESH, dialect="duckdb")
    assert isinstance(fresh, exp.Query)
    found = excludes(query, STEP, {"fresh": fresh})
    return (query, found) if found else None


def still_in(tables: Tables, query: exp.Query, exclusion: Exclusion, of_records: bool) -> list[tuple[object, ...]]:
    """The recipients within the window whom the query gives all the same."""
    now = f"timestamptz '{NOW.isoformat()}'"
    fresh = FRESH.replace("now()", now)
    tables.connection.execute(f"create or replace table smp.selections.fresh as {fresh}")
    tables.connection.execute(f"create or replace temp table got as {duckdb_sql(rewrite_clock(query, NOW, ZONE))}")
    begin = NOW.replace(hour=0) if exclusion.window.whole_day else NOW
    since = exclusion.window.since
    if exclusion.window.length != FOR_EVER:
        since = begin - exclusion.window.length
    same = "m.person_id = got.person_id"
    if exclusion.by_record:
        if not of_records or exclusion.record is None:
            return []  # a step without records, or a record that does not come out: check_continuous refuses it
        same += f" and m.record_id = got.{exclusion.record}"
    outcome = "m.outcome = 'accepted'" if exclusion.partial else "m.received"
    late = (
        f"m.happened_at > timestamptz '{since.replace(tzinfo=since.tzinfo or ZONE).isoformat()}'" if since else "true"
    )
    return tables.connection.execute(
        f"select got.person_id, m.happened_at::varchar, m.outcome from got join smp.contact_moment m on {same} "
        f"where m.step = '{STEP}' and {outcome} and {late} "
        "and m.person_id in (select person_id from crm.person where email_key is not null)"
    ).fetchall()


@settings(max_examples=60, deadline=None)
@given(sql=selections())
def test_what_the_analysis_accepts_never_gives_somebody_who_received_the_step(worlds: list[Tables], sql: str) -> None:
    found = accepted(sql)
    if found is None:
        return
    for place, tables in enumerate(worlds):
        try:
            wrong = still_in(tables, *found, of_records=place % 2 == 1)
        except (duckdb.BinderException, duckdb.ParserException, duckdb.CatalogException):
            return  # the binder refuses such a selection
        assert wrong == [], (found[1], duckdb_sql(found[0]))


@settings(max_examples=25, deadline=None)
@given(sql=received("m.person_id"))
def test_an_honest_exclusion_is_accepted_whatever_query_of_recipients_it_uses(sql: str) -> None:
    """The tests above would pass with an analysis that accepts nothing."""
    simple = "select person_id from smp.contact_moment where step = 'a/b' and received"
    assert accepted(f"select person_id from crm.person where person_id not in ({simple} union all ({sql}))")
