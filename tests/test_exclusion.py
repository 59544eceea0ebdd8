"""The exclusion of continuous steps (F17) and of several sends a day (F21), read from parsed SQL."""

# ruff: noqa: E501  SQL on one line each
from __future__ import annotations

from datetime import time, timedelta
from pathlib import Path

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from smp_pipelines.selection.analysis.exclusion import Exclusion, check_continuous, excludes
from smp_pipelines.selection.compiler import Selection
from smp_pipelines.selection.macros import render

STEP = "a/b"
RECEIVED = "select person_id from smp.contact_moment where step = 'a/b' and received"


def parsed(sql: str) -> exp.Query:
    query = sqlglot.parse_one(render(sql, {STEP, "c/d"}), dialect="duckdb")
    assert isinstance(query, exp.Query)
    return query


def selection(sql: str) -> Selection:
    return Selection("one", Path("one.sql"), "who", parsed(sql), (), {"person_id": "BIGINT"})


def found(sql: str) -> Exclusion | None:
    return excludes(parsed(sql), STEP)


EXCLUDING = [
    ("NOT IN", "select person_id from crm.person where {{ not_received('a/b', within='30 days') }}"),
    ("NOT IN", "select person_id from crm.person where {{ not_received('a/b', within='30 days', by='person') }}"),
    ("NOT IN", "select person_id from crm.ticket where {{ not_received('a/b', '1 day', record='performance_id') }}"),
    ("NOT IN", "select person_id from crm.ticket where {{ not_received('a/b', '1 day', record='performance_id', by='person') }}"),
    ("NOT IN", f"select person_id from crm.person where city = 'x' and (blocked and person_id not in ({RECEIVED}))"),
    ("NOT IN", f"select p.person_id from crm.person p where not (p.person_id in ({RECEIVED}))"),
    ("NOT IN", f"select person_id from crm.ticket group by person_id having count(*) > 1 and person_id not in ({RECEIVED})"),
    ("NOT IN", f"with got as ({RECEIVED}) select person_id from crm.person where person_id not in (select person_id from got)"),
    ("NOT IN", f"with got as ({RECEIVED}) select person_id from crm.person where person_id not in (from got)"),
    ("NOT IN", f"select person_id from (select person_id from crm.person where person_id not in ({RECEIVED})) p"),
    ("NOT IN", f"with p as (select person_id from crm.person where person_id not in ({RECEIVED})) select person_id from p"),
    ("NOT IN", f"with p as (select person_id from crm.person where person_id not in ({RECEIVED})) select person_id from p join crm.ticket t using (person_id)"),
    ("NOT IN", "select person_id from crm.person where person_id not in (select person_id from smp.contact_moment where step in ('x/y', 'a/b'))"),
    ("NOT IN", "select person_id from crm.person where person_id not in (select person_id from smp.contact_moment where step like 'a/%')"),
    ("NOT IN", "select person_id from crm.person where person_id not in (select person_id from smp.contact_moment where campaign = 'a' and outcome = 'accepted')"),
    ("NOT IN", f"select person_id from crm.person where person_id not in ({RECEIVED}) union select person_id from crm.ticket where person_id not in ({RECEIVED})"),
    ("NOT IN", f"select person_id from crm.ticket where person_id in (select person_id from crm.person where person_id not in ({RECEIVED}))"),
    ("NOT IN", f"select person_id from crm.person where person_id not in (select person_id from crm.list_member union {RECEIVED})"),
    ("NOT IN", f"select person_id from crm.person where email_key not in (select email_key from crm.person join ({RECEIVED}) using (person_id) where email_key is not null)"),
    ("<> ALL", f"select person_id from crm.person where person_id <> all ({RECEIVED})"),
    ("NOT EXISTS", "select person_id from crm.person p where not exists (select 1 from smp.contact_moment m where m.person_id = p.person_id and m.step = 'a/b')"),
    ("NOT EXISTS", "select person_id from crm.person p where not exists (from smp.contact_moment m join crm.person x using (person_id) where x.email_key = p.email_key and m.step = 'a/b')"),
    ("EXCEPT", f"select person_id from crm.person except {RECEIVED}"),
    ("ANTI JOIN", f"select person_id from crm.person anti join ({RECEIVED}) m using (person_id)"),
    ("ANTI JOIN", "select p.person_id from crm.person p anti join smp.contact_moment m on m.person_id = p.person_id and m.step = 'a/b'"),
    ("LEFT JOIN … IS NULL", f"select p.person_id from crm.person p left join ({RECEIVED}) m on m.person_id = p.person_id where m.person_id is null"),
    ("LEFT JOIN … IS NULL", "select p.person_id from crm.person p left join smp.contact_moment m on m.person_id = p.person_id and m.step = 'a/b' where m.step is null"),
]  # fmt: skip

