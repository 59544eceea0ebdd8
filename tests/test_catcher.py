"""The mail catcher, over real SMTP and real HTTP on loopback."""

from __future__ import annotations

import json
import signal
import smtplib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from smp_pipelines.catcher.mailbox import Mailbox
from smp_pipelines.catcher.pages import by_day
from smp_pipelines.catcher.server import Catcher
from smp_pipelines.problems import SmpError
from tests.support.waiting import PATIENCE

NOW = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
HOSTILE = (
    "<!doctype html><html><head><title>x</title></head><body onload='alert(1)'><script>fetch('/clear')</script>"
    "<img src='https://tracker.example/open.gif'><form action='https://evil.example'><input></form></body></html>"
)


@pytest.fixture(scope="module")
def catcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catcher]:
    with Catcher(tmp_path_factory.mktemp("caught mails") / "mail box") as catcher:
        yield catcher


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> None:
    if "catcher" in request.fixturenames:
        request.getfixturevalue("catcher").mailbox.clear()


def a_mail(subject: str = "Your visit", to: str = "Zoë <zoe@x.example>", html: str | None = None) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Schouwburg De Linde <service@linde.example>"
    mail["To"] = to
    mail["Subject"] = subject
    mail["Message-ID"] = "<1@linde.example>"
    mail["X-SMP-Step"] = "servicemails/servicemail"
    mail.set_content("See you soon at https://linde.example/visit\n.\n..two dots\n")
    if html:
        mail.add_alternative(html, subtype="html")
    return mail


def send(catcher: Catcher, *mails: EmailMessage) -> None:
    with smtplib.SMTP("127.0.0.1", catcher.smtp_port) as client:
        for mail in mails:
            client.send_message(mail)


def ask(
    catcher: Catcher, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    request = urllib.request.Request(catcher.http_url + path, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read().decode()


def api(catcher: Catcher, path: str) -> Any:
    status, _, body = ask(catcher, path)
    assert status == 200
    return json.loads(body)


def add(mailbox: Mailbox, subject: str) -> str:
    data = f"Subject: {subject}\r\n\r\nbody\r\n".encode()
    return mailbox.add(data, sender="s@x.example", recipients=["r@x.example"], received_at=NOW).id


# ---------------------------------------------------------------- over the wire


def test_a_mail_sent_over_smtp_is_in_the_inbox_with_its_decoded_headers(catcher: Catcher) -> None:
    send(catcher, a_mail(subject="Uw bezoek aan Façade: ‘Wüste’"))
    status, _, page = ask(catcher, "/")
    assert status == 200
    assert "<title>Inbox</title>" in page
    assert "Uw bezoek aan Façade: ‘Wüste’" in page
    assert "Zoë" in page
    assert "servicemails/servicemail" in page
    [mail] = api(catcher, "/api/mails")["mails"]
    assert mail["from"] == "Schouwburg De Linde <service@linde.example>"
    assert mail["recipients"] == ["zoe@x.example"]
    assert mail["message_id"] == "<1@linde.example>"


def test_the_stored_bytes_are_the_sent_bytes_with_dots_at_line_starts(catcher: Catcher) -> None:
    send(catcher, a_mail())
    mail_id = api(catcher, "/api/mails")["mails"][0]["id"]
    assert catcher.mailbox.raw(mail_id).endswith(b"visit\r\n.\r\n..two dots\r\n")  # type: ignore[union-attr]
    status, headers, body = ask(catcher, f"/mail/{mail_id}/raw")
    assert status == 200
    assert headers["content-disposition"].startswith("attachment")
    assert body.encode() == catcher.mailbox.raw(mail_id)


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b".", b"a", b"one.\r\ntwo.\r\n", b".\r\n.\r\n", b"bare\n.\nnewlines", b"\r\n.\r\n"]
)
def test_every_body_comes_through_the_dot_rule_unchanged(catcher: Catcher, body: bytes) -> None:
    sent = b"Subject: s\r\n\r\n" + body
    with socket.create_connection(("127.0.0.1", catcher.smtp_port), timeout=10) as wire, wire.makefile("rb") as answers:
        stuffed = b"".join(b"." + line if line.startswith(b".") else line for line in sent.splitlines(keepends=True))
        # Bare newlines are no line ends in SMTP, so no dot is put there (nor taken away).
        stuffed = stuffed.replace(b"\n..\n", b"\n.\n") if b"bare" in body else stuffed
        end = b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n"
        wire.sendall(b"EHLO t\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n")
        while not answers.readline().startswith(b"354"):
            pass
        wire.sendall(stuffed + end)
        assert answers.readline().startswith(b"250")
    [mail] = catcher.mailbox.search().mails
    expected = sent if sent.endswith(b"\r\n") else sent + b"\r\n"
    assert catcher.mailbox.raw(mail.id) == expected


