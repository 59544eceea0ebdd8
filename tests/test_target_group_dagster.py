"""Tests of target groups in Dagster: pilot and rest through the job, a frozen group linked by its own job."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from smp_pipelines.assets.groups import group_key
from smp_pipelines.definitions import build_definitions
from smp_pipelines.operations.tick import Ticked, Ticker, by_hand
from smp_pipelines.stores.clock import StartedAt
from tests.support.grouped import AMSTERDAM, BIG, EVERYBODY, grouped_project, ref_of, write_campaign
from tests.support.theatre import Theatre, theatre


def test_pilot_rest_and_a_frozen_group_from_their_selections_to_the_mailbox(
    embedded_url: str, migrated_template: str, tmp_path: Path
) -> None:
    project = grouped_project(tmp_path / "my project")
    rest = "target_group: {selections: [big_companies, everybody], evaluate: each_send, not_used_in_campaign: true}"
    steps = {"pilot": "send: one_off; selection: amsterdam", "rest": f"send: one_off; {rest}"}
    write_campaign(project, "trial", steps)
    write_campaign(
        project, "held", {"letter": "send: one_off; target_group: {selections: [big_companies], evaluate: once}"}
    )
    mail = f"maildir://{tmp_path}/mail"
    with (
        theatre(embedded_url, migrated_template, tmp_path / "state", project=project, mail_url=mail) as house,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        house.people(12)
        ticker = Ticker(house.deployment, instance)
        assert accepted(house, send(house, ticker, "trial/pilot")) == AMSTERDAM
        assert accepted(house, send(house, ticker, "trial/rest")) == [p for p in EVERYBODY if p not in AMSTERDAM]
        metadata = latest(instance, house, "trial/rest")
        assert metadata["dagster/row_count"].value == 8
        assert "big_companies" in str(metadata["per selection"].value)
        refused = send(house, ticker, "held/letter")
        assert refused.failure is not None
        assert "is not linked yet" in refused.failure
        link(house, instance)
        assert accepted(house, send(house, ticker, "held/letter")) == BIG
        told = latest(instance, house, "held/letter")
        assert told["frozen by"].value == "anna"
        since = told["frozen since"]
        assert isinstance(since, dg.TimestampMetadataValue)
        assert since.value >= house.now.timestamp()


def send(house: Theatre, ticker: Ticker, step: str) -> Ticked:
    house.live(step)
    return ticker.send(by_hand(ref_of(house, step), house.now), house.now)


def accepted(house: Theatre, ticked: Ticked) -> list[int]:
    assert ticked.failure is None
    assert ticked.send is not None
    query = "select person_id from smp.message where send_id = %s and state = 'accepted' order by 1"
    return [person for (person,) in house.sql(query, ticked.send.send_id)]


def latest(instance: dg.DagsterInstance, house: Theatre, step: str) -> dict[str, dg.MetadataValue]:
    event = instance.get_latest_materialization_event(group_key(ref_of(house, step)))
    assert event is not None
    assert event.asset_materialization is not None
    return dict(event.asset_materialization.metadata)


def link(house: Theatre, instance: dg.DagsterInstance) -> None:
    job = build_definitions(house.deployment, StartedAt(house.now)).resolve_job_def("link_group")
    config = {"ops": {"link": {"config": {"step": "held/letter", "by": "anna"}}}}
    assert job.execute_in_process(instance=instance, run_config=config).success
