"""Plan and apply: what an edited file would do to people in a running flow, and moving them on purpose (F46, X9)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smp_pipelines.crm.merging import merge
from smp_pipelines.flow import status, tables
from smp_pipelines.flow.advancing import advance
from smp_pipelines.flow.changing import Applied, FlowPlan, apply, plan
from smp_pipelines.flow.version import read_state, read_version
from smp_pipelines.problems import SmpError
from smp_pipelines.selection.condition import Condition
from smp_pipelines.stores.postgres import Connection, connect
from tests.support.flow_files import drafted, sample

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
FIRST = """\
name: A flow
triggers: [{type: manual}]
steps:
  hello: {mail: acquaintance}
  rest: {wait: 7 days}
  often:
    if: {has: ticket}
    then:
      invite: {mail: invitation}
      think: {wait: 3 days}
    else:
      note: {add_to_list: Belangstelling}
      linger: {wait: 4 days}
  last: {mail: last_word}
  goodbye: {wait: 1 day}
"""
SECOND = """\
name: A flow
triggers: [{type: manual}]
steps:
  rest: {wait: 2 days}
  often:
    if: {has: ticket}
    then:
      think: {wait: 3 days}
  tell: {mail: acquaintance}
  last: {mail: last_word}
"""


class Nobody:
    """A judge for whom nobody meets anything."""

    def fill(self, connection: Connection, condition: Condition, now: datetime, people: object) -> None:
        connection.execute("truncate flow_yes")


@pytest.fixture
def postgres(postgres_url: str, tmp_path: Path) -> Iterator[Connection]:
    """A flow that runs its first version, with people in it: person 20 at node 2, and so on."""
    with connect(postgres_url) as connection:
        connection.autocommit = True
        status.run(connection, drafted(tmp_path, FIRST), [], NOW, "anna")
        connection.execute(
            "insert into crm.person (person_id, last_name, email, created_at)"
            " select n, 'x', 'p' || n || '@example.org', %s from generate_series(10, 80) as n",
            (NOW,),
        )
        yield connection


def put_in(postgres: Connection, name: str, *people: int, mailed: bool = True) -> None:
    """People who arrived at a step just now, by way of the first mail."""
    state = read_state(postgres, "friends")
    assert state is not None
    version = read_version(postgres, state.version_id or 0)
    node = next(each.number for each in version.nodes if each.name == name)
    postgres.execute(
        "with made as (insert into smp.participant (flow_id, version_id, person_id, entry_key, entered_by, entered_at,"
        " node, arrived_at, due_at) select %s, %s, n, 'hand', 'hand', %s, %s, %s, %s from unnest(%s::bigint[]) as n"
        " returning participant_id, version_id)"
        " insert into smp.participant_visit (participant_id, version_id, node, arrived_at, left_at, way, note)"
        " select participant_id, version_id, 0, %s, %s, 'next', 'sent' from made where %s",
        (
            *(state.flow_id, version.version_id, NOW - DAY, node, NOW, NOW + 5 * DAY, list(people)),
            *(NOW - DAY, NOW, mailed and node > 0),
        ),
    )


def places(found: FlowPlan) -> dict[str, tuple[str | None, int, int]]:
    return {each.node.name: (each.to.name if each.to else None, each.people, each.again) for each in found.places}


def at(postgres: Connection, person: int) -> tuple[int, str, datetime, datetime | None]:
    """Where somebody is: the version's number, the step, since when, until when."""
    found = postgres.execute(
        "select v.number, n.name, p.arrived_at, p.due_at from smp.participant as p join smp.flow_version as v"
        " using (version_id) join smp.flow_node as n using (version_id, node) where person_id = %s",
        (person,),
    ).fetchone()
    assert found is not None
    return found


def moved(done: Applied) -> dict[str, int]:
    return {name: people for (_, name), people in done.moved.items()}


def test_a_plan_names_what_is_different(postgres: Connection, tmp_path: Path) -> None:
    edited = SECOND.replace(
        "triggers: [{type: manual}]", "triggers: [{type: list, list: Pers}]\nreentry: after_leaving"
    )
    found = plan(postgres, drafted(tmp_path, edited))
    assert found.is_new
    assert found.settings == ("triggers", "reentry")
    assert {step.name: step.change for step in found.steps} == {
        **dict.fromkeys(["rest", "often", "think", "last"], "changed"),
        "tell": "added",
        **dict.fromkeys(["hello", "invite", "note", "linger", "goodbye"], "removed"),
    }
    what = {step.name: step.what for step in found.steps}
    assert what["rest"] == ("wait",)
    assert what["often"] == ("what follows",)
    assert found.places == ()


