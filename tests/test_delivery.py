"""Tests of delivery: whatever the mail server, Postgres or a person does meanwhile, nobody is mailed twice or lost."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smp_pipelines.catcher.server import Catcher
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger, worker
from smp_pipelines.sending.delivery import Delivering, Delivery
from smp_pipelines.sending.transport import TransportDownError
from smp_pipelines.stores.clock import StartedAt
from tests.conftest import copy_project
from tests.support.house import live_house as _house  # noqa: F401  (a fixture)
from tests.support.mailserver import MailServer
from tests.support.theatre import Theatre, deployment, twice


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PAUSES", (0.2, 0.2))


def in_background(work: Delivering) -> tuple[threading.Thread, list[Delivery | SmpError]]:
    """Run a delivery in a thread; its result, or its error, is in the list when the thread has ended."""
    told: list[Delivery | SmpError] = []

    def run() -> None:
        try:
            told.append(work.run())
        except SmpError as error:
            told.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, told


def test_every_planned_mail_arrives_once_and_the_send_is_finished(house: Theatre, tmp_path: Path) -> None:
    send = house.plan_these(house.people(120))
    with Catcher(tmp_path / "in box") as catcher:
        done = house.deliver(send, catcher.smtp_port)
        caught = [mail.recipients[0] for mail in catcher.mailbox.search(limit=500).mails]
    assert (done.accepted, done.held) == (120, None)
    assert sorted(caught) == sorted(f"p{n}@example.org" for n in range(1, 121))
    assert house.verdict(send).state == "finished"
    assert house.verdict(send).holds


def test_delivering_a_finished_send_again_sends_nothing(house: Theatre) -> None:
    send = house.plan_these(house.people(3))
    with MailServer() as server:
        house.deliver(send, server.port)
        assert house.deliver(send, server.port).accepted == 0
    assert len(server.whole) == 3


def test_two_deliveries_at_once_share_the_work(house: Theatre) -> None:
    send = house.plan_these(house.people(200))
    with MailServer() as server:
        jobs = [in_background(house.delivering(send, server.port)) for _each in range(2)]
        for thread, _told in jobs:
            thread.join()
    accepted = [told[0].accepted for _thread, told in jobs if isinstance(told[0], Delivery)]
    assert sum(accepted) == len(server.whole) == 200
    assert twice(server.recipients) == []


def test_a_refused_recipient_is_rejected_with_the_servers_words_and_the_others_get_theirs(house: Theatre) -> None:
    send = house.plan_these(house.people(5))
    with MailServer(lambda who, _nth: "550 5.1.1 no such user" if who == "p3@example.org" else "250") as server:
        house.deliver(send, server.port)
    assert house.states(send) == {"accepted": 4, "rejected": 1}
    assert house.sql("select reason, response from smp.message where person_id = 3") == [
        ("refused", "550 5.1.1 no such user")
    ]


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("behaviour", ["451 try again", "drop at rcpt", "drop at data", "421 bye"])
def test_a_mail_that_was_put_off_or_not_handed_over_is_tried_again(house: Theatre, behaviour: str) -> None:
    send = house.plan_these(house.people(3))
    with MailServer(lambda who, nth: behaviour if who == "p2@example.org" and nth == 1 else "250") as server:
        house.deliver(send, server.port)
    assert house.states(send) == {"accepted": 3}
    assert server.tried["p2@example.org"] == 2
    assert twice(server.recipients) == []


@pytest.mark.usefixtures("quick_retries")
def test_a_mail_that_is_put_off_too_often_is_given_up_and_said_so(house: Theatre) -> None:
    send = house.plan_these(house.people(2))
    with MailServer(lambda who, _nth: "451 later" if who == "p1@example.org" else "250") as server:
        house.deliver(send, server.port)
    assert server.tried["p1@example.org"] == 3
    assert house.reasons(send) == {1: "gave_up", 2: None}
    assert house.verdict(send).state == "finished"


def test_a_mail_that_is_put_off_for_long_does_not_keep_the_run(house: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PAUSES", (3600,))
    send = house.plan_these(house.people(2))
    with MailServer(lambda who, nth: "451 greylisted" if who == "p1@example.org" and nth == 1 else "250") as server:
        done = house.deliver(send, server.port)
        assert done.held is not None
        assert "1 mails wait until 2026-11-23 10:00" in done.held
        later = StartedAt(house.now + timedelta(seconds=3601))
        assert house.deliver(send, server.port, clock=later).accepted == 1
    assert house.verdict(send).state == "finished"


def test_a_connection_lost_after_the_message_leaves_it_unknown_and_it_is_not_sent_again(house: Theatre) -> None:
    send = house.plan_these(house.people(4))
    with MailServer(lambda who, _nth: "drop after data" if who == "p2@example.org" else "250") as server:
        house.deliver(send, server.port)
        house.deliver(send, server.port)
    assert house.states(send) == {"accepted": 3, "unknown": 1}
    assert house.reasons(send)[2] == "connection_lost"
    assert server.recipients.count("p2@example.org") == 1
    assert house.verdict(send).holds


def test_a_silent_server_leaves_one_unknown_and_the_rest_goes_on(house: Theatre) -> None:
    send = house.plan_these(house.people(3))
    with MailServer(lambda who, _nth: "stall" if who == "p1@example.org" else "250") as server:
        house.deliver(send, server.port, timeout=0.5)
    assert house.states(send) == {"accepted": 2, "unknown": 1}


def test_without_a_mail_server_the_run_fails_in_words_and_everything_waits(house: Theatre) -> None:
    send = house.plan_these(house.people(5))
    with MailServer() as server:
        port = server.port
    with pytest.raises(TransportDownError, match="cannot be used"):
        house.deliver(send, port)
    assert house.states(send) == {"planned": 5}
    assert house.sql("select distinct attempts from smp.message") == [(0,)]


def test_a_mail_server_that_takes_nothing_from_this_sender_uses_up_nobody(house: Theatre) -> None:
    send = house.plan_these(house.people(5))
    with (
        MailServer(lambda who, _nth: "sender 530 log in first") as server,
        pytest.raises(TransportDownError, match="530"),
    ):
        house.deliver(send, server.port)
    assert house.states(send) == {"planned": 5}


def test_a_mail_server_with_fewer_connections_than_workers_still_gets_everything(house: Theatre) -> None:
    send = house.plan_these(house.people(150))
    with MailServer(most_connections=1) as server:
        done = house.deliver(send, server.port, connections=4)
    assert done.accepted == 150
    assert house.verdict(send).state == "finished"


def test_a_mail_server_that_is_restarted_in_the_middle_loses_and_doubles_nothing(house: Theatre) -> None:
    send = house.plan_these(house.people(200))
    with MailServer() as server:
        thread, _told = in_background(house.delivering(send, server.port))
        server.wait_for(lambda: len(server.whole) >= 40)
        server.drop_everybody()
        thread.join()
        house.deliver(send, server.port, clock=StartedAt(house.now + timedelta(minutes=2)))
    states = house.states(send)
    assert house.verdict(send).holds
    assert states["accepted"] + states.get("unknown", 0) == 200
    assert states.get("unknown", 0) <= 2, "one on each connection"
    assert twice(server.recipients) == []


def test_a_person_whose_mail_cannot_be_made_does_not_stop_the_others(tmp_path: Path, postgres_url: str) -> None:
    project = copy_project(tmp_path / "my project")
    file = project / "campaigns" / "servicemails" / "campaign.yaml"
    file.write_text(file.read_text().replace('subject: "', 'subject: "{{ 10 // person.first_name | length }} '))
    house = Theatre(deployment(postgres_url, tmp_path / "state", project=project))
    house.live()
    send = house.plan_these(house.people(3))
    house.sql("update crm.person set first_name = '' where person_id = 2")
    with MailServer() as server:
        house.deliver(send, server.port)
    assert house.states(send) == {"accepted": 2, "rejected": 1}
    assert house.reasons(send)[2] == "content_error"


def test_a_date_that_no_calendar_has_does_not_stop_the_others(house: Theatre) -> None:
    send = house.plan_these(house.people(3))
    house.sql("update crm.person set birth_date = 'infinity', created_at = '0044-03-15 12:00 BC' where person_id = 2")
    with MailServer() as server:
        house.deliver(send, server.port)
    assert house.states(send) == {"accepted": 3}


def test_the_address_that_was_judged_is_the_one_that_is_mailed(house: Theatre) -> None:
    send = house.plan_these(house.people(3))
    with MailServer(lambda _who, _nth: "slow") as server:
        thread, _told = in_background(house.delivering(send, server.port, connections=1))
        server.wait_for(lambda: len(server.whole) >= 1)
        house.sql("update crm.person set email = null")
        thread.join()
    assert sorted(server.recipients) == ["p1@example.org", "p2@example.org", "p3@example.org"]


def test_an_opt_out_and_a_blocked_record_after_planning_are_skipped_with_their_reason(house: Theatre) -> None:
    send = house.plan_these(house.people(3))
    house.sql("insert into crm.consent values (2, 'email', 'service', false, now(), 'web')")
    with MailServer() as server:
        done = house.deliver(send, server.port)
        assert dict(done.skipped) == {"opted_out": 1}
        house.sql("update crm.performance set block_service_mail = true")
        blocked = house.plan_these([1])
        house.deliver(blocked, server.port)
    assert sorted(server.recipients) == ["p1@example.org", "p3@example.org"]
    assert house.reasons(blocked) == {1: "record_blocked"}
    assert house.verdict(blocked).state == "finished"


def test_at_night_nothing_leaves_and_in_the_morning_it_does(house: Theatre) -> None:
    send = house.plan_these(house.people(2))
    with MailServer() as server:
        night = StartedAt(datetime(2026, 11, 23, 22, 0, tzinfo=UTC))
        done = house.deliver(send, server.port, clock=night)
        assert done.held == "nothing is sent between 23:00 and 06:00: what is left waits until the morning"
        assert server.connections == 0
        morning = StartedAt(datetime(2026, 11, 24, 5, 0, tzinfo=UTC))
        assert house.deliver(send, server.port, clock=morning).accepted == 2


@pytest.mark.parametrize("pipelining", [True, False])
def test_when_the_night_begins_in_the_middle_of_a_batch_no_other_is_begun(house: Theatre, pipelining: bool) -> None:
    send = house.plan_these(house.people(10))

    class Evening:
        """Eleven o'clock strikes when the second mail has arrived."""

        def now(self) -> datetime:
            last_second = datetime(2026, 11, 23, 21, 59, 59, tzinfo=UTC)
            return last_second + timedelta(seconds=len(server.whole) >= 2)

    with MailServer(pipelining=pipelining) as server:
        done = house.deliver(send, server.port, clock=Evening(), connections=1)
    assert done.held is not None
    # a mail whose envelope the server has already is not called back
    assert len(server.whole) == (3 if pipelining else 2)
    assert house.states(send) == {"accepted": len(server.whole), "planned": 10 - len(server.whole)}


