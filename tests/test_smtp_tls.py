"""SMTP over TLS and with passwords, against a real server: nothing leaves in the clear that should not."""

from __future__ import annotations

import base64
import select
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from smp_pipelines.sending.smtp import SmtpTransport
from smp_pipelines.sending.transport import Answer, Mail, TransportDownError
from tests.support.tls import PASSWORD, USER, Authority, TlsServer
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
SECURE = ("smtps", "smtp+starttls")
LOGIN = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@"
CONTENT = "Subject: Hallo\r\n\r\nBeste Zoë,\r\n.\r\nTot dan\r\n".encode()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority whose certificates this process trusts."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    return made


def mail(number: int = 1, content: bytes = CONTENT, recipient: str | None = None) -> Mail:
    return Mail(f"<{number}@x>", "toneel@example.org", recipient or f"p{number}@example.org", content)


def transport(scheme: str, port: int, *, login: str = "", timeout: float = 5) -> SmtpTransport:
    return SmtpTransport(f"{scheme}://{login}127.0.0.1:{port}", timeout)


def hand_over(made: SmtpTransport, mails: list[Mail]) -> list[Answer]:
    """Hand mails over one connection, as a worker does: never waiting but for the socket."""
    stream = made.connect()
    left, answers, give_up = list(mails), dict[str, Answer](), time.monotonic() + PATIENCE
    while len(answers) < len(mails):
        assert time.monotonic() < give_up, "the mails were not answered"
        if left and stream.takes:
            stream.offer(left.pop(0))
        stream.flush()
        select.select([stream] if stream.is_open else [], [stream] if stream.wants_to_write else [], [], 0.02)
        answers |= {each.message_id: answer for each, answer in stream.pump()}
    answers |= {each.message_id: answer for each, answer in stream.close()}
    return [answers[each.message_id] for each in mails]


def down(made: SmtpTransport) -> str:
    """The words in which a transport that cannot be used says so; the password is not among them."""
    with pytest.raises(TransportDownError) as error:
        made.connect()
    words = str(error.value)
    assert "127.0.0.1" in words
    for secret in (PASSWORD, quote(PASSWORD, safe=""), base64.b64encode(PASSWORD.encode()).decode()):
        assert secret not in words
    return words


@pytest.mark.parametrize("scheme", SECURE)
def test_mails_go_over_tls(scheme: str, authority: Authority) -> None:
    with TlsServer(authority.server(), from_start=scheme == "smtps") as server:
        answers = hand_over(transport(scheme, server.port), [mail(number) for number in range(20)])
    assert [answer.kind for answer in answers] == ["accepted"] * 20
    assert server.whole == [(f"p{number}@example.org", CONTENT) for number in range(20)]
    assert set(server.secure) == {True}


@pytest.mark.parametrize("scheme", SECURE)
def test_mails_larger_than_any_buffer_arrive_whole(scheme: str, authority: Authority) -> None:
    big = b"Subject: big\r\n\r\n" + b"".join(b".%d of many lines\r\n" % line for line in range(80_000))
    with TlsServer(authority.server(), from_start=scheme == "smtps") as server:
        answers = hand_over(transport(scheme, server.port), [mail(1, big), mail(2)])
    assert [answer.kind for answer in answers] == ["accepted", "accepted"], answers
    assert server.whole == [("p1@example.org", big), ("p2@example.org", CONTENT)]


@pytest.mark.parametrize("scheme", SECURE)
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_the_user_and_the_password_of_the_url_are_said(scheme: str, mechanism: str, authority: Authority) -> None:
    with TlsServer(authority.server(), from_start=scheme == "smtps", mechanisms=(mechanism,)) as server:
        (answer,) = hand_over(transport(scheme, server.port, login=LOGIN), [mail()])
    assert answer.kind == "accepted"
    assert server.tries == [(mechanism, True)]
    assert server.secure == [True]


@pytest.mark.parametrize("scheme", SECURE)
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_wrong_password_is_told_in_words_without_it(scheme: str, mechanism: str, authority: Authority) -> None:
    with TlsServer(authority.server(), from_start=scheme == "smtps", mechanisms=(mechanism,)) as server:
        made = transport(scheme, server.port, login=LOGIN.replace("lang", "langer"))
        with pytest.raises(TransportDownError, match="535") as error:
            made.connect()
    assert "langer" not in str(error.value)
    assert server.tries == [(mechanism, False)]
    assert server.whole == []


