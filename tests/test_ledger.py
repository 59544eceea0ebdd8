"""Tests of the ledger: one row per send and recipient, claimed before it is sent, final when it is finished."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.ledger import LEASE, Claim, Outcome, Send
from smp_pipelines.stores.postgres import Connection
from tests.support.house import house_connection as _connection  # noqa: F401  (fixtures)
from tests.support.house import live_house as _house  # noqa: F401
from tests.support.theatre import Theatre

NIGHT = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)  # half past eleven in Amsterdam


@pytest.fixture
def send(house: Theatre) -> Send:
    """A send to ten people, planned without the lake."""
    return house.plan_these(house.people(10))


def accept(claim: Claim) -> list[Outcome]:
    return [Outcome(message.recipient_key, "accepted", None, "250 OK") for message in claim.messages]


def test_the_same_key_is_the_same_send_also_for_two_at_once(house: Theatre) -> None:
    with ThreadPoolExecutor(6) as pool:
        sends = list(pool.map(lambda _n: house.open_send("same"), range(12)))
    assert len({send.send_id for send in sends}) == 1


def test_a_send_that_is_not_there_is_said_so(connection: Connection) -> None:
    with pytest.raises(SmpError, match="there is no send nothing"):
        ledger.read_send(connection, "nothing")


def test_the_database_refuses_a_second_row_for_a_recipient(house: Theatre, send: Send) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        house.sql(
            "insert into smp.message (send_id, recipient_key, seq, person_id, state)"
            " select send_id, recipient_key, 99, person_id, 'planned' from smp.message limit 1"
        )


def test_workers_that_claim_at_once_never_get_the_same_row(house: Theatre, send: Send) -> None:
    with ThreadPoolExecutor(6) as pool:
        claims = list(pool.map(lambda _n: house.claim(send, batch=3), range(6)))
    people = [message.person_id for claim in claims for message in claim.messages]
    assert sorted(people) == list(range(1, 11))


def test_a_claim_brings_the_address_that_it_judged(house: Theatre, send: Send) -> None:
    house.sql("update crm.person set email = '  P1@Example.org ' where person_id = 1")
    assert house.claim(send, batch=1).messages[0].address == "P1@Example.org"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("insert into crm.consent values (1, 'email', 'service', false, now(), 'web')", "opted_out"),
        ("update crm.performance set block_service_mail = true", "record_blocked"),
        ("delete from crm.ticket; delete from crm.performance", "record_gone"),
        ("update crm.person set blocked = true", "person_blocked"),
        ("delete from crm.person", "person_gone"),
        ("update crm.person set email = null", "no_address"),
        ("update crm.person set email = 'new@example.org'", "address_changed"),
        ("update crm.person set email = 'p1@example'", "broken_address"),
        ("update crm.person set email = 'p1@exa mple.org'", "broken_address"),
        ("update crm.person set email = 'p1' || chr(10) || 'x@example.org'", "broken_address"),
        ("update crm.person set email = 'p1@example.org>, <x@y.nl'", "broken_address"),
        ("update crm.person set email = repeat('p', 250) || '@example.org'", "broken_address"),
        ("insert into crm.suppression values ('p1@example.org', 'bounce', now())", "suppressed"),
        ("insert into crm.suppression values (' P1@Example.org', 'bounce', now())", "suppressed"),
    ],
)
def test_what_changed_since_planning_is_seen_at_the_claim(house: Theatre, change: str, reason: str) -> None:
    send = house.plan_these(house.people(1))
    house.sql(change)
    claim = house.claim(send)
    assert (claim.messages, dict(claim.skipped)) == ([], {reason: 1})
    assert house.reasons(send) == {1: reason}


def test_a_topic_that_needs_a_yes_is_not_sent_without_one(house: Theatre) -> None:
    house.step = "newsletter/december"
    house.live()
    send = house.plan_these(house.people(3))
    house.sql("insert into crm.consent values (1, 'email', 'newsletter', true, now(), 'web')")
    house.sql("insert into crm.consent values (2, 'email', 'newsletter', false, now(), 'web')")
    house.sql("insert into crm.consent values (3, 'email', 'service', true, now(), 'web')")
    claim = house.claim(send)
    assert [message.person_id for message in claim.messages] == [1]
    assert dict(claim.skipped) == {"opted_out": 1, "no_consent": 1}


@pytest.mark.parametrize("status", ["concept", "testing", "stopped"])
def test_a_step_that_is_not_live_gives_nothing_to_claim(house: Theatre, send: Send, status: str) -> None:
    house.status(status)
    assert not house.claim(send).messages
    assert house.states(send) == {"planned": 10}


def test_at_night_there_is_nothing_to_claim(house: Theatre, send: Send) -> None:
    assert house.claim(send, NIGHT).messages == []
    assert len(house.claim(send, NIGHT - timedelta(minutes=31)).messages) == 10


def test_only_the_holder_of_the_token_writes_an_outcome(house: Theatre, send: Send, connection: Connection) -> None:
    claim = house.claim(send)
    assert ledger.settle(connection, send, uuid4(), accept(claim), house.now) == 0
    assert ledger.settle(connection, send, claim.token, accept(claim), house.now) == 10
    assert ledger.settle(connection, send, claim.token, accept(claim), house.now) == 0, "once is enough"


def test_what_was_given_back_can_be_claimed_again_as_if_never_tried(
    house: Theatre, send: Send, connection: Connection
) -> None:
    claim = house.claim(send)
    keys = [message.recipient_key for message in claim.messages]
    assert ledger.release(connection, send, uuid4(), keys) == 0
    assert ledger.release(connection, send, claim.token, keys) == 10
    assert {message.attempts for message in house.claim(send).messages} == {1}


def test_a_mail_that_was_put_off_waits_for_its_moment(house: Theatre, send: Send, connection: Connection) -> None:
    claim = house.claim(send)
    later = house.now + timedelta(minutes=5)
    outcomes = [Outcome(m.recipient_key, "planned", None, "451 busy", later) for m in claim.messages]
    ledger.settle(connection, send, claim.token, outcomes, house.now)
    assert house.claim(send, later - timedelta(seconds=1)).messages == []
    assert ledger.waiting(connection, send, house.now) == ledger.Waiting(10, later)
    assert [each.send_id for each in ledger.unfinished_sends(connection, house.now)] == []
    assert [each.send_id for each in ledger.unfinished_sends(connection, later)] == [send.send_id]
    assert {message.attempts for message in house.claim(send, later).messages} == {2}


def test_an_expired_claim_is_unknown_and_is_not_sent_again(house: Theatre, send: Send, connection: Connection) -> None:
    house.claim(send)
    assert ledger.expire(connection, send, house.now + LEASE) == 0
    late = house.now + LEASE + timedelta(seconds=1)
    assert ledger.expire(connection, send, late) == 10
    assert set(house.reasons(send).values()) == {"lease_expired"}
    assert house.claim(send, late).messages == []
    assert ledger.finish(connection, send, late)
    assert house.verdict(send).holds


def test_the_late_answer_of_a_slow_worker_still_resolves_the_unknown(
    house: Theatre, send: Send, connection: Connection
) -> None:
    claim = house.claim(send)
    late = house.now + LEASE + timedelta(seconds=1)
    ledger.expire(connection, send, late)
    ledger.finish(connection, send, late)
    before = house.sql("select changed_tx from smp.send")
    assert ledger.settle(connection, send, claim.token, accept(claim), late) == 10
    assert house.states(send) == {"accepted": 10}
    assert house.sql("select state from smp.send") == [("finished",)]
    assert house.sql("select changed_tx from smp.send") != before, "the mirror would not see it"


def test_a_slow_worker_that_handed_nothing_over_gives_the_expired_rows_back(
    house: Theatre, send: Send, connection: Connection
) -> None:
    claim = house.claim(send)
    late = house.now + LEASE + timedelta(seconds=1)
    ledger.expire(connection, send, late)
    ledger.finish(connection, send, late)
    keys = [message.recipient_key for message in claim.messages]
    assert ledger.release(connection, send, claim.token, keys[:4]) == 4
    assert house.states(send) == {"planned": 4, "unknown": 6}
    assert ledger.read_send(connection, send.send_id).state == "open"
    assert house.sql("select finished_at from smp.send") == [(None,)]
    assert len(house.claim(send, late).messages) == 4


def test_a_row_that_somebody_resolved_is_not_touched_by_the_late_worker(
    house: Theatre, send: Send, connection: Connection
) -> None:
    claim = house.claim(send)
    ledger.expire(connection, send, house.now + 2 * LEASE)
    house.sql("update smp.message set state = 'accepted', reason = null")
    assert ledger.settle(connection, send, claim.token, accept(claim), house.now) == 0
    assert ledger.release(connection, send, claim.token, [m.recipient_key for m in claim.messages]) == 0


def test_a_send_with_an_open_row_is_not_finished(house: Theatre, send: Send, connection: Connection) -> None:
    claim = house.claim(send, batch=9)
    ledger.settle(connection, send, claim.token, accept(claim), house.now)
    assert not ledger.finish(connection, send, house.now)
    last = house.claim(send)
    assert not ledger.finish(connection, send, house.now)
    ledger.settle(connection, send, last.token, accept(last), house.now)
    assert ledger.finish(connection, send, house.now)
    changed = house.sql("select changed_tx, finished_at from smp.send")
    assert ledger.finish(connection, send, house.now + timedelta(hours=1)), "it is finished already"
    assert house.sql("select changed_tx, finished_at from smp.send") == changed


def test_an_answer_with_bytes_that_postgres_cannot_hold_costs_no_outcome(
    house: Theatre, send: Send, connection: Connection
) -> None:
    claim = house.claim(send, batch=1)
    odd = Outcome(claim.messages[0].recipient_key, "accepted", None, "250 \x00\ud800 ok")
    assert ledger.settle(connection, send, claim.token, [odd], house.now) == 1
    assert house.sql("select response from smp.message where state = 'accepted'") == [("250 ? ok",)]


def test_the_counts_of_a_send_are_those_of_its_rows(house: Theatre, send: Send, connection: Connection) -> None:
    house.sql("update crm.person set blocked = true where person_id in (1, 2)")
    claim = house.claim(send, batch=5)
    ledger.settle(connection, send, claim.token, accept(claim)[:1], house.now)
    totals = ledger.totals(connection, send)
    assert (totals.all, totals.open, totals.accepted, totals.claimed, totals.skipped) == (10, 7, 1, 2, 2)
    assert totals.reasons == {"person_blocked": 2}


def test_verify_tells_a_lost_row_and_rows_whose_send_is_not_there(
    house: Theatre, send: Send, connection: Connection
) -> None:
    assert [verdict.holds for verdict in ledger.verify(connection)] == [True]
    house.sql("delete from smp.message where seq = 1")
    assert [verdict.holds for verdict in ledger.verify(connection, send.send_id)] == [False]
    house.sql("update smp.message set send_id = 4711 where seq = 2")
    assert [(v.send_key, v.in_ledger, v.holds) for v in ledger.verify(connection, 4711)] == [("no such send", 1, False)]


ACTS = st.lists(
    st.tuples(st.sampled_from(["claim", "accept", "reject", "lose", "put off", "release", "wait"]), st.integers(1, 4)),
    max_size=25,
)


@given(ACTS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_workers_do_the_identity_holds_and_nobody_is_handed_over_twice(
    house: Theatre, connection: Connection, acts: list[tuple[str, int]]
) -> None:
    if not house.sql("select 1 from crm.person"):
        house.people(6)
    send, now = house.plan_these(list(range(1, 7))), house.now
    held: list[Claim] = []
    handed_over: list[int] = []
    for act, number in acts:
        if act == "claim":
            held.append(house.claim(send, now, number))
        elif act == "wait":
            now += timedelta(seconds=20 * number)
            ledger.expire(connection, send, now)
        elif held:
            claim = held.pop(number % len(held))
            keys = [message.recipient_key for message in claim.messages]
            if act == "release":
                ledger.release(connection, send, claim.token, keys)
            elif act == "put off":
                outcomes = [Outcome(key, "planned", None, "451", now + timedelta(seconds=5)) for key in keys]
                ledger.settle(connection, send, claim.token, outcomes, now)
            else:
                handed_over += [message.person_id for message in claim.messages]
                state = {"accept": "accepted", "reject": "rejected", "lose": "unknown"}[act]
                outcomes = [Outcome(key, state, "refused") for key in keys]  # type: ignore[arg-type]
                assert ledger.settle(connection, send, claim.token, outcomes, now) == len(keys)
        ledger.finish(connection, send, now)
        assert house.verdict(send).holds
    assert len(handed_over) == len(set(handed_over))


def test_the_night_is_the_projects_and_not_the_servers(house: Theatre, send: Send) -> None:
    summer = datetime(2026, 7, 1, 20, 59, tzinfo=UTC)  # 22:59 in Amsterdam
    assert house.claim(send, summer, 1).messages
    assert not house.claim(send, summer + timedelta(minutes=1)).messages
