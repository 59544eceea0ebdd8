"""What one sees of a flow: figures per step, who is where, the path of each, diagrams, the report file (F35, F47)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smp_pipelines.flow.drawing import draw
from smp_pipelines.flow.mermaid import mermaid, safe
from smp_pipelines.flow.seeing import (
    FlowCounts,
    Participant,
    Wanted,
    read_counts,
    read_days,
    read_overview,
    read_participants,
    read_path,
)
from smp_pipelines.problems import SmpError
from tests.support.journey import FLOW, ODD, enrol, journey
from tests.support.theatre import Theatre

NO_ADDRESS, GONE, MEMBER, TICKET, WAITS, ELSEWHERE = 2, 3, 4, 5, 6, 7


@pytest.fixture(scope="module")
def house(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """Six days of the flow: who had no address, who was removed, became a member, has a ticket, came late."""
    folder: Path = tmp_path_factory.mktemp("journey")
    with journey(embedded_url, migrated_template, folder) as (opened, _server):
        opened.people(6, tickets=False)
        opened.people(1, first=ELSEWHERE, tickets=False)
        opened.sql("update crm.person set email = null where person_id = %s", NO_ADDRESS)
        opened.sql("update crm.person set city = 'Elders' where person_id = %s", ELSEWHERE)
        deployment = opened.deployment
        assert enrol(deployment, [1, NO_ADDRESS, GONE, MEMBER, TICKET, ELSEWHERE], opened.now) == 5
        deployment.tick_flows(opened.now)
        opened.sql("delete from crm.person where person_id = %s", GONE)
        opened.sql(
            "insert into crm.membership (membership_id, person_id, kind, starts_on) values (1, %s, 'vriend', %s)",
            MEMBER,
            opened.now.date(),
        )
        opened.sql(
            "insert into crm.ticket (ticket_id, person_id, performance_id, price, bought_at) values (1, %s, 7, 9, %s)",
            TICKET,
            opened.now,
        )
        enrol(deployment, [WAITS], opened.now + timedelta(days=2), "2")
        for days in (2, 3, 8):
            if days == 8:
                opened.sql("update smp.participant set due_at = null where person_id = %s", WAITS)
            deployment.tick_flows(opened.now + timedelta(days=days, hours=1))
        yield opened


@pytest.fixture(scope="module")
def counts(house: Theatre) -> FlowCounts:
    with house.deployment.connection() as postgres:
        found = read_counts(postgres, FLOW)
    assert found is not None
    return found


def test_the_figures_of_each_step_add_up(house: Theatre, counts: FlowCounts) -> None:
    (version,) = counts.versions
    steps = {each.node.name: each for each in version.steps}
    assert (version.enrolled, version.waiting, version.succeeded) == (6, 1, 1)
    assert counts.goal_rate == pytest.approx(1 / 6)
    assert counts.refused == {"excluded": 1}
    for each in version.steps:
        assert each.came == each.waiting + each.went_on + each.ways.get("none", 0)
    assert (steps["welcome"].came, steps["welcome"].notes) == (6, {"sent": 5, "skipped: no_address": 1})
    assert (steps["rest"].waiting, steps["rest"].goal) == (1, 1)
    assert steps["tickets"].ways == {"yes": 1, "no": 3}
    assert steps["offer"].dropped == {"no_consent": 1}
    assert steps["list"].dropped == {"person_gone": 1}
    assert version.outcomes == {"goal": 1, "dropped": 2, "completed": 2}


def test_the_mails_of_a_step_count_those_whom_it_asked_none_for(counts: FlowCounts) -> None:
    welcome = counts.versions[0].steps[0].mails
    assert welcome is not None
    assert (welcome.planned, welcome.skipped, welcome.waiting) == (6, 1, 5)
    assert welcome.reasons == {"no_address": 1}
    assert counts.versions[0].steps[1].mails is None


def found(house: Theatre, wanted: Wanted | None = None, before: int | None = None, most: int = 50) -> list[Participant]:
    with house.deployment.connection() as postgres:
        state = read_counts(postgres, FLOW)
        assert state is not None
        return read_participants(postgres, state.state, wanted, before, most)


def test_participants_come_page_by_page_the_latest_first(house: Theatre) -> None:
    everybody = found(house)
    assert len(everybody) == 6
    first = found(house, most=4)
    rest = found(house, before=first[-1].participant_id, most=4)
    assert [*first, *rest] == everybody
    assert everybody[0].person_id == WAITS


def test_who_waits_at_a_step_is_found_by_it_with_the_last_mail(house: Theatre, counts: FlowCounts) -> None:
    version = counts.versions[0]
    rest = next(each.node for each in version.steps if each.node.name == "rest")
    (waits,) = found(house, Wanted(version.version.version_id, rest.number))
    assert (waits.person_id, waits.left_at, waits.mail_step, waits.mail_state) == (
        *(WAITS, None, f"{FLOW}/hello", "waiting"),
    )
    assert found(house, Wanted(waiting=True)) == [waits]
    (member,) = found(house, Wanted(person_id=MEMBER))
    assert (member.outcome, member.goal) == ("goal", 0)


def test_a_path_tells_each_step_with_its_way_and_its_mail(house: Theatre) -> None:
    (ticket,) = found(house, Wanted(person_id=TICKET))
    with house.deployment.connection() as postgres:
        path = read_path(postgres, ticket.participant_id)
        with pytest.raises(SmpError, match="no participant 999"):
            read_path(postgres, 999)
    told = [(each.node.name, each.way, each.note, each.mail) for each in path.visits]
    assert told == [
        ("welcome", "next", "sent", "waiting"),
        ("rest", "next", None, None),
        ("tickets", "yes", None, None),
        ("offer", "none", "no_consent", None),
    ]
    assert path.here.name == "offer"


def test_the_overview_and_the_days_agree_with_the_figures(house: Theatre, counts: FlowCounts) -> None:
    with house.deployment.connection() as postgres:
        (overview,) = (each for each in read_overview(postgres).values() if each.flow == FLOW)
        days = read_days(postgres, counts.state, house.now - timedelta(days=1), house.deployment.project.settings.zone)
    assert (overview.state, overview.enrolled, overview.waiting, overview.succeeded) == ("live", 6, 1, 1)
    assert (days[0].entered, days[0].departed) == (5, 0)
    assert sum(each.departed for each in days) == 5


def test_a_flow_that_was_never_live_has_no_figures(house: Theatre) -> None:
    with house.deployment.connection() as postgres:
        assert read_counts(postgres, "nothing") is None


# ---------------------------------------------------------------- pictures


def test_the_diagram_has_every_step_and_way_once_and_takes_no_text_for_markup(counts: FlowCounts) -> None:
    text = mermaid(counts.versions[0])
    assert text.startswith("flowchart TD\n")
    for node in counts.versions[0].version.nodes:
        assert (
            text.count(f"  n{node.number}[") + text.count(f"  n{node.number}{{") + text.count(f"  n{node.number}(") == 1
        )
    assert 'n2 -->|"yes 1"| n3' in text
    assert 'n2 -->|"no 3"| n4' in text
    assert "<b>" not in text
    assert "`" not in text
    picture = draw(counts.versions[0], lambda node: f"/flows/x?step={node.name}&more")
    drawn = ElementTree.fromstring(picture)
    names = {"".join(each.itertext()) for each in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Welkom", "Even rust", "yes 1", "no 3", "30% 0", "70% 3", "1 waiting · 1 goal met"} <= names
    heights = [float(each.get("y", 0)) for each in drawn.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert heights[:4] == sorted(heights[:4]), "in the order of the file, which the database does not keep"
    assert "style=" not in picture
    assert "<b>" not in picture
    assert escape(ODD[:10]) in picture


@given(st.text())
def test_no_text_brings_a_sign_into_a_diagram_that_means_something_there(text: str) -> None:
    assert not set(safe(text)) & set('"<>&`|[]{}()\\\n\r')


# ---------------------------------------------------------------- reports


def test_the_report_file_has_participants_paths_and_figures_by_key(house: Theatre, counts: FlowCounts) -> None:
    deployment = house.deployment
    deployment.follow_moments()
    deployment.refresh_metrics()
    published = deployment.publish(house.now)
    with duckdb.connect(str(published.file), read_only=True) as report:
        assert report.sql(
            "select enrolled, waiting, completed, reached_goal, dropped, succeeded, success_percent from flow_result"
        ).fetchall() == [(6, 1, 2, 1, 2, 1, 16.7)]
        steps = report.sql("select step, came, waiting, went_on, dropped, reached_goal from flow_step").fetchall()
        reasons = report.sql("select step, reason, people from flow_dropout order by all").fetchall()
        (path,) = report.sql(
            "select list(v.step || ':' || way order by v.left_at, place) from flow_path as v"
            f" join flow_participant using (participant_id) where person_id = {TICKET}"
        ).fetchall()
    seen = counts.versions[0].steps
    assert steps == [(s.node.name, s.came, s.waiting, s.went_on, s.drop_outs, s.goal) for s in seen]
    assert reasons == [("list", "person_gone", 1), ("offer", "no_consent", 1)]
    assert path == (["welcome:next", "rest:next", "tickets:yes", "offer:none"],)
    assert b"example.org" not in published.file.read_bytes()


def test_the_report_follows_what_changed_and_reads_nothing_else(house: Theatre) -> None:
    deployment = house.deployment
    deployment.follow_moments()
    deployment.publish(house.now)
    assert "flows" not in deployment.freshness().changed
    with deployment.connection() as postgres:
        postgres.execute(
            "update smp.participant set goal_at = %s, changed_tx = pg_current_xact_id() where person_id = %s",
            (house.now, WAITS),
        )
    assert deployment.freshness().changed == ("flows",)
    deployment.follow_moments()
    with deployment.lake.open() as lake:
        told = lake.sql("select person_id, goal_at is not null from smp.flow_participant order by all").fetchall()
    assert told == [(person, person in (MEMBER, WAITS)) for person in (1, NO_ADDRESS, GONE, MEMBER, TICKET, WAITS)]
