"""Changing: what an edited file would do to people in a flow that runs, and doing it on purpose (F46, X9).

Without this everybody stays on the version that they entered. A plan says of each step who waits there, which step of
the new version they could get, and who would receive a mail of this flow once more; applying moves them, or nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from smp_pipelines.campaign.flow.graph import END, Node
from smp_pipelines.flow.sources import look_again
from smp_pipelines.flow.status import FlowChange, hold_state, record, steps_live
from smp_pipelines.flow.version import Draft, FlowState, FlowVersion, freeze, read_state, read_version
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import Connection, engine_sql

Change = Literal["added", "removed", "changed", "kept"]
_SETTINGS = ("name", "triggers", "filter", "exclude", "record", "reentry", "goals", "on_success", "hours")


@dataclass(frozen=True)
class StepChange:
    """What becomes of a step, by its name. what: the parts that are different, of one that is changed."""

    name: str
    change: Change
    kind: str
    what: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """People at one step of one version. to: the step of the new version that they could get; None: they stay.

    again: how many of them would receive a mail of this flow again. people: their ids, where they were asked for.
    """

    version: FlowVersion
    node: Node
    to: Node | None
    people: int
    again: int
    people_again: tuple[int, ...] = ()


@dataclass(frozen=True)
class FlowPlan:
    """What a file would do. current: the version that people enter now; settings: keys at the top that are different.

    same: the id of the latest version, when the file is that one.
    """

    flow: str
    current: FlowVersion
    same: int | None
    steps: tuple[StepChange, ...]
    settings: tuple[str, ...]
    places: tuple[Place, ...] = field(default=())

    @property
    def is_new(self) -> bool:
        """Whether the file differs from the version that people enter."""
        return self.same != self.current.version_id

    @property
    def can_move(self) -> int:
        """How many people could move to the new version."""
        return sum(place.people for place in self.places if place.to is not None)

    @property
    def again(self) -> int:
        """How many of those would receive a mail again."""
        return sum(place.again for place in self.places)


def plan(connection: Connection, made: Draft, *, with_people: bool = False) -> FlowPlan:
    """What this draft would do to its flow and whoever is in it; nothing changes. Raises SmpError when it never ran."""
    state = _entered(read_state(connection, made.flow), made.flow)
    return _plan(connection, made, state, with_people=with_people)


def is_edited(connection: Connection, made: Draft) -> bool:
    """Whether a draft differs from the version that people enter. Raises SmpError when the flow never ran."""
    state = _entered(read_state(connection, made.flow), made.flow)
    return _same(connection, made, state) != state.version_id


@dataclass(frozen=True)
class Applied:
    """What applying did. moved: how many, by version number and step; stayed: who is on an older version still."""

    version: FlowVersion
    moved: Mapping[tuple[int, str], int]
    stayed: int
    change: FlowChange


def apply(
    connection: Connection,
    made: Draft,
    now: datetime,
    by: str,
    move: Literal["none", "all"] | Sequence[str] = "none",
    reason: str | None = None,
    *,
    steps: Sequence[str] = (),
    again: bool = False,
) -> Applied:
    """Make this draft the version that people enter, and move those at all or some steps to it; all of it or nothing.

    `steps` go live with it. Who would receive a mail of this flow again stays where they are, unless `again`. Raises
    SmpError for a flow that does not run and for steps that nobody can move from.
    """
    with connection.transaction():
        state = _entered(hold_state(connection, made.flow, by), made.flow)
        if state.state not in ("live", "paused", "ending"):
            raise SmpError(f"flow {made.flow} is {state.state}\n    → `smp flow live {made.flow}` runs the new file")
        planned = _plan(connection, made, state, with_people=False)
        chosen = _chosen(planned, move)
        started = steps_live(connection, made.flow, steps, now, by)
        version = freeze(connection, made, now, by)
        connection.execute(
            "update smp.flow set version_id = %s where flow_id = %s", (version.version_id, state.flow_id)
        )
        ways = _Ways(made, [place for place in chosen if place.version.version_id != version.version_id])
        parameters = {**ways.parameters, "now": now, "to": version.version_id, "again": again}
        found = connection.execute(engine_sql("flow/changing/move.sql"), parameters).fetchall() if chosen else []
        look_again(connection, version)  # what was read for people of another version may be news to this one
        names = {(p.version.version_id, p.node.number): (p.version.number, p.node.name) for p in planned.places}
        moved = {names[version_id, node]: people for version_id, node, people in found}
        older = sum(p.people for p in planned.places if p.version.version_id != version.version_id)
        details = {
            "from": planned.current.number,
            "to": version.number,
            "move": move if isinstance(move, str) else list(move),
            "again": again,
            "steps": started,
            "moved": {f"{number}/{name}": people for (number, name), people in moved.items()},
        }
        change = record(connection, state, "apply", details, now, by, reason)
    return Applied(version, moved, older - sum(moved.values()), change)


def read_all_versions(connection: Connection, flow_id: int) -> list[FlowVersion]:
    """Every version that a flow ever had, the latest first."""
    found = connection.execute(
        "select version_id from smp.flow_version where flow_id = %s order by number desc", (flow_id,)
    ).fetchall()
    return [read_version(connection, version_id) for (version_id,) in found]


def _entered(state: FlowState | None, flow: str) -> FlowState:
    if state is None or state.version_id is None:
        raise SmpError(f"flow {flow} was never live: there is nothing to compare with\n    → `smp flow live {flow}`")
    return state


def _plan(connection: Connection, made: Draft, state: FlowState, *, with_people: bool) -> FlowPlan:
    current = read_version(connection, state.version_id or 0)
    versions = [read_version(connection, row[0]) for row in connection.execute(_PEOPLED, (state.flow_id,)).fetchall()]
    same = _same(connection, made, state)
    places = [
        Place(version, node, to, 0, 0)
        for version in versions
        if version.version_id != same
        for node, to in _targets(version, made)
    ]
    parameters = {
        **_Ways(made, places).parameters,
        "known": [version.version_id for version in versions],
        "with_people": with_people,
    }
    by_place = {(place.version.version_id, place.node.number): place for place in places}
    found = []
    for version_id, node, people, again, ids in connection.execute(
        engine_sql("flow/changing/waiting.sql"), parameters
    ).fetchall():
        version = read_version(connection, version_id)
        place = by_place.get((version_id, node))
        to = place.to if place else None
        found.append(Place(version, version.nodes[node], to, people, again, tuple(ids or ())))
    return FlowPlan(made.flow, current, same, _steps(current, made), _settings(current, made), tuple(found))


_PEOPLED = (
    "select version_id from smp.flow_version as v where flow_id = %s and exists"
    " (select from smp.participant as p where p.version_id = v.version_id and p.left_at is null) order by number"
)
_LATEST = "select version_id, digest from smp.flow_version where flow_id = %s order by number desc limit 1"


def _same(connection: Connection, made: Draft, state: FlowState) -> int | None:
    """The id of the latest version, when the draft is that one."""
    latest = connection.execute(_LATEST, (state.flow_id,)).fetchone()
    return latest[0] if latest is not None and latest[1] == made.digest else None


class _Ways:
    """The parameters of the statements: from where to where, which mails lie ahead there, and what goals become."""

    def __init__(self, made: Draft, places: Sequence[Place]) -> None:
        self._made = made
        self._places = [(place, place.to) for place in places if place.to is not None]

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Columns of the tables that the statements make of them."""
        places = self._places
        targets = sorted({to.number for _, to in places})
        ahead = [(target, mail) for target in targets for mail in sorted(_mails_ahead(self._made.nodes, target))]
        versions = {place.version.version_id: place.version for place, _ in places}.values()
        goals = [(each.version_id, *pair) for each in versions for pair in _goals(each, self._made)]
        return {
            "versions": [place.version.version_id for place, _ in places],
            "nodes": [place.node.number for place, _ in places],
            "targets": [to.number for _, to in places],
            "stays": [_is_same_step(place.node, to) for place, to in places],
            "judged": [place.node.options != to.options or to.kind == "mail" for place, to in places],
            "ahead_of": [target for target, _ in ahead],
            "mails": [mail for _, mail in ahead],
            "goal_versions": [version_id for version_id, _, _ in goals],
            "goals": [goal for _, goal, _ in goals],
            "new_goals": [becomes for _, _, becomes in goals],
        }


