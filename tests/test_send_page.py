"""The page of one send and the list of sends, for colleagues."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smp_pipelines.sending.decisions import decide
from smp_pipelines.sending.status import change_status
from smp_pipelines.site.colleagues.plot import HEIGHT, WIDTH, draw_rates
from smp_pipelines.site.source import Source
from smp_pipelines.stores.postgres import connect
from smp_pipelines.stores.settings import Settings
from tests.site_pages import NOW, Ask, page
from tests.site_pages import asking as _asking  # noqa: F401  (fixtures)
from tests.site_pages import site_settings as _settings  # noqa: F401

STEP = "servicemails/servicemail"


def a_send(settings: Settings, state: str, rows: dict[tuple[str, str | None], int], purpose: str = "live") -> int:
    """A send with so many rows per state and reason, settled one a second from ten minutes ago."""
    with psycopg.connect(str(settings.postgres_url), autocommit=True) as connection:
        begun = NOW - timedelta(minutes=10)
        count = connection.execute("select count(*) from smp.send").fetchone()
        found = connection.execute(
            "insert into smp.send (send_key, step, purpose, moment, opened_at, planned_at, state, planned)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s) returning send_id",
            (f"{STEP}@{count}", STEP, purpose, begun, begun, begun, state, sum(rows.values())),
        ).fetchone()
        assert found
        for (row_state, reason), number in rows.items():
            settled = begun if row_state in ("accepted", "rejected", "unknown") else None
            connection.execute(
                "insert into smp.message (send_id, recipient_key, seq, person_id, state, reason, settled_at)"
                " select %s, gen_random_uuid(), i, i, %s::smp.message_state, %s, %s::timestamptz + i * interval '1 s'"
                " from generate_series(1, %s) as i",
                (found[0], row_state, reason, settled, number),
            )
        return int(found[0])


def test_a_finished_send_shows_its_identity_reasons_and_speed_and_stays_as_it_is(settings: Settings, ask: Ask) -> None:
    rows = {
        ("accepted", None): 120,
        ("skipped", "opted_out"): 7,
        ("skipped", "no_consent"): 2,
        ("rejected", "refused"): 1,
    }
    send = a_send(settings, "finished", rows)
    body = page(ask, f"/sends/{send}")
    assert "Nobody twice, nobody lost" in body
    words = re.sub(r"<[^>]*>|\s+", " ", body)
    assert "130 planned = 120 accepted + 1 rejected + 0 unknown + 9 skipped" in re.sub(r" +", " ", words)
    assert "said no to this topic" in body
    assert 'class="rates"' in body
    assert "60 mails a minute" in body
    assert 'http-equiv="refresh"' not in body
    assert "<script" not in body
    assert "style=" not in body
    assert f'href="/steps/{STEP}"' in body


def test_counts_that_do_not_add_up_are_shown(settings: Settings, ask: Ask) -> None:
    send = a_send(settings, "finished", {("accepted", None): 5})
    with psycopg.connect(str(settings.postgres_url)) as connection:
        connection.execute("update smp.send set planned = 6")
    body = page(ask, f"/sends/{send}")
    assert "The counts do not add up" in body
    assert "≠" in body


def test_a_stopped_step_holds_its_send_and_the_page_says_since_when_and_why(settings: Settings, ask: Ask) -> None:
    send = a_send(settings, "open", {("accepted", None): 3, ("planned", None): 9})
    with connect(str(settings.postgres_url)) as connection:
        change_status(connection, STEP, "live", NOW - timedelta(hours=2), "Joost")
        connection.commit()
    running = page(ask, f"/sends/{send}")
    assert '<meta http-equiv="refresh" content="2">' in running
    assert "<h2>Waiting</h2>" not in running
    with connect(str(settings.postgres_url)) as connection:
        change_status(connection, STEP, "stopped", NOW - timedelta(minutes=7), "Marijke", "fout in de <tekst>")
    body = page(ask, f"/sends/{send}")
    assert "<h2>Waiting</h2>" in body
    assert "Marijke, Sat 21 Nov 2026, 12:53: <q>fout in de &lt;tekst&gt;</q>" in body
    assert "3 of 12 done" in body


def test_unknown_mails_come_with_what_to_do(settings: Settings, ask: Ask) -> None:
    send = a_send(settings, "finished", {("accepted", None): 3, ("unknown", "lease_expired"): 2})
    body = page(ask, f"/sends/{send}")
    assert "2 mails of which nobody knows whether they left" in body
    assert f"smp ledger resolve {send} accepted" in body


def test_a_large_send_loads_itself_again_less_often(settings: Settings, ask: Ask) -> None:
    send = a_send(settings, "open", {("planned", None): 1})
    with psycopg.connect(str(settings.postgres_url)) as connection:
        connection.execute("update smp.send set planned = 1000000")
    assert '<meta http-equiv="refresh" content="22">' in page(ask, f"/sends/{send}")


def test_a_send_of_a_step_that_is_gone_is_still_shown(settings: Settings, ask: Ask) -> None:
    send = a_send(settings, "open", {("planned", None): 1})
    with psycopg.connect(str(settings.postgres_url)) as connection:
        connection.execute("update smp.send set step = 'old/one'")
    body = page(ask, f"/sends/{send}")
    assert "in no file any more" in body
    assert "old/one" in page(ask, "/sends")


def test_the_list_has_every_send_with_its_purpose_and_the_step_page_leads_there(settings: Settings, ask: Ask) -> None:
    assert "Nothing has been sent yet" in page(ask, "/sends")
    first = a_send(settings, "finished", {("accepted", None): 1200})
    second = a_send(settings, "open", {("planned", None): 4, ("unknown", "lease_expired"): 1}, "test")
    body = page(ask, "/sends")
    assert body.index(f'href="/sends/{second}"') < body.index(f'href="/sends/{first}"')
    assert '<span class="tag">test</span>' in body
    assert "1,200" in body
    assert f'href="/sends/{first}"' in page(ask, f"/steps/{STEP}")
    assert "to test persons, as a test" in page(ask, f"/sends/{second}")


@pytest.mark.parametrize(("number", "status"), [("99", 404), ("x", 400), ("-1", 400), ("9" * 30, 400)])
def test_a_send_that_is_not_there_is_told(ask: Ask, number: str, status: int) -> None:
    assert "send" in page(ask, f"/sends/{number}", status)


def test_the_page_of_a_step_shows_what_colleagues_decided(settings: Settings, ask: Ask) -> None:
    assert "What colleagues decided" not in page(ask, f"/steps/{STEP}")
    project = Source(settings).deployment().project
    with connect(str(settings.postgres_url)) as connection:
        decide(connection, project, STEP, 2, "approved", 3, NOW)
        decide(connection, project, STEP, 2, "blocked", 7, NOW)
    body = page(ask, f"/steps/{STEP}")
    assert "Blocked by Wim van Test" in body
    assert "Approved by" not in body
    assert "Hamlet &amp; co" in body


@given(
    st.lists(st.integers(0, 10**7), min_size=1, max_size=120),
    st.sampled_from([1.0, 5.0, 60.0, 900.0, 86400.0]),
)
def test_a_plot_fits_its_picture_and_has_a_bar_for_every_count(counts: list[int], seconds: float) -> None:
    course = [(NOW + timedelta(seconds=seconds * place), count) for place, count in enumerate(counts)]
    plot = draw_rates(course, seconds, ZoneInfo("Europe/Amsterdam"))
    if not any(counts):
        assert plot is None
        return
    assert plot
    assert len(plot.bars) == sum(count > 0 for count in counts)
    for bar in plot.bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= WIDTH + 0.1
        assert -0.1 <= bar.y <= HEIGHT
        assert bar.y + bar.height == pytest.approx(HEIGHT, abs=0.1)
    assert plot.top >= max(counts) * 60 / seconds
    assert plot.ticks[0][0] == 0
    assert isinstance(course[0][0], datetime)
