"""The engine of flows against the reference interpreter: random flows, people and histories, every transition.

SMP_FLOW_EXAMPLES=300 plays as many random stories, without shrinking what fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from smp_pipelines.flow import ticking
from smp_pipelines.flow.advancing import advance
from smp_pipelines.flow.judging import LakeJudge
from tests.support.flow_clock import ZONE
from tests.support.flow_crowd import crowd
from tests.support.flow_stage import Stage, staged, tell
from tests.support.flows import Story, stories

EXAMPLES = int(os.environ.get("SMP_FLOW_EXAMPLES", "16"))
"""Some hundreds of them find what is rare; the suite has no time for that, nor for making a story shorter that fails:
with the variable set, it is made as short as can be."""
QUICK = settings(
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.reuse, Phase.generate, *([Phase.shrink] if "SMP_FLOW_EXAMPLES" in os.environ else [])],
)


@pytest.fixture(scope="module")
def stage(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("flows")
    with pytest.MonkeyPatch.context() as patch, staged(embedded_url, migrated_template, folder, with_lake=True) as made:
        patch.setattr(ticking, "advance", partial(advance, batch=3))  # so that a tick takes several sweeps
        yield made


@given(story=stories())
@settings(QUICK, max_examples=EXAMPLES)
def test_the_engine_moves_everybody_as_the_reference_interpreter_does(stage: Stage, story: Story) -> None:
    tell(stage, story)


@pytest.mark.parametrize("seed", range(4))
def test_so_it_does_with_a_crowd_to_which_a_lot_happens(stage: Stage, seed: int) -> None:
    tell(stage, crowd(seed))


@given(story=stories())
@settings(QUICK, max_examples=EXAMPLES // 8)
def test_so_it_does_when_conditions_are_asked_of_the_lake(stage: Stage, story: Story) -> None:
    judge = LakeJudge(stage.deployment.lake, ZONE, stage.deployment.refresh)
    with stage.deployment.running():
        tell(stage, story, judge)