def test_pipelining_smtputf8_and_a_size_limit_are_offered(catcher: Catcher) -> None:
    with smtplib.SMTP("127.0.0.1", catcher.smtp_port) as client:
        client.ehlo()
        assert client.has_extn("pipelining")
        assert client.has_extn("smtputf8")
        assert client.esmtp_features["size"] == str(10 * 1024 * 1024)


def test_an_address_in_unicode_is_taken(catcher: Catcher) -> None:
    with smtplib.SMTP("127.0.0.1", catcher.smtp_port) as client:
        client.sendmail("a@x.example", ["zoë@bücher.example"], b"Subject: x\r\n\r\n", mail_options=["SMTPUTF8"])
    assert catcher.mailbox.search("zoë@bücher").mails[0].recipients == ("zoë@bücher.example",)


def test_a_bounce_with_an_empty_sender_is_taken(catcher: Catcher) -> None:
    with smtplib.SMTP("127.0.0.1", catcher.smtp_port) as client:
        client.sendmail("", ["a@x.example"], b"Subject: bounce\r\n\r\n")
    assert catcher.mailbox.search().mails[0].sender == ""


def test_a_mail_over_10_mb_is_refused_and_the_connection_stays_usable(catcher: Catcher) -> None:
    line = b"x" * 98 + b"\r\n"
    with smtplib.SMTP("127.0.0.1", catcher.smtp_port) as client:
        client.helo("t")  # without EHLO the client cannot announce the size, so all of it is sent
        with pytest.raises(smtplib.SMTPDataError, match="552"):
            client.sendmail("a@x.example", ["b@x.example"], b"Subject: big\r\n\r\n" + line * 150_000)
        client.sendmail("a@x.example", ["b@x.example"], b"Subject: small\r\n\r\n")
    assert [mail.subject for mail in catcher.mailbox.search().mails] == ["small"]


def test_a_line_over_1000_bytes_is_refused_as_other_servers_do(catcher: Catcher) -> None:
    with smtplib.SMTP("127.0.0.1", catcher.smtp_port) as client:
        client.sendmail("a@x.example", ["b@x.example"], b"Subject: fits\r\n\r\n" + b"x" * 998)
        with pytest.raises(smtplib.SMTPDataError, match="500"):
            client.sendmail("a@x.example", ["b@x.example"], b"Subject: long\r\n\r\n" + b"x" * 999)
    assert catcher.mailbox.count() == 1


def test_a_connection_that_breaks_half_way_a_mail_leaves_nothing(catcher: Catcher) -> None:
    with socket.create_connection(("127.0.0.1", catcher.smtp_port)) as wire, wire.makefile("rb") as answers:
        wire.sendall(b"EHLO t\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n")
        while not answers.readline().startswith(b"354"):
            pass
        wire.sendall(b"Subject: half\r\n\r\nbody\r\n")
    send(catcher, a_mail(subject="whole"))
    assert [mail.subject for mail in catcher.mailbox.search().mails] == ["whole"]


def test_several_recipients_are_kept_and_found_also_when_the_header_hides_them(catcher: Catcher) -> None:
    with smtplib.SMTP("127.0.0.1", catcher.smtp_port) as client:
        client.send_message(a_mail(to="a@x.example"), to_addrs=["a@x.example", "hidden@x.example"])
    [mail] = api(catcher, "/api/mails?query=hidden")["mails"]
    assert mail["recipients"] == ["a@x.example", "hidden@x.example"]
    assert "hidden@x.example" in ask(catcher, f"/mail/{mail['id']}")[2]


# ---------------------------------------------------------------- the pages


