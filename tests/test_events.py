"""Tests of the outbox: events of submissions become sends, each event once, whoever takes them or dies (F05)."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from smp_pipelines.operations.tick import Ticker
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.due import due, unfinished
from smp_pipelines.sending.events import BATCH, read_waiting
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.outbox import Outbox
from smp_pipelines.stores.clock import StartedAt
from tests.support.mailserver import MailServer
from tests.support.submitted import submit
from tests.support.theatre import PERFORMANCE, Theatre
from tests.support.triggered import OFFER, SEAT, THANKS
from tests.support.triggered import all_live as _all_live  # noqa: F401  (fixtures)
from tests.support.triggered import its_house as _house  # noqa: F401
from tests.support.triggered import its_server as _server  # noqa: F401
from tests.support.waiting import until

LATE = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)
"""Half past eleven at night in Amsterdam."""


def take(house: Theatre, now: datetime | None = None) -> list[Send]:
    return house.deployment.take_events(now or house.now)


def plan(house: Theatre, send: Send, now: datetime | None = None) -> Send:
    ref = house.deployment.project.step(send.step)
    return house.deployment.plan_events(ref, send, now or house.now, None)


def work(house: Theatre) -> None:
    """Take, plan and deliver what waits, as a run does."""
    for send in take(house):
        house.deployment.deliver(plan(house, send), StartedAt(house.now))


def take_up(house: Theatre, now: datetime) -> int:
    """Go on with what is due, as the lifecycle sensor does; how many sends those are."""
    found = house.deployment.due(now)[0]
    for each in found:
        with house.deployment.connection() as connection:
            send = ledger.read_send(connection, each.send_key)
        house.deployment.deliver(plan(house, send, now), StartedAt(now))
    return len(found)


def waiting(house: Theatre) -> list[str]:
    with house.deployment.connection() as connection:
        return [each.words for each in read_waiting(connection, house.deployment.project)]


def missed(house: Theatre) -> list[tuple[object, ...]]:
    return house.sql("select person_id, missed from smp.trigger_event where missed is not null order by event_id")


def test_a_submission_becomes_a_send_once_and_its_mail_leaves(house: Theatre, server: MailServer) -> None:
    house.people(2)
    submit(house.url, THANKS, [1], house.now)
    (send,) = take(house)
    assert (send.send_key, send.state, send.purpose) == (f"{THANKS}@events-1", "planning", "live")
    assert take(house) == []
    planned = plan(house, send)
    assert (planned.state, planned.planned) == ("open", 1)
    house.deployment.deliver(planned, StartedAt(house.now))
    assert server.recipients == ["p1@example.org"]
    submit(house.url, THANKS, [2], house.now)
    work(house)
    assert server.recipients == ["p1@example.org", "p2@example.org"]


def test_who_submitted_twice_gets_one_mail_a_batch(house: Theatre, server: MailServer) -> None:
    house.people(2)
    submit(house.url, THANKS, [1, 2, 1], house.now)
    work(house)
    assert sorted(server.recipients) == ["p1@example.org", "p2@example.org"]
    submit(house.url, THANKS, [1], house.now)
    work(house)
    assert sorted(server.recipients) == ["p1@example.org", "p1@example.org", "p2@example.org"]


def test_a_rush_is_made_into_sends_of_a_thousand_per_step(house: Theatre) -> None:
    submit(house.url, THANKS, list(range(1, 2 * BATCH + 302)), house.now)
    submit(house.url, OFFER, [7], house.now)
    sends = take(house)
    sizes = house.sql("select send_id, count(*) from smp.trigger_event group by send_id order by send_id")
    assert [(send.send_id, send.step) for send in sends] == [
        (send_id, step) for (send_id, _), step in zip(sizes, [OFFER, THANKS, THANKS, THANKS], strict=True)
    ]
    assert [size for _, size in sizes] == [1, BATCH, BATCH, 301]


def test_takers_at_the_same_time_take_different_events(house: Theatre) -> None:
    rounds, taken = 20, []

    def taker() -> None:
        for _ in range(rounds):
            taken.extend(take(house))

    def submitter() -> None:
        for number in range(rounds):
            submit(house.url, THANKS, [2 * number + 1, 2 * number + 2], house.now)

    threads = [threading.Thread(target=each) for each in (taker, taker, taker, submitter, submitter)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken += take(house)
    assert house.sql("select count(*), count(send_id) from smp.trigger_event") == [(4 * rounds, 4 * rounds)]
    filled = house.sql("select distinct send_id from smp.trigger_event order by 1")
    assert sorted((send.send_id,) for send in taken) == filled, "each send has the events that made it"


def test_while_a_step_is_not_live_its_events_wait_and_then_only_the_young_ones_are_sent(
    house: Theatre, server: MailServer
) -> None:
    house.people(3)
    house.status("stopped", THANKS)
    submit(house.url, THANKS, [1], house.now - timedelta(minutes=61))
    submit(house.url, THANKS, [2], house.now - timedelta(minutes=59))
    assert take(house) == []
    assert waiting(house) == [f"2 events for {THANKS}, which is stopped: they wait until it is live"]
    house.deployment.change_status(THANKS, "live", house.now - timedelta(minutes=1), "anna")
    submit(house.url, THANKS, [3], house.now - timedelta(seconds=30))
    work(house)
    assert missed(house) == [(1, "late")]
    assert sorted(server.recipients) == ["p2@example.org", "p3@example.org"]
    assert waiting(house) == []


def test_what_happened_while_the_step_was_live_is_sent_however_late(house: Theatre, server: MailServer) -> None:
    """The daemon was down for the weekend."""
    house.people(1)
    house.sql("update smp.step_status set since = %s", house.now - timedelta(days=9))
    submit(house.url, THANKS, [1], house.now - timedelta(days=3))
    work(house)
    assert server.recipients == ["p1@example.org"]


def test_events_of_a_step_that_no_file_has_stay_and_are_told(house: Theatre) -> None:
    submit(house.url, "after_form/gone", [1], house.now)
    submit(house.url, "after_form/form", [2], house.now)
    assert take(house) == []
    assert all("is no trigger step in any file" in words for words in waiting(house))
    assert len(waiting(house)) == 2


def test_the_record_of_an_event_counts_only_where_the_mail_is_about_one(house: Theatre, server: MailServer) -> None:
    house.people(2)
    submit(house.url, THANKS, [1], house.now, record=PERFORMANCE)
    submit(house.url, SEAT, [1], house.now, record=PERFORMANCE)
    submit(house.url, SEAT, [2], house.now)
    work(house)
    assert missed(house) == [(2, "no_record")], "one that cannot be sent is in nobody's way"
    rows = house.sql("select step, person_id, record_id from smp.message join smp.send using (send_id) order by 1")
    assert rows == [(SEAT, 1, PERFORMANCE), (THANKS, 1, None)]
    assert server.recipients == ["p1@example.org"] * 2


def test_a_taker_that_dies_before_planning_is_replaced_and_planning_twice_is_once(
    house: Theatre, server: MailServer
) -> None:
    house.people(1)
    submit(house.url, THANKS, [1], house.now)
    (taken,) = take(house)
    later = house.now + timedelta(days=2)
    with house.deployment.connection() as connection:
        (found,) = unfinished(connection, house.deployment.project, later)
    assert (found.send_key, found.planned) == (taken.send_key, False)
    assert take_up(house, later) == 1
    assert server.recipients == ["p1@example.org"]
    assert plan(house, taken).state == "finished"
    assert take_up(house, later) == 0
    assert server.recipients == ["p1@example.org"]


def tick(house: Theatre, now: datetime) -> int:
    """What `smp tick` does, of which nothing may fail; how many sends it worked on."""
    with dg.DagsterInstance.ephemeral() as instance:
        done, _skipped = Ticker(house.deployment, instance).tick(now, now)
    assert [each.failure for each in done] == [None] * len(done)
    return len(done)


def test_a_tick_sends_what_waits_and_makes_the_reports(house: Theatre, server: MailServer) -> None:
    """Without a daemon."""
    house.people(3)
    submit(house.url, THANKS, [1, 2], house.now)
    submit(house.url, OFFER, [3], house.now)
    house.sql("insert into crm.consent values (3, 'email', 'offers', true, now(), 'web')")
    assert tick(house, house.now) == 2
    assert sorted(server.recipients) == ["p1@example.org", "p2@example.org", "p3@example.org"]
    assert house.deployment.freshness().changed == ()
    assert house.deployment.settings.report_file.exists()
    runs = house.sql("select count(*) from smp.send where run_id is not null and state = 'finished'")
    assert runs == [(2,)]


def test_a_send_that_was_taken_waits_for_its_step_and_is_planned_at_night(house: Theatre, server: MailServer) -> None:
    house.people(1)
    submit(house.url, THANKS, [1], house.now)
    (send,) = take(house)
    house.status("stopped", THANKS)
    with pytest.raises(SmpError, match="only live sends"):
        plan(house, send)
    with house.deployment.connection() as connection:
        goes_on, skipped = due(connection, house.deployment.project, house.now)
    assert [each for each in goes_on if each.ref.key == THANKS] == []
    assert "status is stopped since 2026-11-22 09:00; it goes on when live" in [each.why for each in skipped]
    house.live(THANKS)
    assert take_up(house, LATE) == 1
    assert house.states(send) == {"planned": 1}
    assert server.recipients == [], "nothing leaves at night"


def test_a_send_whose_people_were_all_erased_is_finished_with_nobody(house: Theatre) -> None:
    submit(house.url, THANKS, [1], house.now)
    (send,) = take(house)
    house.sql("delete from smp.trigger_event")
    planned = plan(house, send)
    house.deployment.deliver(planned, StartedAt(house.now))
    assert house.verdict(send).state == "finished"
    assert house.verdict(send).holds


def test_a_run_that_lingers_takes_what_comes_and_the_sensor_leaves_it_to_it(house: Theatre) -> None:
    lingering = threading.Event()
    sends: list[Send] = []

    def linger() -> None:
        with house.deployment.connection() as connection:
            outbox = Outbox(connection, house.deployment.project, StartedAt(house.now))
            lingering.set()
            sends.extend(outbox.linger(20, "run-1", lambda: False))

    thread = threading.Thread(target=linger)
    thread.start()
    lingering.wait()
    locks = "select count(*) from pg_locks where locktype = 'advisory'"
    until(lambda: house.sql(locks) == [(1,)], "its lock")
    with house.deployment.connection() as connection:
        sensor = Outbox(connection, house.deployment.project, StartedAt(house.now))
        submit(house.url, THANKS, [1], house.now)
        assert sensor.wait(0) == []
        thread.join()
        assert [send.step for send in sends] == [THANKS]
        submit(house.url, THANKS, [2], house.now)
        assert len(sensor.wait(0)) == 1
    assert house.sql("select run_id from smp.send order by send_id") == [("run-1",), (None,)]
    assert house.sql(locks) == [(0,)]


def test_the_outbox_hears_of_a_submission_at_its_commit(house: Theatre) -> None:
    found: list[Send] = []

    def listen() -> None:
        with house.deployment.connection() as connection:
            found.extend(Outbox(connection, house.deployment.project, StartedAt(house.now)).wait(60))

    thread = threading.Thread(target=listen)
    thread.start()
    idle = "select count(*) from pg_stat_activity where query = 'COMMIT' and application_name = 'smp'"
    until(lambda: house.sql(idle) == [(1,)], "it to listen")
    submit(house.url, THANKS, [1], house.now)
    thread.join(20)
    assert [send.step for send in found] == [THANKS]
