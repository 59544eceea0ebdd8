"""The graph of a flow: every way leads forward, whatever people write; what would loop or lead nowhere is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from smp_pipelines.campaign.flow.graph import END, GraphError, Node, graph, step_key
from smp_pipelines.campaign.flow.models import KINDS, Duration, Flow, Window, kind_of
from tests.support.flow_layout import KINDS as REFERENCE_KINDS
from tests.support.flow_layout import lay_out
from tests.support.flows import steps

QUIET = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
MANUAL = {"type": "manual"}


def flow(steps: dict[str, Any], **more: Any) -> Flow:
    return Flow.model_validate({"name": "Een flow", "triggers": [MANUAL], "steps": steps, **more})


def nodes(steps: dict[str, Any]) -> dict[str, Node]:
    return {node.name: node for node in graph(flow(steps), "trial")}


def refused(steps: dict[str, Any]) -> list[str]:
    with pytest.raises(GraphError) as error:
        graph(flow(steps), "trial")
    assert all(place and remedy for place, _message, remedy in error.value.problems)
    return [message for _place, message, _remedy in error.value.problems]


def ways(steps: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Where each step leads, by name."""
    named = nodes(steps)
    names = [*named, "end of the flow"]
    return {name: {way: names[target] for way, target in node.ways.items()} for name, node in named.items()}


WAIT, MAIL = {"wait": "1 day"}, {"mail": "thanks"}


@QUIET
@given(steps())
def test_every_way_leads_forward_or_out_of_the_flow(written: dict[str, Any]) -> None:
    for node in graph(flow(written), "trial"):
        assert all(target == END or target > node.number for target in node.ways.values())


@QUIET
@given(steps())
def test_the_graph_is_the_one_that_the_reference_interpreter_lays_out(written: dict[str, Any]) -> None:
    laid = graph(flow(written), "trial")
    assert [node.number for node in laid] == list(range(len(laid)))
    assert [(node.name, node.kind, dict(node.ways)) for node in laid] == [
        (step.name, step.kind, step.ways) for step in lay_out(written)
    ]


@QUIET
@given(steps())
def test_every_step_is_reached_from_the_first_unless_somebody_leads_all_people_past_it(written: dict[str, Any]) -> None:
    laid = graph(flow(written), "trial")
    reached = {0}
    for node in laid:  # ways lead forward only: one walk finds all
        if node.number in reached:
            reached |= set(node.ways.values())
    hidden = [node for node in laid if node.number not in reached]
    leading_away = [node.number for node in laid if node.kind in ("go_to", "move_to", "end")]
    assert all(min(leading_away, default=len(laid)) < node.number for node in hidden)


def test_the_steps_of_both_ways_meet_behind_the_branching() -> None:
    branching = {"if": {"has": "membership"}, "then": {"a": WAIT, "b": WAIT}, "else": {"c": WAIT}}
    assert ways({"fork": branching, "last": MAIL}) == {
        "fork": {"yes": "a", "no": "c"},
        "a": {"next": "b"},
        "b": {"next": "last"},
        "c": {"next": "last"},
        "last": {"next": "end of the flow"},
    }


def test_a_way_without_steps_leads_to_what_is_behind_the_branching() -> None:
    assert ways({"fork": {"if": {"has": "membership"}}, "last": MAIL})["fork"] == {"yes": "last", "no": "last"}
    assert ways({"fork": {"if": {"has": "membership"}}})["fork"] == {"yes": "end of the flow", "no": "end of the flow"}


def test_branches_in_branches_come_together_one_after_the_other() -> None:
    inner = {"split": [{"percent": 10, "steps": {"c": WAIT}}, {"percent": 90}]}
    found = ways({"a": {"if": {"has": "membership"}, "then": {"b": inner}}, "d": WAIT})
    assert found["a"] == {"yes": "b", "no": "d"}
    assert found["b"] == {"0": "c", "1": "d"}
    assert found["c"] == {"next": "d"}


def test_an_end_and_a_move_lead_nowhere() -> None:
    found = nodes({"a": {"if": {"has": "membership"}, "then": {"b": {"end": "enough"}}}, "c": {"move_to": "friends"}})
    assert (dict(found["b"].ways), dict(found["c"].ways)) == ({}, {})
    assert found["b"].next == END


def test_a_jump_leads_to_the_step_that_it_names() -> None:
    branching = {"if": {"has": "membership"}, "then": {"b": {"go_to": "d"}}}
    assert ways({"a": branching, "c": WAIT, "d": WAIT})["b"] == {"next": "d"}


def test_a_jump_may_lead_into_a_branch_further_down() -> None:
    first = {"if": {"has": "membership"}, "then": {"b": {"go_to": "d"}}}
    second = {"if": {"has": "ticket"}, "then": {"d": WAIT}}
    assert ways({"a": first, "c": second, "e": WAIT})["d"] == {"next": "e"}


@pytest.mark.parametrize("target", ["first", "fork", "back"])
def test_a_jump_back_or_to_itself_is_refused(target: str) -> None:
    (message,) = refused({"first": WAIT, "fork": {"if": {"has": "membership"}, "then": {"back": {"go_to": target}}}})
    assert "not further down" in message


