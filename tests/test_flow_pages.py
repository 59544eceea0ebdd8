"""The pages of flows for colleagues: found, read on a phone and at a desk, valid, safe whatever a flow is called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from smp_pipelines.deployment import Deployment
from smp_pipelines.flow import status
from smp_pipelines.flow.seeing import Day
from smp_pipelines.flow.version import read_state
from smp_pipelines.site.colleagues.flow_charts import HEIGHT, WIDTH, draw_days
from smp_pipelines.stores.settings import Settings
from tests.conftest import fresh_database
from tests.site_pages import NOW, Ask, page, serving, session_cookie
from tests.support.browser import DESKTOP, PHONE, Visitor, accessible, assert_valid
from tests.support.journey import FLOW, ODD, project_with_flow
from tests.test_visit_pages import serving as at_an_address

MANY = 120
_WAITING, _OFFERED = 100, 110
_PEOPLE = """
insert into crm.organisation (organisation_id, name, kind, created_at) values (1, 'Fonds <i>Zuid</i>', 'fonds', now());
insert into crm.person (person_id, first_name, last_name, email, organisation_id, created_at)
select n, 'Zoë', 'de Vries ' || n, 'p' || n || '@x.example', case when n = 1 then 1 end, now()
from generate_series(1, 120) as n
"""
_IN_IT = """
insert into smp.participant (flow_id, version_id, person_id, entry_key, entered_by, entered_at, node, arrived_at,
    due_at, left_at, outcome, reason, goal_at)
select
    %(flow)s, %(version)s, n, 'hand:1', 'by hand', %(now)s - n * interval '3 hours',
    case when n <= 100 then 1 when n <= 110 then 3 else 7 end, %(now)s - n * interval '3 hours',
    case when n <= 100 then %(now)s + interval '1 day' end,
    case when n > 100 then %(now)s - interval '1 hour' end,
    case when n <= 100 then null when n <= 110 then 'dropped' else 'completed' end,
    case when n <= 100 then null when n <= 110 then 'no_consent' else 'thanked' end,
    case when n > 115 then %(now)s - interval '2 hours' end
from generate_series(1, 120) as n
"""
_VISITS = """
insert into smp.participant_visit (participant_id, version_id, node, arrived_at, left_at, way, note)
select participant_id, version_id, 0, entered_at, entered_at, 'next', 'sent' from smp.participant
union all
select participant_id, version_id, v.node, entered_at, coalesce(left_at, entered_at), v.way, v.note
from smp.participant as p
join (values (3, 1, 'next', null), (3, 2, 'yes', null), (3, 3, 'none', 'no_consent'), (7, 1, 'next', null),
    (7, 2, 'no', null), (7, 4, '1', null), (7, 6, 'next', null), (7, 7, 'none', null))
    as v (at, node, way, note) on v.at = p.node
"""
_MAILS = """
with sent as (
    insert into smp.send (send_key, step, purpose, moment, opened_at, state, planned)
    values ('k', 'journey/hello', 'live', %(now)s, %(now)s, 'finished', 120) returning send_id
),
asked as (
    insert into smp.trigger_event (step, person_id, cause, happened_at, participant_id, version_id, node, send_id)
    select 'journey/hello', person_id, 'flow', entered_at, participant_id, version_id, 0, send_id
    from smp.participant, sent
)
insert into smp.message (send_id, recipient_key, seq, person_id, state, reason, settled_at)
select send_id, md5(n::text)::uuid, n, n, case when n = 2 then 'rejected' else 'accepted' end::smp.message_state,
    case when n = 2 then 'refused' end, %(now)s
from sent, generate_series(1, 120) as n
"""


@pytest.fixture(scope="module")
def settings(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A flow with 120 people: 100 wait, ten got no mail and left, ten came to the end; and one that nobody ran yet."""
    folder: Path = tmp_path_factory.mktemp("flow pages")
    with fresh_database(embedded_url, migrated_template) as url:
        given = Settings(project_with_flow(folder / "my project"), folder / "state", postgres_url=url)
        made, steps = Deployment.load(given).complete_flow(FLOW)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_PEOPLE)
            status.run(connection, made, steps, NOW - timedelta(days=30), "Marijke", "het <seizoen> begint")
            state = read_state(connection, FLOW)
            assert state is not None
            values = {"flow": state.flow_id, "version": state.version_id, "now": NOW}
            connection.execute(_IN_IT, values)
            connection.execute(_VISITS)
            connection.execute(_MAILS, values)
        yield given


@pytest.fixture(scope="module")
def ask(settings: Settings) -> Iterator[Ask]:
    with serving(settings) as asking:
        yield asking


