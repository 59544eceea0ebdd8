"""Tests of test mails: to internal test persons only, beside everything that is live (F28)."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from smp_pipelines.cli import app
from smp_pipelines.commands.shared import Project
from smp_pipelines.definitions import build_definitions
from smp_pipelines.operations.tick import Ticker
from smp_pipelines.problems import ProjectError, SmpError
from smp_pipelines.sending.given import Sent
from smp_pipelines.stores.clock import StartedAt
from tests.support.mailserver import MailServer
from tests.support.theatre import NEWSLETTER, PERFORMANCE, STEP, Theatre
from tests.support.triggered import THANKS, triggered
from tests.support.triggered import its_house as _house  # noqa: F401  (fixtures)
from tests.support.triggered import its_server as _server  # noqa: F401

AT_NIGHT = datetime(2026, 11, 23, 1, 30, tzinfo=UTC)


@pytest.fixture
def house_and_server(embedded_url: str, migrated_template: str, tmp_path: Path) -> Iterator[tuple[Theatre, MailServer]]:
    with triggered(embedded_url, migrated_template, tmp_path) as (house, server):
        house.people(4)
        house.sql("update crm.person set internal_test = true where person_id in (1, 2)")
        yield house, server


def send_test(
    house: Theatre, people: list[int], record: int | None = PERFORMANCE, *, now: datetime | None = None, run: str = "r1"
) -> Sent:
    step = house.deployment.project.step(house.step)
    return house.deployment.send_test(step, people, record, StartedAt(now or house.now), run)


def mails(server: MailServer) -> list[EmailMessage]:
    """What arrived, as a mail program reads it."""
    return [
        email.message_from_bytes(raw, _class=EmailMessage, policy=email.policy.default)  # type: ignore[call-overload]
        for _recipient, raw in server.whole
    ]


def test_several_colleagues_get_it_at_once_and_see_that_it_is_a_test(house: Theatre, server: MailServer) -> None:
    sent = send_test(house, [1, 2])
    assert sorted(server.recipients) == ["p1@example.org", "p2@example.org"]
    assert (sent.send.purpose, sent.send.state, sent.totals.accepted) == ("test", "finished", 2)
    assert sent.send.send_key == f"test/{STEP}@2026-11-23T08:00:00+00:00/r1"
    for mail in mails(server):
        assert mail["Subject"].startswith("[TEST] ")
        assert "Hamlet" in mail["Subject"]
    assert house.verdict(sent.send).holds


def test_anybody_else_is_refused_by_id_with_what_to_do_and_nobody_is_mailed(house: Theatre, server: MailServer) -> None:
    house.sql(
        "insert into crm.person (person_id, last_name, internal_test, created_at) values (7, 'Leeg', true, now())"
    )
    house.sql("update crm.person set internal_test = true, email = 'anna@@example' where person_id = 4")
    with pytest.raises(SmpError) as refused:
        send_test(house, [1, 3, 4, 7, 99])
    _first, *lines = str(refused.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines] == [
        "person 3 is no internal test person, and a test mail goes to colleagues only",
        "person 4 has an e-mail address that cannot exist",
        "person 7 has no e-mail address",
        "person 99 is not in the CRM",
    ]
    assert "anna" not in str(refused.value), "no personal data"
    assert server.recipients == []
    assert house.sql("select count(*) from smp.send") == [(0,)]


@pytest.mark.parametrize("status", ["concept", "testing", "live", "stopped"])
def test_it_works_in_any_status(house: Theatre, server: MailServer, status: str) -> None:
    if status != "concept":
        house.status(status)
    assert send_test(house, [1]).totals.accepted == 1
    assert server.recipients == ["p1@example.org"]


def test_it_works_at_night(house: Theatre, server: MailServer) -> None:
    assert send_test(house, [1], now=AT_NIGHT).totals.accepted == 1


def test_it_works_for_a_trigger_step_and_for_one_without_a_linked_record(house: Theatre, server: MailServer) -> None:
    for step in (THANKS, NEWSLETTER):
        house.step = step
        assert send_test(house, [1], None).totals.accepted == 1
        with pytest.raises(SmpError, match="has no linked record: leave the record out"):
            send_test(house, [1])
    house.step = STEP
    with pytest.raises(SmpError, match="is about a performance"):
        send_test(house, [1], None)


def test_neither_consent_nor_the_cap_nor_a_blocked_record_stops_it(house: Theatre, server: MailServer) -> None:
    house.sql("insert into crm.consent values (1, 'email', 'service', false, now(), 'web')")
    house.sql("update crm.performance set block_service_mail = true")
    assert send_test(house, [1]).totals.accepted == 1
    house.step = NEWSLETTER
    for number in range(6):
        assert send_test(house, [2], None, run=f"again-{number}").totals.accepted == 1


def test_the_suppression_list_does_and_says_so(house: Theatre, server: MailServer) -> None:
    house.sql("insert into crm.suppression values ('p1@example.org', 'hard bounce', now())")
    sent = send_test(house, [1, 2])
    assert server.recipients == ["p2@example.org"]
    assert sent.totals.reasons == {"suppressed": 1}


def test_a_record_that_does_not_exist_is_told(house: Theatre, server: MailServer) -> None:
    assert send_test(house, [1], 99).totals.reasons == {"record_gone": 1}
    assert server.recipients == []


def test_a_step_without_its_content_is_refused_with_the_file(house: Theatre, server: MailServer) -> None:
    (house.deployment.project.folder / "campaigns" / "servicemails" / "servicemail.mjml").unlink()
    with pytest.raises(ProjectError, match=r"servicemail\.mjml"):
        send_test(house, [1])
    assert house.sql("select count(*) from smp.send") == [(0,)]


def test_the_real_send_still_reaches_who_tested_and_no_contact_moment_tells_of_it(
    house: Theatre, server: MailServer
) -> None:
    house.live()
    send_test(house, [1, 2])
    house.deployment.mirror_moments()
    with house.deployment.lake.open() as lake:
        assert lake.execute("select count(*) from smp.contact_moment").fetchone() == (0,)
    send = house.plan()
    assert house.deployment.deliver(send, StartedAt(house.now)).accepted == 4
    assert server.recipients.count("p1@example.org") == 2


def test_a_test_mail_whose_worker_was_lost_goes_on_by_itself_though_the_step_is_a_concept(
    house: Theatre, server: MailServer
) -> None:
    step = house.deployment.project.step(STEP)
    house.deployment.open_and_plan_given(step, "test/lost", [(1, PERFORMANCE)], "test", house.now, None)
    later = house.now + timedelta(minutes=5)
    (due,) = [each for each in house.deployment.due(later)[0] if each.send_key == "test/lost"]
    with dg.DagsterInstance.ephemeral() as instance:
        done = Ticker(house.deployment, instance).send(due, later)
    assert (done.failure, server.recipients) == (None, ["p1@example.org"])
    assert done.send is not None
    assert done.send.state == "finished"
    assert house.sql("select count(*) from smp.selection_run") == [(0,)], "it needs no selection"


def test_the_launchpad_sends_one_about_the_next_performance_and_tells_how_it_stands(
    house: Theatre, server: MailServer
) -> None:
    job = build_definitions(house.deployment, StartedAt(house.now)).resolve_job_def("test_mail")
    config = {"step": STEP, "persons": [1, 2]}
    with dg.DagsterInstance.ephemeral() as instance:
        run_config = {"ops": {"send_test_mail": {"config": config}}}
        result = job.execute_in_process(instance=instance, run_config=run_config)
    (output,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    metadata = output.step_output_data.metadata
    assert (metadata["accepted"].value, metadata["state"].value) == (2, "finished")
    assert len(server.recipients) == 2
    assert house.sql("select distinct record_id from smp.message") == [(PERFORMANCE,)]


def test_the_launchpad_refuses_who_is_no_colleague_in_words(house: Theatre, server: MailServer) -> None:
    job = build_definitions(house.deployment, StartedAt(house.now)).resolve_job_def("test_mail")
    config = {"step": STEP, "persons": [1, 3]}
    with pytest.raises(dg.Failure, match="person 3 is no internal test person"):
        job.execute_in_process(run_config={"ops": {"send_test_mail": {"config": config}}})
    assert server.recipients == []


def test_the_command_prints_what_became_of_it(
    house: Theatre, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.sql("insert into crm.suppression values ('p2@example.org', 'hard bounce', now())")
    settings = house.deployment.settings
    for name, value in (
        ("SMP_POSTGRES_URL", house.url),
        ("SMP_HOME", str(settings.home)),
        ("SMP_MAIL_URL", str(settings.mail_url)),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Project, "folder", None)
    root = ["--project", str(settings.project)]
    done = CliRunner().invoke(app, [*root, "step", "test", STEP, "--person", "1", "--person", "2"])
    assert done.exit_code == 0, done.output
    assert "1 accepted, 0 rejected, 0 unknown, 1 skipped" in done.output
    assert "suppression list" in done.output
    assert server.recipients == ["p1@example.org"]
    refused = CliRunner().invoke(app, [*root, "step", "test", STEP, "--person", "3"])
    assert isinstance(refused.exception, SmpError)
