"""Tests of the sensors that follow submissions: a run per batch, mails once, reports that come by themselves (F05)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from smp_pipelines.assets.facts import SEND_KEY_TAG
from smp_pipelines.assets.runs import due_assets, run_tags
from smp_pipelines.assets.submissions import OP, SUBMISSIONS_JOB, submission_tags
from smp_pipelines.definitions import build_definitions
from smp_pipelines.operations.tick import Ticker
from smp_pipelines.sensors.lifecycle import lifecycle_sensor
from smp_pipelines.sensors.reports import REST, reports_sensor
from smp_pipelines.sensors.submissions import submissions_sensor
from smp_pipelines.stores.clock import Clock, StartedAt
from tests.support.mailserver import MailServer
from tests.support.submitted import submit
from tests.support.theatre import Theatre
from tests.support.triggered import OFFER, THANKS, triggered
from tests.support.triggered import its_house as _house  # noqa: F401  (fixtures)
from tests.support.triggered import its_server as _server  # noqa: F401
from tests.support.waiting import until


@pytest.fixture
def house_and_server(embedded_url: str, migrated_template: str, tmp_path: Path) -> Iterator[tuple[Theatre, MailServer]]:
    with triggered(embedded_url, migrated_template, tmp_path) as (house, server):
        for step in (THANKS, OFFER):
            house.live(step)
        house.people(5)
        house.step = THANKS
        yield house, server


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


class At:
    """A clock that stands still."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


