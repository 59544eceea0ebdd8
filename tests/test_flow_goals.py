"""Goals: what counts, for whom, and from when (F34)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from smp_pipelines.flow import goals
from smp_pipelines.flow.sources import enrol_people, look_again
from smp_pipelines.selection.condition import Condition
from tests.support.flow_watched import NOON, Watched, after, watched

GAVE = {"type": "donation", "fund": "roof", "min": 10}
FORM = {"type": "form", "step": "after_form/form"}
BREDA = {"type": "person", "where": {"city": "Breda"}}
Goals = Any


@pytest.fixture
def walk(postgres_url: str) -> Iterator[Goals]:
    """Makes a flow with these goals, which persons 1 to 3 entered at NOON, and on which a first look was had."""
    made: list[Watched] = []

    def begin(*wanted: object, people: int = 3, **file: Any) -> Watched:
        flow = watched(postgres_url, {"type": "manual"}, goals=list(wanted), **file)
        made.append(flow)
        flow.people(*range(1, people + 1))
        enter(flow, NOON, *range(1, people + 1))
        flow.mark(NOON)
        return flow

    yield begin
    for flow in made:
        flow.close()


def enter(flow: Watched, now: datetime, *people: int) -> None:
    enrol_people(flow.connection, flow.version, flow.state, flow.judge, people, str(now), now)
    flow.sql("update smp.participant set due_at = %s", after(9999))


def give(flow: Watched, person: int, at: datetime, amount: int = 10, fund: str = "roof") -> None:
    flow.sql(
        "insert into crm.donation select coalesce(max(donation_id), 0) + 1, %s, %s, null, %s, %s from crm.donation",
        *(person, fund, amount, at),
    )


def met(flow: Watched) -> dict[int, tuple[int, datetime]]:
    """Who met which goal, and when that was found."""
    found = flow.sql("select person_id, goal, goal_at from smp.participant where goal_at is not null")
    return {person: (goal, at) for person, goal, at in found}


def may(flow: Watched, now: datetime) -> bool:
    return goals.may_be_met(flow.connection, flow.version, flow.state, flow.project, now)


def test_a_goal_counts_for_whoever_is_on_the_way_from_when_they_entered(walk: Goals) -> None:
    flow = walk(GAVE)
    flow.people(4)
    give(flow, 1, after(0))
    give(flow, 2, after(-1))
    give(flow, 3, after(1), amount=9)
    give(flow, 4, after(1))
    assert flow.mark(after(2)) == 1
    assert met(flow) == {1: (0, after(2))}
    flow.leave(3, after(3))
    give(flow, 3, after(4))
    assert flow.mark(after(5)) == 0


@pytest.mark.parametrize(("on_success", "leaves"), [("stop", True), ("go_on", False), ({"move_to": "other"}, True)])
def test_who_met_a_goal_is_due_at_once_unless_they_go_on(walk: Goals, on_success: object, leaves: bool) -> None:
    flow = walk(GAVE, on_success=on_success)
    give(flow, 1, after(1))
    flow.mark(after(2))
    due = dict(flow.sql("select person_id, due_at from smp.participant"))
    assert due == {1: after(2) if leaves else after(9999), 2: after(9999), 3: after(9999)}


def test_of_several_goals_the_first_that_was_met_counts_and_stays(walk: Goals) -> None:
    flow = walk(GAVE, FORM)
    flow.submit(1, after(1))
    give(flow, 2, after(1))
    flow.submit(2, after(1))
    flow.mark(after(2))
    give(flow, 1, after(3))
    flow.mark(after(4))
    assert met(flow) == {1: (1, after(2)), 2: (0, after(2))}


def test_who_enters_while_an_event_is_read_is_not_missed(walk: Goals) -> None:
    flow = walk(GAVE)
    flow.mark(after(1))
    flow.people(4)
    give(flow, 4, after(2))
    flow.mark(after(2))
    enter(flow, after(2), 4)
    flow.mark(after(3))
    assert met(flow) == {4: (0, after(3))}


def test_every_kind_of_event_can_be_a_goal(walk: Goals) -> None:
    kinds = [
        {"type": "list", "list": "Friends"},
        {"type": "click", "step": "newsletter/december"},
        {"type": "contact_moment", "step": "newsletter/december", "kind": "opened"},
        {"type": "record", "table": "ticket"},
        {"type": "contact_moment", "step": "after_form/form", "kind": "form_submitted"},
    ]
    flow = walk(*kinds, people=5)
    send = flow.send()
    flow.sql("insert into crm.list (list_id, name) values (7, 'Friends')")
    flow.sql("insert into crm.list_member values (7, 1, %s)", after(1))
    flow.hit("click", 2, send, after(1))
    flow.hit("open", 3, send, after(1))
    flow.sql("insert into crm.performance values (70, 'Hamlet', 'toneel', 'Zaal', %s, 90)", after(999))
    flow.sql("insert into crm.ticket values (1, 4, 70, 'A1', 12.5, %s)", after(1))
    flow.submit(5, after(1))
    assert may(flow, after(2))
    flow.mark(after(2))
    assert {person: goal for person, (goal, _) in met(flow).items()} == {1: 0, 2: 1, 3: 2, 4: 3, 5: 4}


def test_a_person_who_changes_meets_a_condition_and_nothing_is_evaluated_while_nothing_changes(walk: Goals) -> None:
    flow = walk(BREDA)
    asked = flow.judge.asked
    assert not may(flow, after(1))
    assert flow.mark(after(1)) == 0
    assert flow.judge.asked == asked
    flow.sql("update crm.person set city = 'Breda' where person_id = 2")
    assert may(flow, after(2))
    assert flow.mark(after(2)) == 1
    assert met(flow) == {2: (0, after(2))}


def test_who_enters_and_meets_a_condition_already_is_found_at_the_next_look(walk: Goals) -> None:
    flow = walk(BREDA)
    flow.people(4, city="Breda")
    flow.mark(after(1))
    enter(flow, after(2), 4)
    flow.mark(after(3))
    assert met(flow) == {4: (0, after(3))}


def test_a_condition_about_what_is_deleted_or_of_nobody_is_evaluated_for_everybody(walk: Goals) -> None:
    flow = walk({"type": "person", "where": {"not": {"on_list": "Friends"}}}, people=0)
    flow.people(1, 2)
    flow.sql("insert into crm.list (list_id, name) values (7, 'Friends'), (8, 'Others')")
    flow.sql("insert into crm.list_member values (7, 1, %s), (7, 2, %s)", NOON, NOON)
    enter(flow, after(1), 1, 2)
    assert flow.mark(after(2)) == 0
    flow.sql("delete from crm.list_member where person_id = 1")
    assert flow.mark(after(3)) == 1
    flow.sql("update crm.list set name = 'Old friends' where list_id = 7")
    assert flow.mark(after(4)) == 1


def test_a_condition_with_a_clock_comes_to_hold_by_itself(walk: Goals) -> None:
    flow = walk(BREDA)
    sql = "select person_id from crm.person where created_at <= now() - interval '400 days'"
    flow.version = replace(flow.version, conditions={"goal:0": Condition(sql, ("crm.person",))})
    asked = flow.judge.asked
    flow.mark(after(14))
    assert flow.judge.asked == asked
    assert may(flow, after(15))
    flow.mark(after(15))
    assert flow.judge.asked == asked + 1


def test_who_is_moved_to_another_version_may_have_met_its_goals(walk: Goals) -> None:
    flow = walk(FORM)
    give(flow, 1, after(1))
    old = flow.version
    flow.change(after(2), triggers=[{"type": "manual"}], goals=[GAVE])
    flow.mark(after(3))
    flow.mark(after(4))
    flow.sql("update smp.participant set version_id = %s", flow.version.version_id)
    assert flow.version.version_id != old.version_id
    look_again(flow.connection, flow.version)
    assert flow.mark(after(5)) == 1


def test_a_simulation_takes_the_goals_of_its_stretch(walk: Goals) -> None:
    flow = walk(GAVE, BREDA)
    flow.sql("delete from smp.flow_cursor")
    for person in (1, 2, 3):
        give(flow, person, after(person))
    assert flow.mark(after(2), since=after(1)) == 1
    assert list(met(flow)) == [2]
    flow.sql("update crm.person set city = 'Breda' where person_id = 1")
    assert flow.mark(after(2) + timedelta(seconds=1), since=after(2)) == 1
    assert flow.sql("select count(*) from smp.flow_cursor") == [(0,)]