NOT_EXCLUDING = [
    "select person_id from crm.person",
    "select person_id from crm.person where {{ not_received('c/d', within='30 days') }}",
    "select person_id from crm.person where {{ received('a/b', within='30 days') }}",
    "select person_id from crm.person where blocked or {{ not_received('a/b', within='30 days') }}",
    "select person_id from crm.person where not ({{ not_received('a/b', within='30 days') }})",
    "select person_id from crm.person -- {{ not_received('a/b', within='30 days') }}",
    f"select person_id from crm.person where '{RECEIVED.replace(chr(39), '')}' <> ''",
    f"select person_id from crm.person where person_id in ({RECEIVED})",
    f"select person_id from crm.person where organisation_id not in ({RECEIVED})",
    f"select person_id from crm.person where person_id not in ({RECEIVED} and not received)",
    f"select person_id from crm.person where person_id not in ({RECEIVED} and false)",
    f"select person_id from crm.person where person_id not in ({RECEIVED} and record_id = 5)",
    f"select person_id from crm.person where person_id not in ({RECEIVED} and happened_at < now() - interval '30 days')",
    f"select person_id from crm.person where person_id not in ({RECEIVED} limit 10)",
    f"select person_id from crm.person where person_id not in ({RECEIVED} group by person_id having count(*) > 3)",
    f"select person_id from crm.person where person_id not in ({RECEIVED} intersect select person_id from crm.ticket)",
    "select person_id from crm.person where person_id not in (select record_id from smp.contact_moment where step = 'a/b')",
    "select person_id from crm.person where person_id not in (select person_id from smp.contact_moment where step = 'a/b' or step = 'x')",
    "select person_id from crm.person where person_id not in (select person_id from smp.contact_moment where step <> 'a/b')",
    "select person_id from crm.person where person_id not in (select person_id from smp.contact_moment where step = 'a/b' and outcome = 'rejected')",
    "select person_id from crm.person where not exists (select 1 from smp.contact_moment m where m.step = 'a/b')",
    "select p.person_id from crm.person p left join smp.contact_moment m on m.person_id = p.person_id and m.step = 'x' where m.person_id is null",
    "select p.person_id from crm.person p left join smp.contact_moment m on m.person_id = p.person_id and m.step = 'a/b' where m.record_id is null",
    "select p.person_id from crm.person p left join smp.contact_moment m on m.person_id = p.person_id and m.step = 'a/b'",
    f"{RECEIVED} except select person_id from crm.person",
    f"select person_id from crm.person except all {RECEIVED}",
    f"select person_id from crm.person where person_id not in ({RECEIVED}) union select person_id from crm.ticket",
    f"with p as (select person_id from crm.person where person_id not in ({RECEIVED})) select person_id from crm.ticket",
    f"with p as (select person_id from crm.person where person_id not in ({RECEIVED})) select t.person_id from crm.ticket t join p on true",
    f"select t.person_id from crm.ticket t left join (select person_id from crm.person where person_id not in ({RECEIVED})) p using (person_id)",
    f"select person_id from crm.ticket join (select performance_id from crm.ticket where person_id not in ({RECEIVED})) x using (performance_id)",
    "with contact_moment as (select person_id, 'a/b' as step from crm.ticket) select person_id from crm.person where person_id not in (select person_id from contact_moment where step = 'a/b')",
]  # fmt: skip


@pytest.mark.parametrize(("form", "sql"), EXCLUDING)
def test_an_exclusion_is_seen_in_all_its_forms(form: str, sql: str) -> None:
    exclusion = found(sql)
    assert exclusion is not None
    assert exclusion.form == form


@pytest.mark.parametrize("sql", NOT_EXCLUDING)
def test_what_does_not_leave_recipients_out_for_certain_is_no_exclusion(sql: str) -> None:
    assert found(sql) is None


