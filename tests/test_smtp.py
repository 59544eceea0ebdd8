"""Tests of the SMTP side: what is known of a mail, whatever the mail server does."""

from __future__ import annotations

import socket
import time

import pytest

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.smtp import Answer, MailServerDownError, SmtpConnection
from tests.support.mailserver import MailServer

SENDER = "zender@schouwburg.example"
MAIL = b"Subject: hoi\r\n\r\nDag\r\n.\r\n..\r\nFrom hier\r\n"


def hand_over(
    server: MailServer, recipient: str = "a@example.org", *, timeout: float = 5, mail: bytes = MAIL
) -> Answer:
    connection = SmtpConnection(f"smtp://127.0.0.1:{server.port}", timeout)
    try:
        return connection.send(SENDER, recipient, mail)
    finally:
        connection.close()


def test_a_mail_that_is_taken_is_accepted_and_arrives_byte_for_byte() -> None:
    with MailServer() as server:
        assert hand_over(server) == Answer("accepted", "250 OK")
    assert server.whole == [("a@example.org", MAIL)]


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        ("550 nobody here", "refused"),
        ("hang up", "refused"),
        ("data 554 spam", "refused"),
        ("451 busy", "later"),
        ("421 going down", "later"),
        ("data 452 disk full", "later"),
        ("drop at rcpt", "later"),
        ("drop at data", "later"),
        ("drop after data", "unknown"),
        ("data 999 what", "unknown"),
        ("data hello", "unknown"),
    ],
)
def test_what_is_known_of_a_mail_depends_on_where_the_server_says_no_or_goes(behaviour: str, kind: str) -> None:
    with MailServer(lambda _recipient, _time: behaviour) as server:
        assert hand_over(server).kind == kind
    arrived_whole = behaviour.startswith("data") or behaviour == "drop after data"
    assert bool(server.whole) == arrived_whole


def test_a_mail_that_was_cut_off_half_way_was_not_handed_over() -> None:
    large = MAIL + b"x" * 70 * 200_000 + b"\r\n"
    with MailServer(lambda _recipient, _time: "drop in data") as server:
        assert hand_over(server, mail=large).kind == "later"
    assert server.whole == []


@pytest.mark.parametrize(("behaviour", "kind"), [("stall", "unknown"), ("stall at rcpt", "later")])
def test_a_silent_server_costs_one_timeout_and_no_more(behaviour: str, kind: str) -> None:
    with MailServer(lambda _recipient, _time: behaviour) as server:
        started = time.monotonic()
        assert hand_over(server, timeout=0.5).kind == kind
        assert time.monotonic() - started < 2


def test_after_a_broken_connection_the_next_mail_gets_a_new_one() -> None:
    with MailServer(lambda _recipient, nth: "drop at rcpt" if nth == 1 else "250") as server:
        connection = SmtpConnection(f"smtp://127.0.0.1:{server.port}", 5)
        kinds = [connection.send(SENDER, "a@example.org", MAIL).kind for _time in range(3)]
        connection.close()
    assert kinds == ["later", "accepted", "accepted"]
    assert server.connections == 2


def test_a_refused_recipient_keeps_the_connection_for_the_next() -> None:
    with MailServer(lambda recipient, _nth: "550 no" if recipient.startswith("a") else "250") as server:
        connection = SmtpConnection(f"smtp://127.0.0.1:{server.port}", 5)
        kinds = [connection.send(SENDER, f"{who}@example.org", MAIL).kind for who in "aba"]
        connection.close()
    assert kinds == ["refused", "accepted", "refused"]
    assert server.connections == 1


def test_a_refused_sender_is_a_wrong_setting_and_not_the_recipients_fault() -> None:
    with (
        MailServer(lambda address, _nth: "sender 550 not you" if address == SENDER else "250") as server,
        pytest.raises(MailServerDownError, match=r"takes no mail from zender@schouwburg.example: 550 not you"),
    ):
        hand_over(server)


def test_no_mail_server_is_said_with_its_address_and_what_to_do() -> None:
    with socket.socket() as taken:
        # bound, so that nobody else gets the port, and not listening
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(MailServerDownError, match=f"127.0.0.1:{port} cannot be used: .*refused.*SMP_MAIL_URL"):
            SmtpConnection(f"smtp://127.0.0.1:{port}").send(SENDER, "a@example.org", MAIL)


def test_a_server_with_no_room_for_another_connection_is_down_for_this_one() -> None:
    with MailServer(most_connections=0) as server, pytest.raises(MailServerDownError, match="too many connections"):
        hand_over(server)


def test_an_address_outside_ascii_goes_as_such_when_the_server_takes_it() -> None:
    with MailServer() as server:
        assert hand_over(server, "jürgen@example.org").kind == "accepted"
    assert server.recipients == ["jürgen@example.org"]


def test_an_address_outside_ascii_is_refused_when_the_server_does_not_take_it() -> None:
    with MailServer(smtputf8=False) as server:
        assert hand_over(server, "jürgen@example.org").kind == "refused"
    assert server.whole == []


def test_a_domain_outside_ascii_needs_no_special_server() -> None:
    with MailServer(smtputf8=False) as server:
        assert hand_over(server, "info@müller.example").kind == "accepted"
    assert server.recipients == ["info@xn--mller-kva.example"]


@pytest.mark.parametrize("url", ["", "localhost:25", "http://localhost", "smtp://", "smtp://host:port"])
def test_a_url_that_is_none_is_refused_in_words(url: str) -> None:
    with pytest.raises(SmpError, match="SMP_MAIL_URL must look like"):
        SmtpConnection(url)