def _chosen(planned: FlowPlan, move: Literal["none", "all"] | Sequence[str]) -> list[Place]:
    movable = [place for place in planned.places if place.to is not None]
    if isinstance(move, str):
        return movable if move == "all" else []
    for name in move:
        if name not in {place.node.name for place in planned.places}:
            raise SmpError(f"nobody is at a step {name} of an older version, so nobody can be moved from there")
        if name not in {place.node.name for place in movable}:
            raise SmpError(f"who is at {name} cannot move: the new version has no step for them; they stay")
    return [place for place in movable if place.node.name in move]


def _targets(version: FlowVersion, made: Draft) -> list[tuple[Node, Node | None]]:
    """Where people at each step could go: the step of that name, or the next one that is still there."""
    new = {node.name: node for node in made.nodes}
    found: dict[int, Node | None] = {END: None}
    for node in reversed(version.nodes):  # steps lead forward, so what is behind is known already
        found[node.number] = new[node.name] if node.name in new else _next_kept(version, node, found)
    return [(node, found[node.number]) for node in version.nodes]


def _next_kept(version: FlowVersion, node: Node, found: Mapping[int, Node | None]) -> Node | None:
    """What is behind a step that was removed; where it branched, what all its ways come to."""
    ways = sorted(set(node.ways.values()))
    if len(ways) == 1:
        return found[ways[0]]
    common = set.intersection(*(_ahead(version.nodes, way) for way in ways)) if ways else set()
    return found[min(common)] if common else None