def test_the_file_as_it_runs_is_no_change(postgres: Connection, tmp_path: Path) -> None:
    found = plan(postgres, drafted(tmp_path, FIRST))
    assert not found.is_new
    assert {step.change for step in found.steps} == {"kept"}


def test_a_condition_that_means_something_else_is_a_change(postgres: Connection, tmp_path: Path) -> None:
    found = plan(postgres, drafted(tmp_path, FIRST.replace("{has: ticket}", "{has: donation}")))
    assert [(step.name, step.what) for step in found.steps if step.change == "changed"] == [
        ("often", ("if", "condition"))
    ]


def test_a_plan_says_who_could_move_where_and_who_would_get_a_mail_again(postgres: Connection, tmp_path: Path) -> None:
    put_in(postgres, "hello", 10)
    put_in(postgres, "rest", 20, 21, 22)
    put_in(postgres, "rest", 23, mailed=False)
    put_in(postgres, "invite", 30)
    put_in(postgres, "linger", 40)
    put_in(postgres, "last", 50)
    put_in(postgres, "goodbye", 60)
    found = plan(postgres, drafted(tmp_path, SECOND), with_people=True)
    assert places(found) == {
        "hello": ("rest", 1, 0),  # it is gone: the next step that is still there
        "rest": ("rest", 4, 3),  # the mail they got stands behind it now
        "invite": ("think", 1, 1),
        "linger": ("last", 1, 0),  # not into the other branch
        "last": ("last", 1, 0),
        "goodbye": (None, 1, 0),
    }
    assert (found.can_move, found.again) == (8, 4)
    assert [each.people_again for each in found.places if each.again] == [(20, 21, 22), (30,)]
    assert at(postgres, 20)[0] == 1


def test_applying_without_moving_lets_everybody_stay(postgres: Connection, tmp_path: Path) -> None:
    put_in(postgres, "rest", 20, 21)
    done = apply(postgres, drafted(tmp_path, SECOND), NOW, "anna", "none")
    assert (done.version.number, done.moved, done.stayed) == (2, {}, 2)
    assert at(postgres, 20)[:2] == (1, "rest")
    state = read_state(postgres, "friends")
    assert state is not None
    assert (state.state, state.version_id) == ("live", done.version.version_id)


def test_applying_moves_all_but_who_would_get_a_mail_again(postgres: Connection, tmp_path: Path) -> None:
    put_in(postgres, "rest", 20)
    put_in(postgres, "rest", 23, mailed=False)
    put_in(postgres, "linger", 40)
    put_in(postgres, "goodbye", 60)
    later = NOW + DAY
    done = apply(postgres, drafted(tmp_path, SECOND), later, "anna", "all", "shorter")
    assert (moved(done), done.stayed) == ({"rest": 1, "linger": 1}, 2)
    assert at(postgres, 20)[:2] == (1, "rest")
    assert at(postgres, 23) == (2, "rest", NOW, later)  # arrived when they did; the new length is judged at once
    assert at(postgres, 40) == (2, "last", later, later)
    assert at(postgres, 60)[:2] == (1, "goodbye")
    path = "select note, v.left_at from smp.participant_visit as v join smp.participant using (participant_id)"
    assert postgres.execute(path + " where person_id = 40 and note <> 'sent'").fetchall() == [("applied", later)]
    change = status.read_flow_changes(postgres, "friends")[0]
    assert (change.change, change.changed_by, change.reason) == ("apply", "anna", "shorter")
    assert change.details["moved"] == {"1/rest": 1, "1/linger": 1}
    again = apply(postgres, drafted(tmp_path, SECOND), later, "anna", "all", again=True)
    assert (moved(again), again.stayed, again.version.number) == ({"rest": 1}, 1, 2)


def test_applying_moves_the_people_of_some_steps_only(postgres: Connection, tmp_path: Path) -> None:
    put_in(postgres, "rest", 20)
    put_in(postgres, "last", 50)
    done = apply(postgres, drafted(tmp_path, SECOND), NOW, "anna", ["last"])
    assert moved(done) == {"last": 1}
    assert at(postgres, 20)[0] == 1


@pytest.mark.parametrize(("step", "words"), [("nothing", "nobody is at a step nothing"), ("goodbye", "cannot move")])
def test_a_step_that_nobody_can_move_from_is_told_and_nothing_is_applied(
    postgres: Connection, tmp_path: Path, step: str, words: str
) -> None:
    put_in(postgres, "rest", 20)
    put_in(postgres, "goodbye", 60)
    with pytest.raises(SmpError, match=words):
        apply(postgres, drafted(tmp_path, SECOND), NOW, "anna", ["rest", step])
    assert at(postgres, 20)[0] == 1
    assert postgres.execute("select count(*) from smp.flow_version").fetchone() == (1,)


