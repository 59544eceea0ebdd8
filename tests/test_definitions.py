"""Dagster's definitions: what marketing-ops find in the UI, and what schedules, the sensor and the launchpad decide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from smp_pipelines.assets.runs import JOB_NAME
from smp_pipelines.assets.selections import selection_key
from smp_pipelines.assets.sends import send_key
from smp_pipelines.definitions import build_definitions
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.settings import Settings

MONDAY_0900 = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
STEP = "servicemails/servicemail"


@pytest.fixture
def deployment(postgres_url: str, project_folder: Path, tmp_path: Path) -> Deployment:
    """A deployment whose Postgres server runs; what is asked here needs no lake."""
    return Deployment.load(Settings(project=project_folder, home=tmp_path / "home", postgres_url=postgres_url))


def evaluate(
    deployment: Deployment, name: str, moment: datetime, now: datetime | None = None
) -> dg.RunRequest | str | None:
    """What a schedule answers at a moment: a run request, or the words of its skip."""
    definitions = build_definitions(deployment, StartedAt(now or moment))
    schedule = definitions.get_schedule_def(name)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=moment, repository_def=definitions.get_repository_def()
        )
        answer = schedule.evaluate_tick(context)
    return answer.run_requests[0] if answer.run_requests else answer.skip_message


def test_definitions_load_without_any_server(project_folder: Path, tmp_path: Path) -> None:
    loaded = Deployment.load(Settings(project=project_folder, home=tmp_path / "nothing here"))
    definitions = build_definitions(loaded)
    definitions.get_repository_def().load_all_definitions()
    assert not (tmp_path / "nothing here" / "postgres").exists()
    keys = definitions.resolve_asset_graph().get_all_asset_keys()
    assert dg.AssetKey(["crm", "person"]) in keys
    assert dg.AssetKey("reports_duckdb") in keys


def test_the_lineage_runs_from_the_crm_table_to_the_report(deployment: Deployment) -> None:
    graph = build_definitions(deployment).resolve_asset_graph()
    step = deployment.project.step(STEP)
    parents = graph.get(selection_key("visitors_in_two_days")).parent_keys
    assert parents == {dg.AssetKey(["crm", name]) for name in ("ticket", "performance", "person")} | {
        dg.AssetKey(["smp", "contact_moment"])
    }
    assert graph.get(send_key(step)).parent_keys == {selection_key("visitors_in_two_days")}
    assert send_key(step) in graph.get(dg.AssetKey("contact_moments")).parent_keys
    assert dg.AssetKey("flow_metrics") in graph.get(dg.AssetKey("reports_duckdb")).parent_keys


def test_a_new_crm_table_is_an_asset_and_a_source_for_selections(project_folder: Path, tmp_path: Path) -> None:
    (project_folder / "sql" / "schema" / "0002_gift.sql").write_text(
        "create table crm.gift (gift_id bigint primary key, person_id bigint not null);"
    )
    (project_folder / "sql" / "selections" / "givers.sql").write_text("-- Givers.\nselect person_id from crm.gift")
    loaded = Deployment.load(Settings(project=project_folder, home=tmp_path / "home"))
    graph = build_definitions(loaded).resolve_asset_graph()
    assert graph.get(selection_key("givers")).parent_keys == {dg.AssetKey(["crm", name]) for name in ("gift", "person")}


def test_a_schedule_of_a_concept_says_why_it_does_not_send(deployment: Deployment) -> None:
    assert evaluate(deployment, "servicemails__servicemail", MONDAY_0900) == (
        "servicemails/servicemail: status is concept (it never went live)"
    )


def test_a_stopped_step_says_since_when(deployment: Deployment) -> None:
    deployment.change_status(STEP, "live", MONDAY_0900 - timedelta(days=3), "anna")
    deployment.change_status(STEP, "stopped", MONDAY_0900 - timedelta(days=1), "bob", "the hall is closed")
    assert evaluate(deployment, "servicemails__servicemail", MONDAY_0900) == (
        "servicemails/servicemail: status is stopped since 2026-11-22 09:00"
    )


def test_a_live_step_asks_for_its_own_assets_under_the_key_of_its_moment(deployment: Deployment) -> None:
    deployment.change_status(STEP, "live", MONDAY_0900, "anna")
    request = evaluate(deployment, "servicemails__servicemail", MONDAY_0900)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "servicemails/servicemail@2026-11-23T09:00+01:00"
    assert request.job_name == JOB_NAME
    assert request.asset_selection is not None
    assert send_key(deployment.project.step(STEP)) in request.asset_selection
    assert dg.AssetKey("reports_duckdb") in request.asset_selection
    assert selection_key("we_miss_you") not in request.asset_selection
    assert dg.AssetKey(["crm", "person"]) in request.asset_selection
    assert dg.AssetKey(["crm", "donation"]) not in request.asset_selection


def test_a_moment_that_was_missed_by_hours_is_not_sent_and_says_so(deployment: Deployment) -> None:
    deployment.change_status(STEP, "live", MONDAY_0900, "anna")
    late = evaluate(deployment, "servicemails__servicemail", MONDAY_0900, MONDAY_0900 + timedelta(hours=3))
    assert late == "servicemails/servicemail: this moment was missed by more than 60 minutes (late_minutes)"


def test_before_its_start_a_step_says_when_it_starts(deployment: Deployment) -> None:
    deployment.change_status(STEP, "live", datetime(2025, 12, 1, tzinfo=UTC), "anna")
    before = evaluate(deployment, "servicemails__servicemail", datetime(2025, 12, 31, 8, 0, tzinfo=UTC))
    assert before == "servicemails/servicemail: it starts on 2026-01-01"


def lifecycle(deployment: Deployment, now: datetime, cursor: str | None = None) -> tuple[list[str], str | None]:
    """What the sensor asks for at a moment: the keys of the sends, and its new cursor."""
    definitions = build_definitions(deployment, StartedAt(now))
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, repository_def=definitions.get_repository_def()
        )
        answer = definitions.get_sensor_def("lifecycle").evaluate_tick(context)
    return [request.tags["smp/send_key"] for request in answer.run_requests or ()], answer.cursor


def test_the_sensor_takes_up_a_moment_of_which_nothing_came_but_only_once_in_a_while(deployment: Deployment) -> None:
    deployment.change_status(STEP, "live", MONDAY_0900, "anna")
    at_once, _ = lifecycle(deployment, MONDAY_0900 + timedelta(seconds=20))
    assert at_once == [], "its schedule is at it"
    later, cursor = lifecycle(deployment, MONDAY_0900 + timedelta(minutes=5))
    assert later == ["servicemails/servicemail@2026-11-23T09:00+01:00"]
    again, _ = lifecycle(deployment, MONDAY_0900 + timedelta(minutes=5, seconds=30), cursor)
    assert again == []


def test_the_launchpad_changes_a_status_with_audit(deployment: Deployment) -> None:
    job = build_definitions(deployment, StartedAt(MONDAY_0900)).resolve_job_def("step_status")
    config = {"step": STEP, "status": "live", "by": "anna", "reason": "checked"}
    result = job.execute_in_process(run_config={"ops": {"change_status": {"config": config}}})
    assert result.success
    with deployment.connection() as postgres:
        audit = postgres.execute(
            "select step, from_status::text, to_status::text, changed_by, reason from smp.step_status_change"
        )
        assert audit.fetchall() == [(STEP, "concept", "live", "anna", "checked")]


def test_the_launchpad_refuses_a_step_that_does_not_exist_in_words(deployment: Deployment) -> None:
    job = build_definitions(deployment, StartedAt(MONDAY_0900)).resolve_job_def("step_status")
    config = {"step": "servicemails/servicemal", "status": "live", "by": "anna"}
    with pytest.raises(dg.Failure, match="there is no step servicemails/servicemal"):
        job.execute_in_process(run_config={"ops": {"change_status": {"config": config}}})


def test_a_step_whose_content_is_missing_cannot_go_live(deployment: Deployment) -> None:
    (deployment.project.folder / "campaigns" / "servicemails" / "servicemail.mjml").unlink()
    loaded = Deployment.load(deployment.settings)
    with pytest.raises(SmpError, match=r"servicemail\.mjml"):
        loaded.change_status(STEP, "live", MONDAY_0900, "anna")
