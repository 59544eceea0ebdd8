"""Tests of what nobody knows: listed without addresses, resolved by a person or a transport, kept with who and why."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.cancelling import cancel
from smp_pipelines.sending.ledger import LEASE, Claim, Outcome, Send
from smp_pipelines.sending.transport import Answer, Mail
from smp_pipelines.sending.transports.memory import MemoryTransport
from smp_pipelines.sending.unknown import count_unknown, list_unknown, look_up, resolve
from smp_pipelines.stores.postgres import Connection
from tests.support.house import house_connection as _connection  # noqa: F401  (fixtures)
from tests.support.house import live_house as _house  # noqa: F401
from tests.support.theatre import PERFORMANCE, Theatre, deployment


@pytest.fixture
def send(house: Theatre) -> Send:
    return house.plan_these(house.people(5))


@pytest.fixture
def claim(house: Theatre, connection: Connection, send: Send) -> Claim:
    """The claim of a worker that was never heard of again: its send is finished, all of it unknown."""
    taken = house.claim(send)
    late = house.now + 2 * LEASE
    assert ledger.expire(connection, send, late) == 5
    assert ledger.finish(connection, send, late)
    return taken


def audit(house: Theatre) -> list[tuple[str, str, str]]:
    """What is kept of the resolutions: to what, by whom, on what evidence."""
    return house.sql("select to_state::text, resolved_by, evidence from smp.resolution order by resolution_id")


def test_an_unknown_row_is_listed_with_whom_why_and_since_when(
    house: Theatre, connection: Connection, send: Send, claim: Claim
) -> None:
    first = list_unknown(connection, send.send_id, limit=1)
    assert [(row.send_id, row.seq, row.person_id, row.record_id, row.since) for row in first] == [
        (send.send_id, 1, 1, PERFORMANCE, house.now + 2 * LEASE)
    ]
    assert "nobody knows whether it left" in first[0].why
    assert len(list_unknown(connection)) == count_unknown(connection) == 5
    assert (list_unknown(connection, send.send_id + 1), count_unknown(connection, send.send_id + 1)) == ([], 0)


def test_a_list_shows_no_address_that_a_mail_server_repeats(house: Theatre, connection: Connection, send: Send) -> None:
    taken = house.claim(send, batch=1)
    lost = Outcome(
        taken.messages[0].recipient_key, "unknown", "connection_lost", "<P1@Example.org>: p1@example.org, no"
    )
    ledger.settle(connection, send, taken.token, [lost], house.now)
    assert [row.response for row in list_unknown(connection)] == ["<(address)>: (address), no"]
    resolve(connection, send, "all", "accepted", house.now, "anna", "it is in the inbox of p1@example.org")
    assert audit(house) == [("accepted", "anna", "it is in the inbox of (address)")]


@pytest.mark.parametrize(("to", "reason"), [("accepted", None), ("rejected", "not_arrived")])
def test_a_resolution_is_written_down_with_who_and_how_they_know(
    house: Theatre, connection: Connection, send: Send, claim: Claim, to: str, reason: str | None
) -> None:
    before = house.sql("select changed_tx from smp.send")
    later = house.now + timedelta(hours=1)
    assert resolve(connection, send, "all", to, later, " anna ", " log ") == 5  # type: ignore[arg-type]
    assert house.states(send) == {to: 5}
    assert set(house.reasons(send).values()) == {reason}
    assert house.sql("select distinct settled_at, claim_token from smp.message") == [(later, None)]
    assert audit(house) == [(to, "anna", "log")] * 5
    assert house.sql("select state, changed_tx from smp.send") != [("finished", before[0][0])], "the mirror reads it"
    assert ledger.read_send(connection, send.send_id).state == "finished"
    assert house.verdict(send).holds


def test_rows_are_named_by_their_number_or_by_their_key(
    house: Theatre, connection: Connection, send: Send, claim: Claim
) -> None:
    assert resolve(connection, send, [1, 2], "accepted", house.now, "anna", "log") == 2
    assert resolve(connection, send, [claim.messages[4].recipient_key], "rejected", house.now, "anna", "log") == 1
    assert house.states(send) == {"accepted": 2, "rejected": 1, "unknown": 2}
    assert resolve(connection, send, [], "accepted", house.now, "anna", "log") == 0


def test_a_row_that_is_known_by_now_is_told_and_then_nothing_is_changed(
    house: Theatre, connection: Connection, send: Send, claim: Claim
) -> None:
    ledger.settle(connection, send, claim.token, [Outcome(claim.messages[0].recipient_key, "accepted")], house.now)
    for named in ([1, 2], [2, 99]):
        with pytest.raises(SmpError, match="is not unknown"):
            resolve(connection, send, named, "rejected", house.now, "anna", "log")
    assert house.states(send) == {"accepted": 1, "unknown": 4}
    assert audit(house) == []


@pytest.mark.parametrize(("by", "evidence"), [(" ", "log"), ("anna", " ")])
def test_nobody_resolves_without_a_name_or_without_evidence(
    house: Theatre, connection: Connection, send: Send, claim: Claim, by: str, evidence: str
) -> None:
    with pytest.raises(SmpError, match="who resolves this and on what evidence"):
        resolve(connection, send, "all", "accepted", house.now, by, evidence)


def test_a_mail_that_certainly_did_not_leave_is_sent_once_more_and_the_send_goes_on(
    house: Theatre, connection: Connection, send: Send, claim: Claim
) -> None:
    assert resolve(connection, send, [1, 2], "planned", house.now, "anna", "log") == 2
    assert house.states(send) == {"planned": 2, "unknown": 3}
    assert ledger.read_send(connection, send.send_id).state == "open"
    assert house.sql("select finished_at from smp.send") == [(None,)]
    assert [each.send_id for each in ledger.unfinished_sends(connection, house.now)] == [send.send_id]
    again = house.claim(send)
    assert [(message.person_id, message.attempts) for message in again.messages] == [(1, 1), (2, 1)]


def test_the_late_answer_of_the_worker_changes_nothing_that_a_person_resolved(
    house: Theatre, connection: Connection, send: Send, claim: Claim
) -> None:
    resolve(connection, send, [1], "planned", house.now, "anna", "log")
    resolve(connection, send, [2], "rejected", house.now, "anna", "log")
    keys = [message.recipient_key for message in claim.messages]
    assert ledger.settle(connection, send, claim.token, [Outcome(key, "accepted") for key in keys[:2]], house.now) == 0
    assert ledger.release(connection, send, claim.token, keys[:2]) == 0
    assert house.states(send) == {"planned": 1, "rejected": 1, "unknown": 3}


def test_two_people_who_resolve_at_once_do_it_once(
    house: Theatre, connection: Connection, send: Send, claim: Claim
) -> None:
    assert resolve(connection, send, "all", "accepted", house.now, "anna", "log") == 5
    assert resolve(connection, send, "all", "rejected", house.now, "bob", "log") == 0
    assert house.states(send) == {"accepted": 5}


def test_nothing_of_a_cancelled_send_is_sent_after_all(house: Theatre, connection: Connection, send: Send) -> None:
    house.claim(send, batch=2)
    cancel(connection, send, house.now, "anna", "wrong date")
    ledger.expire(connection, send, house.now + 2 * LEASE)
    with pytest.raises(SmpError, match="was cancelled"):
        resolve(connection, send, "all", "planned", house.now, "anna", "log")
    assert resolve(connection, send, "all", "rejected", house.now, "anna", "log") == 2


def named(key: UUID) -> str:
    return f"<{key}@example.org>"


def hand_over(transport: MemoryTransport, key: UUID, answer: Answer) -> None:
    transport.outbox.answer = lambda _recipient: answer
    transport.outbox.take(Mail(named(key), "a@example.org", "p@example.org", b""))


def test_a_transport_that_can_look_up_resolves_what_it_knows_and_leaves_the_rest(
    house: Theatre, connection: Connection, send: Send, claim: Claim, request: pytest.FixtureRequest
) -> None:
    transport = MemoryTransport(request.node.name)
    keys = [message.recipient_key for message in claim.messages]
    hand_over(transport, keys[0], Answer("unknown", "250 queued as 1"))
    hand_over(transport, keys[1], Answer("refused", "550 no such user p2@example.org"))
    hand_over(transport, keys[2], Answer("later", "451 busy"))
    told = look_up(connection, send, transport, named, house.now)
    assert dict(told) == {"accepted": 1, "rejected": 1, "planned": 1, "unknown": 2}
    assert house.states(send) == {"accepted": 1, "rejected": 1, "planned": 1, "unknown": 2}
    by = f"transport {transport.name}"
    assert sorted(audit(house)) == [
        ("accepted", by, "250 queued as 1"),
        ("planned", by, "451 busy"),
        ("rejected", by, "550 no such user (address)"),
    ]
    assert dict(look_up(connection, send, transport, named, house.now)) == {"unknown": 2}


def test_a_look_up_does_not_send_what_was_cancelled(
    house: Theatre, connection: Connection, send: Send, request: pytest.FixtureRequest
) -> None:
    transport = MemoryTransport(request.node.name)
    taken = house.claim(send, batch=1)
    cancel(connection, send, house.now, "anna", "wrong date")
    ledger.expire(connection, send, house.now + 2 * LEASE)
    hand_over(transport, taken.messages[0].recipient_key, Answer("later", "451 busy"))
    assert dict(look_up(connection, send, transport, named, house.now)) == {"rejected": 1, "unknown": 0}


def test_the_deployment_asks_by_the_message_ids_that_it_sends(house: Theatre, send: Send, claim: Claim) -> None:
    """Nothing was handed over to this outbox: the question alone must not resolve anything."""
    opened = deployment(house.url, house.deployment.settings.home, mail_url="memory://nobody")
    assert dict(opened.look_up(send, house.now)) == {"unknown": 5}
