"""Random flows and random histories, as hypothesis makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from tests.support.flow_crm import TOPICS, Person
from tests.support.flow_world import Event

PEOPLE = range(1, 7)
CITIES = ("a", "b")
LISTS = ("friends", "guests")
FUNDS = ("roof", "youth")
FORMS = ("feedback/survey", "preferences/centre")
PAGE = "feedback/thanks"
MAILS = tuple(TOPICS)
FLOWS = ("first", "second")
STARTS = (
    datetime(2026, 3, 28, 21, 0, tzinfo=UTC),  # the night in which 02:00 to 03:00 is skipped
    datetime(2026, 10, 24, 20, 0, tzinfo=UTC),  # the night in which 02:00 to 03:00 is there twice
    datetime(2026, 12, 30, 9, 0, tzinfo=UTC),
)
STRIDES = (0, 1, 15, 30, 45, 60, 100, 240, 600, 1440, 1500, 4000)
"""Minutes from one tick to the next."""

Written = dict[str, Any]


@dataclass(frozen=True)
class Tick:
    """The flows are looked after, so many minutes after the last time."""

    minutes: int
    events: tuple[tuple[str, int, Any, int], ...]
    """What happened before it: kind, person, what, and how many seconds before."""


@dataclass(frozen=True)
class Story:
    """Flows by name, live two hours before it starts; people, and what happens."""

    flows: Mapping[str, Written]
    later: Mapping[str, Written]
    """What their files are once somebody applies them: a flow may move people to itself then, which it does not."""
    people: Mapping[int, Person]
    start: datetime
    ticks: tuple[Tick, ...] = field(default=())

    def play(self, happen: Callable[[Event], None], tick: Callable[[datetime], None]) -> None:
        """Tell it, in order."""
        now = self.start
        for each in self.ticks:
            now += timedelta(minutes=each.minutes)
            for kind, person, said, before in each.events:
                happen(Event(kind, person, said, now - timedelta(seconds=before)))
            tick(now)


clock_times = st.sampled_from(
    ["00:00", "01:30", "02:00", "02:15", "02:30", "02:45", "03:00", "09:00", "17:00", "23:30"]
)
windows = st.fixed_dictionaries(
    {},
    optional={
        "days": st.lists(st.sampled_from(["mon", "wed", "sat", "sun"]), min_size=1, unique=True),
        "from": clock_times,
        "until": clock_times,
    },
)
lengths = st.sampled_from(
    (
        *("0 minutes", "1 minute", "30 minutes", "90 minutes", "1 hour", "5 hours", "24 hours"),
        *("0 days", "1 day", "1 day", "1 day", "2 days", "1 week"),
    )
)
moments = st.sampled_from(
    [
        "2026-03-29 02:30",
        "2026-10-25 02:30",
        "2026-10-25 03:00",
        "2026-10-26 09:00",
        "2027-01-01 00:00",
        "2020-01-01 00:00",
    ]
)
_plain_conditions = st.one_of(
    st.builds(lambda said: {"city": said}, st.sampled_from(CITIES)),
    st.builds(lambda said: {"on_list": said}, st.sampled_from(LISTS)),
    st.builds(lambda said: {"gave_to": said}, st.sampled_from((*FUNDS, "flow"))),
)
conditions = st.one_of(_plain_conditions, _plain_conditions, st.builds(lambda said: {"not": said}, _plain_conditions))


def _step(kind: str, said: st.SearchStrategy[Any], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Written]:
    return st.fixed_dictionaries({kind: said}, optional=more)


actions = st.one_of(
    _step("mail", st.sampled_from(MAILS), refused=st.sampled_from(["go_on", "leave"])),
    _step("mail", st.just(MAILS[0])),
    _step("form", st.sampled_from(FORMS), at_most=lengths),
    _step("page", st.just(PAGE), at_most=lengths),
    _step("update", st.builds(lambda city: {"city": city}, st.sampled_from((*CITIES, None)))),
    st.just({"create": {"table": "donation", "values": {"fund": "flow", "amount": 5}}}),
    _step("add_to_list", st.sampled_from((*LISTS, "new"))),
    _step("remove_from_list", st.sampled_from(LISTS)),
)
waits = st.one_of(
    _step("wait", lengths), _step("wait", lengths), _step("wait_until", moments), _step("window", windows)
)
ends = st.one_of(st.just({"move_to": "?"}), _step("end", st.sampled_from(["thanked", "bored"])))


@st.composite
def _branching(draw: st.DrawFn, depth: int) -> Written:
    if draw(st.booleans()):
        return {
            "if": draw(conditions),
            "then": draw(_rows(depth + 1)),
            "else": draw(_rows(depth + 1)),
        }
    percents = draw(st.sampled_from([(50, 50), (1, 99), (30, 30, 40), (25, 70, 5)]))
    return {"split": [{"percent": percent, "steps": draw(_rows(depth + 1))} for percent in percents]}


@st.composite
def _rows(draw: st.DrawFn, depth: int) -> list[Written]:
    """A row of steps without names; a jump does not know where to yet."""
    kinds = [actions, actions, waits] + ([_branching(depth), _branching(depth)] if depth < 2 else [])
    row = draw(st.lists(st.one_of(kinds), min_size=2 if depth == 0 else 0, max_size=5 if depth == 0 else 2))
    last = draw(st.one_of(st.none(), st.none(), ends, st.just({"go_to": "?"}) if depth else st.none()))
    return [*row, last] if last else row


class _Names:
    """Gives the steps of a flow names in their order, and then the jumps a way forward."""

    def __init__(self, other: str) -> None:
        self.other = other
        self.given: list[str] = []
        self.jumps: list[tuple[Written, int]] = []

    def row(self, steps: list[Written]) -> Written:
        named: Written = {}
        for step in steps:
            name = f"s{len(self.given)}"
            self.given.append(name)
            named[name] = dict(step)
            if "move_to" in step:
                named[name]["move_to"] = self.other
            if "go_to" in step:
                self.jumps.append((named[name], len(self.given)))
            for key in ("then", "else"):
                if key in step:
                    named[name][key] = self.row(step[key])
            if "split" in step:
                named[name]["split"] = [{**part, "steps": self.row(part["steps"])} for part in step["split"]]
        return named


@st.composite
def steps(draw: st.DrawFn, other: str = "other") -> Written:
    """The steps of a flow, by name; some may lead to another flow."""
    names = _Names(other)
    row = names.row(draw(_rows(0)))
    for jump, first in names.jumps:
        if first < len(names.given):
            jump["go_to"] = draw(st.sampled_from(names.given[first:]))
        else:
            del jump["go_to"]
            jump["end"] = "nowhere to jump"
    return row


sources = st.one_of(
    st.fixed_dictionaries({"type": st.just("list"), "list": st.sampled_from(LISTS)}, optional={"again": st.just(True)}),
    st.fixed_dictionaries(
        {"type": st.just("donation")}, optional={"fund": st.sampled_from(FUNDS), "min": st.just(20), "max": st.just(30)}
    ),
    st.builds(lambda step: {"type": "form", "step": step}, st.sampled_from(FORMS)),
    st.builds(lambda step: {"type": "click", "step": step}, st.sampled_from(MAILS)),
)
goals = st.one_of(sources, st.builds(lambda where: {"type": "person", "where": where}, conditions))


def _distinct(found: list[Written]) -> bool:
    """No trigger twice, by what it means: what is left out is the default."""
    told = [tuple(sorted({"again": False, **each}.items())) for each in found]
    return len(set(told)) == len(told)


@st.composite
def flow_files(draw: st.DrawFn, other: str = "other") -> Written:
    """The contents of a flow.yaml, of which people may move to another flow."""
    file = {
        "name": "a flow",
        "triggers": draw(st.lists(sources, min_size=1, max_size=3).filter(_distinct)),
        "steps": draw(steps(other)),
        "reentry": draw(
            st.sampled_from(["never", "after_leaving", "after_leaving", {"after": "1 day"}, {"after": "5 hours"}])
        ),
        "goals": draw(st.one_of(st.just([]), st.lists(goals, min_size=1, max_size=2))),
        "on_success": draw(st.sampled_from(["stop", "stop", "go_on", {"move_to": other}])),
    }
    optional = {"filter": conditions, "exclude": conditions, "hours": windows}
    return file | {key: draw(made) for key, made in optional.items() if draw(st.integers(0, 5)) == 5}


OFTEN: tuple[tuple[str, Any], ...] = (
    *(("join", name) for name in LISTS * 4),
    *(("give", (fund, amount)) for fund in FUNDS for amount in (5, 25, 100)),
    *(("form", step) for step in FORMS * 2),
    *(("click", step) for step in MAILS),
    *(("page", PAGE), ("page", PAGE)),
    *(("leave", name) for name in LISTS),
    *(("city", city) for city in CITIES),
    *(("consent", (topic, granted)) for topic in ("service", "offers") for granted in (False, True, True)),
)
SELDOM: tuple[tuple[str, Any], ...] = (
    *(("email", address) for address in (None, "x", "A@example.org")),
    *(("suppress", address) for address in ("a@example.org", "p1@example.org")),
    *(("block", True), ("block", True), ("block", False), ("delete", None), ("outbox", None), ("outbox", None)),
    *(("turn", (flow, how)) for flow in FLOWS for how in ("pause", "resume", "apply", "resume", "end", "drop")),
)
happenings = st.builds(
    lambda what, person, before: (what[0], person, what[1], before),
    st.sampled_from((*OFTEN, *OFTEN, *SELDOM)),
    st.sampled_from(PEOPLE),
    st.sampled_from([minutes * 60 + seconds for minutes in (0, 1, 7, 20, 50, 90) for seconds in (3, 20, 40)]),
)
"""Something that happens to somebody, so many seconds before a tick: never at the very moment of one, and longer before
than hits need to be told from those of programs."""


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Flows, people and what happens to them."""
    people = {number: Person(draw(st.sampled_from((*CITIES, None))), f"p{number}@example.org") for number in PEOPLE}
    ticks = draw(
        st.lists(
            st.builds(Tick, st.sampled_from(STRIDES), st.lists(happenings, min_size=2, max_size=12).map(tuple)),
            min_size=4,
            max_size=9,
        )
    )
    begun = st.sampled_from([("join", "friends"), ("join", "guests"), ("give", ("roof", 25)), ("give", ("youth", 25))])
    entering = [(kind, person, said, 20) for person in PEOPLE for kind, said in [draw(begun)]]
    ticks[0] = Tick(ticks[0].minutes, (*entering, *ticks[0].events))
    first, second = FLOWS
    flows = {first: draw(flow_files(second)), second: draw(flow_files(first))}
    later = {first: flows[second], second: flows[first]}
    return Story(flows, later, people, draw(st.sampled_from(STARTS)), tuple(ticks))
