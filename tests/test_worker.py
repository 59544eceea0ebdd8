"""The worker on transports that block: answers of every kind, a way out that goes and comes back, hard bounces."""

from __future__ import annotations

import dataclasses
import select
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from smp_pipelines.sending import worker
from smp_pipelines.sending.blocking import ThreadedStream
from smp_pipelines.sending.delivery import Delivering, Delivery
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.transport import Answer, Mail, Streaming, TransportDownError
from smp_pipelines.sending.transports.memory import ACCEPTED, MemoryTransport, Outbox, outbox
from smp_pipelines.stores.clock import StartedAt
from tests.support.house import live_house as _house  # noqa: F401  (a fixture)
from tests.support.theatre import Theatre, twice
from tests.support.waiting import PATIENCE, until

LATER = Answer("later", "451 4.7.1 later")


@pytest.fixture
def box(request: pytest.FixtureRequest) -> Iterator[Outbox]:
    made = outbox(f"worker{abs(hash(request.node.name))}")
    made.clear()
    yield made
    made.clear()


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PAUSES", (0.1, 0.1))


def delivering(house: Theatre, send: Send, box: Outbox, patience: float = 20.0) -> Delivering:
    at = dataclasses.replace(house.deployment.settings, mail_url=f"memory://{box.name}")
    clock = StartedAt(house.now)
    return Delivering(at, house.url, house.deployment.project, send, clock, connections=2, patience=patience)


def deliver(house: Theatre, send: Send, box: Outbox, patience: float = 20.0) -> Delivery:
    return delivering(house, send, box, patience).run()


def held_up(box: Outbox) -> tuple[threading.Event, threading.Event]:
    """Let the outbox accept mails, but only when the second event is set; the first says that one has come."""
    begun, go_on = threading.Event(), threading.Event()

    def answer(_who: str) -> Answer:
        begun.set()
        assert go_on.wait(PATIENCE)
        return ACCEPTED

    box.answer = answer
    return begun, go_on


def attempts(house: Theatre, send: Send) -> dict[int, int]:
    return dict(house.sql("select person_id, attempts from smp.message where send_id = %s", send.send_id))


def test_a_worker_delivers_to_an_outbox_and_leaves_no_journal(house: Theatre, box: Outbox, tmp_path: Path) -> None:
    send = house.plan_these(house.people(250))
    done = deliver(house, send, box)
    assert (done.accepted, done.held) == (250, None)
    assert sorted(box.recipients) == sorted(f"p{number}@example.org" for number in range(1, 251))
    assert (house.verdict(send).state, house.verdict(send).holds) == ("finished", True)
    assert list((tmp_path / "journals").iterdir()) == []


@pytest.mark.usefixtures("quick_retries")
def test_a_mail_that_is_put_off_comes_the_next_time_and_one_that_always_is_is_given_up(
    house: Theatre, box: Outbox
) -> None:
    send = house.plan_these(house.people(4))

    def answer(who: str) -> Answer:
        tried = [mail.recipient for mail in box.tried]
        return LATER if who == "p3@example.org" or (who == "p2@example.org" and who not in tried) else ACCEPTED

    box.answer = answer
    deliver(house, send, box)
    assert house.states(send) == {"accepted": 3, "rejected": 1}
    assert house.reasons(send)[3] == "gave_up"
    assert attempts(house, send) == {1: 1, 2: 2, 3: 3, 4: 1}
    assert len({mail.message_id for mail in box.tried if mail.recipient == "p3@example.org"}) == 1


def test_an_address_that_does_not_exist_is_suppressed_from_then_on(house: Theatre, box: Outbox) -> None:
    people = house.people(3)
    refusals = {"p1@example.org": "550 5.1.1 no such user", "p2@example.org": "550 5.7.1 policy"}
    box.answer = lambda who: Answer("refused", refusals[who]) if who in refusals else ACCEPTED
    first = house.plan_these(people)
    deliver(house, first, box)
    assert house.reasons(first) == {1: "refused", 2: "refused", 3: None}
    assert house.sql("select email_key, reason from crm.suppression") == [("p1@example.org", "hard_bounce")]
    box.clear()
    second = house.plan_these(people)
    done = deliver(house, second, box)
    assert dict(done.skipped) == {"suppressed": 1}
    assert house.reasons(second) == {1: "suppressed", 2: None, 3: None}
    assert sorted(box.recipients) == ["p2@example.org", "p3@example.org"]


def test_what_breaks_a_connection_in_an_odd_way_leaves_that_mail_unknown_and_the_others_go_on(
    house: Theatre, box: Outbox
) -> None:
    send = house.plan_these(house.people(5))

    def answer(who: str) -> Answer:
        if who == "p2@example.org":
            raise KeyError("nobody thought of this")
        return ACCEPTED

    box.answer = answer
    deliver(house, send, box)
    assert house.states(send) == {"accepted": 4, "unknown": 1}
    assert house.sql("select reason, response from smp.message where person_id = 2") == [
        ("connection_lost", "KeyError: 'nobody thought of this'")
    ]
    deliver(house, send, box)
    assert "p2@example.org" not in box.recipients