@pytest.mark.parametrize(
    ("condition", "length", "whole_day"),
    [
        ("true", timedelta.max, False),
        ("happened_at > now() - interval '30 days'", timedelta(days=30), False),
        ("happened_at >= current_timestamp - interval 12 hours", timedelta(hours=12), False),
        ("now() - interval '2 weeks' < happened_at", timedelta(days=14), False),
        ("happened_at >= current_date", timedelta(), True),
        ("happened_at >= cast(current_date as timestamptz)", timedelta(), True),
        ("happened_at > date_trunc('day', now())", timedelta(), True),
        ("happened_at::date = current_date", timedelta(), True),
        ("happened_at::date = today()", timedelta(), True),
        ("happened_at::date >= current_date - 7", timedelta(days=7), True),
        ("happened_at between now() - interval '3 days' and now()", timedelta(days=3), False),
        ("happened_at > timestamptz '2026-01-01 00:00:00+00:00'", timedelta.max, False),
    ],
)
def test_the_window_is_read_from_the_condition_on_the_moment(
    condition: str, length: timedelta, whole_day: bool
) -> None:
    exclusion = found(f"select person_id from crm.person where person_id not in ({RECEIVED} and {condition})")
    assert exclusion is not None
    assert (exclusion.window.length, exclusion.window.whole_day) == (length, whole_day)


@pytest.mark.parametrize(
    "condition",
    ["happened_at > now()  + interval '1 day'", "happened_at > bought_at", "happened_at <= now() - interval '1 day'",
     "happened_at between now() - interval '9 days' and now() - interval '3 days'", "happened_at::date = current_date - 1"],
)  # fmt: skip
def test_a_window_that_is_not_understood_is_no_exclusion(condition: str) -> None:
    assert found(f"select person_id from crm.person where person_id not in ({RECEIVED} and {condition})") is None


def test_an_exclusion_in_another_selection_counts() -> None:
    others = {
        "fresh": parsed(f"select person_id from crm.person where person_id not in ({RECEIVED})"),
        "had": parsed(RECEIVED),
    }
    assert excludes(parsed("select person_id from selections.fresh"), STEP, others)
    assert excludes(
        parsed("select person_id from crm.person where person_id not in (from selections.had)"), STEP, others
    )
    assert excludes(parsed("select person_id from selections.unknown"), STEP, others) is None


def test_selections_that_read_each_other_end() -> None:
    others = {"x": parsed("select person_id from selections.y"), "y": parsed("select person_id from selections.x")}
    assert excludes(parsed("select person_id from selections.x"), STEP, others) is None


def test_a_continuous_step_without_exclusion_is_refused_with_the_remedy() -> None:
    problems = check_continuous(selection("select person_id from crm.person"), STEP, [time(9)], record_key=None)
    assert len(problems) == 1
    assert not problems[0].warning
    assert 'not_received("a/b", within="30 days")' in str(problems[0])


def test_an_exclusion_per_record_is_refused_for_a_step_without_one() -> None:
    per_record = selection(
        "select person_id, performance_id from crm.ticket where {{ not_received('a/b', '9 days', record='performance_id') }}"
    )
    assert check_continuous(per_record, STEP, [time(9)], record_key="performance_id") == []
    assert "has no record" in str(check_continuous(per_record, STEP, [time(9)], record_key=None)[0])


@pytest.mark.parametrize(
    ("within", "warned"),
    [
        ("today", False),
        ("30 days", False),
        ("1 day", False),
        ("7 hours", False),
        ("6 hours", True),
        ("30 minutes", True),
        ("ever", False),
    ],
)
def test_several_times_a_day_need_a_window_that_covers_them(within: str, warned: bool) -> None:
    chosen = selection(f"select person_id from crm.person where {{{{ not_received('a/b', within='{within}') }}}}")
    problems = check_continuous(chosen, STEP, [time(15), time(9)], record_key=None)
    assert [problem.warning for problem in problems] == ([True] if warned else [])
    assert check_continuous(chosen, STEP, [time(9)], record_key=None) == []


CONDITIONS = st.recursive(
    st.sampled_from(
        [("blocked", False), (f"person_id not in ({RECEIVED})", True), (f"person_id in ({RECEIVED})", False)]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: (f"({two[0][0]} and {two[1][0]})", two[0][1] or two[1][1])),
        st.tuples(inner, inner).map(lambda two: (f"({two[0][0]} or {two[1][0]})", two[0][1] and two[1][1])),
    ),
    max_leaves=6,
)


@given(CONDITIONS)
def test_a_condition_counts_only_when_every_row_must_meet_it(condition: tuple[str, bool]) -> None:
    sql, must = condition
    exclusion = found(f"select person_id from crm.person where {sql}")
    assert must or exclusion is None
    if " or " not in sql:
        assert (exclusion is not None) == must
