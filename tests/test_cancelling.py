"""Tests of cancelling: what waits is skipped with a reason, what a worker has in hand stays with it, all is kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest

from smp_pipelines.assets.jobs import cancel_job
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.cancelling import QUIET_HOURS, cancel, is_cancelled, skip_planned, skip_returned
from smp_pipelines.sending.ledger import LEASE, Outcome, Send
from smp_pipelines.sending.reasons import REASONS
from smp_pipelines.sending.sends import SendChange, list_sends, read_send_changes
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.postgres import Connection
from tests.support.house import house_connection as _connection  # noqa: F401  (fixtures)
from tests.support.house import live_house as _house  # noqa: F401
from tests.support.theatre import Theatre


@pytest.fixture
def send(house: Theatre) -> Send:
    return house.plan_these(house.people(10))


def test_what_is_left_of_a_send_is_skipped_as_cancelled_and_the_send_is_finished(
    house: Theatre, connection: Connection, send: Send
) -> None:
    claim = house.claim(send, batch=4)
    outcomes = [Outcome(message.recipient_key, "accepted") for message in claim.messages]
    ledger.settle(connection, send, claim.token, outcomes, house.now)
    assert cancel(connection, send, house.now, " anna ", "wrong date") == 6
    assert house.states(send) == {"accepted": 4, "skipped": 6}
    assert set(house.reasons(send).values()) == {None, "cancelled"}
    assert ledger.read_send(connection, send.send_id).state == "finished"
    assert house.verdict(send).holds
    assert read_send_changes(connection, send) == [SendChange("cancelled", 6, house.now, "anna", "wrong date")]


def test_a_mail_in_a_workers_hand_stays_with_it_and_the_send_is_finished_after_it(
    house: Theatre, connection: Connection, send: Send
) -> None:
    claim = house.claim(send, batch=4)
    assert cancel(connection, send, house.now, "anna", "wrong date") == 6
    assert house.states(send) == {"claimed": 4, "skipped": 6}
    assert ledger.read_send(connection, send.send_id).state == "open"
    outcomes = [Outcome(message.recipient_key, "accepted") for message in claim.messages]
    assert ledger.settle(connection, send, claim.token, outcomes, house.now) == 4
    assert ledger.finish(connection, send, house.now)


def test_a_mail_that_a_worker_gives_back_to_a_cancelled_send_is_skipped_also_when_the_step_is_stopped(
    house: Theatre, connection: Connection, send: Send
) -> None:
    claim = house.claim(send, batch=4)
    cancel(connection, send, house.now, "anna", "wrong date")
    house.status("stopped")
    keys = [message.recipient_key for message in claim.messages]
    ledger.release(connection, send, claim.token, keys[:3])
    house.deployment.due(house.now)
    assert house.states(send) == {"claimed": 1, "skipped": 9}
    house.deployment.due(house.now + 2 * LEASE)
    assert house.states(send) == {"unknown": 1, "skipped": 9}
    assert ledger.read_send(connection, send.send_id).state == "finished"


def test_other_sends_are_left_alone(house: Theatre, connection: Connection, send: Send) -> None:
    other = house.plan_these(list(range(1, 4)))
    cancel(connection, send, house.now, "anna", "wrong date")
    assert skip_returned(connection, house.now) == 0
    assert house.states(other) == {"planned": 3}
    assert (is_cancelled(connection, send), is_cancelled(connection, other)) == (True, False)


def test_a_finished_send_cannot_be_cancelled(house: Theatre, connection: Connection, send: Send) -> None:
    cancel(connection, send, house.now, "anna", "wrong date")
    with pytest.raises(SmpError, match=f"send {send.send_id} is finished: there is nothing left to cancel"):
        cancel(connection, send, house.now, "bob", "me too")
    assert len(read_send_changes(connection, send)) == 1


def test_cancelling_needs_a_name(house: Theatre, connection: Connection, send: Send) -> None:
    with pytest.raises(SmpError, match="name of who does it"):
        cancel(connection, send, house.now, "  ", "wrong date")
    assert house.states(send) == {"planned": 10}


def test_a_send_that_was_never_planned_is_not_planned_any_more(house: Theatre, connection: Connection) -> None:
    house.people(3)
    send = house.open_send()
    assert cancel(connection, send, house.now, "anna", "wrong date") == 0
    ref = house.deployment.project.step(house.step)
    again = house.deployment.open_send(ref, send.send_key, house.now, house.now, None)
    assert again.state == "finished"
    assert house.states(send) == {}


def test_workers_that_claim_while_somebody_cancels_leave_no_row_behind(
    house: Theatre, connection: Connection, send: Send
) -> None:
    with ThreadPoolExecutor(4) as pool:
        claims = [pool.submit(house.claim, send, batch=1) for _each in range(8)]
        skipped = cancel(connection, send, house.now, "anna", "wrong date")
        claimed = sum(len(each.result().messages) for each in claims)
    assert skipped + claimed == 10
    assert house.states(send) == {state: n for state, n in {"skipped": skipped, "claimed": claimed}.items() if n}


def test_what_a_step_drops_at_night_has_a_reason_of_its_own(house: Theatre, connection: Connection, send: Send) -> None:
    house.claim(send, batch=4)
    assert skip_planned(connection, send, QUIET_HOURS, house.now) == 6
    assert house.states(send) == {"claimed": 4, "skipped": 6}
    assert ledger.totals(connection, send).reasons == {QUIET_HOURS: 6}
    assert "23:00" in REASONS[QUIET_HOURS]


def test_the_job_in_the_launchpad_cancels_and_tells_a_mistake_in_words(
    house: Theatre, connection: Connection, send: Send
) -> None:
    job = cancel_job(house.deployment, StartedAt(house.now))
    config = {"ops": {"cancel_what_is_left": {"config": {"send": send.send_id, "by": "anna", "reason": "wrong date"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(run_config=config, instance=instance).success
        assert house.states(send) == {"skipped": 10}
        with pytest.raises(dg.Failure, match="nothing left to cancel"):
            job.execute_in_process(run_config=config, instance=instance)


def test_the_list_has_the_latest_sends_and_every_one_that_is_not_finished(
    house: Theatre, connection: Connection, send: Send
) -> None:
    others = [house.plan_these([1]) for _each in range(3)]
    for other in others[:2]:
        cancel(connection, other, house.now, "anna", "wrong date")
    house.claim(send, batch=4)
    listed = list_sends(connection, limit=1)
    assert [(each.send.send_id, each.waiting, each.in_hand, each.cancelled) for each in listed] == [
        (others[2].send_id, 1, 0, False),
        (send.send_id, 6, 4, False),
    ]
    assert [each.cancelled for each in list_sends(connection, house.step)] == [False, True, True, False]
    assert list_sends(connection, "newsletter/december") == []