def test_a_stop_in_the_middle_holds_the_rest_within_seconds_and_live_again_sends_it(house: Theatre) -> None:
    send = house.plan_these(house.people(100))
    with MailServer(lambda _who, _nth: "slow" if house.states(send) else "250") as server:
        thread, told = in_background(house.delivering(send, server.port))
        server.wait_for(lambda: len(server.whole) >= 5)
        house.status("stopped")
        arrived = len(server.whole)
        thread.join()
        assert len(server.whole) - arrived <= 40, "five seconds of mails; a batch would be all of them"
        done = told[0]
        assert isinstance(done, Delivery)
        assert done.held is not None
        assert "is stopped since 2026-11-22 09:00: what is left waits until it is live" in done.held
        assert house.states(send) == {"accepted": len(server.whole), "planned": 100 - len(server.whole)}
        house.live()
        server.behaviour = lambda _who, _nth: "250"
        house.deliver(send, server.port)
    assert house.states(send) == {"accepted": 100}
    assert twice(server.recipients) == []


def test_an_interrupt_gives_back_what_was_not_handed_over(house: Theatre) -> None:
    send = house.plan_these(house.people(100))
    with MailServer() as server:

        def interrupt(done: Delivery) -> None:
            if server.whole:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            house.delivering(send, server.port).run(interrupt)
        states = house.states(send)
        assert set(states) <= {"planned", "accepted"}
        assert states["accepted"] == len(server.whole)
        house.deliver(send, server.port)
    assert twice(server.recipients) == []
    assert house.states(send) == {"accepted": 100}


def test_the_claim_of_a_dead_worker_is_waited_for_and_then_unknown(house: Theatre) -> None:
    send = house.plan_these(house.people(10))
    house.claim(send, house.now - ledger.LEASE + timedelta(seconds=1), batch=4)
    with MailServer() as server:
        house.deliver(send, server.port)
    assert house.states(send) == {"accepted": 6, "unknown": 4}
    assert len(server.whole) == 6
    assert house.verdict(send).state == "finished"


def test_a_worker_whose_connection_to_postgres_breaks_still_writes_its_outcomes_down(house: Theatre) -> None:
    send = house.plan_these(house.people(100))
    with MailServer(lambda _who, _nth: "slow") as server:
        thread, told = in_background(house.delivering(send, server.port))
        server.wait_for(lambda: len(server.whole) >= 3)
        house.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        thread.join()
    assert isinstance(told[0], SmpError)
    assert "Postgres went away" in str(told[0])
    assert house.states(send) == {"accepted": len(server.whole), "planned": 100 - len(server.whole)}