def test_hostile_html_is_shown_only_in_a_sandboxed_frame_without_script(catcher: Catcher) -> None:
    send(catcher, a_mail(subject="<script>alert(1)</script>", html=HOSTILE))
    mail_id = api(catcher, "/api/mails")["mails"][0]["id"]
    for path in ("/", f"/mail/{mail_id}", f"/mail/{mail_id}?tab=source", f"/mail/{mail_id}?tab=headers"):
        _, headers, page = ask(catcher, path)
        assert "<script" not in page
        assert "script-src" not in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
    page = ask(catcher, f"/mail/{mail_id}")[2]
    frame = page[page.index("<iframe") : page.index("</iframe>")]
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in frame
    _, headers, html = ask(catcher, f"/mail/{mail_id}/html")
    policy = {name: words for name, *words in (part.split() for part in headers["content-security-policy"].split(";"))}
    assert "<script>" in html, "the mail itself is not changed: the policy takes its power away"
    assert policy["default-src"] == policy["script-src"] == policy["form-action"] == policy["base-uri"] == ["'none'"]
    assert policy["img-src"] == ["data:"]
    assert policy["frame-ancestors"] == ["'self'"]
    assert not {"allow-scripts", "allow-same-origin", "allow-forms", "allow-top-navigation"} & {*policy["sandbox"]}
    assert headers["x-content-type-options"] == "nosniff"


def test_pictures_from_elsewhere_load_only_when_asked_for(catcher: Catcher) -> None:
    send(catcher, a_mail(html=HOSTILE))
    mail_id = api(catcher, "/api/mails")["mails"][0]["id"]
    assert "Load them" in ask(catcher, f"/mail/{mail_id}")[2]
    assert "Load them" not in ask(catcher, f"/mail/{mail_id}?images=1")[2]
    policy = ask(catcher, f"/mail/{mail_id}/html?images=1")[1]["content-security-policy"]
    assert "img-src data: http: https:" in policy
    assert "script-src 'none'" in policy


def test_a_mail_shows_its_text_source_and_headers(catcher: Catcher) -> None:
    send(catcher, a_mail(subject="Wüste"))
    mail_id = api(catcher, "/api/mails")["mails"][0]["id"]
    assert '<a href="https://linde.example/visit"' in ask(catcher, f"/mail/{mail_id}?tab=text")[2]
    assert "=?utf-8?" in ask(catcher, f"/mail/{mail_id}?tab=source")[2]
    headers = ask(catcher, f"/mail/{mail_id}?tab=headers")[2]
    assert "Wüste" in headers
    assert "X-SMP-Step" in headers
    detail = api(catcher, f"/api/mails/{mail_id}")
    assert detail["html"] is None
    assert detail["text"].startswith("See you soon")
    assert ["Subject", "Wüste"] in detail["headers"]
    assert ask(catcher, f"/mail/{mail_id}/html")[0] == 404


def test_search_finds_mails_that_have_every_word(catcher: Catcher) -> None:
    send(catcher, a_mail("Hamlet tonight", "ann@x.example"), a_mail("Hamlet cancelled", "bob@x.example"))
    assert api(catcher, "/api/mails?query=HAMLET")["total"] == 2
    assert api(catcher, "/api/mails?query=hamlet+bob")["total"] == 1
    assert api(catcher, "/api/mails?query=linde.example")["total"] == 2
    assert api(catcher, "/api/mails?query=macbeth")["total"] == 0
    page = ask(catcher, "/?query=" + urllib.parse.quote("bob"))[2]
    assert "Hamlet cancelled" in page
    assert "Hamlet tonight" not in page
    assert "Nothing found" in ask(catcher, "/?query=macbeth")[2]


def test_the_inbox_turns_pages_newest_first_and_keeps_the_search(catcher: Catcher) -> None:
    for number in range(120):
        add(catcher.mailbox, f"number {number:03d}")
    first = ask(catcher, "/?query=number")[2]
    assert first.index("number 119") < first.index("number 070")
    assert "number 069" not in first
    assert "query=number&amp;page=2" in first
    last = ask(catcher, "/?query=number&page=3")[2]
    assert "number 000" in last
    assert "Older" not in last
    for odd in ("0", "-1", "x", "9" * 30, "²"):
        assert "number 119" in ask(catcher, "/?page=" + urllib.parse.quote(odd))[2]


def test_the_api_has_a_limit_and_refuses_nonsense(catcher: Catcher) -> None:
    for number in range(3):
        add(catcher.mailbox, str(number))
    assert [mail["subject"] for mail in api(catcher, "/api/mails?limit=2")["mails"]] == ["2", "1"]
    for odd in ("0", "-1", "x", "1001"):
        status, _, body = ask(catcher, f"/api/mails?limit={odd}")
        assert status == 400
        assert "1 to 1000" in json.loads(body)["error"]


