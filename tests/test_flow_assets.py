"""Flows in Dagster: the job moves people and sends their mails, the sensor asks for it when it has to, assets tell."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from smp_pipelines.assets.facts import CLOCK_TAG
from smp_pipelines.assets.flows import FLOWS_JOB, flow_key
from smp_pipelines.assets.mirror import table_key
from smp_pipelines.assets.submissions import OP as SUBMISSIONS_OP
from smp_pipelines.assets.submissions import SUBMISSIONS_JOB
from smp_pipelines.definitions import build_definitions
from smp_pipelines.deployment import Deployment
from smp_pipelines.flow import status
from smp_pipelines.flow.seeing import read_counts, read_participants, read_path
from smp_pipelines.operations.tick import Ticker
from smp_pipelines.sensors.flows import flows_sensor
from smp_pipelines.stores.clock import Clock
from tests.support.journey import FLOW, enrol, journey
from tests.support.mailserver import MailServer
from tests.support.theatre import Theatre

ANNA, BO = 1, 2


class At:
    """A clock that stands still."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


@pytest.fixture(scope="module")
def house_and_server(
    embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Theatre, MailServer]]:
    with journey(embedded_url, migrated_template, tmp_path_factory.mktemp("dagster")) as (house, server):
        house.people(3, tickets=False)
        yield house, server


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def tick(house: Theatre, instance: dg.DagsterInstance, clock: Clock, cursor: str | None = None) -> Any:
    """What a tick of the sensor asks for and says."""
    with dg.build_sensor_context(instance, cursor=cursor) as context:
        return flows_sensor(house.deployment, clock).evaluate_tick(context)


def run(house: Theatre, instance: dg.DagsterInstance, moment: datetime) -> dg.ExecuteInProcessResult:
    """A run of the job at a moment, then one that sends what it asked for; both must succeed."""
    tags = {CLOCK_TAG: moment.isoformat()}
    moved = definitions(house).resolve_job_def(FLOWS_JOB).execute_in_process(instance=instance, tags=tags)
    hurry = {"ops": {SUBMISSIONS_OP: {"config": {"linger_seconds": 0.0}}}}
    sending = definitions(house).resolve_job_def(SUBMISSIONS_JOB)
    assert sending.execute_in_process(instance=instance, tags=tags, run_config=hurry).success
    return moved


@functools.lru_cache(maxsize=1)
def _definitions(deployment: Deployment) -> dg.Definitions:
    return build_definitions(deployment)


def definitions(house: Theatre) -> dg.Definitions:
    """The definitions of the theatre, made once."""
    return _definitions(house.deployment)


def metadata(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What the flow's asset told last."""
    event = instance.get_latest_materialization_event(flow_key(FLOW))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: each.value for name, each in event.asset_materialization.metadata.items()}


def test_from_a_hand_to_the_mail_and_the_end_of_the_path(
    house_and_server: tuple[Theatre, MailServer], instance: dg.DagsterInstance
) -> None:
    house, server = house_and_server
    deployment, clock = house.deployment, At(house.now)
    run(house, instance, house.now)  # the first look at what is there already
    assert "nobody is due" in str(tick(house, instance, clock).skip_message)

    assert enrol(deployment, [ANNA, BO], house.now) == 2
    asked = tick(house, instance, clock)
    again = tick(house, instance, clock)
    assert [each.run_key for each in asked.run_requests] == [each.run_key for each in again.run_requests]
    run(house, instance, house.now)
    assert sorted(server.recipients) == ["p1@example.org", "p2@example.org"]
    run(house, instance, house.now)
    assert len(server.recipients) == 2, "a run that happens twice mails nobody twice"
    assert "nobody is due" in str(tick(house, instance, clock, asked.cursor).skip_message)

    assert Ticker(deployment, instance).run([flow_key(FLOW)], {}) is None
    told = metadata(instance)
    assert (told["state"], told["enrolled"], told["in the flow now"]) == ("live", 2, 2)
    assert told["diagram"].startswith("![diagram](data:image/svg+xml;base64,")
    assert "| welcome | Mail | 2 | 0 | 2 | 0 | 0 |  |" in told["steps"]
    assert "| welcome | 2 | 2 | 0 | 0 | 0 | 0 | 0 | 0 |" in told["mails"]
    assert told["mermaid"].startswith("```mermaid\nflowchart TD")
    assert "example.org" not in str(told)
    assert "Jansen" not in str(told)

    later = house.now + timedelta(days=4)
    asked = tick(house, instance, At(later), asked.cursor)
    assert len(asked.run_requests) == 1
    run(house, instance, later)
    with deployment.connection() as postgres:
        counts = read_counts(postgres, FLOW)
        assert counts is not None
        assert counts.outcomes == {"completed": 2}
        assert counts.versions[0].steps[0].mails is not None
        assert counts.versions[0].steps[0].mails.accepted == 2
        (anna,) = (each for each in read_participants(postgres, counts.state) if each.person_id == ANNA)
        path = read_path(postgres, anna.participant_id)
    assert [(each.node.name, each.mail) for each in path.visits][:2] == [("welcome", "accepted"), ("rest", None)]


