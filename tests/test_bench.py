"""The benchmark: a smoke run with little data. What it measures is not judged here, only that it measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import data, delivery, planning, report, selection
from bench.postfix import SINK, SOURCE
from bench.world import World
from tests.support.benched import small_world

REPOSITORY = Path(__file__).resolve().parents[1]
CASES = {"selection": selection, "planning": planning, "delivery": delivery, "report": report}
PEOPLE = 500


def test_a_quick_benchmark_prints_and_writes_its_case(tmp_path: Path) -> None:
    output = tmp_path / "my bench.json"
    # the folder for temporary files has a space in its name, as every path may have
    scratch = tmp_path / "scratch folder"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--output", str(output), "--case", "mirror"],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["sizes"]["people"] == 1_000
    assert {row["case"] for row in found["rows"]} == {"data", "mirror", "memory"}
    for row in found["rows"]:
        assert row["measured"] > 0, row
        assert row["what"] in done.stdout, row
    assert not list(scratch.iterdir()), "the state of the run was left behind"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with small_world(PEOPLE) as world:
        data.run(world)
        yield world


@pytest.mark.parametrize("case", CASES)
def test_every_case_measures_something(case: str, world: World) -> None:
    if case == "delivery" and (SINK is None or SOURCE is None):
        words = "needs smtp-sink and smtp-source (Debian's package postfix)"
        pytest.fail(words) if os.environ.get("SMP_REQUIRE_ALL") else pytest.skip(words)
    rows = CASES[case].run(world)
    assert rows
    for row in rows:
        assert row.case == case
        assert row.measured > 0, row


def test_a_missed_target_is_told_from_one_that_was_met() -> None:
    from bench.row import at_most

    assert at_most("case", "what", measured=3.0, baseline=1.0, limit=2).met is False
    assert at_most("case", "what", measured=2.0, baseline=1.0, limit=2).met is True
    assert at_most("case", "what", measured=3.0, baseline=2.0, limit=2).ratio == 1.5
