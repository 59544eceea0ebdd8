"""Tests of the bytes of a mail: each one is read back with the standard parser, quoted-printable and 8bit."""

from __future__ import annotations

import email
import email.policy
import quopri
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smp_pipelines.campaign.content.mail import ContentError, Rendered
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.message import MessageBuilder, Purpose
from smp_pipelines.sending.quoted import quoted_printable

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
HEADERS = {
    *("To", "Subject", "Date", "Message-ID", "From", "Reply-To", "List-Unsubscribe", "X-SMP-Step"),
    *("Auto-Submitted", "MIME-Version", "Content-Type", "Feedback-ID"),
}
KEY = UUID("6f1f9d3c-9a57-4d6b-8a0e-0d7b6f0f7a11")
# Anything that Postgres can hold: no NUL, no halves of a pair.
TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=400)


def builder(
    *,
    sender: str = "Schouwburg De Linde <service@schouwburg.example>",
    purpose: Purpose = "live",
    url: str | None = None,
) -> MessageBuilder:
    return MessageBuilder(
        sender=sender,
        reply_to='"Kassa, De Linde" <kassa@schouwburg.example>',
        step="servicemails/servicemail",
        send_key="servicemails/servicemail@2026-11-23T09:00+01:00",
        purpose=purpose,
        unsubscribe=None if url is None else lambda key: f"{url}{key}",
    )


def build(
    subject: str = "Tot ziens",
    *,
    name: str = "Anna de Vries",
    address: str = "anna@example.org",
    text: str = "Dag\n",
    html: str = "<p>Dag</p>",
    key: UUID = KEY,
    date: datetime = NOW,
    eight_bit: bool = False,
    using: MessageBuilder | None = None,
) -> bytes:
    rendered = Rendered(subject, html, text)
    using = using or builder()
    return using.build(rendered, name=name, address=address, recipient_key=key, date=date, eight_bit=eight_bit)


def read(mail: bytes) -> EmailMessage:
    message = email.message_from_bytes(mail, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def header(mail: bytes, name: str) -> str:
    """A header as any mail reader decodes it."""
    raw = email.message_from_bytes(mail, policy=email.policy.compat32)[name]
    return str(make_header(decode_header(str(raw))))


def encodings(mail: bytes) -> list[str]:
    """How the mail and its two parts are encoded."""
    message = read(mail)
    return [str(part["Content-Transfer-Encoding"]) for part in (message, *message.iter_parts())]


def assert_well_formed(mail: bytes, *others: str) -> None:
    """`others`: headers that this mail has besides the usual ones."""
    lines = mail.split(b"\r\n")
    assert all(b"\n" not in line and b"\r" not in line for line in lines), "a line ends in something else than CRLF"
    assert max(map(len, lines)) <= 998
    message = read(mail)
    headers = HEADERS | set(others) | ({"Content-Transfer-Encoding"} if "8bit" in encodings(mail) else set())
    assert set(message.keys()) == headers
    assert len(message.keys()) == len(headers)
    assert not message.defects
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert all(not part.defects for part in message.iter_parts())


def bodies(mail: bytes) -> list[str]:
    """What the two parts hold, byte for byte, with \\n for a line end."""
    decoded = [part.get_payload(decode=True) for part in read(mail).iter_parts()]
    return [bytes(part).replace(b"\r\n", b"\n").decode() for part in decoded if isinstance(part, bytes)]


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
    assert message["Feedback-ID"] == "servicemail:servicemails:live:7842857507f5"
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
    for eight_bit in (False, True):
        mail = build(text=text, html=f"<p>{'é' * 3000}</p>\n.\n", eight_bit=eight_bit)
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
    ids = [read(build(key=key))["Message-ID"] for key in (KEY, UUID(str(KEY)), uuid4())]
    assert ids[0] == ids[1] != ids[2]
    assert str(ids[0]).endswith("@schouwburg.example>")
    assert builder().message_id(KEY) == ids[0]


def test_a_sender_without_a_name_or_with_letters_outside_ascii_is_possible() -> None:
    for sender in ("info@schouwburg.example", "Théâtre <info@schouwburg.example>"):
        plain = MessageBuilder(sender=sender, reply_to=None, step="a/b", send_key="k")
        mail = build(using=plain)
        assert plain.envelope_sender == "info@schouwburg.example"
        assert read(mail)["From"] == sender
        assert read(mail)["Reply-To"] is None


@pytest.mark.parametrize(("purpose", "mark"), [("test", "[TEST] "), ("internal", "[CONTROLE] ")])
def test_a_mail_that_is_not_the_real_one_says_so_in_its_subject_and_a_header(purpose: Purpose, mark: str) -> None:
    for subject in ("Tot ziens", "Één week"):
        mail = build(subject, using=builder(purpose=purpose))
        assert_well_formed(mail, "X-SMP-Purpose")
        assert header(mail, "Subject") == mark + subject
        assert read(mail)["X-SMP-Purpose"] == purpose
        assert f":{purpose}:" in read(mail)["Feedback-ID"]


def test_the_real_mail_has_no_mark() -> None:
    assert read(build())["Subject"] == "Tot ziens"
    assert read(build())["X-SMP-Purpose"] is None


def test_one_click_is_announced_for_an_https_link_and_the_reply_address_follows_it() -> None:
    mail = build(using=builder(url="https://mail.schouwburg.example/u/"))
    assert_well_formed(mail, "List-Unsubscribe-Post")
    message = read(mail)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["List-Unsubscribe"] == (
        f"<https://mail.schouwburg.example/u/{KEY}>, <mailto:kassa@schouwburg.example?subject=afmelden>"
    )


def test_a_link_that_is_not_https_is_given_but_not_as_one_click() -> None:
    message = read(build(using=builder(url="http://127.0.0.1:8026/u/")))
    assert str(message["List-Unsubscribe"]).startswith(f"<http://127.0.0.1:8026/u/{KEY}>, <mailto:")
    assert message["List-Unsubscribe-Post"] is None


@pytest.mark.parametrize(
    "url", ["https://a.example/\r\nBcc: boef@example.org", "https://a.example/>,<x", "ftp://a/", ""]
)
def test_a_link_that_is_no_url_is_an_error_and_no_header(url: str) -> None:
    with pytest.raises(SmpError, match="SMP_SITE_URL"):
        build(using=builder(url=url))


def test_a_very_long_link_is_folded_between_its_brackets_where_blanks_do_not_count() -> None:
    mail = build(using=builder(url="https://a.example/" + "x" * 3000))
    assert_well_formed(mail, "List-Unsubscribe-Post")
    link = str(read(mail)["List-Unsubscribe"]).partition(">")[0]
    assert link.replace(" ", "") == f"<https://a.example/{'x' * 3000}{KEY}"


def test_an_address_that_fits_no_line_is_an_error_of_this_person() -> None:
    with pytest.raises(ContentError, match="too long"):
        build(address="a" * 2000 + "@example.org")


@pytest.mark.parametrize("address", ["a@b.nl>, <boef@c.nl", "a@b.nl\r\nBcc: boef@c.nl"])
def test_an_address_begins_no_header_and_no_second_mailbox(address: str) -> None:
    mail = build(address=address)
    assert set(read(mail).keys()) == HEADERS
    assert b"<boef" not in mail


@pytest.mark.parametrize(
    "name", ["a <b@c.nl>", "x, y <b@c.nl>", "Ben & Jo", "d'Arc", 'o"o', "J. de Vries", "=?utf-8?q?x?="]
)
def test_a_name_is_a_name_and_never_an_address(name: str) -> None:
    ((found, address),) = getaddresses([email.message_from_bytes(build(name=name))["To"]])
    assert address == "anna@example.org"
    assert str(make_header(decode_header(found))) == name


def test_a_sender_that_is_no_address_is_an_error() -> None:
    with pytest.raises(SmpError, match="servicemails/servicemail: the sender is no address"):
        builder(sender="De Linde")


def test_the_date_is_written_in_the_zone_that_it_is_given_in() -> None:
    assert b"\r\nDate: Mon, 23 Nov 2026 08:00:00 +0000\r\n" in build()
    local = NOW.astimezone(ZoneInfo("Europe/Amsterdam")).replace(microsecond=5)
    assert b"\r\nDate: Mon, 23 Nov 2026 09:00:00 +0100\r\n" in build(date=local)


def test_8bit_leaves_the_parts_as_they_are_and_says_so_at_the_top_too() -> None:
    mail = build(text="Één\n", html="<p>€</p>\n", eight_bit=True)
    assert_well_formed(mail)
    assert encodings(mail) == ["8bit", "8bit", "8bit"]
    assert "\r\n\r\nÉén\r\n\r\n--".encode() in mail


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("é" * 499 + "\n", "8bit"),
        ("é" * 499, "8bit"),
        ("x\n" * 700 + "é" * 499 + "\nx", "8bit"),
        ("é" * 499 + "x\n", "quoted-printable"),
        ("é" * 499 + "x", "quoted-printable"),
        ("x\n" * 700 + "é" * 499 + "x\n", "quoted-printable"),
        ("a\0b", "quoted-printable"),
    ],
)
def test_a_part_with_a_line_over_998_bytes_or_a_nul_is_quoted_and_only_that_part(text: str, encoding: str) -> None:
    mail = build(text=text, eight_bit=True)
    assert_well_formed(mail)
    assert encodings(mail) == ["8bit", encoding, "8bit"]
    assert bodies(mail) == [text, "<p>Dag</p>"]