def test_smp_tick_moves_flows_sends_what_they_ask_for_and_makes_the_reports(
    house_and_server: tuple[Theatre, MailServer], instance: dg.DagsterInstance
) -> None:
    house, server = house_and_server
    moment = house.now + timedelta(days=5)
    before = len(server.recipients)
    enrol(house.deployment, [3], moment, "tick")
    ticker = Ticker(house.deployment, instance)
    done, _ = ticker.tick(moment, moment)
    assert [(each.due.ref.key, each.failure) for each in done] == [(f"{FLOW}/hello", None)]
    assert server.recipients[before:] == ["p3@example.org"]
    assert ticker.tick(moment, moment)[0] == []
    assert metadata(instance)["enrolled"] == 3
    with duckdb.connect(str(house.deployment.settings.report_file), read_only=True) as report:
        assert report.sql("select enrolled, waiting, completed from flow_result").fetchall() == [(3, 1, 2)]
        mails = report.sql("select delivered, bounced, opened from flow_step where step = 'welcome'").fetchall()
    assert mails == [(3, 0, 0)]
    metrics = instance.get_latest_materialization_event(dg.AssetKey("flow_metrics"))
    assert metrics is not None
    assert metrics.asset_materialization is not None
    told = str(metrics.asset_materialization.metadata["flows"].value)
    assert f"| {FLOW} | 1 | welcome | 3 | 0 | 3 | 0 | 0 | 3 | 0 | 0 | 0 | 0 |" in told


def test_a_paused_flow_is_let_alone(house_and_server: tuple[Theatre, MailServer], instance: dg.DagsterInstance) -> None:
    house, _ = house_and_server
    later = house.now + timedelta(days=30)
    assert len(tick(house, instance, At(later)).run_requests) == 1
    with house.deployment.connection() as postgres:
        status.pause(postgres, FLOW, later, "anna")
        assert tick(house, instance, At(later)).skip_message == "no flow is live"
        status.resume(postgres, FLOW, later, "anna")
    assert len(tick(house, instance, At(later)).run_requests) == 1


def test_while_a_run_is_under_way_no_other_is_asked_for(
    house_and_server: tuple[Theatre, MailServer], instance: dg.DagsterInstance
) -> None:
    house, _ = house_and_server
    job = definitions(house).resolve_job_def(FLOWS_JOB)
    under_way = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    words = tick(house, instance, At(house.now + timedelta(days=30))).skip_message
    assert words == "somebody is due; a run is at it"
    instance.report_run_failed(under_way)


def test_a_flow_is_downstream_of_what_it_reads_and_upstream_of_the_figures(
    house_and_server: tuple[Theatre, MailServer],
) -> None:
    house, _ = house_and_server
    graph = definitions(house).resolve_asset_graph()
    node = graph.get(flow_key(FLOW))
    assert {table_key(f"crm.{name}") for name in ("person", "ticket", "membership")} <= node.parent_keys
    assert dg.AssetKey("flow_metrics") in node.child_keys
    assert node.group_name == FLOW
    assert "Welkomstreis" in str(node.description)


def test_materialising_the_asset_moves_nobody(
    house_and_server: tuple[Theatre, MailServer], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    house, server = house_and_server
    before = len(server.recipients)
    enrol(house.deployment, [ANNA], house.now + timedelta(days=6), "again")
    assert Ticker(house.deployment, instance).run([flow_key(FLOW)], {}) is None
    assert metadata(instance)["enrolled"] == 3
    assert len(server.recipients) == before
