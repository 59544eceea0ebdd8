"""The benchmark of selections at the size of a crowd, with a small one: each case measures what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import audience, compile, crowd, diff, why
from bench.__main__ import _with_data
from bench.sizes import Sizes
from bench.world import World
from tests.support.benched import small_world

PEOPLE = 500


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with small_world(PEOPLE) as world:
        crowd.run(world)
        yield world


def test_a_selection_over_the_crowd_gives_what_bare_duckdb_gives(world: World) -> None:
    (row,) = audience.run(world)
    assert row.baseline
    assert not row.note.startswith("0 rows")


def test_a_comparison_over_the_crowd_finds_who_entered_and_left(world: World) -> None:
    (row,) = diff.run(world)
    assert row.baseline
    assert f"{PEOPLE // 100:,} entered, {PEOPLE // 100:,} left" in row.note


def test_why_is_answered_over_the_crowd(world: World) -> None:
    (row,) = why.run(world)
    assert row.baseline
    assert row.measured > 0


def test_selections_and_criteria_files_of_the_benchmark_compile(world: World, tmp_path: Path) -> None:
    row = compile.in_this_process(world, compile.write_project(tmp_path / "many", world.sizes.selections))
    assert row.baseline


def test_data_is_made_once_and_before_the_first_case_that_needs_it(tmp_path: Path) -> None:
    sizes = Sizes.quick()
    cases = ("compile", "selection", "mirror", "diff", "why")
    assert _with_data(tmp_path, sizes, cases) == ["compile", "data", "selection", "mirror", "crowd", "diff", "why"]
    (tmp_path / "crowd.json").write_text("[]", encoding="utf-8")
    assert _with_data(tmp_path, sizes, ("diff",)) == ["diff"]
    assert _with_data(tmp_path, Sizes.of(1, 1), ("diff",)) == ["crowd", "diff"]
