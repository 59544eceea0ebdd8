"""The reference interpreter of flows: small, slow and plain, one person and one event at a time.

It was written from what a flow is said to mean, not from the engine: no SQL, no sets, no sweeps. A flow comes as the
contents of its file. `tests/support/flow_world.py` plays the same history to it and to the engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from tests.support.flow_clock import instant, is_inside, later, next_opening
from tests.support.flow_crm import Crm
from tests.support.flow_layout import END, Step, lay_out

ACTIONS = ("mail", "form", "page", "update", "create", "add_to_list", "remove_from_list", "move_to")


class Visit(NamedTuple):
    """A step that somebody left."""

    node: int
    arrived_at: datetime
    left_at: datetime
    way: str
    note: str | None


class Stays(NamedTuple):
    """They wait; None: for an event."""

    due_at: datetime | None


class Passes(NamedTuple):
    """They go on, at this logical moment."""

    way: str
    at: datetime
    note: str | None = None


class Leaves(NamedTuple):
    """They leave the flow."""

    at: datetime
    outcome: str
    reason: str | None
    note: str | None = None


@dataclass
class Version:
    """What a flow was from a moment on: its file, and the steps in it."""

    number: int
    file: Mapping[str, Any]
    since: datetime
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.steps = lay_out(self.file["steps"])

    @property
    def leaves_on_success(self) -> bool:
        return bool(self.file.get("on_success", "stop") != "go_on")


@dataclass
class RunningFlow:
    """A flow, its versions, and whether it runs."""

    name: str
    versions: list[Version]
    state: str = "live"
    before: str = "live"

    @property
    def latest(self) -> Version:
        return self.versions[-1]

    def apply(self, file: Mapping[str, Any], now: datetime) -> None:
        """Let people enter another version from now on."""
        if file != self.latest.file:
            self.versions.append(Version(len(self.versions) + 1, file, now))

    def listens_since(self, trigger: Mapping[str, Any]) -> datetime:
        """Since when this is a trigger of the flow."""
        told = min(version.since for version in self.versions if trigger in version.file["triggers"])
        return max(told, self.versions[0].since)


@dataclass
class Participant:
    """Somebody in a flow."""

    flow: str
    version: Version
    person: int
    record: int | None
    entry_key: str
    entered_by: str
    entered_at: datetime
    round: int
    arrived_at: datetime
    due_at: datetime | None
    node: int = 0
    goal_at: datetime | None = None
    goal: int | None = None
    left_at: datetime | None = None
    outcome: str | None = None
    reason: str | None = None
    visits: list[Visit] = field(default_factory=list)


class Candidate(NamedTuple):
    """Somebody to whom something happened that makes them enter."""

    person: int
    record: int | None
    key: str


class Reference:
    """Flows over a CRM."""

    def __init__(self, crm: Crm, flows: list[RunningFlow]) -> None:
        self.crm = crm
        self.flows = {flow.name: flow for flow in flows}
        self.participants: list[Participant] = []
        self.refused: dict[tuple[str, str, int], tuple[str, datetime]] = {}

    def tick(self, now: datetime) -> None:
        """Look after every flow that runs, one after the other by name."""
        for _name, flow in sorted(self.flows.items()):
            if flow.state not in ("live", "ending"):
                continue
            if flow.state == "live":
                self.look(flow, now)
            self.mark(flow, now)
            self.wake(flow, now)
            self.advance(flow, now)
            self._settle(flow)

    def turn(self, flow: RunningFlow, change: str, now: datetime) -> None:
        """Pause, resume or end a flow; `drop`: everybody leaves it at once."""
        match change:
            case "pause":
                flow.before, flow.state = flow.state, "paused"
            case "resume":
                flow.state = flow.before
            case "end":
                flow.state = "ending"
                self._settle(flow)
            case "drop":
                flow.state = "ended"
                for each in self._open(flow):
                    each.visits.append(Visit(each.node, each.arrived_at, now, "none", "flow_ended"))
                    _leave(each, now, "dropped", "flow_ended")
                    mails = [mail for mail in self.crm.waiting if mail[:3] == (flow.name, each.person, each.round)]
                    for mail in mails:
                        self.crm.waiting.remove(mail)

    def _settle(self, flow: RunningFlow) -> None:
        if flow.state == "ending" and not self._open(flow):
            flow.state = "ended"

    def _open(self, flow: RunningFlow) -> list[Participant]:
        return [each for each in self.participants if each.flow == flow.name and each.left_at is None]

    # ------------------------------------------------------------ entering

    def look(self, flow: RunningFlow, now: datetime) -> None:
        """Whatever happened since the flow went live; events that were judged before are not judged again."""
        for trigger in flow.latest.file["triggers"]:
            since = flow.listens_since(trigger)
            told = sorted(self.crm.events(trigger), key=lambda event: (event[3], event[0]))
            found = [Candidate(who, record, key) for key, who, record, at in told if since <= at <= now]
            self.enter(flow, found, trigger["type"], now)
        moved = [each for each in self.participants if (each.outcome, each.reason) == ("moved", flow.name)]
        for each in sorted(moved, key=lambda each: str(each.left_at)):
            if each.flow != flow.name:
                key = f"moved:{each.flow}/{each.person}/{each.round}"
                self.enter(flow, [Candidate(each.person, each.record, key)], f"flow {each.flow}", now)

    def enter(self, flow: RunningFlow, candidates: list[Candidate], entered_by: str, now: datetime) -> None:
        """Judge each once, in the order of their keys: an event enrols or is refused."""
        for each in candidates:
            theirs = [one for one in self.participants if one.flow == flow.name and one.person == each.person]
            if any(one.entry_key == each.key for one in theirs) or (flow.name, each.key, each.person) in self.refused:
                continue
            reason = self._refusal(flow.latest.file, each.person, theirs, now)
            if reason is not None:
                self.refused[flow.name, each.key, each.person] = (reason, now)
                continue
            self.participants.append(
                Participant(
                    *(flow.name, flow.latest, each.person, each.record, each.key, entered_by),
                    *(now, len(theirs), now, now),
                )
            )

    def _refusal(self, file: Mapping[str, Any], person: int, theirs: list[Participant], now: datetime) -> str | None:
        unfit = self.crm.unfit(person)
        if unfit is not None:
            return unfit
        if any(one.left_at is None for one in theirs):
            return "present"
        if theirs and not _may_return(file.get("reentry", "never"), theirs, now):
            return "reentry"
        if "filter" in file and not self.crm.holds(file["filter"], person):
            return "filtered"
        if "exclude" in file and self.crm.holds(file["exclude"], person):
            return "excluded"
        return None

    # ------------------------------------------------------------ moving on

    def advance(self, flow: RunningFlow, now: datetime) -> None:
        """Let everybody who is due go as far as they can."""
        for each in self._open(flow):
            if each.due_at is not None and each.due_at <= now:
                self._travel(each, now)

    def _travel(self, who: Participant, now: datetime) -> None:
        while who.left_at is None:
            step = who.version.steps[who.node]
            if who.goal_at is not None and who.version.leaves_on_success:
                done: Stays | Passes | Leaves = self._success(who.version.file, now)
            elif step.kind in ACTIONS:
                done = self._drop(who, now) or self._act(who, step, now)
            else:
                done = self._rule(who, step, now)
            match done:
                case Stays(due_at):
                    who.due_at = due_at
                    return
                case Passes(way, at, note):
                    self._pass(who, step.ways[way], Visit(who.node, who.arrived_at, at, way, note))
                case Leaves(at, outcome, reason, note):
                    who.visits.append(Visit(who.node, who.arrived_at, at, "none", note))
                    _leave(who, at, outcome, reason)

    def _pass(self, who: Participant, target: int, visit: Visit) -> None:
        who.visits.append(visit)
        if target == END:
            _leave(who, visit.left_at, "completed", None)
            return
        assert target > who.node, "a flow only leads forward"
        who.node, who.arrived_at, who.due_at = target, visit.left_at, visit.left_at

    def _success(self, file: Mapping[str, Any], now: datetime) -> Leaves:
        then = file.get("on_success", "stop")
        if then == "stop":
            return Leaves(now, "goal", None, "goal")
        return Leaves(now, "moved", then["move_to"], "goal")

    def _drop(self, who: Participant, now: datetime) -> Leaves | None:
        """Why they do not get the next action, in this order (F33)."""
        reason = self.crm.unfit(who.person)
        file = who.version.file
        if reason is None and "exclude" in file and self.crm.holds(file["exclude"], who.person):
            reason = "excluded"
        return None if reason is None else Leaves(now, "dropped", reason, reason)

    def _rule(self, who: Participant, step: Step, now: datetime) -> Stays | Passes | Leaves:
        at, said = who.arrived_at, step.written[step.kind]
        match step.kind:
            case "wait":
                due = later(at, said)
                return Passes("next", due) if due <= now else Stays(due)
            case "wait_until":
                due = max(at, instant(datetime.fromisoformat(said), first=True))
                return Passes("next", due) if due <= now else Stays(due)
            case "window":
                return Passes("next", now) if is_inside(said, now) else Stays(next_opening(said, now))
            case "if":
                return Passes("yes" if self.crm.holds(said, who.person) else "no", at)
            case "split":
                return Passes(part_of(who.flow, step.name, who.person, [part["percent"] for part in said]), at)
            case "end":
                return Leaves(at, "completed", said)
        return Passes("next", at)  # go_to

    def _act(self, who: Participant, step: Step, now: datetime) -> Stays | Passes | Leaves:
        said = step.written[step.kind]
        match step.kind:
            case "mail":
                return self._mail(who, step, now)
            case "form" | "page":
                return self._await(who, step, now)
            case "move_to":
                return Leaves(now, "moved", said)
            case "update":
                for column, value in said.items():
                    setattr(self.crm.people[who.person], column, value)
            case "create":
                self.crm.create(said["table"], who.person, said["values"], now)
            case "add_to_list":
                self.crm.lists.setdefault(said, {}).setdefault(who.person, now)
            case "remove_from_list":
                self.crm.lists.get(said, {}).pop(who.person, None)
        return Passes("next", now)

    def _mail(self, who: Participant, step: Step, now: datetime) -> Stays | Passes | Leaves:
        hours = who.version.file.get("hours")
        if hours is not None and not is_inside(hours, now):
            return Stays(next_opening(hours, now))
        refused = self.crm.refuses(who.person, step.written["mail"])
        if refused is None:
            self.crm.send(who.flow, who.person, who.round, who.node, who.record, step.written["mail"], now)
            return Passes("next", now, "sent")
        if step.written.get("refused") == "leave":
            return Leaves(now, "dropped", refused, refused)
        return Passes("next", now, f"skipped: {refused}")

    def _await(self, who: Participant, step: Step, now: datetime) -> Stays | Passes:
        seen = self.crm.submitted if step.kind == "form" else self.crm.pages_seen
        if any(one == (step.written[step.kind], who.person) and at >= who.entered_at for one, at in seen):
            return Passes("next", now, "submitted" if step.kind == "form" else "seen")
        if "at_most" not in step.written:
            return Stays(None)
        due = later(who.arrived_at, step.written["at_most"])
        return Passes("next", now, "timeout") if due <= now else Stays(due)

    # ------------------------------------------------------------ what happened

    def wake(self, flow: RunningFlow, now: datetime) -> None:
        """Whose form was submitted, or page seen, goes on at this tick."""
        for each in self._open(flow):
            step = each.version.steps[each.node]
            if step.kind in ("form", "page"):
                done = self._await(each, step, now)
                if isinstance(done, Passes) and done.note != "timeout":
                    each.due_at = now

    def mark(self, flow: RunningFlow, now: datetime) -> None:
        """Note whose goal was met since they entered."""
        for each in self._open(flow):
            if each.goal_at is not None:
                continue
            met = [
                number
                for number, goal in enumerate(each.version.file.get("goals", ()))
                if self.crm.is_met(goal, each.person, each.entered_at)
            ]
            if met:
                each.goal_at, each.goal = now, met[0]
                if each.version.leaves_on_success:
                    each.due_at = now


def _may_return(reentry: Any, theirs: list[Participant], now: datetime) -> bool:
    if reentry in ("never", "after_leaving"):
        return bool(reentry == "after_leaving")
    return later(max(one.left_at for one in theirs if one.left_at is not None), reentry["after"]) <= now


def _leave(who: Participant, at: datetime, outcome: str, reason: str | None) -> None:
    who.due_at, who.left_at, who.outcome, who.reason = None, at, outcome, reason


def part_of(flow: str, step: str, person: int, percents: list[int]) -> str:
    """Which part of a split somebody goes, always the same."""
    dice = int(hashlib.md5(f"{flow}:{step}:{person}".encode()).hexdigest()[:8], 16) % 100
    return next(str(part) for part in range(len(percents)) if dice < sum(percents[: part + 1]))