def test_who_waits_at_a_step_that_did_not_change_waits_as_long_as_before(postgres: Connection, tmp_path: Path) -> None:
    put_in(postgres, "rest", 20)
    apply(
        postgres,
        drafted(tmp_path, FIRST.replace("goodbye: {wait: 1 day}", "bye: {wait: 1 day}")),
        NOW + DAY,
        "anna",
        "all",
    )
    assert at(postgres, 20) == (2, "rest", NOW, NOW + 5 * DAY)


def test_who_was_moved_goes_on_by_the_new_version(postgres: Connection, tmp_path: Path) -> None:
    put_in(postgres, "rest", 23, mailed=False)
    done = apply(postgres, drafted(tmp_path, SECOND), NOW + DAY, "anna", "all")
    tables.use(postgres)
    advance(postgres, done.version, sample()[0], Nobody(), NOW + DAY)
    assert at(postgres, 23) == (2, "rest", NOW, NOW + 2 * DAY)
    advance(postgres, done.version, sample()[0], Nobody(), NOW + 2 * DAY)
    notes = "select note from smp.participant_visit join smp.flow_node using (version_id, node) where name = any (%s)"
    assert postgres.execute(notes, (["tell", "last"],)).fetchall() == [("skipped: no_consent",)] * 2
    assert postgres.execute("select outcome from smp.participant").fetchone() == ("completed",)


def test_a_goal_that_is_still_there_stays_met_and_one_that_is_gone_does_not(
    postgres: Connection, tmp_path: Path
) -> None:
    goals = "goals: [{type: list, list: A}, {type: list, list: B}]\non_success: go_on\nsteps:"
    apply(postgres, drafted(tmp_path, FIRST.replace("steps:", goals)), NOW, "anna", "none")
    put_in(postgres, "rest", 20, 21)
    postgres.execute("update smp.participant set goal_at = %s, goal = person_id - 20", (NOW,))
    turned = FIRST.replace("steps:", "goals: [{type: list, list: B}]\non_success: go_on\nsteps:")
    apply(postgres, drafted(tmp_path, turned), NOW, "anna", "all")
    found = postgres.execute("select goal, goal_at from smp.participant order by person_id").fetchall()
    assert found == [(None, None), (0, NOW)]


def test_a_flow_that_does_not_run_has_nothing_to_apply_to(postgres: Connection, tmp_path: Path) -> None:
    status.end(postgres, "friends", NOW, "anna", drop=True)
    with pytest.raises(SmpError, match=r"is ended\n.*smp flow live friends"):
        apply(postgres, drafted(tmp_path, SECOND), NOW, "anna", "none")
    with pytest.raises(SmpError, match="was never live"):
        plan(postgres, drafted(tmp_path, SECOND, "birthday"))


def test_a_stopped_step_keeps_a_change_from_being_applied(postgres: Connection, tmp_path: Path) -> None:
    postgres.execute("insert into smp.step_status values ('friends/story', 'stopped', %s)", (NOW,))
    with pytest.raises(SmpError, match="smp step status friends/story live"):
        apply(postgres, drafted(tmp_path, SECOND), NOW, "anna", "all", steps=["friends/story"])
    assert postgres.execute("select count(*) from smp.flow_version").fetchone() == (1,)


def test_what_a_merged_card_was_sent_is_not_sent_again_by_a_new_version(postgres: Connection, tmp_path: Path) -> None:
    put_in(postgres, "rest", 20)
    put_in(postgres, "goodbye", 21)
    postgres.execute("update smp.participant set entered_at = %s where person_id = 21", (NOW,))
    postgres.execute(
        "with sent as (insert into smp.send (send_key, step, purpose, moment, opened_at)"
        " values ('k', 'friends/last_word', 'live', %(now)s, %(now)s) returning send_id)"
        " insert into smp.trigger_event"
        " (step, person_id, cause, happened_at, participant_id, version_id, node, send_id)"
        " select n.step, 21, 'flow', %(now)s, participant_id, version_id, n.node, send_id"
        " from sent, smp.participant join smp.flow_node as n using (version_id)"
        " where person_id = 21 and n.step = 'friends/last_word'",
        {"now": NOW},
    )
    merge(postgres, [(21, 20)], [], NOW, "anna")
    edited = drafted(tmp_path, FIRST.replace("goodbye: {wait: 1 day}", "goodbye: {wait: 2 days}"))
    assert places(plan(postgres, edited)) == {"rest": ("rest", 1, 1)}
    assert apply(postgres, edited, NOW, "anna", "all").stayed == 1
    assert apply(postgres, edited, NOW, "anna", "all", again=True).stayed == 0