@pytest.mark.parametrize("mail_id", ["..%2f..%2findex", "%2e%2e%2findex.jsonl", "..", "20261101-090000-999999", "%00"])
@pytest.mark.parametrize("path", ["/mail/{}", "/mail/{}/raw", "/mail/{}/html", "/api/mails/{}"])
def test_an_id_that_is_none_of_ours_leads_nowhere(catcher: Catcher, mail_id: str, path: str) -> None:
    assert ask(catcher, path.format(mail_id))[0] == 404
    assert catcher.mailbox.raw(urllib.parse.unquote(mail_id)) is None


def test_deleting_all_is_done_only_from_the_inbox_itself(catcher: Catcher) -> None:
    add(catcher.mailbox, "stays")
    assert ask(catcher, "/clear")[0] == 405
    assert ask(catcher, "/clear", "POST")[0] == 403
    assert ask(catcher, "/clear", "POST", {"Origin": "https://evil.example"})[0] == 403
    assert ask(catcher, "/clear", "POST", {"Origin": "null"})[0] == 403
    assert catcher.mailbox.count() == 1
    assert "No mail yet" in ask(catcher, "/clear", "POST", {"Origin": catcher.http_url})[2]
    assert catcher.mailbox.count() == 0


def test_a_request_under_a_strange_host_name_is_refused(catcher: Catcher) -> None:
    assert ask(catcher, "/", headers={"Host": "evil.example"})[0] == 400


def test_health_tells_the_count(catcher: Catcher) -> None:
    add(catcher.mailbox, "one")
    assert api(catcher, "/health") == {"status": "ok", "count": 1}


def test_a_mail_whose_file_is_gone_is_told_as_gone(catcher: Catcher) -> None:
    mail_id = add(catcher.mailbox, "lost")
    (catcher.mailbox.folder / "mails" / f"{mail_id}.eml").unlink()
    assert ask(catcher, f"/mail/{mail_id}")[0] == 404


def test_mails_are_grouped_by_day(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    for days in (9, 1, 0, 0):
        mailbox.add(b"", sender="", recipients=[], received_at=NOW - timedelta(days=days))
    groups = by_day(mailbox.search().mails, NOW.astimezone().date())
    assert [(day.label, len(day.mails)) for day in groups] == [
        ("Today", 2),
        ("Yesterday", 1),
        ("Friday 23 October 2026", 1),
    ]


# ---------------------------------------------------------------- the process


def test_a_taken_port_is_told_by_its_number(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SmpError, match=f"SMTP port {port} .*another program"), Catcher(tmp_path, smtp_port=port):
            pass
        with pytest.raises(SmpError, match=f"HTTP port {port} "), Catcher(tmp_path, http_port=port):
            pass
    with Catcher(tmp_path, smtp_port=port) as catcher:
        assert catcher.smtp_port == port


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_runs_until_a_signal_and_ends_with_0(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "smp_pipelines.catcher", "--folder", tmp_path / "a b", "--smtp-port", "0"]
    with subprocess.Popen([*command, "--http-port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        smtp_host, _, smtp_port = process.stdout.readline().split()[1].partition(":")
        with smtplib.SMTP(smtp_host, int(smtp_port)) as idle:
            idle.send_message(a_mail())
            with urllib.request.urlopen(url + "/health") as answer:
                assert json.load(answer)["count"] == 1
            process.send_signal(number)
            assert process.wait(timeout=PATIENCE) == 0


def test_a_killed_catcher_keeps_every_mail_that_it_answered(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "smp_pipelines.catcher", "--folder", tmp_path, "--smtp-port", "0"]
    with subprocess.Popen([*command, "--http-port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        smtp_port = int(process.stdout.readline().rpartition(":")[2])
        with smtplib.SMTP("127.0.0.1", smtp_port) as client:
            for number in range(25):
                client.send_message(a_mail(subject=f"number {number}"))
            process.kill()
            process.wait()
            client.close()
    assert Mailbox(tmp_path).count() == 25


def test_the_command_tells_a_taken_port_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "smp_pipelines.catcher", "--folder", str(tmp_path), "--smtp-port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_leaving_the_catcher_stops_it_while_connections_are_open(tmp_path: Path) -> None:
    with Catcher(tmp_path) as catcher:
        idle = socket.create_connection(("127.0.0.1", catcher.smtp_port))
        assert idle.recv(3) == b"220"
        start = time.monotonic()
    assert time.monotonic() - start < PATIENCE, "it waits for them"
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", catcher.smtp_port))
