"""The graph: the steps of a flow in one row, each leading to later ones only, so that there can be no loop (F45).

Whoever moves people along walks the row once: what leads forward needs no search and no second look.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smp_pipelines.campaign.flow.models import Flow, FlowStep, GoToStep, IfStep, SplitStep, kind_of

Place = tuple[str | int, ...]
END = -1
"""The number of no step: behind the last one."""


@dataclass(frozen=True)
class Node:
    """A step in its place. kind: its key in the file. ways: where it leads, by what happens there (`next`; `yes` and
    `no` of an if; the number of a part of a split, from 0); END leaves the flow. options: what the file says of it,
    as plain values; `step` is the key campaign/step of a mail, form or page.
    """

    number: int
    name: str
    title: str
    kind: str
    ways: Mapping[str, int]
    options: Mapping[str, Any]
    place: Place = field(default=(), compare=False)

    @property
    def next(self) -> int:
        """The step behind it; END when there is none."""
        return self.ways.get("next", END)


class GraphError(Exception):
    """Steps that do not fit together; `problems` has the place, what is wrong and what to do of each.

    nodes: the steps all the same, for who looks for further mistakes.
    """

    def __init__(self, problems: list[tuple[Place, str, str]], nodes: tuple[Node, ...]) -> None:
        super().__init__("; ".join(message for _, message, _ in problems))
        self.problems = problems
        self.nodes = nodes


def graph(flow: Flow, campaign: str) -> tuple[Node, ...]:
    """The steps of a campaign's flow in the order of the file. Raises GraphError for a name that is there twice and
    for jumps that lead nowhere, back, or stand where nobody has branched off.
    """
    walk = _Walk(campaign)
    walk.row(flow.steps, ("steps",), depth=0)
    numbers = {name: number for number, (name, *_) in enumerate(walk.steps)}
    return walk.connect(numbers)


def step_key(name: str, campaign: str) -> str:
    """The key of a step that a flow names: a bare name is a step of its own campaign."""
    return name if "/" in name else f"{campaign}/{name}"


def mails_of_flows(flows: Mapping[str, Flow]) -> set[str]:
    """The keys of the mails that flows name; none of a flow whose steps do not fit together."""
    found: set[str] = set()
    for campaign, flow in flows.items():
        with contextlib.suppress(GraphError):
            found |= {str(node.options["step"]) for node in graph(flow, campaign) if node.kind == "mail"}
    return found


class _Walk:
    """Lays the tree out in a row, and remembers of each step which one follows it."""

    def __init__(self, campaign: str) -> None:
        self.campaign = campaign
        self.steps: list[tuple[str, FlowStep, Place]] = []
        self.follows: dict[int, int | None] = {}
        self.branches: dict[int, list[int | None]] = {}
        self.problems: list[tuple[Place, str, str]] = []
        self._open: list[list[int]] = []

    def row(self, steps: Mapping[str, FlowStep], place: Place, depth: int) -> int | None:
        """Lay out one row; gives the number of its first step. The ends of it are left to whoever comes next."""
        first: int | None = None
        before: list[int] = []
        for name, step in steps.items():
            number = len(self.steps)
            where = (*place, name)
            if any(name == other for other, *_ in self.steps):
                self.problems.append((where, f"two steps are called {name}", "give each a name of its own"))
            self.steps.append((name, step, where))
            self._join(before, number)
            before = self._ends(number, step, where, depth)
            first = number if first is None else first
        self._open.append(before)
        return first

    def _join(self, ends: list[int], number: int) -> None:
        for end in ends:
            if end in self.branches:
                self.branches[end] = [number if way is None else way for way in self.branches[end]]
            else:
                self.follows[end] = number

    def _ends(self, number: int, step: FlowStep, place: Place, depth: int) -> list[int]:
        """The steps that go on to whatever comes behind this one."""
        if isinstance(step, GoToStep):
            if depth == 0:
                words = "a jump stands inside `then`, `else` or a part of a split (F45)"
                self.problems.append((place, words, "leave it out: the steps follow one another anyway"))
            return []
        rows: list[tuple[Mapping[str, FlowStep], Place]] = []
        if isinstance(step, IfStep):
            rows = [(step.then, (*place, "then")), (step.else_, (*place, "else"))]
        elif isinstance(step, SplitStep):
            rows = [(share.steps, (*place, "split", at, "steps")) for at, share in enumerate(step.split)]
        elif kind_of(step) in ("move_to", "end"):
            return []
        if not rows:
            return [number]
        ends: list[int] = []
        self.branches[number] = []
        for steps, where in rows:
            first = self.row(steps, where, depth + 1)
            inner = self._open.pop()
            self.branches[number].append(first)
            ends += inner if steps else [number]
        return list(dict.fromkeys(ends))

    def connect(self, numbers: Mapping[str, int]) -> tuple[Node, ...]:
        """The nodes, with their ways. Raises GraphError with everything that is wrong."""
        laid_out = enumerate(self.steps)
        nodes = [self._node(number, name, step, place, numbers) for number, (name, step, place) in laid_out]
        if self.problems:
            raise GraphError(self.problems, tuple(nodes))
        return tuple(nodes)

    def _node(self, number: int, name: str, step: FlowStep, place: Place, numbers: Mapping[str, int]) -> Node:
        kind = str(kind_of(step))
        options = step.model_dump(mode="json", by_alias=True, exclude={"name", "description", "then", "else_"})
        if isinstance(step, SplitStep):
            options = {"split": [share.percent for share in step.split]}
        if kind in ("mail", "form", "page"):
            options["step"] = step_key(options[kind], self.campaign)
        return Node(number, name, step.name or name, kind, self._ways(number, step, place, numbers), options, place)

    def _ways(self, number: int, step: FlowStep, place: Place, numbers: Mapping[str, int]) -> dict[str, int]:
        if isinstance(step, GoToStep):
            target = numbers.get(step.go_to)
            if target is None:
                self.problems.append((place, f"there is no step {step.go_to} in this flow", "name a step further down"))
            elif target <= number:
                words = f"{step.go_to} is not further down: nobody would ever leave (F45)"
                self.problems.append((place, words, "jump forward only"))
            return {"next": END if target is None else target}
        if number in self.branches:
            ways = [END if way is None else way for way in self.branches[number]]
            names = ["yes", "no"] if isinstance(step, IfStep) else [str(at) for at in range(len(ways))]
            return dict(zip(names, ways, strict=True))
        if kind_of(step) in ("move_to", "end"):
            return {}
        following = self.follows.get(number)
        return {"next": END if following is None else following}
