"""Overruling: a person lets go what an audience test stopped, once, with audit, and nobody is mailed twice (X5)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from smp_pipelines.assets.overruling import overrule_job
from smp_pipelines.cli import app
from smp_pipelines.commands import selection as selection_commands
from smp_pipelines.commands import send as send_commands
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.ledger import Send, read_send
from smp_pipelines.sending.overruling import open_overruled
from smp_pipelines.sending.transports.memory import Outbox, outbox
from smp_pipelines.stores.clock import StartedAt
from tests.support.stopping import NAMED, plan_send, stopping_theatre
from tests.support.theatre import NEWSLETTER, STEP, Theatre, deployment

ONCE = f"{NEWSLETTER}@once"


@pytest.fixture
def box() -> Iterator[Outbox]:
    """The outbox that all mails of the theatre go to."""
    found = outbox("overruling")
    found.clear()
    yield found
    found.clear()


@pytest.fixture
def house(embedded_url: str, migrated_template: str, tmp_path: Path, box: Outbox) -> Iterator[Theatre]:
    """A theatre whose sends are stopped by anybody without a salutation."""
    with stopping_theatre(embedded_url, migrated_template, tmp_path, mail_url=f"memory://{box.name}") as opened:
        yield opened


def stopped(house: Theatre, step: str = NEWSLETTER, key: str = ONCE) -> Send:
    """A send that its audience test stopped, delivered to nobody and finished."""
    send = plan_send(house, step, key)
    house.deployment.deliver(send, StartedAt(house.now))
    with house.deployment.connection() as postgres:
        return read_send(postgres, send.send_id)


def overrule(house: Theatre, send: Send, *, run_id: str = "cli", at: datetime | None = None, by: str = "anna") -> Send:
    return house.deployment.overrule(send.send_id, by, "they may be greeted", StartedAt(at or house.now), run_id).send


def test_an_overruled_one_off_is_sent_once_by_a_new_send_with_audit(house: Theatre, box: Outbox) -> None:
    send = stopped(house)
    assert (send.state, box.recipients) == ("finished", [])
    new = overrule(house, send)
    assert (new.send_key, new.state) == (f"{ONCE}+overruled", "finished")
    assert sorted(box.recipients) == ["p1@example.org", "p2@example.org"]
    assert house.reasons(new) == {1: None, 2: None, 3: "person_blocked", 4: "duplicate_address"}
    audit = house.sql("select send_id, new_send_id, overruled_by, reason from smp.audience_overrule")
    assert audit == [(send.send_id, new.send_id, "anna", "they may be greeted")]
    with pytest.raises(SmpError, match=f"overruled by anna already, once: send {new.send_id} took its place"):
        overrule(house, send, by="bob")
    with pytest.raises(SmpError, match="was not stopped by an audience test"):
        overrule(house, new)
    # neither the tick nor somebody who sends it by hand starts it again
    goes_on, _not_sent = house.deployment.due(house.now + timedelta(minutes=5))
    assert NEWSLETTER not in [each.ref.key for each in goes_on]
    assert plan_send(house, NEWSLETTER, ONCE).send_id == send.send_id
    assert len(box.recipients) == 2


def test_whoever_got_the_mail_in_the_meantime_does_not_get_it_from_an_overruled_send(
    house: Theatre, box: Outbox
) -> None:
    morning = stopped(house, STEP, f"{STEP}@morning")
    house.sql("update crm.person set salutation = 'Beste' where person_id = 2")
    noon = plan_send(house, STEP, f"{STEP}@noon")
    house.deployment.deliver(noon, StartedAt(house.now))
    assert sorted(box.recipients) == ["p1@example.org", "p2@example.org"]
    house.people(1, first=9)
    new = overrule(house, morning)
    assert house.reasons(new) == {3: "person_blocked", 9: None}
    assert sorted(box.recipients) == ["p1@example.org", "p2@example.org", "p9@example.org"]


def test_colleagues_get_no_second_mail_from_a_stopped_send_when_a_later_one_was_planned(
    house: Theatre, box: Outbox
) -> None:
    (house.deployment.project.folder / "sql" / "selections" / "colleagues.checks.yaml").write_text(NAMED)
    house.sql("update crm.person set internal_test = true where person_id in (1, 2)")
    house.sql("update crm.performance set starts_at = starts_at + interval '2 days'")
    check = f"{STEP}_check"
    house.live(check)
    tested = Theatre(Deployment.load(house.deployment.settings))
    monday, tuesday = (stopped(tested, check, f"{check}@{day}") for day in ("monday", "tuesday"))
    new = overrule(tested, tuesday)
    assert sorted(box.recipients) == ["p1@example.org", "p2@example.org"]
    words = f"send {monday.send_id} may not be overruled any more: send {new.send_id} of {check} was planned since"
    with pytest.raises(SmpError, match=words):
        overrule(tested, monday)
    assert len(box.recipients) == 2


def test_nothing_is_overruled_when_it_may_not_be_sent_or_when_another_test_fails_now(
    house: Theatre, box: Outbox
) -> None:
    send = stopped(house)
    with pytest.raises(SmpError, match="say who overrules"):
        overrule(house, send, by=" ")
    night = house.now.replace(hour=23)
    with pytest.raises(SmpError, match="nothing is sent between"):
        overrule(house, send, at=night)
    house.status("testing", NEWSLETTER)
    with pytest.raises(SmpError, match="is testing; only live sends"):
        overrule(house, send)
    house.live(NEWSLETTER)
    checks = house.deployment.project.folder / "sql" / "selections" / "newsletter_readers.checks.yaml"
    checks.write_text(checks.read_text() + "  many: {rows: {at_least: 100}, blocking: true}\n")
    stricter = Theatre(Deployment.load(house.deployment.settings))
    with pytest.raises(SmpError, match=r"now another audience test fails.*not as it should be: at least 100"):
        overrule(stricter, send)
    checks.write_text("audience_tests: {many: {rows: {at_least: one}}}\n")
    with pytest.raises(SmpError, match=r"newsletter_readers.checks.yaml:1: `at_least` must be a whole number"):
        overrule(Theatre(Deployment.load(house.deployment.settings)), send)
    assert house.sql("select count(*) from smp.audience_overrule") == [(0,)]
    assert box.recipients == []


def test_who_dies_after_opening_the_new_send_goes_on_with_the_same_one(
    house: Theatre, box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = stopped(house)

    def die(*_arguments: object) -> Send:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Deployment, "plan", die)
        with pytest.raises(KeyboardInterrupt):
            overrule(house, send)
    ((opened, state),) = house.sql("select send_id, state from smp.send where send_key like '%%+overruled'")
    assert state == "planning"
    # a tick would take it up as well
    assert opened in [each.send_id for each in _taken_up(house)]
    with monkeypatch.context() as patched:
        patched.setattr(Deployment, "deliver", die)
        with pytest.raises(KeyboardInterrupt):
            overrule(house, send, run_id="again", by="bob")
    new = overrule(house, send, run_id="a third time", by="bob")
    assert (new.send_id, new.state) == (opened, "finished")
    assert sorted(box.recipients) == ["p1@example.org", "p2@example.org"]
    assert house.sql("select overruled_by from smp.audience_overrule") == [("anna",)]


def _taken_up(house: Theatre) -> list[Send]:
    with house.deployment.connection() as postgres:
        return [
            read_send(postgres, each.send_key) for each in house.deployment.due(house.now)[0] if "once" in each.send_key
        ]


def test_of_two_who_overrule_at_once_one_opens_the_send(postgres_url: str, tmp_path: Path) -> None:
    house = Theatre(deployment(postgres_url, tmp_path))
    send = house.plan_these(house.people(1))

    def open_it(by: str) -> int:
        with house.deployment.connection() as postgres:
            return open_overruled(postgres, send, "live", house.now, by, "now", None).send_id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(open_it, ("anna", "bob", "carla", "dirk")))) == 1
    assert house.sql("select count(*) from smp.audience_overrule") == [(1,)]


def test_the_job_and_the_commands_do_the_same_and_tell_it(
    house: Theatre, box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def running() -> Iterator[Deployment]:
        yield house.deployment

    for module in (send_commands, selection_commands):
        monkeypatch.setattr(module, "deployment", running)
    send = stopped(house)

    def smp(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, words)
        assert done.exit_code == code, (done.output, done.exception)
        return " ".join(done.output.split())

    checked = smp("selection", "check", "newsletter_readers", "--at", "2026-11-23 09:00", code=1)
    assert "named FAILED yes 75.0% of 4 rows have it; 100% should" in checked
    assert "People without a salutation people: 2" in checked
    shown = smp("send", "show", str(send.send_id))
    assert "stopped by an audience test: People without a salutation (newsletter_readers, named)" in shown
    assert f"overrule with `smp send overrule {send.send_id}" in smp("send", "list")
    config = {"send": send.send_id, "by": "anna", "reason": "may be greeted"}
    job = overrule_job(house.deployment, StartedAt(house.now))
    result = job.execute_in_process(
        run_config={"ops": {"overrule_and_send": {"config": config}}}, instance=dg.DagsterInstance.ephemeral()
    )
    assert result.success
    assert len(box.recipients) == 2
    shown = smp("send", "show", str(send.send_id))
    assert f"overruled by anna: send {send.send_id + 1} takes its place" in shown
    new = smp("send", "show", str(send.send_id + 1))
    assert f"takes the place of send {send.send_id}: anna overruled its audience test, may be greeted" in new