def tick(sensor: dg.SensorDefinition, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    """What a tick asks for and says."""
    with dg.build_sensor_context(instance, cursor=cursor) as context:
        return sensor.evaluate_tick(context)


def submissions(house: Theatre) -> dg.SensorDefinition:
    return submissions_sensor(house.deployment, StartedAt(house.now), wait=0)


def run(house: Theatre, instance: dg.DagsterInstance, tags: dict[str, str], linger: float = 0) -> dg.DagsterRun:
    """A run as the sensor asks for it; it must succeed."""
    job = build_definitions(house.deployment, StartedAt(house.now)).resolve_job_def(SUBMISSIONS_JOB)
    config = {"ops": {OP: {"config": {"linger_seconds": linger}}}}
    result = job.execute_in_process(instance=instance, tags=tags, run_config=config)
    found = instance.get_run_by_id(result.run_id)
    assert found is not None
    return found


def told(instance: dg.DagsterInstance) -> list[str]:
    """The send keys that the assets of trigger steps were told of."""
    keys = [key for key in instance.all_asset_keys() if key.path[0] == "sends"]
    events = [each for key in keys for each in instance.fetch_materializations(key, limit=9).records]
    found = [each.asset_materialization for each in events]
    return sorted(str(each.metadata["send"].value) for each in found if each is not None)


def test_a_batch_is_one_run_and_the_cursor_remembers_it(
    house: Theatre, server: MailServer, instance: dg.DagsterInstance
) -> None:
    submit(house.url, THANKS, [1, 2], house.now)
    submit(house.url, OFFER, [3], house.now)
    asked = tick(submissions(house), instance)
    assert [each.run_key for each in asked.run_requests] == [f"{OFFER}@events-3", f"{THANKS}@events-1"]
    assert asked.cursor == "2"
    again = tick(submissions(house), instance, asked.cursor)
    assert (again.run_requests, again.skip_message) == ([], "no submission that asks for a mail")
    for request in asked.run_requests:
        run(house, instance, request.tags)
    assert sorted(server.recipients) == ["p1@example.org", "p2@example.org"], "the third has not said yes to offers"
    assert told(instance) == [f"{OFFER}@events-3", f"{THANKS}@events-1"]


def test_a_tick_that_was_cut_off_is_made_up_for_with_the_same_run_key(
    house: Theatre, instance: dg.DagsterInstance
) -> None:
    submit(house.url, THANKS, [1], house.now)
    lost = tick(submissions(house), instance)
    submit(house.url, THANKS, [2], house.now)
    asked = tick(submissions(house), instance)
    assert [each.run_key for each in asked.run_requests] == [lost.run_requests[0].run_key]
    later = tick(submissions(house), instance, asked.cursor)
    assert [each.run_key for each in later.run_requests] == [f"{THANKS}@events-2"]


def test_what_cannot_be_sent_now_is_told_in_words(house: Theatre, instance: dg.DagsterInstance) -> None:
    house.status("stopped", OFFER)
    submit(house.url, OFFER, [1, 2], house.now)
    submit(house.url, "after_form/renamed", [3], house.now)
    words = tick(submissions(house), instance).skip_message
    assert f"2 events for {OFFER}, which is stopped: they wait until it is live" in words
    assert "1 event for after_form/renamed, which is no trigger step in any file" in words


def test_a_run_that_happens_twice_mails_once(house: Theatre, server: MailServer, instance: dg.DagsterInstance) -> None:
    submit(house.url, THANKS, [1], house.now)
    (request,) = tick(submissions(house), instance).run_requests
    for _ in range(2):
        run(house, instance, request.tags)
    assert server.recipients == ["p1@example.org"]


def test_a_run_lingers_and_takes_what_comes_meanwhile(
    house: Theatre, server: MailServer, instance: dg.DagsterInstance
) -> None:
    submit(house.url, THANKS, [1], house.now)
    (send,) = house.deployment.take_events(house.now)
    ended = threading.Event()

    def later() -> None:
        until(lambda: server.recipients == ["p1@example.org"], "the first mail")
        submit(house.url, THANKS, [2], house.now)
        until(lambda: len(server.recipients) == 2, "the second mail")
        ended.set()

    thread = threading.Thread(target=later)
    thread.start()
    done = run(house, instance, submission_tags(send), linger=2)
    thread.join()
    assert ended.is_set()
    assert told(instance) == [f"{THANKS}@events-1", f"{THANKS}@events-2"]
    assert done.tags[SEND_KEY_TAG] == f"{THANKS}@events-2", "the lifecycle sensor sees at which one it is"
    assert house.sql("select count(distinct run_id) from smp.send where state = 'finished'") == [(1,)]


def test_without_a_send_a_run_takes_what_waits(
    house: Theatre, server: MailServer, instance: dg.DagsterInstance
) -> None:
    """From the launchpad."""
    submit(house.url, THANKS, [4], house.now)
    run(house, instance, {})
    assert server.recipients == ["p4@example.org"]


def test_a_run_that_never_came_is_taken_up_by_the_lifecycle_sensor(
    house: Theatre, server: MailServer, instance: dg.DagsterInstance
) -> None:
    submit(house.url, THANKS, [1], house.now)
    assert len(tick(submissions(house), instance).run_requests) == 1
    clock = At(house.now + timedelta(seconds=30))
    sensor = lifecycle_sensor(house.deployment, clock)
    assert tick(sensor, instance).run_requests == [], "it may still come"
    clock.moment += timedelta(minutes=2)
    (request,) = tick(sensor, instance).run_requests
    assert request.tags[SEND_KEY_TAG] == f"{THANKS}@events-1"
    (due,) = house.deployment.due(clock.now())[0]
    assert Ticker(house.deployment, instance).run(due_assets(house.deployment, due), run_tags(due, house.now)) is None
    assert server.recipients == ["p1@example.org"]
    assert tick(sensor, instance).run_requests == []


def test_the_reports_follow_once_in_five_minutes_and_rest_while_nothing_happens(
    house: Theatre, instance: dg.DagsterInstance
) -> None:
    clock = At(house.now)
    sensor = reports_sensor(house.deployment, clock)
    assert tick(sensor, instance).skip_message == "nothing happened since the report file was published"
    submit(house.url, THANKS, [1], house.now)
    asked = tick(sensor, instance)
    (request,) = asked.run_requests
    assert request.tags["smp/changed"] == "submissions"
    assert "follow in 5 min" in tick(sensor, instance, asked.cursor).skip_message, "it was asked for already"
    assert Ticker(house.deployment, instance).run(request.asset_selection, run_tags_at(clock)) is None
    assert house.deployment.settings.report_file.exists()
    assert "nothing happened" in tick(sensor, instance, asked.cursor).skip_message

    house.sql(
        "insert into smp.hit (kind, happened_at, step, method) values ('page', %s, 'welcome/thanks', 'GET')", house.now
    )
    clock.moment += REST - timedelta(seconds=30)
    assert "hits changed; the reports follow in" in tick(sensor, instance, asked.cursor).skip_message
    clock.moment += timedelta(minutes=10)  # its run took a while, and published at its end
    assert len(tick(sensor, instance, asked.cursor).run_requests) == 1


def run_tags_at(clock: Clock) -> dict[str, str]:
    return {"smp/clock": clock.now().isoformat()}