def test_a_jump_to_nowhere_is_refused() -> None:
    (message,) = refused({"fork": {"if": {"has": "membership"}, "then": {"jump": {"go_to": "moon"}}}, "last": WAIT})
    assert message == "there is no step moon in this flow"


def test_a_jump_where_nobody_has_branched_off_is_refused() -> None:
    (message,) = refused({"jump": {"go_to": "last"}, "last": WAIT})
    assert "stands inside `then`, `else` or a part of a split" in message


def test_a_name_that_two_steps_have_is_refused_wherever_they_stand() -> None:
    (message,) = refused({"a": WAIT, "fork": {"if": {"has": "membership"}, "then": {"a": WAIT}}})
    assert message == "two steps are called a"


def test_everything_that_is_wrong_is_told_at_once() -> None:
    fork = {"if": {"has": "membership"}, "then": {"a": {"go_to": "moon"}}, "else": {"b": {"go_to": "fork"}}}
    assert len(refused({"fork": fork, "jump": {"go_to": "fork"}})) == 4


@pytest.mark.parametrize("percents", [(50, 49), (60, 60), (99, 2), (33, 33, 33)])
def test_the_parts_of_a_split_have_to_be_the_whole(percents: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match=f"are {sum(percents)} percent together"):
        flow({"split": {"split": [{"percent": percent} for percent in percents]}})


@pytest.mark.parametrize("percents", [(100,), (0, 100), (50.5, 49.5), ("50", "50"), (-1, 101)])
def test_a_split_needs_two_parts_of_whole_percents(percents: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError):
        flow({"split": {"split": [{"percent": percent} for percent in percents]}})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (MANUAL, MANUAL),
        ({"type": "list", "list": "Gasten"}, {"type": "list", "list": " Gasten ", "again": False}),
        ({"type": "donation", "min": 10}, {"type": "donation", "min": "10.00", "fund": None}),
        ({"type": "donation"}, {"type": "record", "table": "donation", "amount": "amount"}),
        ({"type": "date", "field": "person.birth_date"}, {"type": "date", "field": "person.birth_date", "days": 0}),
    ],
)
def test_the_same_trigger_twice_is_refused_however_it_is_written(one: dict[str, Any], other: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="is there twice, the same"):
        flow({"a": WAIT}, triggers=[one, other])


@pytest.mark.parametrize(
    "other", [{"type": "list", "list": "Gasten", "again": True}, {"type": "list", "list": "Vrienden"}, MANUAL]
)
def test_several_triggers_that_differ_are_fine(other: dict[str, Any]) -> None:
    assert len(flow({"a": WAIT}, triggers=[{"type": "list", "list": "Gasten"}, other]).triggers) == 2


@pytest.mark.parametrize("written", ["3", "days", "-1 days", "1.5 hours", "3 months", "100000 days", "3days", ""])
def test_what_is_no_length_of_time_is_refused(written: str) -> None:
    with pytest.raises(ValidationError):
        flow({"a": {"wait": written}})


@given(st.integers(0, 99_999), st.sampled_from(["minute", "hour", "day", "week"]))
def test_a_length_is_calendar_days_or_exact_and_never_both(count: int, unit: str) -> None:
    length = flow({"a": {"wait": f"{count} {unit}s"}}).steps["a"].wait  # type: ignore[union-attr]
    assert isinstance(length, Duration)
    assert str(length) == f"{count} {unit}{'' if count == 1 else 's'}"
    assert not (length.days and length.exact)
    assert bool(length.days or length.exact) == bool(count)


def test_a_window_goes_over_midnight_when_it_ends_before_it_begins() -> None:
    def over(begin: str, until: str) -> bool:
        return Window.model_validate({"from": begin, "until": until}).is_over_midnight

    assert over("22:00", "06:00")
    assert over("09:00", "09:00")
    assert not over("09:00", "17:00")
    assert not over("09:00", "00:00")
    assert not over("00:00", "00:00")


@pytest.mark.parametrize(
    "step",
    [{}, {"name": "nothing"}, {"wait": "1 day", "until": "x"}, {"mail": "x", "refused": "perhaps"}, {"leap": "a"}],
)
def test_a_step_without_a_kind_or_with_what_is_none_of_its_is_refused(step: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        flow({"a": step})


def test_two_kinds_in_one_step_are_refused() -> None:
    with pytest.raises(ValidationError):
        flow({"a": {"wait": "1 day", "mail": "thanks"}})


def test_the_reference_interpreter_knows_every_kind_of_step() -> None:
    assert set(REFERENCE_KINDS) == set(KINDS)
    assert kind_of({"name": "x"}) is None


def test_a_step_that_is_named_without_a_campaign_is_one_of_its_own() -> None:
    assert step_key("thanks", "trial") == "trial/thanks"
    assert nodes({"a": {"mail": "other/thanks"}})["a"].options["step"] == "other/thanks"
    assert nodes({"a": {"form": "ask"}})["a"].options["step"] == "trial/ask"
