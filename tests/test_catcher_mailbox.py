"""The mail catcher's mailbox on disk, and its reading of mails."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smp_pipelines.catcher.mailbox import Mailbox
from smp_pipelines.catcher.message import decode_words, open_links_in_new_tab, read_content, read_headers, short_address
from smp_pipelines.problems import SmpError

NOW = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)


def add(mailbox: Mailbox, subject: str) -> str:
    data = f"Subject: {subject}\r\n\r\nbody\r\n".encode()
    return mailbox.add(data, sender="s@x.example", recipients=["r@x.example"], received_at=NOW).id


def test_a_reopened_mailbox_has_the_same_mails(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    ids = [add(mailbox, f"number {number}") for number in range(3)]
    before = mailbox.search().mails
    mailbox.close()
    again = Mailbox(tmp_path)
    assert again.search().mails == before
    assert add(again, "later") not in ids


@pytest.mark.parametrize("kept", range(0, 200, 7))
def test_a_torn_last_line_is_cut_off_on_open(tmp_path: Path, kept: int) -> None:
    mailbox = Mailbox(tmp_path)
    add(mailbox, "whole")
    add(mailbox, "torn")
    mailbox.close()
    index = tmp_path / "index.jsonl"
    whole, torn = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(whole + torn[:kept])
    again = Mailbox(tmp_path)
    assert [mail.subject for mail in again.search().mails] == ["whole"]
    assert index.read_bytes() == whole
    add(again, "next")
    again.close()
    assert [mail.subject for mail in Mailbox(tmp_path).search().mails] == ["next", "whole"]


def test_a_last_line_that_lost_only_its_end_counts(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    add(mailbox, "first")
    mailbox.close()
    index = tmp_path / "index.jsonl"
    index.write_bytes(index.read_bytes().rstrip(b"\n"))
    again = Mailbox(tmp_path)
    add(again, "second")
    again.close()
    assert [mail.subject for mail in Mailbox(tmp_path).search().mails] == ["second", "first"]


def test_a_damaged_line_in_the_middle_hides_only_itself(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    add(mailbox, "first")
    mailbox.close()
    with (tmp_path / "index.jsonl").open("ab") as index:
        index.write(b'\x00\x00\x00\n{"id": "../../etc/passwd"}\n[1]\n')
    again = Mailbox(tmp_path)
    add(again, "second")
    assert [mail.subject for mail in again.search().mails] == ["second", "first"]


def test_a_file_that_the_index_lost_is_not_written_over(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    add(mailbox, "lost")
    mailbox.close()
    (tmp_path / "index.jsonl").write_bytes(b"")
    again = Mailbox(tmp_path)
    mail_id = add(again, "new")
    assert b"new" in (again.raw(mail_id) or b"")
    assert len(list((tmp_path / "mails").iterdir())) == 2


def test_deleting_all_leaves_an_empty_folder_that_takes_new_mail(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    old = add(mailbox, "old")
    assert mailbox.clear() == 1
    assert mailbox.raw(old) is None
    assert add(mailbox, "new") != old
    assert len(list((tmp_path / "mails").iterdir())) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"mails", "index.jsonl"}


def test_a_mailbox_is_open_in_one_place_at_a_time(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    with pytest.raises(SmpError, match="in use"):
        Mailbox(tmp_path)
    mailbox.close()
    Mailbox(tmp_path).close()


def test_a_full_disk_is_told_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = Mailbox(tmp_path)
    add(mailbox, "before")
    whole = os.write
    calls = []

    def half_of_the_index(file: int, data: bytes) -> int:
        calls.append(file)
        return whole(file, data[: len(data) // 2]) if len(calls) == 2 else whole(file, data)

    monkeypatch.setattr(os, "write", half_of_the_index)
    with pytest.raises(OSError, match="No space"):
        add(mailbox, "does not fit")
    monkeypatch.undo()
    add(mailbox, "after")
    mailbox.close()
    assert [mail.subject for mail in Mailbox(tmp_path).search().mails] == ["after", "before"]
    assert len(list((tmp_path / "mails").iterdir())) == 2


# ---------------------------------------------------------------- reading mails


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading_of_a_mail(data: bytes) -> None:
    for mail in (data, b"Subject: " + data, b"Content-Type: text/html; charset=" + data + b"\r\n\r\n" + data):
        read_content(mail)
        for name, value in read_headers(mail):
            (name + value).encode()


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("plain", "plain"),
        ("=?utf-8?q?Zo=C3=AB?= <zoe@x.example>", "Zoë <zoe@x.example>"),
        ("=?utf-8?b?Wm/Dqw==?= =?utf-8?q?_=C3=A9?=", "Zoë é"),
        ("=?no-such-set?q?x?=", "=?no-such-set?q?x?="),
        ("=?utf-8?b?7aCA?=", "\ufffd" * 3),
    ],
)
def test_encoded_words_are_decoded_and_broken_ones_do_no_harm(raw: str, read: str) -> None:
    assert decode_words(raw) == read


def test_folded_headers_are_put_together_and_the_body_is_no_header() -> None:
    data = b"Subject: one\r\n two\r\nX: y\r\n\r\nSubject: body\r\n"
    assert list(read_headers(data)) == [("Subject", "one two"), ("X", "y")]


def test_the_first_html_and_text_are_shown_and_the_rest_is_attached() -> None:
    mail = EmailMessage()
    mail.set_content("Hi")
    mail.add_alternative("<p>Hi</p>", subtype="html")
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="kaartje é.pdf")
    content = read_content(mail.as_bytes())
    assert content.html == "<p>Hi</p>\n"
    assert content.text is not None
    assert [(item.name, item.media_type, item.size) for item in content.attachments] == [
        ("kaartje é.pdf", "application/pdf", 4)
    ]


def test_parts_nested_too_deep_are_no_error() -> None:
    head = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(3000))
    assert read_content(head).html is None


@pytest.mark.parametrize(
    ("value", "short"),
    [
        ("Zoë <z@x.example>", "Zoë"),
        ('"De Boer, Jan" <j@x.example>', "De Boer, Jan"),
        ("<z@x.example>", "z@x.example"),
        ("z@x.example", "z@x.example"),
        ("A <a@x.example>, B <b@x.example>", "A <a@x.example>, B <b@x.example>"),
    ],
)
def test_one_person_is_shown_by_name(value: str, short: str) -> None:
    assert short_address(value) == short


def test_links_of_a_mail_open_in_a_new_tab_without_quirks_mode() -> None:
    assert open_links_in_new_tab("<!doctype html><HEAD lang=nl><p>") == (
        '<!doctype html><HEAD lang=nl><base target="_blank"><p>'
    )
    assert open_links_in_new_tab("<p>") == '<base target="_blank"><p>'
    assert open_links_in_new_tab("<!DOCTYPE html><p>") == "<!DOCTYPE html><p>"
