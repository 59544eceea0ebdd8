"""The benchmark: a smoke run with little data. What it measures is not judged here, only that it measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.postfix import SINK, SOURCE

REPOSITORY = Path(__file__).resolve().parents[1]
CASES = ("selection", "mirror", "planning", "delivery", "report")


def test_a_quick_benchmark_prints_and_writes_every_case(tmp_path: Path) -> None:
    if SINK is None or SOURCE is None:
        words = "needs smtp-sink and smtp-source (Debian's package postfix)"
        pytest.fail(words) if os.environ.get("SMP_REQUIRE_ALL") else pytest.skip(words)
    output = tmp_path / "my bench.json"
    command = [sys.executable, "-m", "bench", "--quick", "--output", str(output)]
    for case in CASES:
        command += ["--case", case]
    # the folder for temporary files has a space in its name, as every path may have
    scratch = tmp_path / "scratch folder"
    scratch.mkdir()
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["sizes"]["people"] == 5_000
    assert {row["case"] for row in found["rows"]} == {"data", *CASES, "memory"}
    for row in found["rows"]:
        assert row["measured"] > 0, row
        assert row["what"] in done.stdout, row
    assert not list(scratch.iterdir()), "the state of the run was left behind"


def test_a_missed_target_is_told_from_one_that_was_met() -> None:
    from bench.row import at_most

    assert at_most("case", "what", measured=3.0, baseline=1.0, limit=2).met is False
    assert at_most("case", "what", measured=2.0, baseline=1.0, limit=2).met is True
    assert at_most("case", "what", measured=3.0, baseline=2.0, limit=2).ratio == 1.5
