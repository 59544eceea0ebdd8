"""Tests of `smp ledger` and `smp send` as somebody types them: what is printed, and the exit status."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from smp_pipelines.cli import app
from smp_pipelines.commands import ledger as ledger_commands
from smp_pipelines.commands import send as send_commands
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.ledger import LEASE, Outcome, Send
from tests.conftest import REPOSITORY
from tests.support.theatre import Theatre, deployment

Smp = Callable[..., str]


@pytest.fixture
def house(tmp_path: Path, postgres_url: str) -> Theatre:
    opened = Theatre(deployment(postgres_url, tmp_path / "the state", mail_url="memory://commands"))
    opened.live()
    return opened


@pytest.fixture
def run(house: Theatre, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `smp` with these words on the theatre's deployment, which runs already: making it costs seconds a command."""

    @contextmanager
    def running() -> Iterator[Deployment]:
        yield house.deployment

    for module in (ledger_commands, send_commands):
        monkeypatch.setattr(module, "deployment", running)
    return lambda *words: CliRunner().invoke(app, words)


@pytest.fixture
def smp(run: Callable[..., Result]) -> Smp:
    """What `smp` prints, with spaces and line ends as one space; it must succeed."""

    def typed(*words: str) -> str:
        done = run(*words)
        assert done.exit_code == 0, (done.output, done.exception)
        return " ".join(done.output.split())

    return typed


@pytest.fixture
def send(house: Theatre) -> Send:
    """A finished send to ten people: five accepted, three unknown, two skipped."""
    send = house.plan_these(house.people(10))
    house.sql("update crm.person set blocked = true where person_id in (9, 10)")
    claim = house.claim(send)
    with house.deployment.connection() as connection:
        done = [Outcome(message.recipient_key, "accepted", None, "250 OK") for message in claim.messages[:5]]
        ledger.settle(connection, send, claim.token, done, house.now)
        ledger.expire(connection, send, house.now + 2 * LEASE)
        assert ledger.finish(connection, send, house.now + 2 * LEASE)
    return send


def test_the_identity_of_a_send_is_a_sum_in_words_with_the_reasons(smp: Smp, send: Send) -> None:
    told = smp("ledger", "verify", str(send.send_id))
    assert "10 planned = 5 accepted + 0 rejected + 3 unknown + 2 skipped: holds" in told
    assert "2 skipped: is blocked: never contact" in told
    assert "3 unknown: the worker stopped while it had this mail in hand" in told
    assert "yes" in smp("ledger", "verify")


def test_the_command_finds_its_own_project_and_server(
    house: Theatre, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMP_POSTGRES_URL", house.url)
    monkeypatch.setenv("SMP_HOME", str(house.deployment.settings.home))
    done = CliRunner().invoke(app, ["--project", str(REPOSITORY), "send", "show", str(send.send_id)])
    assert done.exit_code == 0
    assert "10 planned = 5 accepted + 0 rejected + 3 unknown + 2 skipped" in done.output


def test_what_does_not_hold_is_named_and_the_command_fails(
    house: Theatre, run: Callable[..., Result], send: Send
) -> None:
    house.sql("delete from smp.message where seq = 1")
    house.sql("update smp.message set reason = null where seq = 9")
    done = run("ledger", "verify", str(send.send_id))
    assert done.exit_code == 1
    assert "10 planned ≠ 4 accepted + 0 rejected + 3 unknown + 2 skipped: DOES NOT HOLD" in done.output
    assert f"send {send.send_id}: 1 of 10 planned rows are not in the ledger" in done.output
    assert f"send {send.send_id}: 1 rows are skipped without a reason" in done.output
    everything = run("ledger", "verify")
    assert everything.exit_code == 1
    assert "NO" in everything.output


def test_a_send_that_is_not_there_is_said_so(run: Callable[..., Result], send: Send) -> None:
    for words in (("verify", "4711"), ("unknown", "4711"), ("look-up", "4711")):
        done = run("ledger", *words)
        assert done.exit_code == 1
        assert isinstance(done.exception, SmpError)
        assert "there is no send 4711" in str(done.exception)


def test_unknown_mails_are_listed_resolved_and_counted(house: Theatre, smp: Smp, send: Send) -> None:
    number = str(send.send_id)
    assert "and 2 more (--limit)" in smp("ledger", "unknown", number, "--limit", "1")
    because = ("--evidence", "the log of the mail server", "--by", "anna")
    assert "1 rows of send 1 are now accepted" in smp("ledger", "resolve", number, "accepted", "--row", "6", *because)
    told = smp("ledger", "resolve", number, "resend", "--row", "7", *because)
    assert "1 rows of send 1 will be sent, when the step is live" in told
    assert house.states(send) == {"accepted": 6, "planned": 1, "skipped": 2, "unknown": 1}
    assert smp("ledger", "look-up", number).endswith("0 to be sent, 1 still unknown")
    assert "1 rows of send 1 are now rejected" in smp("ledger", "resolve", number, "rejected", "--all", *because)
    assert smp("ledger", "unknown") == "nothing is unknown"
    assert house.sql("select distinct resolved_by, evidence from smp.resolution") == [
        ("anna", "the log of the mail server")
    ]


@pytest.mark.parametrize("which", [(), ("--all", "--row", "6")])
def test_which_rows_are_meant_has_to_be_said(run: Callable[..., Result], send: Send, which: tuple[str, ...]) -> None:
    done = run("ledger", "resolve", str(send.send_id), "accepted", *which, "--evidence", "log")
    assert done.exit_code == 1
    assert "say which rows" in str(done.exception)


def test_a_send_that_waits_is_listed_with_the_reason_and_can_be_cancelled(house: Theatre, smp: Smp) -> None:
    send = house.plan_these(house.people(4))
    house.status("stopped")
    number = str(send.send_id)
    told = smp("send", "list")
    assert f"{send.send_key} live open 4 4 0 0" in told
    assert "waits: status is stopped since 2026-11-22 09:00; it goes on when live" in told
    assert "4 planned = 0 accepted + 0 rejected + 0 unknown + 0 skipped + 4 waiting" in smp("send", "show", number)
    cancelled = smp("send", "cancel", number, "--by", "anna", "--reason", "wrong date")
    assert cancelled == f"send {number}: 4 mails will not be sent"
    told = smp("send", "show", number)
    assert "4 planned = 0 accepted + 0 rejected + 0 unknown + 4 skipped" in told
    assert "4 skipped: the send was cancelled before this mail left" in told
    assert "cancelled by anna, 4 mails: wrong date" in told


def test_a_send_of_a_step_in_no_file_tells_how_it_is_ended(house: Theatre, smp: Smp) -> None:
    send = house.plan_these(house.people(1))
    house.sql("update smp.send set step = 'gone/gone'")
    assert f"its step is in no file any more; `smp send cancel {send.send_id}` ends it" in smp("send", "list")
    assert smp("send", "list", "--step", "newsletter/december").startswith("nothing was sent yet")