def words(html: str) -> str:
    """What a page says, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_the_overview_finds_flows_by_words_and_by_state(ask: Ask) -> None:
    everything = page(ask, "/flows")
    assert "Welkomstreis" in everything
    assert "120 20" not in words(everything)
    assert "Welkomstreis" in page(ask, "/flows?search=KENNEN&show=running")
    assert "No flow is like that" in page(ask, "/flows?search=%3Cscript%3E")
    assert "<script" not in page(ask, "/flows?search=%3Cscript%3E")
    assert "5 4.2%" in words(everything)


def test_a_flow_is_shown_with_its_figures_and_its_diagram(ask: Ask) -> None:
    body = page(ask, f"/flows/{FLOW}")
    told = words(body)
    assert "Enrolled 120" in told
    assert "In it now 100" in told
    assert "Goal rate 4.2%" in told
    assert "10 × said no to this topic" not in told
    assert "10 × never said yes to this topic" in told
    assert 'class="flow-diagram"' in body
    assert f"/flows/{FLOW}/participants?version=1&amp;step=rest" in body
    assert f"smp flow pause {FLOW}" in body
    assert "Marijke: het &lt;seizoen&gt; begint" in told
    for forbidden in ("<script", "style=", ODD[:10]):
        assert forbidden not in body


def test_the_reports_of_a_flow_count_its_mails(ask: Ask) -> None:
    told = words(page(ask, f"/flows/{FLOW}/reports"))
    assert "Welkom 120 119 1 0 0 0 0 0 1 × the mail server refused it" in told
    assert "Entered and left per day" in told


def test_participants_are_found_by_step_and_by_person_and_come_in_pages(ask: Ask) -> None:
    first = page(ask, f"/flows/{FLOW}/participants")
    assert first.count("@x.example") == 50
    (more,) = re.findall(r'href="([^"]*before=[^"]*)"', first)
    assert page(ask, more).count("@x.example") == 50
    waiting = page(ask, f"/flows/{FLOW}/participants?step=rest&version=1")
    assert "p1@x.example" not in waiting
    assert "p100@x.example" in waiting
    assert "p101@x.example" not in waiting
    one = page(ask, f"/flows/{FLOW}/participants?person=1")
    assert "Fonds &lt;i&gt;Zuid&lt;/i&gt;" in one
    assert "Even rust" in one
    assert "accepted, Sat 21 Nov 2026" in one
    assert "Nobody" in page(ask, f"/flows/{FLOW}/participants?person=999")


def test_a_path_is_shown_step_by_step_up_to_where_somebody_is(ask: Ask, settings: Settings) -> None:
    with psycopg.connect(str(settings.postgres_url)) as connection:
        numbers = dict(connection.execute("select person_id, participant_id from smp.participant").fetchall())
    left = words(page(ask, f"/flows/{FLOW}/participants/{numbers[105]}"))
    assert "Dropped out never said yes to this topic" in left
    assert "Welkom Mail mail asked for send 1 , accepted" in left
    waits = words(page(ask, f"/flows/{FLOW}/participants/{numbers[2]}"))
    assert "Here now, until Sun 22 Nov 2026, 13:00" in waits
    assert "rejected: the mail server refused it" in waits


def test_the_content_leads_to_the_previews(ask: Ask) -> None:
    body = page(ask, f"/flows/{FLOW}/content")
    assert 'href="/steps/journey/hello"' in body
    assert 'href="/steps/journey/offer"' in body


def test_what_is_not_there_is_told(ask: Ask) -> None:
    for path, told in {
        "/flows/journei": "There is no flow journei",
        f"/flows/{FLOW}?version=9": "has no version 9",
        f"/flows/{FLOW}/participants?step=gone": "There is no step gone",
        f"/flows/{FLOW}/participants/999999": "no participant 999999",
    }.items():
        assert told in page(ask, path, 404)
    assert "chosen by its id" in page(ask, f"/flows/{FLOW}/participants?person=x", 400)


def test_a_stranger_sees_no_flow(settings: Settings) -> None:
    with serving(settings, signed_in=False) as stranger:
        for path in ("/flows", f"/flows/{FLOW}/participants"):
            answered, headers, body = stranger(path)
            assert (answered, headers["location"]) == (303, f"/sign-in?next={path}")
            assert "@x.example" not in body


def test_the_chart_of_days_fits_its_picture(settings: Settings) -> None:
    first = NOW.date()
    days = [Day(first + timedelta(days=number), number, 90 - number, 0) for number in range(60)]
    chart = draw_days(days)
    assert chart is not None
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH for bar in chart.bars)
    assert max(max(bar.entered, bar.departed) for bar in chart.bars) == HEIGHT / 2
    assert draw_days([]) is None


def test_the_pages_are_for_everybody(settings: Settings, visitor: Visitor) -> None:
    with at_an_address(settings) as base:
        phone, desk = visitor.open(size=PHONE), visitor.open(size=DESKTOP)
        for window in (phone, desk):
            name, _, value = session_cookie(settings).partition("=")
            window.context.add_cookies([{"name": name, "value": value, "url": base}])
        tabs = {"summary": "", "reports": "/reports", "participants": "/participants", "content": "/content"}
        for name, path in {
            "flows": "/flows",
            **{f"flow_{tab}": f"/flows/{FLOW}{end}" for tab, end in tabs.items()},
            "flow_path": f"/flows/{FLOW}/participants/1",
        }.items():
            phone.goto(base + path)
            visitor.look(phone, name)
        for name in ("", "/participants"):
            desk.goto(f"{base}/flows/{FLOW}{name}")
            accessible(desk)
    assert_valid(visitor.html)
