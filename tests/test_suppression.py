"""Tests of the suppression list: adding, removing, its audit, files of addresses, and hard bounces."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from typer.testing import CliRunner

from smp_pipelines.cli import app
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import suppression
from smp_pipelines.sending.suppression import Added, is_hard_bounce, note_bounces
from smp_pipelines.stores.postgres import Connection, connect
from tests.conftest import REPOSITORY

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Connection]:
    with connect(postgres_url) as opened:
        opened.autocommit = True
        yield opened


def audit(connection: Connection) -> list[tuple[str, str, str, int | None]]:
    """The changes in their order: what, why, by whom, by which send."""
    query = "select change, reason, changed_by, send_id from smp.suppression_change order by change_id"
    return connection.execute(query).fetchall()


def on_the_list(connection: Connection) -> dict[str, str]:
    return {each.email: each.reason for each in suppression.read_list(connection)}


def test_an_address_goes_on_the_list_as_it_is_compared_and_the_audit_has_its_md5_only(connection: Connection) -> None:
    added = suppression.add(connection, [" Anna@KPN.nl "], "complaint", NOW, "jan")
    assert added == Added(1, 0)
    assert on_the_list(connection) == {"anna@kpn.nl": "complaint"}
    (row,) = connection.execute("select address, change, reason, changed_at, changed_by from smp.suppression_change")
    digest = UUID(hashlib.md5(b"anna@kpn.nl", usedforsecurity=False).hexdigest())
    assert row == (digest, "added", "complaint", NOW, "jan")
    whole = connection.execute("select string_agg(c::text, ' ') from smp.suppression_change as c").fetchone()
    assert whole is not None
    assert "anna" not in whole[0]


def test_adding_again_changes_nothing_and_keeps_the_first_reason(connection: Connection) -> None:
    connection.execute("insert into crm.suppression values (' ANNA@kpn.nl', 'complaint', %s)", (NOW,))
    assert suppression.add(connection, ["anna@kpn.nl"], "manual", NOW + timedelta(days=1), "jan") == Added(0, 1)
    assert suppression.read_list(connection) == [suppression.Suppressed(" ANNA@kpn.nl", "complaint", NOW)]
    assert audit(connection) == []


def test_removing_finds_the_address_however_it_is_written_and_says_so_once(connection: Connection) -> None:
    connection.execute("insert into crm.suppression values (' ANNA@kpn.nl', 'x', now()), ('anna@KPN.nl', 'y', now())")
    assert suppression.remove(connection, ["Anna@kpn.nl"], "a typing mistake", NOW, "jan") == 1
    assert on_the_list(connection) == {}
    assert suppression.remove(connection, ["Anna@kpn.nl"], "a typing mistake", NOW, "jan") == 0
    assert audit(connection) == [("removed", "a typing mistake", "jan", None)]


@pytest.mark.parametrize("wrong", ["anna", "anna@kpn", "Anna <anna@kpn.nl>", "", "a@b.nl, c@d.nl"])
def test_what_is_no_address_is_refused_and_nothing_is_added(connection: Connection, wrong: str) -> None:
    with pytest.raises(SmpError, match="no e-mail address"):
        suppression.add(connection, ["jan@kpn.nl", wrong], "manual", NOW, "jan")
    assert on_the_list(connection) == {}


def test_a_reason_that_is_none_and_a_change_by_nobody_are_refused(connection: Connection) -> None:
    with pytest.raises(SmpError, match="hard_bounce, complaint, manual"):
        suppression.add(connection, ["jan@kpn.nl"], "bored", NOW, "jan")
    with pytest.raises(SmpError, match="say who"):
        suppression.add(connection, ["jan@kpn.nl"], "manual", NOW, " ")
    with pytest.raises(SmpError, match="say why"):
        suppression.remove(connection, ["jan@kpn.nl"], " ", NOW, "jan")


def test_of_a_file_the_good_lines_are_added_and_the_bad_ones_told_by_line(
    connection: Connection, tmp_path: Path
) -> None:
    connection.execute("insert into crm.suppression values ('Old@kpn.nl', 'manual', now())")
    file = tmp_path / "addresses.txt"
    lines = [b"\xef\xbb\xbf# from the old system", b"new@kpn.nl\r", b"", b"NEW@kpn.nl", b"old@kpn.nl", b"no address"]
    file.write_bytes(b"\n".join([*lines, b"caf\xe9@kpn.nl", b"a\x00b@kpn.nl", "jürgen@kpn.nl".encode()]))
    added, bad = suppression.add_file(connection, file, "manual", NOW, "jan")
    assert added == Added(2, 1)
    assert [(each.line, each.why) for each in bad] == [
        (6, "this is no e-mail address"),
        (7, "this is not UTF-8 text"),
        (8, "this is no e-mail address"),
    ]
    assert set(on_the_list(connection)) == {"Old@kpn.nl", "new@kpn.nl", "jürgen@kpn.nl"}
    assert suppression.add_file(connection, file, "manual", NOW, "jan")[0] == Added(0, 3)


def test_a_file_that_is_not_there_is_told(connection: Connection, tmp_path: Path) -> None:
    with pytest.raises(SmpError, match="cannot be read"):
        suppression.add_file(connection, tmp_path / "nothing.txt", "manual", NOW, "jan")


def test_a_long_list_is_one_statement_and_all_or_nothing(connection: Connection, tmp_path: Path) -> None:
    file = tmp_path / "addresses.txt"
    file.write_text("".join(f"p{number}@example.org\n" for number in range(20_000)))
    connection.execute("alter table crm.suppression add constraint no_last check (email_key <> 'p9999@example.org')")
    with pytest.raises(psycopg.errors.CheckViolation):
        suppression.add_file(connection, file, "manual", NOW, "jan")
    assert (on_the_list(connection), audit(connection)) == ({}, [])
    connection.execute("alter table crm.suppression drop constraint no_last")
    assert suppression.add_file(connection, file, "manual", NOW, "jan") == (Added(20_000, 0), [])


def test_bounced_addresses_go_on_the_list_with_their_send_in_the_transaction_of_the_settling(
    connection: Connection,
) -> None:
    connection.execute("insert into crm.suppression values ('Known@kpn.nl', 'manual', now())")
    with connection.transaction(force_rollback=True):
        assert note_bounces(connection, 7, ["gone@kpn.nl"], NOW) == 1
    assert on_the_list(connection) == {"Known@kpn.nl": "manual"}
    with connection.transaction():
        assert note_bounces(connection, 7, ["Gone@KPN.nl", "gone@kpn.nl ", "known@kpn.nl"], NOW) == 1
    assert on_the_list(connection) == {"Known@kpn.nl": "manual", "gone@kpn.nl": "hard_bounce"}
    assert audit(connection) == [("added", "hard_bounce", "smp", 7)]
    assert note_bounces(connection, 7, [], NOW) == 0


def test_workers_that_note_the_same_bounces_at_once_do_not_stop_one_another(postgres_url: str) -> None:
    addresses = [f"p{number}@example.org" for number in range(500)]
    together = threading.Barrier(4)

    def note(turn: int) -> int:
        with connect(postgres_url) as own, own.transaction():
            together.wait()
            return note_bounces(own, turn, addresses[turn * 50 :] + addresses[: turn * 50], NOW)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(note, range(4))) == 500
    with connect(postgres_url) as own:
        assert len(audit(own)) == 500


@pytest.mark.parametrize(
    ("response", "hard"),
    [
        ("550 5.1.1 <a@b.nl>: Recipient address rejected: User unknown", True),
        ("550 5.1.1", True),
        ("550-5.1.1 The email account that you tried to reach does not exist.\n5.1.1 Try again", True),
        ("550-5.1.1 The email account\r\n550 5.1.1 that you tried", True),
        ("550 Requested action not taken\n550 5.1.1 no such mailbox", True),
        ("553 5.1.2 no such domain", True),
        ("501 5.1.3 bad destination mailbox address syntax", True),
        ("551 5.1.6 moved, no forwarding address", True),
        ("556 5.1.10 recipient address has null MX", True),
        ("550 5.7.1 spam", False),
        ("550 5.7.1 rejected, see 5.1.1 of our rules", False),
        ("550 5.7.1 policy\n550 5.1.1 unknown", False),
        ("550 no such user", False),
        ("550 no such user (5.1.1)", False),
        ("550 5.1.8 bad sender's system address", False),
        ("550 5.1.7 bad sender's mailbox address", False),
        ("550 5.1.100 something", False),
        ("550 5.1.1.2 something", False),
        ("550 5.11.1 something", False),
        ("552 5.2.2 mailbox full", False),
        ("450 4.1.1 unknown for now", False),
        ("450 5.1.1 a server that contradicts itself", False),
        ("550 4.1.1 another one", False),
        ("250 2.1.5 ok", False),
        ("5.1.1 no code", False),
        ("", False),
    ],
)
def test_only_an_enhanced_status_that_says_no_such_address_is_a_hard_bounce(response: str, hard: bool) -> None:
    assert is_hard_bounce(response) is hard


@pytest.mark.parametrize(
    ("email", "short"), [("anna@kpn.nl", "a…@kpn.nl"), (" Anna@KPN.nl", "A…@KPN.nl"), ("@kpn.nl", "…@kpn.nl")]
)
def test_an_address_is_shortened_to_its_first_letter_and_domain(email: str, short: str) -> None:
    assert suppression.shortened(email) == short


def test_the_command_adds_lists_and_removes_by_address_person_and_file(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMP_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("SMP_HOME", str(tmp_path / "home"))
    with connect(postgres_url) as own:
        own.execute(
            "insert into crm.person (person_id, last_name, email, created_at)"
            " values (5, 'Jansen', 'P5@example.org', now()), (6, 'Smit', null, now())"
        )

    def smp(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["--project", str(REPOSITORY), "suppression", *words])
        return done.exit_code, done.output if not isinstance(done.exception, SmpError) else str(done.exception)

    assert smp("add", "anna@kpn.nl", "--reason", "complaint", "--by", "jan") == (0, "1 new, 0 there already\n")
    assert smp("add", "--person", "5") == (0, "1 new, 0 there already\n")
    assert "no e-mail address" in smp("add", "--person", "6")[1]
    assert "there is no person 7" in smp("add", "--person", "7")[1]
    assert "give one thing" in smp("add")[1]
    assert "give one thing" in smp("add", "anna@kpn.nl", "--person", "5")[1]
    listed = smp("list")[1]
    assert "a…@kpn.nl" in listed
    assert "complaint" in listed
    assert "anna" not in listed
    assert "p5@example.org" in smp("list", "--full")[1]
    file = tmp_path / "addresses.txt"
    file.write_text("new@kpn.nl\nnobody\n")
    code, told = smp("add", "--file", str(file))
    assert code == 1
    assert "1 new, 0 there already, 1 left out" in told
    assert f"{file}:2: this is no e-mail address" in told
    assert smp("remove", "--person", "5", "--reason", "asked for it", "--by", "jan") == (0, "removed\n")
    assert smp("remove", "p5@example.org", "--reason", "asked for it") == (0, "it was not on the list\n")
    with connect(postgres_url) as own:
        assert audit(own)[-1] == ("removed", "asked for it", "jan", None)