def test_a_way_out_that_goes_in_the_middle_and_comes_back_costs_nobody_an_attempt(house: Theatre, box: Outbox) -> None:
    send = house.plan_these(house.people(60))
    gone = threading.Event()

    def answer(_who: str) -> Answer:
        if len(box.mails) >= 20 and not gone.is_set():
            box.down = "the line is cut"
            gone.set()
            raise TransportDownError("the line is cut")
        return ACCEPTED

    box.answer = answer
    with ThreadPoolExecutor(1) as pool:
        run: Future[Delivery] = pool.submit(deliver, house, send, box)
        assert gone.wait(PATIENCE)
        # a row that cannot leave is nobody's
        until(lambda: "claimed" not in house.states(send), "the rows to be given back")
        box.down = None
        assert run.result(timeout=PATIENCE).accepted == 60
    assert twice(box.recipients) == []
    assert house.states(send) == {"accepted": 60}
    assert set(attempts(house, send).values()) == {1}


def test_a_way_out_that_takes_nothing_from_anybody_uses_nobody_up_and_is_told(house: Theatre, box: Outbox) -> None:
    send = house.plan_these(house.people(30))

    def answer(_who: str) -> Answer:
        raise TransportDownError("the key of the API is wrong")

    box.answer = answer
    with pytest.raises(TransportDownError, match="the key of the API is wrong"):
        deliver(house, send, box, patience=1.5)
    assert house.states(send) == {"planned": 30}
    assert set(attempts(house, send).values()) == {0}
    box.answer = lambda _who: ACCEPTED
    assert deliver(house, send, box).accepted == 30


def test_a_way_out_that_is_not_there_at_all_is_told_at_once_and_everything_waits(house: Theatre, box: Outbox) -> None:
    send = house.plan_these(house.people(3))
    box.down = "the line is cut"
    with pytest.raises(TransportDownError, match="the line is cut"):
        deliver(house, send, box)
    assert house.states(send) == {"planned": 3}
    assert set(attempts(house, send).values()) == {0}


def test_a_worker_that_is_stopped_with_a_mail_in_hand_writes_down_what_became_of_it(
    house: Theatre, box: Outbox
) -> None:
    send = house.plan_these(house.people(30))
    begun, go_on = held_up(box)
    work = delivering(house, send, box)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(work.run)
        assert begun.wait(PATIENCE)
        work.stop()
        go_on.set()
        done = run.result(timeout=PATIENCE)
    assert done.accepted == len(box.mails) <= 2, "one on each connection"
    assert house.states(send) == {"accepted": len(box.mails), "planned": 30 - len(box.mails)}


# the stream around a connection that blocks


def mail(number: int = 1) -> Mail:
    return Mail(f"<{number}@example.org>", "toneel@example.org", f"p{number}@example.org", b"Subject: x\r\n\r\nx\r\n")


def stream(box: Outbox) -> ThreadedStream:
    return ThreadedStream(MemoryTransport(box.name).connect())


def answers(lane: ThreadedStream) -> list[tuple[Mail, Answer]]:
    """What is answered when the stream's socket says that there is something."""
    assert select.select([lane], [], [], PATIENCE)[0]
    return lane.pump()


def test_a_blocking_connection_becomes_a_stream_that_takes_one_mail_at_a_time(box: Outbox) -> None:
    lane = stream(box)
    assert isinstance(lane, Streaming)
    begun: list[Mail] = []
    lane.begun = begun.append
    for number in range(1, 4):
        assert (lane.takes, lane.in_hand) == (True, 0)
        lane.offer(mail(number))
        lane.flush()
        assert (lane.takes, lane.in_hand) == (False, 1)
        assert begun[-1] == mail(number)
        assert answers(lane) == [(mail(number), ACCEPTED)]
    assert (lane.is_open, lane.deadline, lane.wants_to_write) == (True, None, False)
    assert lane.close() == []
    assert not lane.is_open
    assert lane.close() == [], "closing twice is no harm"


def test_a_stream_that_is_closed_waits_for_the_mail_in_hand(box: Outbox) -> None:
    begun, go_on = held_up(box)
    lane = stream(box)
    lane.offer(mail())
    assert begun.wait(PATIENCE)
    threading.Timer(0.1, go_on.set).start()
    assert lane.close() == [(mail(), ACCEPTED)]
    assert lane.in_hand == 0


def test_a_stream_whose_way_out_is_gone_says_so_and_keeps_its_mail_until_it_is_closed(box: Outbox) -> None:
    lane = stream(box)
    box.down = "the line is cut"
    lane.offer(mail())
    assert answers(lane) == []
    assert (lane.is_open, lane.takes) == (False, False)
    assert isinstance(lane.down, TransportDownError)
    ((back, answer),) = lane.close()
    assert (back, answer.kind) == (mail(), "later")
    assert box.tried == []


def test_a_stream_goes_on_after_something_odd(box: Outbox) -> None:
    def answer(who: str) -> Answer:
        if who == "p1@example.org":
            raise RuntimeError("x" * 1000)
        return ACCEPTED

    box.answer = answer
    lane = stream(box)
    lane.offer(mail(1))
    ((_mail, odd),) = answers(lane)
    assert (odd.kind, len(odd.response)) == ("unknown", 500)
    lane.offer(mail(2))
    assert answers(lane) == [(mail(2), ACCEPTED)]
    lane.close()
