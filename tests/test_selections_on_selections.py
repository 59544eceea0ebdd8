"""Selections on selections in Dagster: the edges, only what is needed, and one broken selection that stops no other."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from smp_pipelines.assets.runs import due_assets, step_assets
from smp_pipelines.assets.selections import selection_key
from smp_pipelines.definitions import build_definitions
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import ProjectError
from smp_pipelines.sending.due import Due
from smp_pipelines.stores.settings import Settings
from tests.conftest import copy_project

MOMENT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
TEXTS = {
    "towns": "select person_id, organisation_id from crm.person",
    "northern": "select person_id from selections.towns where organisation_id = 7",
    "donors": "select person_id from crm.donation",
    "broken": "select persn_id from crm.person",
    "of_broken": "select person_id from selections.broken",
    "ring_a": "select person_id from selections.ring_b",
    "ring_b": "select person_id from selections.ring_a",
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """The sample with chains, a broken selection and a circle; a step reads the end of a chain."""
    folder = copy_project(tmp_path_factory.mktemp("chains") / "project")
    for name, sql in TEXTS.items():
        (folder / "sql" / "selections" / f"{name}.sql").write_text(f"-- Who.\n{sql}")
    campaign = folder / "campaigns" / "newsletter" / "campaign.yaml"
    campaign.write_text(campaign.read_text().replace("selection: newsletter_readers", "selection: northern"))
    return Deployment.load(Settings(project=folder, home=folder.parent / "home"))


def selections(keys: list[dg.AssetKey]) -> list[str]:
    return [key.path[-1] for key in keys if key.path[0] == "selections"]


def test_a_run_takes_the_selections_that_its_step_reads_and_no_other(deployment: Deployment) -> None:
    newsletter = deployment.project.step("newsletter/december")
    assert selections(step_assets(deployment, newsletter)) == ["towns", "northern"]
    assert {key.path[-1] for key in step_assets(deployment, newsletter)}.isdisjoint({"donation", "membership"})
    ready = Due(newsletter, MOMENT, "newsletter/december@x", planned=True)
    assert selections(due_assets(deployment, ready)) == [], "its people are in the ledger already"


def test_the_graph_shows_what_a_selection_reads(deployment: Deployment) -> None:
    graph = build_definitions(deployment).resolve_asset_graph()
    parents = graph.get(selection_key("northern")).parent_keys
    assert {key for key in parents if key.path[0] == "selections"} == {selection_key("towns")}
    assert {key.path[-1] for key in graph.get_all_asset_keys() if key.path[0] == "selections"} >= TEXTS.keys()


def test_a_broken_selection_and_a_circle_are_told_and_stop_no_other(deployment: Deployment) -> None:
    deployment.refuse_incomplete(deployment.project.step("newsletter/december"))
    assert deployment.library.sql("northern", MOMENT)
    for name, words in (
        ("broken", "persn_id"),
        ("of_broken", "problems of its own"),
        ("ring_a", "circle|itself"),
        ("ring_b", "circle|itself"),
    ):
        with pytest.raises(ProjectError, match=words):
            deployment.library.get(name)
