"""Tests of trigger sends: mails to people who are given, by code, after a form or by hand (F04, F05)."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import dagster as dg
import duckdb
import psycopg
import pytest

from smp_pipelines.assets.runs import due_assets, report_run_assets
from smp_pipelines.assets.sends import send_key
from smp_pipelines.campaign.project import StepRef
from smp_pipelines.definitions import build_definitions
from smp_pipelines.operations.tick import Ticker
from smp_pipelines.problems import ProjectError, SmpError
from smp_pipelines.sending.context import Recipient
from smp_pipelines.sending.given import Sent
from smp_pipelines.sending.ledger import Send
from smp_pipelines.stores.clock import StartedAt
from tests.support.mailserver import MailServer
from tests.support.theatre import PERFORMANCE, Theatre
from tests.support.triggered import OFFER, SEAT, THANKS
from tests.support.triggered import all_live as _all_live  # noqa: F401  (fixtures)
from tests.support.triggered import its_house as _house  # noqa: F401
from tests.support.triggered import its_server as _server  # noqa: F401

LATE = datetime(2026, 11, 23, 22, 30, tzinfo=UTC)
"""Half past eleven at night in Amsterdam."""


def ref(house: Theatre) -> StepRef:
    return house.deployment.project.step(house.step)


def plan(house: Theatre, recipients: list[Recipient], key: str = "form-1", now: datetime | None = None) -> Send:
    """Plan, and deliver nothing."""
    now = now or house.now
    return house.deployment.open_and_plan_given(ref(house), f"{house.step}@{key}", recipients, "live", now, None)


def trigger(house: Theatre, people: list[int], key: str = "form-1", now: datetime | None = None) -> Sent:
    recipients: list[Recipient] = [(person, None) for person in people]
    return house.deployment.trigger(ref(house), recipients, key, StartedAt(now or house.now), None)


def test_the_mail_leaves_at_once_and_its_identity_holds(house: Theatre, server: MailServer) -> None:
    house.people(3)
    sent = trigger(house, [1, 2, 3])
    assert sorted(server.recipients) == ["p1@example.org", "p2@example.org", "p3@example.org"]
    assert (sent.send.state, sent.totals.accepted, sent.held) == ("finished", 3, None)
    assert b"bedankt en tot ziens" in server.whole[0][1]
    assert house.verdict(sent.send).holds


def test_the_same_key_is_one_send_however_often_it_comes(house: Theatre, server: MailServer) -> None:
    house.people(3)
    first = trigger(house, [1, 2])
    again = trigger(house, [1, 2, 3])
    assert again == first
    assert len(server.recipients) == 2
    assert trigger(house, [1], key="form-2").totals.accepted == 1


def test_two_at_the_same_time_with_one_key_mail_everybody_once(house: Theatre, server: MailServer) -> None:
    people = house.people(40)
    threads = [threading.Thread(target=trigger, args=(house, people)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(server.recipients) == sorted(f"p{person}@example.org" for person in people)


def test_the_rows_are_those_of_a_send_to_a_selection(house: Theatre) -> None:
    """Whoever may not get it: the same reasons, keys and winners as planning from the lake gives."""
    house.step = "after_form/form"
    house.people(16)
    house.sql(
        "insert into crm.consent select n, 'email', 'newsletter', n <> 3, now(), 'web' from generate_series(1, 15) n"
    )
    house.sql("update crm.person set blocked = true where person_id = 1")
    house.sql("update crm.person set email = '  ' where person_id = 2")
    house.sql(
        "insert into crm.suppression values (' P4@EXAMPLE.ORG ', 'complaint', now()), ('p4@example.org', 'x', now())"
    )
    odd = ["geen adres", "a..b@example.org", "x@exa\u00a0mple.nl", "jürgen@müller.example", "a@" + "b" * 64 + ".nl"]
    for person, address in enumerate(odd, 5):
        house.sql("update crm.person set email = %s where person_id = %s", address, person)
    house.sql("update crm.person set email = 'Gezin@Example.org ' where person_id in (11, 12, 13)")
    everybody = "select person_id from crm.person"
    (house.deployment.project.folder / "sql" / "selections" / "newsletter_readers.sql").write_text(
        f"-- Everybody.\n{everybody}"
    )
    # the sample's audience tests would stop a send to who said no
    (house.deployment.project.folder / "sql" / "selections" / "newsletter_readers.checks.yaml").unlink()
    fresh = type(house.deployment).load(house.deployment.settings)
    house.deployment = fresh
    columns = "person_id, record_id, recipient_key, state, reason, duplicate_of"
    rows = f"select {columns} from smp.message where send_id = %s order by person_id"
    selected = house.sql(rows, house.plan().send_id)
    house.sql("update smp.send set moment = moment - interval '99 days'")  # so that the cap does not count it
    house.live("after_form/form")
    given = house.sql(rows, plan(house, [(person, None) for person in range(1, 17)]).send_id)
    assert len({reason for *_, reason, _duplicate in given}) == 8, "every kind of reason is among them"
    assert given == selected


def test_somebody_who_is_in_the_list_twice_is_one_row_and_somebody_unknown_is_told(house: Theatre) -> None:
    house.people(2)
    send = plan(house, [(1, None), (1, None), (2, None), (999, None)])
    assert send.planned == 3
    assert house.reasons(send) == {1: None, 2: None, 999: "person_gone"}


def test_the_record_makes_the_row_where_addresses_do_not(house: Theatre) -> None:
    house.step = SEAT
    house.people(2)
    house.sql("update crm.person set email = 'gezin@example.org'")
    house.sql(
        "insert into crm.performance select 8, 'Lear', genre, hall, starts_at, 90, null, true from crm.performance"
    )
    send = plan(house, [(1, PERFORMANCE), (2, PERFORMANCE), (1, 8), (1, 99)])
    rows = house.sql("select person_id, record_id, reason from smp.message order by seq")
    assert rows == [(1, 7, None), (2, 7, None), (1, 8, "record_blocked"), (1, 99, "record_gone")]
    expected = house.sql("select md5('row:1:7')::uuid, md5('row:2:7')::uuid")[0]
    found = house.sql("select recipient_key from smp.message where send_id = %s order by seq limit 2", send.send_id)
    assert tuple(key for (key,) in found) == expected


def test_a_step_that_is_not_live_sends_nothing_and_leaves_no_trace(house: Theatre, server: MailServer) -> None:
    house.people(1)
    for status in ("stopped", "testing", "concept"):
        house.status(status, THANKS)
        with pytest.raises(SmpError, match=f"after_form/thanks is {status}; only live sends"):
            trigger(house, [1])
    assert server.recipients == []
    assert house.sql("select count(*) from smp.send") == [(0,)]


@pytest.mark.parametrize(
    ("step", "recipients", "words"),
    [
        (THANKS, [], "there is nobody to send to"),
        (THANKS, [(1, PERFORMANCE)], "has no linked record"),
        (SEAT, [(1, PERFORMANCE), (2, None)], "is about a performance"),
    ],
)
def test_recipients_that_do_not_fit_the_step_are_refused_in_words(
    house: Theatre, step: str, recipients: list[Recipient], words: str
) -> None:
    house.people(2)
    house.step = step
    with pytest.raises(SmpError, match=words):
        plan(house, recipients)
    assert house.sql("select count(*) from smp.send") == [(0,)]


def test_a_step_with_a_selection_is_no_trigger_and_a_trigger_needs_a_key(house: Theatre) -> None:
    with pytest.raises(SmpError, match="needs a key"):
        trigger(house, [1], key=" ")
    house.step = "after_form/form"
    with pytest.raises(SmpError, match=r"after_form/form is no trigger step"):
        trigger(house, [1])


def test_planning_that_fails_halfway_leaves_neither_rows_nor_send(house: Theatre) -> None:
    house.people(2)
    house.sql("alter table smp.message add constraint one_only check (person_id < 2)")
    with pytest.raises(psycopg.errors.CheckViolation):
        plan(house, [(1, None), (2, None)])
    assert house.sql("select count(*) from smp.message") == house.sql("select count(*) from smp.send") == [(0,)]


def test_a_step_whose_content_is_missing_is_refused_with_its_file(house: Theatre) -> None:
    house.people(1)
    (house.deployment.project.folder / "campaigns" / "after_form" / "mail.html").unlink()
    with pytest.raises(ProjectError, match=r"mail\.html"):
        trigger(house, [1])


def test_the_frequency_cap_counts_what_somebody_got_and_not_what_is_exempt(house: Theatre) -> None:
    """The sample project: four mails in seven days, service mails apart."""
    house.people(3)
    house.sql("insert into crm.consent select n, 'email', 'offers', true, now(), 'web' from generate_series(1, 3) n")
    house.step = OFFER
    for number in range(4):
        plan(house, [(1, None)], key=f"offer-{number}")
    plan(house, [(2, None)], key="long ago", now=house.now - timedelta(days=8))
    for number in range(3):
        plan(house, [(2, None)], key=f"offer-2-{number}")
    house.step = THANKS
    for number in range(5):
        plan(house, [(2, None), (3, None)], key=f"thanks-{number}")
    house.step = OFFER
    send = plan(house, [(1, None), (2, None), (3, None)], key="now")
    assert house.reasons(send) == {1: "frequency_cap", 2: None, 3: None}
    house.sql("update smp.message set state = 'rejected' where person_id = 1 and seq = 1 and reason is null")
    assert house.reasons(plan(house, [(1, None)], key="later")) == {1: None}, "what was refused is free again"


def test_a_mail_to_the_same_address_that_went_to_somebody_else_counts_for_the_cap(house: Theatre) -> None:
    house.people(2)
    house.sql("insert into crm.consent select n, 'email', 'offers', true, now(), 'web' from generate_series(1, 2) n")
    house.sql("update crm.person set email = 'gezin@example.org'")
    house.step = OFFER
    for number in range(4):
        send = plan(house, [(1, None), (2, None)], key=f"offer-{number}")
        assert house.reasons(send) == {1: None, 2: "duplicate_address"}
    assert house.reasons(plan(house, [(2, None)], key="now")) == {2: "frequency_cap"}


def test_at_night_it_is_planned_and_held_until_the_morning(house: Theatre, server: MailServer) -> None:
    house.people(2)
    sent = trigger(house, [1, 2], now=LATE)
    assert server.recipients == []
    assert sent.totals.planned == 2
    assert "06:00" in str(sent.held) or "morning" in str(sent.held)
    assert [each for each in house.deployment.due(LATE + timedelta(minutes=5))[0] if each.ref.key == THANKS] == []
    morning = datetime(2026, 11, 24, 5, 1, tzinfo=UTC)
    (due,) = [each for each in house.deployment.due(morning)[0] if each.ref.key == THANKS]
    assert send_key(due.ref) in due_assets(house.deployment, due)
    with dg.DagsterInstance.ephemeral() as instance:
        done = Ticker(house.deployment, instance).send(due, morning)
    assert done.failure is None
    assert done.totals is not None
    assert done.totals.accepted == 2
    assert sorted(server.recipients) == ["p1@example.org", "p2@example.org"]


def test_a_stop_between_planning_and_delivery_keeps_the_mail(house: Theatre, server: MailServer) -> None:
    house.people(1)
    send = plan(house, [(1, None)])
    house.status("stopped", THANKS)
    assert house.deployment.deliver(send, StartedAt(house.now)).held
    assert server.recipients == []
    house.live(THANKS)
    assert trigger(house, [1]).totals.accepted == 1


def test_the_job_sends_and_leaves_the_report_to_the_run_that_follows(house: Theatre, server: MailServer) -> None:
    house.people(2)
    house.sql("insert into crm.consent values (1, 'email', 'offers', true, now(), 'web')")
    job = build_definitions(house.deployment, StartedAt(house.now)).resolve_job_def("trigger")
    config = {"step": THANKS, "recipients": [{"person": 1}, {"person": 2}], "key": "form-7"}
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, run_config={"ops": {"send_given": {"config": config}}})
        assert result.success
        told = {key: instance.get_latest_materialization_event(key) for key in instance.all_asset_keys()}
        run = instance.get_run_by_id(result.run_id)
        assert house.deployment.freshness().changed == ("sends",)
        assert Ticker(house.deployment, instance).run(report_run_assets(house.deployment), {}) is None
    assert house.deployment.freshness().changed == ()
    assert run is not None
    assert run.tags["smp/send_key"] == f"{THANKS}@form-7"
    assert sorted(server.recipients) == ["p1@example.org", "p2@example.org"]
    event = told[dg.AssetKey(["sends", "after_form", "thanks"])]
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["accepted"].value == 2
    assert {key.path[-1] for key in told} == {"thanks"}
    with duckdb.connect(str(house.deployment.settings.report_file), read_only=True) as report:
        counted = report.execute("select step, planned, accepted from flow_metrics").fetchall()
        consents = report.execute("select count(*) from consents").fetchone()
    assert counted == [(THANKS, 2, 2)]
    assert consents == (1,), "its tables are as new as the send"


def test_the_job_tells_a_step_that_is_not_live_in_words(house: Theatre) -> None:
    house.people(1)
    house.status("stopped", THANKS)
    job = build_definitions(house.deployment, StartedAt(house.now)).resolve_job_def("trigger")
    config = {"step": THANKS, "recipients": [{"person": 1}], "key": "form-7"}
    with pytest.raises(dg.Failure, match="only live sends"):
        job.execute_in_process(run_config={"ops": {"send_given": {"config": config}}})


def test_materialising_a_trigger_step_without_a_send_does_nothing(house: Theatre, server: MailServer) -> None:
    step = house.deployment.project.step(THANKS)
    with dg.DagsterInstance.ephemeral() as instance:
        assert Ticker(house.deployment, instance).run([send_key(step)], {}) is None
    assert server.recipients == []
    assert house.sql("select count(*) from smp.send") == [(0,)]


def test_an_answer_that_somebody_waits_for_leaves_at_night_when_its_step_says_so(
    house: Theatre, server: MailServer
) -> None:
    """F05: directly after the form; F22 is about what is planned."""
    house.people(1)
    campaign = house.deployment.project.folder / "campaigns" / "after_form" / "campaign.yaml"
    campaign.write_text(campaign.read_text().replace("    send: trigger\n", "    send: trigger\n    at_night: send\n"))
    house.deployment = type(house.deployment).load(house.deployment.settings)
    assert trigger(house, [1], now=LATE).held is None
    assert server.recipients == ["p1@example.org"]
