"""The benchmark of flows, with a small one: each case measures what it says."""

from __future__ import annotations

from bench import data, flows
from tests.support.benched import small_world

PEOPLE = 500


def test_people_enter_move_on_and_wait_and_every_figure_is_there() -> None:
    with small_world(PEOPLE) as world:
        data.run(world)
        rows = {row.what: row for row in flows.run(world)}
        assert not (world.project / "campaigns" / "bench" / "flow.yaml").exists()
    entered, moved = rows["people enter by a selection"], rows["people move on: wait, if/else, wait"]
    assert entered.note.startswith("498 people"), "two are blocked"
    assert "996 steps" in moved.note
    assert all(row.baseline for row in (entered, moved))
    assert [what for what in rows if what.startswith("1,000 due")] == [
        f"1,000 due beside {others} others" for others in (5, 50, 500)
    ]
    assert rows["a tick, nothing due"].met
    assert rows["asking whether to tick, nothing due"].met
