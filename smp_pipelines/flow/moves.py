"""Moves: the statement that moves everybody who is at one step, by the kind of the step (F45, F32)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import accumulate
from typing import Any, LiteralString

from psycopg import sql

from smp_pipelines.campaign.flow.graph import END, Node
from smp_pipelines.campaign.flow.models import Duration, Window
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.flow.acts import Act, acting
from smp_pipelines.flow.version import FlowVersion
from smp_pipelines.flow.windows import instant, is_open, next_opening
from smp_pipelines.sending import address
from smp_pipelines.stores.postgres import engine_sql

ACTIONS = frozenset(("mail", "form", "page", "update", "create", "add_to_list", "remove_from_list", "move_to"))
"""Steps before which a participant is checked again (F33)."""
RESTS = frozenset(("update", "create", "add_to_list", "remove_from_list"))
"""Steps behind which people wait for the next sweep, so that its conditions see what was done."""
_SO_FAR: LiteralString = "coalesce(nullif(current_setting('smp.pretended', true), '')::timestamptz, 'infinity')"
"""In a simulation nobody did yet what they did later; in real life there is no later (smp_pipelines.flow.tables)."""
_DONE: Mapping[str, tuple[LiteralString, str]] = {
    "form": (
        "exists (select from smp.submission as s where s.person_id = checked.person_id and s.step = %(step)s"
        " and s.submitted_at between checked.entered_at and " + _SO_FAR + ")",
        "submitted",
    ),
    "page": (
        "exists (select from smp.hit_class_1 as h where h.person_id = checked.person_id and h.kind = 'page'"
        " and h.class = 'person' and h.step = %(step)s"
        " and h.happened_at between checked.entered_at and " + _SO_FAR + ")",
        "seen",
    ),
}
"""Form and page: whether a participant did it, and what the path calls that."""


@dataclass(frozen=True)
class Move:
    """A statement with its parameters.

    condition: what flow_yes must be filled with before it is run. joined: the list that must be there by then.
    """

    statement: sql.Composed
    parameters: Mapping[str, Any]
    condition: str | None = None
    joined: str | None = None


@dataclass(frozen=True)
class _Part:
    """What is particular to one kind: the file with `judged`, its parameters, and parts to be put into the text."""

    file: str
    parameters: Mapping[str, Any]
    condition: str | None = None
    act: Act | None = None
    done: LiteralString | None = None


def move(version: FlowVersion, node: Node, project: LoadedProject, now: datetime) -> Move:
    """The move of everybody at this step, at this moment."""
    part = _PARTS[node.kind](version, node, project, now)
    judged: sql.Composable = sql.SQL(engine_sql(f"flow/advance/{part.file}.sql"))
    if part.done is not None:
        judged = sql.SQL(engine_sql(f"flow/advance/{part.file}.sql")).format(done=sql.SQL(part.done))
    condition = part.condition
    if node.kind in ACTIONS:
        judged = sql.SQL(engine_sql("flow/advance/checked.sql")) + judged
        condition = "exclude" if "exclude" in version.conditions else None
    act = part.act or Act(sql.SQL(""))
    statement = sql.SQL(engine_sql("flow/advance/move.sql")).format(judged=judged, acting=act.statement)
    parameters = {
        "version_id": version.version_id,
        "node": node.number,
        "next": node.next,
        "now": now,
        "zone": version.zone.key,
        "rests": node.kind in RESTS,
        "excluded": "exclude" in version.conditions,
        **part.parameters,
        **act.parameters,
    }
    return Move(statement, parameters, condition, node.options.get("add_to_list"))


def _wait(_version: FlowVersion, node: Node, _project: LoadedProject, _now: datetime) -> _Part:
    return _Part("wait", {**_length(node.options["wait"]), "until": None})


def _length(written: Mapping[str, Any] | None) -> dict[str, Any]:
    length = Duration.model_validate(written) if written else None
    return {"days": length.days if length else 0, "rest": length.exact if length else timedelta()}


def _until(version: FlowVersion, node: Node, _project: LoadedProject, _now: datetime) -> _Part:
    local = datetime.fromisoformat(node.options["wait_until"])
    return _Part("wait", {**_length(None), "until": instant(local.date(), local.time(), version.zone)})


def _window(version: FlowVersion, node: Node, _project: LoadedProject, now: datetime) -> _Part:
    written = node.options["window"]
    times = {key: time.fromisoformat(written[key]) for key in ("from", "until")}
    return _Part("window", _hours(Window.model_validate({**written, **times}), version, now))


def _hours(window: Window | None, version: FlowVersion, now: datetime) -> dict[str, Any]:
    if window is None or is_open(window, now, version.zone):
        return {"is_open": True, "opens": None}
    return {"is_open": False, "opens": next_opening(window, now, version.zone)}


def _if(_version: FlowVersion, node: Node, _project: LoadedProject, _now: datetime) -> _Part:
    return _Part("if", {"yes": node.ways["yes"], "no": node.ways["no"]}, condition=f"if:{node.name}")


def _split(version: FlowVersion, node: Node, _project: LoadedProject, _now: datetime) -> _Part:
    *bounds, _whole = accumulate(node.options["split"])
    ways = [node.ways[str(part)] for part in range(len(node.ways))]
    return _Part("split", {"salt": f"{version.flow}:{node.name}", "bounds": bounds, "ways": ways})


def _go_to(_version: FlowVersion, _node: Node, _project: LoadedProject, _now: datetime) -> _Part:
    return _Part("go_to", {})


def _end(_version: FlowVersion, node: Node, _project: LoadedProject, _now: datetime) -> _Part:
    return _Part("end", {"reason": node.options["end"]})


def _move_to(_version: FlowVersion, node: Node, _project: LoadedProject, _now: datetime) -> _Part:
    return _Part("move_to", {"to": node.options["move_to"], "next": END})


def _await(_version: FlowVersion, node: Node, _project: LoadedProject, _now: datetime) -> _Part:
    done, word = _DONE[node.kind]
    at_most = node.options["at_most"]
    parameters = {"step": node.options["step"], "done": word, "ends": at_most is not None, **_length(at_most)}
    return _Part("await", parameters, done=done)


def _mail(version: FlowVersion, node: Node, project: LoadedProject, now: datetime) -> _Part:
    key = node.options["step"]
    ref = next((each for each in project.steps() if each.key == key), None)
    # a mail that is in no file any more is written down nevertheless, and waits in the outbox, which says so
    topic = ref.step.topic if ref else None
    parameters = {
        **address.POSTGRES_RULE,
        **_hours(version.model.hours, version, now),
        "step": key,
        "topic": topic,
        "opt_in": project.settings.topics.get(topic or "") == "opt_in",
        "leaves": node.options["refused"] == "leave",
        "with_record": ref is not None and ref.step.record is not None,
    }
    return _Part("mail", parameters, act=Act(sql.SQL(engine_sql("flow/advance/sent.sql"))))


def _act(_version: FlowVersion, node: Node, project: LoadedProject, now: datetime) -> _Part:
    return _Part("act", {}, act=acting(node, project.catalog, now))


_PARTS: Mapping[str, Callable[[FlowVersion, Node, LoadedProject, datetime], _Part]] = {
    "mail": _mail,
    "form": _await,
    "page": _await,
    "wait": _wait,
    "wait_until": _until,
    "window": _window,
    "if": _if,
    "split": _split,
    "go_to": _go_to,
    "update": _act,
    "create": _act,
    "add_to_list": _act,
    "remove_from_list": _act,
    "move_to": _move_to,
    "end": _end,
}
