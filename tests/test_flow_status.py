"""Running flows: live, paused, ending, ended; what each change does to steps, versions, people and the audit (F37)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from smp_pipelines.deployment import Deployment
from smp_pipelines.flow import status, tables
from smp_pipelines.flow.sources import enrol_people
from smp_pipelines.flow.version import read_state, read_version
from smp_pipelines.problems import ProjectError, SmpError
from smp_pipelines.sending.status import change_status, read_changes, read_status
from smp_pipelines.stores.postgres import Connection, connect
from smp_pipelines.stores.settings import Settings
from tests.site_pages import edit
from tests.support.flow_files import drafted
from tests.support.flow_world import SqlJudge

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
FLOW = """\
name: A flow
triggers: [{type: manual}]
steps:
  mail: {mail: story}
  rest: {wait: 2 days}
"""
STEPS = ["friends/story"]


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Connection]:
    with connect(postgres_url) as connection:
        connection.autocommit = True
        yield connection


def live(postgres: Connection, folder: Path, text: str = FLOW, now: datetime = NOW) -> status.FlowChange | None:
    return status.run(postgres, drafted(folder, text), STEPS, now, "anna", "because")


def state(postgres: Connection) -> tuple[str, datetime, datetime | None, int]:
    found = read_state(postgres, "friends")
    assert found is not None
    number = read_version(postgres, found.version_id).number if found.version_id else 0
    return found.state, found.since, found.live_since, number


def put_in(postgres: Connection, people: int, node: int = 1) -> None:
    """People who wait at a step of the version that people enter."""
    postgres.execute(
        "insert into smp.participant (flow_id, version_id, person_id, entry_key, entered_by, entered_at, node,"
        " arrived_at, due_at) select flow_id, version_id, n, 'hand:' || n, 'hand', %s, %s, %s, %s"
        " from smp.flow, generate_series(1, %s) as n",
        (NOW, node, NOW, NOW + HOUR, people),
    )


def test_going_live_freezes_the_file_puts_its_steps_live_and_is_kept(postgres: Connection, tmp_path: Path) -> None:
    change = live(postgres, tmp_path)
    assert change is not None
    assert change.details == {"from": "concept", "to": "live", "version": 1, "steps": STEPS}
    assert state(postgres) == ("live", NOW, NOW, 1)
    assert read_status(postgres, "friends/story").status == "live"
    assert read_changes(postgres, "friends/story")[0].reason == "flow friends went live"
    (kept,) = status.read_flow_changes(postgres, "friends")
    assert (kept.changed_by, kept.change, kept.reason, kept.changed_at) == ("anna", "live", "because", NOW)


def test_going_live_twice_changes_nothing_and_an_edited_file_is_not_slipped_in(
    postgres: Connection, tmp_path: Path
) -> None:
    live(postgres, tmp_path)
    assert live(postgres, tmp_path, now=NOW + HOUR) is None
    with pytest.raises(SmpError, match="smp flow plan friends"):
        live(postgres, tmp_path, FLOW.replace("2 days", "3 days"))
    assert state(postgres) == ("live", NOW, NOW, 1)
    assert len(status.read_flow_changes(postgres, "friends")) == 1
    assert postgres.execute("select count(*) from smp.flow_version").fetchone() == (1,)


def test_a_stopped_step_keeps_a_flow_from_going_live_and_nothing_of_it_happens(
    postgres: Connection, tmp_path: Path
) -> None:
    change_status(postgres, "friends/story", "stopped", NOW, "anna")
    with pytest.raises(SmpError, match=r"friends/story was stopped\n.*smp step status friends/story live"):
        live(postgres, tmp_path)
    assert read_state(postgres, "friends") is None
    assert postgres.execute("select count(*) from smp.flow_version").fetchone() == (0,)


def test_a_flow_without_its_content_does_not_go_live_and_every_gap_is_told(project_folder: Path) -> None:
    campaign = project_folder / "campaigns/friends/campaign.yaml"
    edit(campaign, '    subject: "$voornaam, mogen wij u iets laten zien?"\n', "")
    edit(campaign, '    subject: "Waarom Riet al twaalf jaar op rij drie zit"\n', "")
    loaded = Deployment.load(Settings(project=project_folder, home=project_folder))
    with pytest.raises(ProjectError) as told:
        loaded.complete_flow("friends")
    assert [problem.message for problem in told.value.problems] == [
        "step friends/acquaintance: the subject line is missing",
        "step friends/story: the subject line is missing",
    ]
    made, steps = loaded.complete_flow("birthday")
    assert (made.flow, steps) == ("birthday", ["birthday/invitation", "birthday/congratulations"])


def test_a_paused_flow_goes_on_as_it_was(postgres: Connection, tmp_path: Path) -> None:
    live(postgres, tmp_path)
    put_in(postgres, 3)
    before = postgres.execute("select * from smp.participant order by 1").fetchall()
    assert status.pause(postgres, "friends", NOW + HOUR, "bram") is not None
    assert status.pause(postgres, "friends", NOW + HOUR, "bram") is None
    assert state(postgres) == ("paused", NOW + HOUR, NOW, 1)
    assert status.resume(postgres, "friends", NOW + 2 * HOUR, "bram") is not None
    assert status.resume(postgres, "friends", NOW + 2 * HOUR, "bram") is None
    assert state(postgres) == ("live", NOW + 2 * HOUR, NOW, 1)
    assert postgres.execute("select * from smp.participant order by 1").fetchall() == before


def test_a_paused_flow_with_an_edited_file_goes_live_on_a_new_version_and_people_stay_on_theirs(
    postgres: Connection, tmp_path: Path
) -> None:
    live(postgres, tmp_path)
    put_in(postgres, 2)
    status.pause(postgres, "friends", NOW, "bram")
    live(postgres, tmp_path, FLOW.replace("2 days", "3 days"), NOW + HOUR)
    assert state(postgres) == ("live", NOW + HOUR, NOW, 2)
    on = "select distinct number from smp.participant join smp.flow_version using (version_id)"
    assert postgres.execute(on).fetchall() == [(1,)]


def test_an_ending_flow_has_ended_when_the_last_one_left(postgres: Connection, tmp_path: Path) -> None:
    live(postgres, tmp_path)
    put_in(postgres, 2)
    assert status.end(postgres, "friends", NOW + HOUR, "bram", "season is over") is not None
    assert status.end(postgres, "friends", NOW + HOUR, "bram") is None
    found = read_state(postgres, "friends")
    assert found is not None
    assert found.state == "ending"
    postgres.execute("update smp.participant set left_at = %s, outcome = 'completed' where person_id = 1", (NOW,))
    assert not status.settle(postgres, found.flow_id, NOW + 2 * HOUR)
    postgres.execute("update smp.participant set left_at = %s, outcome = 'completed'", (NOW,))
    assert status.settle(postgres, found.flow_id, NOW + 3 * HOUR)
    assert not status.settle(postgres, found.flow_id, NOW + 4 * HOUR)
    assert state(postgres)[:2] == ("ended", NOW + 3 * HOUR)
    ended = status.read_flow_changes(postgres, "friends")[0]
    assert (ended.change, ended.changed_by) == ("ended", "smp")


def test_an_ending_flow_that_was_paused_goes_on_ending(postgres: Connection, tmp_path: Path) -> None:
    live(postgres, tmp_path)
    put_in(postgres, 1)
    status.end(postgres, "friends", NOW, "bram")
    status.pause(postgres, "friends", NOW, "bram")
    change = status.resume(postgres, "friends", NOW, "bram")
    assert change is not None
    assert change.details == {"from": "paused", "to": "ending"}


def test_a_flow_with_nobody_in_it_ends_at_once(postgres: Connection, tmp_path: Path) -> None:
    live(postgres, tmp_path)
    status.end(postgres, "friends", NOW, "bram")
    assert state(postgres)[0] == "ended"


def test_dropping_everybody_leaves_a_reason_and_sends_nothing_that_still_waits(
    postgres: Connection, tmp_path: Path
) -> None:
    live(postgres, tmp_path)
    put_in(postgres, 3)
    postgres.execute("update smp.participant set left_at = %s, outcome = 'goal' where person_id = 1", (NOW,))
    postgres.execute(
        "insert into smp.trigger_event (step, person_id, cause, happened_at, participant_id, version_id, node)"
        " select 'friends/story', person_id, 'flow', %s, participant_id, version_id, 0 from smp.participant",
        (NOW,),
    )
    change = status.end(postgres, "friends", NOW + HOUR, "bram", drop=True)
    assert change is not None
    assert change.details == {"from": "live", "to": "ended", "dropped": 2}
    assert state(postgres)[0] == "ended"
    found = postgres.execute(
        "select outcome, reason, due_at is null from smp.participant order by person_id"
    ).fetchall()
    assert found == [("goal", None, False), ("dropped", "flow_ended", True), ("dropped", "flow_ended", True)]
    visits = "select way, note, left_at from smp.participant_visit"
    assert postgres.execute(visits).fetchall() == [("none", "flow_ended", NOW + HOUR)] * 2
    events = postgres.execute("select missed from smp.trigger_event order by person_id").fetchall()
    assert events == [(None,), ("flow_ended",), ("flow_ended",)]


def test_a_flow_that_ended_begins_anew(postgres: Connection, tmp_path: Path) -> None:
    live(postgres, tmp_path)
    postgres.execute(
        "insert into smp.flow_cursor (flow_id, source, looked_at) select flow_id, 'x', %s from smp.flow", (NOW,)
    )
    status.end(postgres, "friends", NOW, "bram")
    live(postgres, tmp_path, now=NOW + HOUR)
    assert state(postgres) == ("live", NOW + HOUR, NOW + HOUR, 1)
    assert postgres.execute("select count(*) from smp.flow_cursor").fetchone() == (0,)


@pytest.mark.parametrize("change", [status.pause, status.resume, status.end])
def test_a_flow_that_never_ran_is_told_how_to_run(postgres: Connection, change: object) -> None:
    with pytest.raises(SmpError, match=r"flow friends is concept\n.*smp flow live friends"):
        change(postgres, "friends", NOW, "bram")  # type: ignore[operator]


def test_a_change_by_nobody_is_refused(postgres: Connection, tmp_path: Path) -> None:
    with pytest.raises(SmpError, match="name of who"):
        status.run(postgres, drafted(tmp_path, FLOW), STEPS, NOW, " ")
    live(postgres, tmp_path)
    with pytest.raises(SmpError, match="name of who"):
        status.pause(postgres, "friends", NOW, "")


def test_two_changes_at_once_queue_up(postgres: Connection, postgres_url: str, tmp_path: Path) -> None:
    live(postgres, tmp_path)
    with psycopg.connect(postgres_url) as other, other.transaction():
        status.pause(other, "friends", NOW, "bram")
        postgres.execute("set lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            status.end(postgres, "friends", NOW, "anna")
    assert state(postgres)[0] == "paused"


def test_nobody_enters_by_hand_a_flow_that_was_ended_or_changed_while_they_were_named(
    postgres: Connection, tmp_path: Path
) -> None:
    live(postgres, tmp_path)
    tables.use(postgres)
    seen = read_state(postgres, "friends")
    assert seen is not None
    version = read_version(postgres, seen.version_id or 0)
    postgres.execute(
        "insert into crm.person (person_id, last_name, created_at) values (1, 'x', now()), (2, 'x', now())"
    )
    status.pause(postgres, "friends", NOW, "bob")
    live(postgres, tmp_path, FLOW.replace("2 days", "3 days"))
    assert enrol_people(postgres, version, seen, SqlJudge(), [1], "a", NOW).enrolled == 1
    entered = "select number from smp.participant join smp.flow_version using (version_id)"
    assert postgres.execute(entered).fetchall() == [(2,)]
    status.end(postgres, "friends", NOW, "bob", drop=True)
    with pytest.raises(SmpError, match="flow friends is ended, so nobody can enter it"):
        enrol_people(postgres, version, seen, SqlJudge(), [2], "a", NOW)