def test_a_password_outside_ascii_is_said_or_refused_in_words(authority: Authority) -> None:
    with TlsServer(authority.server(), from_start=True, mechanisms=("PLAIN", "LOGIN")) as server:
        assert "password" in down(transport("smtps", server.port, login=f"anna:{quote('gehéim')}@"))


def test_a_password_is_not_said_in_the_clear_to_a_server_that_wants_tls_for_it(authority: Authority) -> None:
    with TlsServer(authority.server(), mechanisms=("PLAIN", "LOGIN")) as server:
        assert "cannot be used" in down(transport("smtp", server.port, login=LOGIN))
    assert server.tries == []


@pytest.mark.parametrize("scheme", SECURE)
def test_no_password_where_one_is_asked_is_told_in_words(scheme: str, authority: Authority) -> None:
    with (
        TlsServer(authority.server(), from_start=scheme == "smtps", mechanisms=("PLAIN",)) as server,
        pytest.raises(TransportDownError, match="530"),
    ):
        hand_over(transport(scheme, server.port), [mail()])
    assert server.whole == []


@pytest.mark.parametrize("scheme", SECURE)
def test_a_certificate_for_another_name_is_refused(scheme: str, authority: Authority) -> None:
    with TlsServer(authority.server("mail.example.org"), from_start=scheme == "smtps") as server:
        words = down(transport(scheme, server.port, login=LOGIN))
    assert "certificate is not valid for '127.0.0.1'" in words
    assert server.whole == []


@pytest.mark.parametrize("scheme", SECURE)
def test_a_certificate_that_has_ended_is_refused(scheme: str, authority: Authority) -> None:
    ended = authority.server(until=datetime.now(UTC) - timedelta(hours=1))
    with TlsServer(ended, from_start=scheme == "smtps") as server:
        assert "certificate has expired" in down(transport(scheme, server.port))


@pytest.mark.parametrize("scheme", SECURE)
def test_a_certificate_of_nobody_that_is_trusted_is_refused(
    scheme: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with TlsServer(authority.server(), from_start=scheme == "smtps") as server:
        assert "certificate verify failed" in down(transport(scheme, server.port))


def test_a_server_without_starttls_gets_neither_mail_nor_password() -> None:
    with TlsServer(None, mechanisms=("PLAIN",)) as server:
        assert "STARTTLS" in down(transport("smtp+starttls", server.port, login=LOGIN))
    assert server.tries == []
    assert server.whole == []


def test_a_server_that_puts_starttls_off_gets_neither_mail_nor_password() -> None:
    said: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        connected, _address = listening.accept()
        with connected, connected.makefile("rwb") as lines:
            lines.write(b"220 hello\r\n")
            lines.flush()
            for line in lines:
                said.append(line.split()[0].upper())
                lines.write({b"EHLO": b"250-x\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"}.get(said[-1], b"454 not now\r\n"))
                lines.flush()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        assert "454 not now" in down(transport("smtp+starttls", listening.getsockname()[1], login=LOGIN))
        thread.join(5)
    assert set(said) <= {b"EHLO", b"HELO", b"STARTTLS", b"QUIT"}


def test_a_server_that_speaks_no_tls_is_told_in_words() -> None:
    with TlsServer(None) as server:
        assert "cannot be used" in down(transport("smtps", server.port))


def test_a_server_that_speaks_tls_only_is_told_in_words(authority: Authority) -> None:
    with TlsServer(authority.server(), from_start=True) as server:
        assert "timed out" in down(transport("smtp", server.port, timeout=0.5))


@pytest.mark.parametrize("scheme", SECURE)
def test_a_server_that_hangs_up_before_its_answer_leaves_a_mail_unknown(scheme: str, authority: Authority) -> None:
    with TlsServer(authority.server(), from_start=scheme == "smtps", drop_after_data=True) as server:
        (answer,) = hand_over(transport(scheme, server.port), [mail()])
    assert answer.kind == "unknown"
    assert len(server.whole) == 1


@pytest.mark.parametrize("smtputf8", [True, False])
def test_addresses_outside_ascii_need_a_server_that_takes_them(smtputf8: bool, authority: Authority) -> None:
    with TlsServer(authority.server(), smtputf8=smtputf8) as server:
        odd, plain = hand_over(transport("smtp+starttls", server.port), [mail(1, recipient="zoë@example.org"), mail(2)])
    assert (odd.kind, plain.kind) == ("accepted" if smtputf8 else "refused", "accepted")
    assert [recipient for recipient, _content in server.whole] == ["zoë@example.org"] * smtputf8 + ["p2@example.org"]
