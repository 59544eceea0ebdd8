"""Decisions of colleagues: to block ticks the record, to approve takes back what a decision ticked, and all is kept."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from smp_pipelines.campaign.project import LoadedProject, load_project
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.decisions import NotThereError, decidable, decide, decisions, latest_decisions
from smp_pipelines.stores.postgres import Connection, connect
from tests.site_pages import PEOPLE, edit

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
STEP = "servicemails/servicemail"
HAMLET = 2
ANNA, WIM = 3, 7


@pytest.fixture(name="project")
def a_project(project_folder: Path) -> LoadedProject:
    return load_project(project_folder)


@pytest.fixture(name="crm")
def a_crm(postgres_url: str) -> Iterator[Connection]:
    with connect(postgres_url) as connection:
        connection.autocommit = True
        connection.execute(PEOPLE)
        yield connection


def ticked(crm: Connection) -> bool:
    row = crm.execute("select block_service_mail from crm.performance where performance_id = %s", (HAMLET,)).fetchone()
    assert row
    return bool(row[0])


def tick(crm: Connection, blocked: bool) -> None:
    crm.execute("update crm.performance set block_service_mail = %s where performance_id = %s", (blocked, HAMLET))


def audit(crm: Connection) -> list[tuple[object, ...]]:
    return crm.execute("select decision, person_id, changed from smp.record_decision order by decision_id").fetchall()


def test_to_block_ticks_the_record_and_to_approve_takes_the_tick_away(crm: Connection, project: LoadedProject) -> None:
    made = decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW)
    assert (made.decision, made.decided_by, made.decided_at, made.changed) == ("blocked", "Wim van Test", NOW, True)
    assert ticked(crm)
    decide(crm, project, STEP, HAMLET, "approved", ANNA, NOW)
    assert not ticked(crm)
    assert audit(crm) == [("blocked", WIM, True), ("approved", ANNA, True)]
    assert crm.execute("select count(*) from crm.performance where block_service_mail").fetchone() == (0,)


def test_to_approve_what_nobody_blocked_is_only_written_down(crm: Connection, project: LoadedProject) -> None:
    decide(crm, project, STEP, HAMLET, "approved", WIM, NOW)
    assert not ticked(crm)
    assert audit(crm) == [("approved", WIM, False)]


def test_to_approve_leaves_a_tick_that_was_set_in_the_crm(crm: Connection, project: LoadedProject) -> None:
    tick(crm, True)
    assert decidable(crm, project, STEP, HAMLET).keeps_block
    decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW)
    decide(crm, project, STEP, HAMLET, "approved", WIM, NOW)
    assert ticked(crm)
    assert audit(crm) == [("blocked", WIM, False), ("approved", WIM, False)]


def test_a_tick_that_was_set_in_the_crm_after_an_approval_stays(crm: Connection, project: LoadedProject) -> None:
    decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW)
    decide(crm, project, STEP, HAMLET, "approved", WIM, NOW)
    tick(crm, True)
    decide(crm, project, STEP, HAMLET, "approved", ANNA, NOW)
    assert ticked(crm)


def test_the_same_decision_of_the_same_person_is_one(crm: Connection, project: LoadedProject) -> None:
    first = decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW)
    again = decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW + timedelta(hours=1))
    assert again == first
    decide(crm, project, STEP, HAMLET, "blocked", ANNA, NOW)
    decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW)
    assert [row[1] for row in audit(crm)] == [WIM, ANNA]
    decide(crm, project, STEP, HAMLET, "approved", ANNA, NOW)
    decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW)
    assert [row[:2] for row in audit(crm)][2:] == [("approved", ANNA), ("blocked", WIM)]


def test_to_block_again_what_was_unticked_in_the_crm_ticks_it_again(crm: Connection, project: LoadedProject) -> None:
    decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW)
    tick(crm, False)
    decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW)
    assert ticked(crm)
    assert len(audit(crm)) == 2


def test_one_person_who_decides_twice_at_once_is_written_down_once(
    crm: Connection, postgres_url: str, project: LoadedProject
) -> None:
    def block(_: int) -> None:
        with connect(postgres_url) as connection:
            connection.autocommit = True
            decide(connection, project, STEP, HAMLET, "blocked", WIM, NOW)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(block, range(8)))
    assert audit(crm) == [("blocked", WIM, True)]


def test_a_decision_after_an_internal_mail_is_about_the_step_whose_mail_it_shows(
    crm: Connection, project: LoadedProject
) -> None:
    made = decide(crm, project, "servicemails/servicemail_check", HAMLET, "blocked", WIM, NOW)
    assert made.step == STEP
    assert ticked(crm)
    assert decisions(crm, project, project.step("servicemails/servicemail_check"), HAMLET) == [made]
    assert latest_decisions(crm, project, project.step("servicemails/servicemail_check"), 9) == []


def test_a_decision_is_whole_or_not_at_all(crm: Connection, project: LoadedProject) -> None:
    crm.execute("alter table smp.record_decision add constraint refuse check (decision <> 'blocked')")
    with pytest.raises(psycopg.errors.CheckViolation):
        decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW)
    assert not ticked(crm)


def test_what_is_gone_is_told_in_words(crm: Connection, project: LoadedProject) -> None:
    with pytest.raises(NotThereError, match="this performance is no longer in the CRM"):
        decide(crm, project, STEP, 999, "blocked", WIM, NOW)
    with pytest.raises(NotThereError, match="whoever got this link is no longer in the CRM"):
        decide(crm, project, STEP, HAMLET, "blocked", 999, NOW)
    with pytest.raises(SmpError, match="there is no step servicemails/nothing"):
        decide(crm, project, "servicemails/nothing", HAMLET, "blocked", WIM, NOW)
    with pytest.raises(SmpError, match="newsletter/december has no linked record"):
        decide(crm, project, "newsletter/december", HAMLET, "approved", WIM, NOW)
    assert audit(crm) == []
    assert not ticked(crm)


def test_a_step_without_a_column_to_block_with_can_only_be_approved(crm: Connection, project_folder: Path) -> None:
    edit(project_folder / "campaigns" / "servicemails" / "campaign.yaml", "    block: block_service_mail\n", "")
    project = load_project(project_folder)
    with pytest.raises(SmpError, match="add `block: …` to the step"):
        decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW)
    decide(crm, project, STEP, HAMLET, "approved", WIM, NOW)
    assert audit(crm) == [("approved", WIM, False)]


def test_the_pages_read_all_decisions_of_a_record_and_the_latest_of_each(
    crm: Connection, project: LoadedProject
) -> None:
    ref = project.step(STEP)
    decide(crm, project, STEP, HAMLET, "approved", ANNA, NOW)
    decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW)
    decide(crm, project, STEP, 5, "approved", WIM, NOW)
    assert [each.decision for each in decisions(crm, project, ref, HAMLET)] == ["blocked", "approved"]
    found = [
        (each.record_id, each.title, each.blocked, each.decision) for each in latest_decisions(crm, project, ref, 9)
    ]
    assert found == [(5, "Morgen", False, "approved"), (HAMLET, "Hamlet & co", True, "blocked")]
    assert latest_decisions(crm, project, project.step("newsletter/december"), 9) == []


def test_a_colleague_who_left_the_crm_keeps_their_number_in_the_audit(crm: Connection, project: LoadedProject) -> None:
    decide(crm, project, STEP, HAMLET, "blocked", WIM, NOW)
    crm.execute("delete from crm.person where person_id = %s", (WIM,))
    assert decisions(crm, project, project.step(STEP), HAMLET)[0].decided_by == "person 7"
