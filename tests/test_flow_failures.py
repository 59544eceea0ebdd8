"""What fails in a flow holds up nobody else: other steps, other flows, and those who come later."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from smp_pipelines.flow.advancing import RETRY
from smp_pipelines.flow.judging import Judge
from smp_pipelines.problems import SmpError
from tests.support.flow_crm import Person
from tests.support.flow_stage import Stage, begin, staged
from tests.support.flow_world import Event, SqlJudge

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
LIST = {"name": "x", "triggers": [{"type": "list", "list": "friends"}]}


class BrokenJudge(SqlJudge):
    """Can tell nothing."""

    def fill(self, *_: Any) -> None:
        raise SmpError("the lake is away")


@pytest.fixture
def stage(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(embedded_url, migrated_template, tmp_path_factory.mktemp("flows")) as made:
        yield made


def entered(stage: Stage, flows: dict[str, dict[str, Any]], judge: Judge | None = None) -> dict[str, str | None]:
    """Let Ann of Utrecht and Bob of Delft enter all flows, and tick; what failed in which flow."""
    people = {1: Person("utrecht", "ann@example.org"), 2: Person("delft", "bob@example.org")}
    play = begin(stage, flows, people, NOW - timedelta(hours=1))
    play.happen(*(Event("join", person, "friends", NOW - timedelta(seconds=5)) for person in people))
    return {each.flow: each.failure for each in stage.tick(NOW, judge)}


def places(stage: Stage) -> list[tuple[Any, ...]]:
    return stage.connection.execute(
        "select flow, person_id, name, p.due_at, outcome from smp.participant as p join smp.flow using (flow_id)"
        " join smp.flow_node as n on n.version_id = p.version_id and n.node = p.node order by flow, person_id"
    ).fetchall()


CREATE = {"create": {"table": "donation", "values": {"fund": "x"}}}
"""It says no amount, which the table cannot do without."""


def test_whoever_is_at_a_step_that_fails_waits_for_it_and_all_others_go_on(stage: Stage) -> None:
    steps = {
        "where": {"if": {"city": "utrecht"}, "then": {"gift": CREATE}, "else": {"far": {"end": "far"}}},
        "done": {"end": "done"},
    }
    failures = entered(stage, {"one": LIST | {"steps": steps}})
    told = failures["one"]
    assert told is not None
    assert told.startswith("step gift: Postgres refuses: ")
    assert "ann" not in told
    assert places(stage) == [("one", 1, "gift", NOW + RETRY, None), ("one", 2, "far", None, "completed")]
    assert stage.tick(NOW + timedelta(minutes=1))[0].failure is None
    stage.connection.execute("alter table crm.donation alter column amount set default 1")
    assert stage.tick(NOW + RETRY)[0].failure is None
    assert places(stage)[0] == ("one", 1, "done", None, "completed")
    assert stage.connection.execute("select count(*) from crm.donation").fetchone() == (1,)


def test_a_condition_that_cannot_be_judged_keeps_its_people_and_no_other_flow(stage: Stage) -> None:
    asks = LIST | {"steps": {"where": {"if": {"city": "utrecht"}}, "done": {"end": "done"}}}
    failures = entered(stage, {"asks": asks, "goes": LIST | {"steps": {"done": {"end": "done"}}}}, BrokenJudge())
    assert failures == {"asks": "step where: the lake is away", "goes": None}
    assert [place[2:] for place in places(stage)] == [("where", NOW + RETRY, None)] * 2 + [
        ("done", None, "completed")
    ] * 2


def test_a_column_that_is_gone_is_told_by_its_name(stage: Stage) -> None:
    failures = entered(stage, {"one": LIST | {"steps": {"it": {"update": {"nickname": "x"}}}}})
    assert failures == {
        "one": "step it: nickname of crm.person is in no schema file any more; put it back, or apply a flow without it"
    }


def test_a_flow_whose_trigger_cannot_be_read_holds_up_no_other(stage: Stage) -> None:
    gone = {"name": "x", "triggers": [{"type": "record", "table": "gone"}], "steps": {"done": {"end": "done"}}}
    failures = entered(stage, {"gone": gone, "well": LIST | {"steps": {"done": {"end": "done"}}}})
    assert failures["well"] is None
    assert "there is no gone in sql/schema any more" in str(failures["gone"])
    assert [place[0] for place in places(stage)] == ["well", "well"]


def test_a_condition_that_reads_a_table_that_is_gone_tells_it(stage: Stage) -> None:
    with pytest.raises(SmpError, match=r"^crm\.gone is in no schema file any more"):
        stage.deployment.refresh(["crm.person", "crm.gone"])
