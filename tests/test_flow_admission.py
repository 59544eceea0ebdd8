"""Selections as triggers: who is new in one enters; many at once wait for a yes (F42, F44)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from smp_pipelines.flow import admission
from smp_pipelines.problems import SmpError
from tests.support.flow_watched import NOON, Watched, after, watched

BREDA = {"type": "selection", "selection": "breda", "ask_above": 3, "every_minutes": 15}
QUERY = {"breda": "select person_id from crm.person where city = 'Breda'"}


@pytest.fixture
def flow(postgres_url: str) -> Iterator[Watched]:
    """A flow whose selection has persons 1 and 2 at its first look; 3 to 12 live elsewhere."""
    with closing(watched(postgres_url, BREDA, {**BREDA, "again": True}, selections=QUERY)) as made:
        made.people(1, 2, city="Breda")
        made.people(*range(3, 13), city="Delft")
        made.look(NOON)
        yield made


def move(flow: Watched, city: str, *people: int) -> None:
    flow.sql("update crm.person set city = %s where person_id = any (%s)", city, list(people))


def asked(flow: Watched) -> list[tuple[str, int]]:
    return [(each.source, each.people) for each in admission.read_open(flow.connection, "walk")]


def test_who_is_in_a_selection_when_the_flow_goes_live_does_not_enter_and_who_comes_later_does(flow: Watched) -> None:
    assert flow.who() == []
    move(flow, "Breda", 3)
    assert flow.look(after(20))["selection breda"].enrolled == 1
    flow.look(after(40))
    assert flow.who() == [3]
    assert flow.entered()[0][1] == "selection:breda"


def test_a_selection_is_evaluated_as_often_as_the_flow_says(flow: Watched) -> None:
    evaluated = flow.judge.asked
    move(flow, "Breda", 3)
    assert not flow.is_new(after(14))
    assert flow.look(after(14)) == {}
    assert flow.judge.asked == evaluated
    assert flow.is_new(after(15))
    flow.look(after(15))
    assert flow.who() == [3]


def test_who_leaves_a_selection_and_comes_back_enters_anew_when_the_flow_wants_that(postgres_url: str) -> None:
    for again, times in ((True, 2), (False, 1)):
        with closing(
            watched(postgres_url, {**BREDA, "again": again}, selections=QUERY, reentry="after_leaving")
        ) as flow:
            flow.sql("truncate smp.participant, smp.flow_cursor, smp.flow_member, smp.flow_refusal, crm.person cascade")
            flow.people(1, city="Delft")
            for minute, city in ((0, "Delft"), (20, "Breda"), (40, "Delft"), (60, "Breda")):
                move(flow, city, 1)
                flow.look(after(minute))
                flow.leave(1, after(minute + 1))
            assert flow.who() == [1] * times


def test_a_jump_waits_for_a_yes_and_then_enters(flow: Watched) -> None:
    move(flow, "Breda", 3, 4, 5, 6)
    assert flow.look(after(20)) == {}
    assert asked(flow) == [("selection breda", 4), ("selection breda again", 4)]
    move(flow, "Delft", 6)
    move(flow, "Breda", 7, 8)
    flow.look(after(40))
    assert asked(flow)[0] == ("selection breda", 5)
    assert not flow.is_new(after(41))
    admission.answer(flow.connection, "walk", True, after(41), "anna")
    assert flow.is_new(after(42)), "an answer does not wait for the next evaluation"
    flow.look(after(42))
    assert flow.who() == [3, 4, 5, 7, 8]
    assert flow.look(after(43)) == {}
    move(flow, "Breda", 9)
    flow.look(after(60))
    assert flow.who()[-1] == 9, "from then on as before"
    assert flow.sql("select distinct change, changed_by, details -> 'people' from smp.flow_change") == [
        ("admit", "anna", 5)
    ]


def test_a_no_takes_them_for_people_who_were_there_all_along(flow: Watched) -> None:
    move(flow, "Breda", 3, 4, 5, 6)
    flow.look(after(20))
    admission.answer(flow.connection, "walk", False, after(21), "anna")
    move(flow, "Breda", 7)
    flow.look(after(22))
    assert flow.who() == []
    move(flow, "Breda", 8)
    flow.look(after(40))
    assert flow.who() == [8]
    assert flow.sql("select distinct change from smp.flow_change") == [("decline",)]


def test_an_answer_is_for_the_number_that_was_asked_about(flow: Watched) -> None:
    move(flow, "Breda", 3, 4, 5, 6)
    flow.look(after(20))
    admission.answer(flow.connection, "walk", True, after(21), "anna")
    move(flow, "Breda", 7, 8, 9, 10)
    flow.look(after(22))
    assert flow.who() == []
    assert asked(flow)[0] == ("selection breda", 8)


def test_a_question_about_nobody_any_more_is_taken_back(flow: Watched) -> None:
    move(flow, "Breda", 3, 4, 5, 6)
    flow.look(after(20))
    move(flow, "Delft", 3, 4, 5, 6)
    flow.look(after(40))
    assert asked(flow) == []
    with pytest.raises(SmpError, match="nobody waits to be admitted"):
        admission.answer(flow.connection, "walk", True, after(41), "anna")
    with pytest.raises(SmpError, match="needs the name"):
        admission.answer(flow.connection, "walk", True, after(41), " ")


def test_nobody_is_asked_about_a_flow_that_begins_anew(flow: Watched) -> None:
    move(flow, "Breda", 3, 4, 5, 6)
    flow.look(after(20))
    admission.answer(flow.connection, "walk", True, after(21), "anna")
    flow.sql("delete from smp.flow_cursor")
    flow.sql("delete from smp.flow_member")
    flow.look(after(22))
    flow.look(after(40))
    assert flow.who() == []


def test_a_simulation_enrols_without_asking(postgres_url: str) -> None:
    with closing(watched(postgres_url, BREDA, selections=QUERY)) as flow:
        flow.people(*range(1, 7), city="Delft")
        flow.look(after(0), since=after(-10))
        move(flow, "Breda", *range(1, 7))
        flow.look(NOON + timedelta(hours=1), since=after(0))
        assert flow.who() == [1, 2, 3, 4, 5, 6]
        assert asked(flow) == []
