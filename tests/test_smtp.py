"""Tests of the SMTP side: what is known of a mail, whatever the mail server does."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

import pytest

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.smtp import SmtpTransport, with_ascii_domain
from smp_pipelines.sending.smtp_stream import SmtpStream
from smp_pipelines.sending.transport import Answer, Mail, TransportDownError
from tests.support.mailserver import MailServer

SENDER = "zender@schouwburg.example"
MAIL = b"Subject: hoi\r\n\r\nDag\r\n.\r\n..\r\nFrom hier\r\n"

both_ways = pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "one by one"])


def transport(server: MailServer, timeout: float = 5) -> SmtpTransport:
    return SmtpTransport(f"smtp://127.0.0.1:{server.port}", timeout)


def offer(stream: SmtpStream, *recipients: str, mail: bytes = MAIL) -> list[Answer]:
    """Hand over mails on one connection, each as soon as it takes it; the answers, in the order of the recipients."""
    waiting = [Mail(f"<{n}@x>", SENDER, with_ascii_domain(each), mail) for n, each in enumerate(recipients)]
    answers: dict[str, Answer] = {}
    order = [each.message_id for each in waiting]
    while len(answers) < len(recipients) and stream.is_open:
        while waiting and stream.takes:
            stream.offer(waiting.pop(0))
        stream.flush()
        if stream.is_open and stream.in_hand:
            select.select([stream], [stream] if stream.wants_to_write else [], [], 0.05)
        answers.update((mail.message_id, answer) for mail, answer in stream.pump())
    return [answers[each] for each in order if each in answers]


def hand_over(
    server: MailServer, recipient: str = "a@example.org", *, timeout: float = 5, mail: bytes = MAIL
) -> Answer:
    stream = transport(server, timeout).connect()
    (answer,) = offer(stream, recipient, mail=mail)
    stream.close()
    return answer


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
@both_ways
def test_what_is_known_of_a_mail_depends_on_where_the_server_says_no_or_goes(
    behaviour: str, kind: str, pipelining: bool
) -> None:
    with MailServer(lambda _recipient, _time: behaviour, pipelining=pipelining) as server:
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
        assert hand_over(server, timeout=2).kind == kind
        assert time.monotonic() - started < 4, "it waited twice"


@both_ways
def test_a_broken_connection_says_so_and_what_was_not_begun_may_be_tried_again(pipelining: bool) -> None:
    with MailServer(
        lambda recipient, _nth: "drop after data" if recipient[0] == "b" else "250", pipelining=pipelining
    ) as server:
        stream = transport(server).connect()
        kinds = [answer.kind for answer in offer(stream, "a@example.org", "b@example.org", "c@example.org")]
    assert kinds[:2] == ["accepted", "unknown"]
    assert kinds[2:] in ([], ["later"]), "its envelope may have been on the way, its content was not"
    assert not stream.is_open


@both_ways
def test_a_refused_recipient_keeps_the_connection_for_the_next(pipelining: bool) -> None:
    with MailServer(
        lambda recipient, _nth: "550 no" if recipient[0] == "a" else "250", pipelining=pipelining
    ) as server:
        stream = transport(server).connect()
        kinds = [answer.kind for answer in offer(stream, *(f"{who}@example.org" for who in "abab"))]
        stream.close()
    assert kinds == ["refused", "accepted", "refused", "accepted"]
    assert server.recipients == ["b@example.org", "b@example.org"]
    assert server.connections == 1


def test_a_server_that_wants_a_message_for_nobody_gets_an_empty_one() -> None:
    said: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=_answer_354_always, args=(listening, said))
        serving.start()
        stream = SmtpTransport(f"smtp://127.0.0.1:{listening.getsockname()[1]}", 5).connect()
        kinds = [answer.kind for answer in offer(stream, "nobody@example.org", "b@example.org")]
        stream.close()
        serving.join()
    assert kinds == ["refused", "accepted"]
    assert said == [b"", MAIL.replace(b"\r\n.", b"\r\n..")]


def _answer_354_always(listening: socket.socket, said: list[bytes]) -> None:
    """A mail server of the odd kind that RFC 2920 allows: it says 354 to DATA even when it refused the recipient."""
    connection, _address = listening.accept()
    with connection, connection.makefile("rb") as lines, contextlib.suppress(ConnectionError):
        connection.sendall(b"220 hello\r\n")
        refused = False
        for line in lines:
            verb = line[:4].upper()
            if verb == b"DATA":
                connection.sendall(b"354 go on\r\n")
                message = b"".join(iter(lines.readline, b".\r\n"))
                said.append(message)
                connection.sendall(b"554 no valid recipients\r\n" if refused else b"250 taken\r\n")
            elif verb == b"EHLO":
                connection.sendall(b"250-test\r\n250 PIPELINING\r\n")
            elif verb == b"RCPT":
                refused = b"nobody" in line
                connection.sendall(b"550 nobody\r\n" if refused else b"250 ok\r\n")
            else:
                connection.sendall(b"250 ok\r\n")


def test_with_pipelining_a_mail_costs_one_round_trip_and_at_most_one_is_of_unknown_fate() -> None:
    begun: list[str] = []
    with MailServer(lambda recipient, _nth: "stall" if recipient[0] == "b" else "250") as server:
        stream = transport(server, 0.5).connect()
        stream.begun = lambda mail: begun.append(mail.recipient)
        answers = offer(stream, "a@example.org", "b@example.org", "c@example.org")
    assert [answer.kind for answer in answers] == ["accepted", "unknown", "later"]
    assert begun == ["a@example.org", "b@example.org"]


def test_a_refused_sender_is_a_wrong_setting_and_not_the_recipients_fault() -> None:
    with (
        MailServer(lambda address, _nth: "sender 550 not you" if address == SENDER else "250") as server,
        pytest.raises(TransportDownError, match=r"takes no mail from zender@schouwburg.example: 550 not you"),
    ):
        hand_over(server)


def test_no_mail_server_is_said_with_its_address_and_what_to_do() -> None:
    with socket.socket() as taken:
        # bound, so that nobody else gets the port, and not listening
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(TransportDownError, match=f"127.0.0.1:{port} cannot be used: .*refused.*SMP_MAIL_URL"):
            SmtpTransport(f"smtp://127.0.0.1:{port}").connect()


def test_a_server_with_no_room_for_another_connection_is_down_for_this_one() -> None:
    with MailServer(most_connections=0) as server, pytest.raises(TransportDownError, match="too many connections"):
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
        SmtpTransport(url)