def test_a_text_that_forges_the_separator_begins_no_part() -> None:
    boundary = read(build()).get_boundary()
    text = f"Dag\n--{boundary}\nContent-Type: text/html\n\n<b>boef</b>\n--{boundary}--\n"
    mail = build(text=text, eight_bit=True)
    assert_well_formed(mail)
    assert bodies(mail) == [text, "<p>Dag</p>"]


def test_a_mail_that_is_only_ascii_and_short_says_nothing_of_8bit_unless_asked() -> None:
    assert encodings(build()) == ["None", "quoted-printable", "quoted-printable"]


@given(st.text(st.sampled_from(" \t\n=.\\aAfFxX9é€👩-"), max_size=400).map(str.encode) | TEXT.map(str.encode))
@settings(max_examples=200, deadline=None)
def test_quoted_printable_keeps_to_the_rules_and_reads_back(body: bytes) -> None:
    body = body.replace(b"\r", b"\n")
    quoted = quoted_printable(body)
    assert quoted.isascii()
    for line in quoted.split(b"\r\n"):
        assert len(line) <= 76
        assert not line.endswith((b" ", b"\t"))
        assert b"\n" not in line
    assert quopri.decodestring(quoted).replace(b"\r\n", b"\n") == body


@given(TEXT, TEXT, TEXT, TEXT, st.booleans())
@settings(max_examples=150, deadline=None)
def test_whatever_people_write_the_mail_reads_back_as_they_wrote_it(
    subject: str, name: str, text: str, html: str, eight_bit: bool
) -> None:
    mail = build(subject, name=name, text=text, html=html, eight_bit=eight_bit)
    assert_well_formed(mail)
    assert header(mail, "Subject").split() == visible(subject).split()
    plain, marked_up = bodies(mail)
    for found, wanted in ((plain, text), (marked_up, html)):
        assert found == wanted.replace("\r\n", "\n").replace("\r", "\n")
