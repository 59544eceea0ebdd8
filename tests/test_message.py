"""Tests of the bytes of a mail: each one is read back with the standard parser."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smp_pipelines.campaign.content import Rendered
from smp_pipelines.sending.message import MessageBuilder

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
HEADERS = {
    *("To", "Subject", "Date", "Message-ID", "From", "Reply-To", "List-Unsubscribe", "X-SMP-Step"),
    *("Auto-Submitted", "MIME-Version", "Content-Type"),
}
# Anything that Postgres can hold: no NUL, no halves of a pair.
TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=400)


def build(
    subject: str = "Tot ziens",
    *,
    name: str = "Anna de Vries",
    address: str = "anna@example.org",
    text: str = "Dag\n",
    html: str = "<p>Dag</p>",
    key: object = "k",
) -> bytes:
    builder = MessageBuilder(
        sender="Schouwburg De Linde <service@schouwburg.example>",
        reply_to='"Kassa, De Linde" <kassa@schouwburg.example>',
        step="servicemails/servicemail",
        send_key="servicemails/servicemail@2026-11-23T09:00+01:00",
    )
    return builder.build(Rendered(subject, html, text), name=name, address=address, recipient_key=key, date=NOW)


def read(mail: bytes) -> EmailMessage:
    message = email.message_from_bytes(mail, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def header(mail: bytes, name: str) -> str:
    """A header as any mail reader decodes it."""
    raw = email.message_from_bytes(mail, policy=email.policy.compat32)[name]
    return str(make_header(decode_header(str(raw))))


def assert_well_formed(mail: bytes) -> None:
    lines = mail.split(b"\r\n")
    assert all(b"\n" not in line and b"\r" not in line for line in lines), "a line ends in something else than CRLF"
    assert max(map(len, lines)) <= 998
    message = read(mail)
    assert set(message.keys()) == HEADERS
    assert len(message.keys()) == len(HEADERS)
    assert not message.defects
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert all(not part.defects for part in message.iter_parts())


def bodies(mail: bytes) -> list[str]:
    return [str(part.get_content()).replace("\r\n", "\n") for part in read(mail).iter_parts()]


def visible(text: str) -> str:
    """What may differ: control characters become spaces in a header, and spaces around it go."""
    return "".join(" " if ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" else c for c in text)


def test_a_plain_mail_reads_back_whole() -> None:
    mail = build()
    assert_well_formed(mail)
    message = read(mail)
    assert message["To"] == "Anna de Vries <anna@example.org>"
    assert message["From"] == "Schouwburg De Linde <service@schouwburg.example>"
    assert message["Reply-To"].addresses[0].display_name == "Kassa, De Linde"
    assert message["Date"].datetime == NOW
    assert message["X-SMP-Step"] == "servicemails/servicemail"
    assert message["List-Unsubscribe"] == "<mailto:kassa@schouwburg.example?subject=afmelden>"
    assert bodies(mail) == ["Dag\n", "<p>Dag</p>"]


@pytest.mark.parametrize(
    "text",
    [
        "Hëllo, wörld — €5",
        "👩‍👩‍👧 feest 🎉",
        'Kaas "en" \\ ham',
        "x =?utf-8?q?hi?= y",
        "a" * 2000,
        "é" * 500,
        "woord " * 200,
        "日本語" * 50,
    ],
)
def test_subjects_and_names_read_back_as_they_were(text: str) -> None:
    mail = build(text, name=text)
    assert_well_formed(mail)
    assert header(mail, "Subject") == text.strip()
    raw = email.message_from_bytes(mail, policy=email.policy.compat32)["To"]
    ((name, address),) = getaddresses([raw])
    assert address == "anna@example.org"
    assert str(make_header(decode_header(name))) == text.strip()


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\u2028", "\x0b", "\x85", "\n\n"])
def test_a_line_break_in_a_name_or_subject_begins_no_header(end: str) -> None:
    mail = build(f"Dag{end}Bcc: boef@example.org", name=f"Anna{end}Bcc: boef@example.org")
    assert_well_formed(mail)
    assert read(mail)["Bcc"] is None
    assert header(mail, "Subject") == "Dag Bcc: boef@example.org"


def test_bodies_with_dots_from_lines_and_long_lines_read_back_as_they_were() -> None:
    text = ".\n..\n.x\nFrom hier\n>From daar\n" + "y" * 5000 + "\n spatie aan het eind \ntab\t\n= =3D\n"
    mail = build(text=text, html=f"<p>{'é' * 3000}</p>\n.\n")
    assert_well_formed(mail)
    assert bodies(mail) == [text, f"<p>{'é' * 3000}</p>\n.\n"]


def test_line_ends_of_any_kind_become_one_kind() -> None:
    assert bodies(build(text="a\r\nb\rc\nd\n"))[0] == "a\nb\nc\nd\n"


def test_a_person_without_a_name_gets_a_mail_to_the_bare_address() -> None:
    mail = build(name=" ")
    assert_well_formed(mail)
    assert read(mail)["To"] == "anna@example.org"


def test_an_address_outside_ascii_stands_in_the_header_as_it_is() -> None:
    mail = build(address="jürgen@example.org")
    assert "<jürgen@example.org>".encode() in mail
    assert_well_formed(mail)


def test_the_longest_address_there_is_fits_a_line() -> None:
    mail = build(address="a" * 242 + "@example.org", name="é" * 300)
    assert_well_formed(mail)


def test_the_same_recipient_of_the_same_send_has_the_same_message_id_and_another_has_not() -> None:
    ids = [read(build(key=key))["Message-ID"] for key in ("a", "a", "b")]
    assert ids[0] == ids[1] != ids[2]
    assert str(ids[0]).endswith("@schouwburg.example>")


def test_a_sender_without_a_name_or_with_letters_outside_ascii_is_possible() -> None:
    for sender in ("info@schouwburg.example", "Théâtre <info@schouwburg.example>"):
        builder = MessageBuilder(sender=sender, reply_to=None, step="a/b", send_key="k")
        mail = builder.build(Rendered("x", "y", "z"), name="A", address="a@b.nl", recipient_key=1, date=NOW)
        assert builder.envelope_sender == "info@schouwburg.example"
        assert read(mail)["From"] == sender
        assert read(mail)["Reply-To"] is None


@given(TEXT, TEXT, TEXT, TEXT)
@settings(max_examples=150, deadline=None)
def test_whatever_people_write_the_mail_reads_back_as_they_wrote_it(
    subject: str, name: str, text: str, html: str
) -> None:
    mail = build(subject, name=name, text=text, html=html)
    assert_well_formed(mail)
    assert header(mail, "Subject").split() == visible(subject).split()
    plain, marked_up = bodies(mail)
    for found, wanted in ((plain, text), (marked_up, html)):
        assert found == wanted.replace("\r\n", "\n").replace("\r", "\n")