def _ahead(nodes: Sequence[Node], number: int) -> set[int]:
    """A step and everything that one can come to from there."""
    found = set() if number == END else {number}
    for node in nodes[number:] if found else ():
        if node.number in found:
            found |= set(node.ways.values()) - {END}
    return found


def _mails_ahead(nodes: Sequence[Node], number: int) -> set[str]:
    return {str(nodes[each].options["step"]) for each in _ahead(nodes, number) if nodes[each].kind == "mail"}


def _is_same_step(old: Node, new: Node) -> bool:
    return old.name == new.name and old.kind == new.kind


def _steps(current: FlowVersion, made: Draft) -> tuple[StepChange, ...]:
    old, new = {node.name: node for node in current.nodes}, {node.name: node for node in made.nodes}
    found = []
    for node in made.nodes:
        what = _different(old[node.name], node, current, made) if node.name in old else ()
        change: Change = "added" if node.name not in old else "changed" if what else "kept"
        found.append(StepChange(node.name, change, node.kind, what))
    removed = [StepChange(node.name, "removed", node.kind) for node in current.nodes if node.name not in new]
    return (*found, *removed)


def _different(old: Node, new: Node, current: FlowVersion, made: Draft) -> tuple[str, ...]:
    """The parts of a step that are different, in words."""
    condition = f"if:{new.name}"
    parts = {
        f"was {old.kind}": old.kind != new.kind,
        "title": old.title != new.title,
        new.kind: old.kind == new.kind and old.options != new.options,
        "condition": old.kind == new.kind and current.conditions.get(condition) != made.conditions.get(condition),
        "what follows": _ways_by_name(old, current.nodes) != _ways_by_name(new, made.nodes),
    }
    return tuple(name for name, differs in parts.items() if differs)


def _ways_by_name(node: Node, nodes: Sequence[Node]) -> dict[str, str | None]:
    return {way: None if to == END else nodes[to].name for way, to in node.ways.items()}


def _settings(current: FlowVersion, made: Draft) -> tuple[str, ...]:
    """The keys at the top of the file that are different, also by a selection that they name."""
    keys = [key for key in _SETTINGS if getattr(current.model, key) != getattr(made.model, key)]
    keys += ["time_zone of smp.yaml"] if current.zone.key != made.definition["zone"] else []
    for name in sorted({*current.conditions, *made.conditions}):
        kind, _, number = name.partition(":")
        if kind != "if" and current.conditions.get(name) != made.conditions.get(name):
            keys.append(f"{kind}s" if number else kind)
    return tuple(dict.fromkeys(keys))


def _goals(version: FlowVersion, made: Draft) -> list[tuple[int, int]]:
    """Which goal of the draft is the same as which one of a version."""
    return [
        (old, new)
        for old, goal in enumerate(version.model.goals)
        for new, other in enumerate(made.model.goals)
        if goal == other and version.conditions.get(f"goal:{old}") == made.conditions.get(f"goal:{new}")
    ]
