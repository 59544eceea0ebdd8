"""Whom an exclusion leaves out (F17): the person who comes out and nobody else, and all who received the step."""

# ruff: noqa: E501  SQL on one line each
from __future__ import annotations

from datetime import date, time

import pytest

from smp_pipelines.selection.analysis.exclusion import check_continuous
from smp_pipelines.selection.compiler import Selection
from tests.conftest import REPOSITORY
from tests.test_exclusion_soundness import SHORT, STEP, accepted

NOT_THE_RECIPIENT = [
    "select organisation_id as person_id from crm.person where person_id not in (SHORT)",
    "select p.person_id from crm.person p join crm.donation d on true where d.person_id not in (SHORT)",
    "select p.person_id from crm.person p where not exists (SHORT and m.person_id = p.organisation_id)",
    "select p.person_id from crm.person p where not exists (SHORT and m.person_id = p.person_id and m.send_id = m.person_id)",
    "select person_id from crm.person where person_id not in (select m.person_id from smp.contact_moment m join crm.donation using (person_id) where m.step = 'a/b')",
    "select person_id from crm.person where person_id not in (from smp.contact_moment m join crm.donation d using (person_id) select m.person_id where m.step = 'a/b')",
    "select person_id from crm.person where person_id not in ((SHORT) limit 1)",
    "select person_id from crm.person where person_id not in (SHORT and reason is not null)",
    "select person_id from crm.person where person_id not in (SHORT and happened_at::date > now() - interval '6 hours')",
    "select person_id from crm.person where person_id not in (SHORT and date_trunc('month', happened_at) > now() - interval '9 days')",
    "select person_id from crm.person where person_id not in (SHORT and happened_at > timestamptz 'infinity')",
    "select person_id, performance_id from crm.ticket where (performance_id, person_id) not in (select person_id, record_id from smp.contact_moment where step = 'a/b')",
    "with got(x, person_id) as (select person_id, record_id from smp.contact_moment where step = 'a/b') select person_id from crm.person where person_id not in (select person_id from got)",
    "select person_id from crm.person where person_id not in (select person_id from (select * replace (send_id as person_id) from smp.contact_moment) where step = 'a/b')",
    "select t.person_id from crm.person p anti join (SHORT) m using (person_id) join crm.ticket t on true",
    "select person_id from (select person_id from crm.person where person_id not in (SHORT)) e join crm.person p using (person_id) right join crm.person q using (person_id) join crm.ticket t using (person_id)",
    "select person_id from crm.person p join crm.person o using (person_id) full join crm.ticket t using (person_id) where p.person_id not in (SHORT)",
]


@pytest.mark.parametrize("sql", NOT_THE_RECIPIENT)
def test_what_leaves_out_somebody_else_or_not_everybody_is_no_exclusion(sql: str) -> None:
    assert accepted(sql.replace("SHORT", SHORT)) is None


@pytest.mark.parametrize(
    ("sql", "form"),
    [
        ("select person_id from crm.person p where not (blocked or person_id in (SHORT))", "NOT IN"),
        ("select person_id from crm.person p where not (person_id = any (SHORT))", "NOT = ANY"),
        (
            "select p.person_id from crm.person p join crm.ticket t using (person_id) where t.person_id not in (SHORT)",
            "NOT IN",
        ),
        (
            "select person_id from crm.person intersect select person_id from crm.person where person_id not in (SHORT)",
            "NOT IN",
        ),
        ("select person_id from selections.fresh join crm.ticket using (person_id)", "NOT IN"),
        ("(with p as (select * from selections.fresh) select person_id from p) order by 1 limit 3", "NOT IN"),
    ],
)
def test_an_exclusion_is_found_wherever_it_is(sql: str, form: str) -> None:
    found = accepted(sql.replace("SHORT", SHORT))
    assert found is not None
    assert found[1].form == form


@pytest.mark.parametrize(("record", "told"), [("performance_id", None), ("ticket_id", "per ticket_id")])
def test_an_exclusion_per_record_is_about_the_record_of_the_step(record: str, told: str | None) -> None:
    got = "select person_id, record_id from smp.contact_moment where step = 'a/b' and received"
    query = accepted(f"select person_id, {record} from crm.ticket where (person_id, {record}) not in ({got})")
    assert query is not None
    selection = Selection("x", REPOSITORY, "who", query[0], (), {})
    problems = [each.message for each in check_continuous(selection, STEP, [time(9)], "performance_id")]
    assert [told in each for each in problems] == [True] if told else problems == []


def test_an_outcome_instead_of_received_is_a_doubt_and_a_date_after_the_start_is_refused() -> None:
    """Who got the mail at a shared address, or whose outcome is unknown, would get it again."""

    def problems(condition: str) -> list[str]:
        query = accepted(f"select person_id from crm.person where person_id not in ({SHORT} and {condition})")
        assert query is not None
        selection = Selection("x", REPOSITORY, "who", query[0], (), {})
        return [each.message for each in check_continuous(selection, STEP, [time(9)], None, None, date(2026, 2, 1))]

    assert problems("true") == []
    assert "unknown outcome" in problems("outcome = 'accepted'")[0]
    assert problems("happened_at > date '2026-01-31'") == []
    assert "since 2026-02-02" in problems("happened_at > date '2026-02-02'")[0]
