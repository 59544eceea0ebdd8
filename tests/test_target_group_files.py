"""Tests of `target_group` in campaign.yaml: what may be written, what `smp check` says, what Dagster shows."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from smp_pipelines.campaign.checks import check_project
from smp_pipelines.campaign.project import load_project
from smp_pipelines.definitions import build_definitions
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import ProjectError, SmpError
from smp_pipelines.selection.library import load_library
from smp_pipelines.stores.settings import Settings
from tests.support.grouped import grouped_project, write_campaign
from tests.support.theatre import Theatre

DAILY = 'send: continuous; schedule: {start: 2026-01-01, frequency: daily, times: ["09:00"]}'


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = grouped_project(tmp_path_factory.mktemp("files") / "my project")
    write_campaign(folder, "daily", {"tick": "send: one_off; selection: everybody"})
    new = "-- New.\nselect person_id from crm.person where {{ not_received('daily/tick', within='9 days') }}\n"
    (folder / "sql" / "selections" / "new.sql").write_text(new)
    return folder


def told(project: Path, steps: dict[str, str], campaign: str = "testing_groups") -> list[str]:
    """What is wrong with a campaign of these steps, with the line."""
    file = write_campaign(project, campaign, steps)
    try:
        loaded = load_project(project)
    except ProjectError as error:
        problems = error.problems
    else:
        problems = [*check_project(loaded), *load_library(loaded).problems]
    ours = [each for each in problems if not each.warning and (each.file == file or campaign in str(each))]
    return [f"{each.line}: {each.message}" for each in ours]


GROUP = "send: one_off; target_group: {}"
COPY_OF_OTHER = "send: one_off; record: performance; target_group: {copy_of: one, evaluate: once}"
LINE = 11
"""Of the target group of the first step."""


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("{selections: [amsterdam, everybody, amsterdam], evaluate: once}", "the selection amsterdam is there twice"),
        ("{selections: [amsterdm], evaluate: once}", "there is no selection amsterdm"),
        ("{selections: [amsterdam]}", "`evaluate` is missing"),
        ("{evaluate: each_send}", "there is nothing to evaluate at each send"),
        ("{copy_of: two, selections: [everybody], evaluate: each_send}", "a group that is taken over is copied once"),
        ("{copy_of: tree, evaluate: once}", "there is no step tree"),
        ("{copy_of: one, evaluate: once}", "a step cannot take over its own group"),
    ],
)
def test_a_target_group_that_cannot_be_made_is_told_with_its_line(project: Path, group: str, words: str) -> None:
    (problem,) = told(project, {"one": GROUP.format(group), "two": "send: one_off; selection: everybody"})
    assert words in problem
    assert int(problem.partition(":")[0]) in (LINE, LINE + 1)


def test_selection_and_target_group_do_not_go_together(project: Path) -> None:
    both = "send: one_off; selection: everybody; target_group: {selections: [amsterdam], evaluate: once}"
    (problem,) = told(project, {"one": both})
    assert "`selection` and `target_group` both say who gets it" in problem


def test_a_group_with_records_is_taken_over_only_from_a_step_with_that_record(project: Path) -> None:
    (problem,) = told(project, {"one": "send: one_off; selection: everybody", "two": COPY_OF_OTHER})
    assert "testing_groups/one has no people with a performance to take over" in problem


def test_numbers_are_places_unless_they_are_given_and_none_is_there_twice(project: Path) -> None:
    steps = dict.fromkeys(("one", "two", "three"), "send: one_off; selection: everybody")
    assert told(project, steps) == []
    assert load_project(project).campaigns["testing_groups"].numbers == {"one": 1, "two": 2, "three": 3}
    (problem,) = told(project, steps | {"one": "number: 2; send: one_off; selection: everybody"})
    assert "testing_groups/two: its number is 2, by its place in the file; one has that number too" in problem


def test_every_selection_of_a_continuous_step_must_leave_out_who_received_it(project: Path) -> None:
    group = "; target_group: {selections: [new, everybody], evaluate: each_send}"
    (problem,) = told(project, {"tick": DAILY + group}, "daily")
    assert "the continuous step daily/tick needs a selection that leaves out" in problem
    assert told(project, {"tick": DAILY + group.replace("each_send", "once")}, "daily") == [], (
        "planning leaves them out itself"
    )


def test_one_selection_at_each_send_is_the_same_as_selection(project: Path) -> None:
    told(project, {"one": GROUP.format("{selections: [everybody], evaluate: each_send}")})
    step = load_project(project).step("testing_groups/one").step
    assert (step.people, step.own_group, step.is_frozen, step.has_group) == (("everybody",), None, False, True)


def test_dagster_shows_the_group_between_its_selections_and_the_send(project: Path, tmp_path: Path) -> None:
    both = GROUP.format("{selections: [amsterdam, big_companies], evaluate: each_send}")
    told(project, {"one": both, "plain": "send: one_off; selection: everybody"})
    definitions = build_definitions(Deployment.load(Settings(project=project, home=tmp_path)))
    graph = definitions.resolve_asset_graph()
    group = dg.AssetKey(["target_groups", "testing_groups", "one"])
    parents = {key.to_user_string() for key in graph.get(group).parent_keys}
    assert {"selections/amsterdam", "selections/big_companies"} <= parents
    assert graph.get(dg.AssetKey(["sends", "testing_groups", "one"])).parent_keys == {group}
    plain = graph.get(dg.AssetKey(["sends", "testing_groups", "plain"]))
    assert plain.parent_keys == {dg.AssetKey(["selections", "everybody"])}
    assert not graph.has(dg.AssetKey(["target_groups", "testing_groups", "plain"]))


def test_a_planned_step_goes_live_only_when_its_frozen_group_is_linked(
    project: Path, postgres_url: str, tmp_path: Path
) -> None:
    group = "target_group: {evaluate: once}"
    told(
        project,
        {"one": f'send: one_off; schedule: {{at: "2026-12-01 10:00"}}; {group}', "two": f"send: one_off; {group}"},
    )
    loaded = Deployment.load(Settings(project=project, home=tmp_path, postgres_url=postgres_url))
    house = Theatre(loaded)
    with pytest.raises(SmpError, match="the target group of testing_groups/one is not linked yet"):
        loaded.change_status("testing_groups/one", "live", house.now, "anna")
    loaded.change_status("testing_groups/two", "live", house.now, "anna")
    with pytest.raises(SmpError, match="the target group of testing_groups/two is not linked yet"):
        loaded.refuse_to_send(loaded.project.step("testing_groups/two"), house.now)
