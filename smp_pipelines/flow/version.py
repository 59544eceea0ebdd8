"""Versions: what a flow was when it went live, frozen in the database; people stay on the one they entered (F46).

A version holds all that moving people along needs: the file as it was written, its steps in a row, and the SQL of its
conditions with the selections that they read inside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

from smp_pipelines.campaign.flow.graph import GraphError, Node, graph
from smp_pipelines.campaign.flow.models import Flow
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.problems import Problem, ProjectError, SmpError
from smp_pipelines.selection.condition import Condition, compile_condition, condition_of
from smp_pipelines.selection.library import SelectionLibrary
from smp_pipelines.stores.postgres import Connection

State = Literal["concept", "live", "paused", "ending", "ended"]


@dataclass(frozen=True)
class FlowState:
    """Whether a flow runs: its row in smp.flow. version_id: the version that people enter; None before it was live."""

    flow_id: int
    flow: str
    state: State
    since: datetime
    live_since: datetime | None
    version_id: int | None


@dataclass(frozen=True)
class Draft:
    """A flow as its files have it now, ready to be frozen."""

    flow: str
    model: Flow
    nodes: tuple[Node, ...]
    conditions: Mapping[str, Condition]
    definition: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """The same for two drafts that mean the same."""
        text = json.dumps(self.definition, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class FlowVersion:
    """A frozen version. conditions: `filter`, `exclude`, `if:<step>`, `goal:<number>` and `trigger:<number>`."""

    version_id: int
    flow_id: int
    flow: str
    number: int
    model: Flow
    nodes: tuple[Node, ...]
    conditions: Mapping[str, Condition]
    zone: ZoneInfo


def draft(project: LoadedProject, library: SelectionLibrary, flow: str) -> Draft:
    """Compile the file of a flow. Raises ProjectError with every problem of it, SmpError when there is no such flow."""
    model = project.flow(flow)
    document = project.documents[project.flow_file(flow)]
    problems: list[Problem] = []
    try:
        nodes = graph(model, flow)
    except GraphError as error:
        nodes = error.nodes
        problems += [Problem(document.file, document.line(place), words, todo) for place, words, todo in error.problems]
    conditions: dict[str, Condition] = {}
    for name, place in _places(model, nodes):
        try:
            conditions[name] = compile_condition(document, place, project, library)
        except ProjectError as error:
            problems += error.problems
    for at, trigger in enumerate(model.triggers):
        if trigger.type == "selection":
            try:
                conditions[f"trigger:{at}"] = condition_of(trigger.selection, library)
            except SmpError as error:
                line = document.line(("triggers", at, "selection"))
                message, _, remedy = str(error).partition("\n    → ")
                problems.append(Problem(document.file, line, message, remedy or None))
    if problems:
        raise ProjectError(list(dict.fromkeys(problems)))
    definition = {
        "flow": document.value,
        "zone": project.settings.time_zone,
        "nodes": [{key: value for key, value in asdict(node).items() if key != "place"} for node in nodes],
        "conditions": {name: asdict(condition) for name, condition in conditions.items()},
    }
    return Draft(flow, model, nodes, conditions, json.loads(json.dumps(definition)))


def _places(model: Flow, nodes: tuple[Node, ...]) -> list[tuple[str, tuple[str | int, ...]]]:
    """Where the conditions of a flow stand in its file, by what a version calls them."""
    found: list[tuple[str, tuple[str | int, ...]]] = []
    if model.filter is not None:
        found.append(("filter", ("filter",)))
    if model.exclude is not None:
        found.append(("exclude", ("exclude",)))
    goals = [at for at, goal in enumerate(model.goals) if goal.type == "person"]
    found += [(f"goal:{at}", ("goals", at, "where")) for at in goals]
    return found + [(f"if:{node.name}", (*node.place, "if")) for node in nodes if node.kind == "if"]


def read_state(connection: Connection, flow: str) -> FlowState | None:
    """Whether a flow runs; None for one that nobody ever touched."""
    found = connection.execute(_STATE + " where flow = %s", (flow,)).fetchone()
    return None if found is None else FlowState(*found)


def read_states(connection: Connection) -> dict[str, FlowState]:
    """Every flow that somebody touched, by name."""
    return {row[1]: FlowState(*row) for row in connection.execute(_STATE + " order by flow")}


_STATE = "select flow_id, flow, state::text, since, live_since, version_id from smp.flow"


def freeze(connection: Connection, made: Draft, now: datetime, by: str) -> FlowVersion:
    """Keep a draft as the flow's next version; the latest one, when it is the same. Makes the row of the flow.

    Call it within a transaction. That people enter it from now on is another's decision: `smp.flow.version_id`.
    """
    connection.execute(
        "insert into smp.flow (flow, since) values (%s, %s) on conflict (flow) do nothing", (made.flow, now)
    )
    row = _only(connection.execute("select flow_id from smp.flow where flow = %s for update", (made.flow,)).fetchone())
    latest = connection.execute(
        "select version_id, number, digest from smp.flow_version where flow_id = %s order by number desc limit 1", row
    ).fetchone()
    if latest is not None and latest[2] == made.digest:
        return read_version(connection, latest[0])
    number = 1 if latest is None else latest[1] + 1
    inserted = connection.execute(
        "insert into smp.flow_version (flow_id, number, definition, digest, made_at, made_by)"
        " values (%s, %s, %s, %s, %s, %s) returning version_id",
        (row[0], number, json.dumps(made.definition, ensure_ascii=False), made.digest, now, by),
    ).fetchone()
    version = _only(inserted)
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into smp.flow_node (version_id, node, name, title, kind, step, ways)"
            " values (%s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    *version,
                    each.number,
                    each.name,
                    each.title,
                    each.kind,
                    each.options.get("step"),
                    json.dumps(each.ways),
                )
                for each in made.nodes
            ],
        )
    return read_version(connection, version[0])


def _only(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    if row is None:
        raise SmpError("the flow was removed from the database at this very moment; try again")
    return row


def read_version(connection: Connection, version_id: int) -> FlowVersion:
    """A frozen version. Raises SmpError when there is none of this id."""
    found = connection.execute(
        "select v.version_id, v.flow_id, f.flow, v.number, v.definition::text, v.digest"
        " from smp.flow_version as v join smp.flow as f using (flow_id) where v.version_id = %s",
        (version_id,),
    ).fetchone()
    if found is None:
        raise SmpError(f"there is no version {version_id} of any flow")
    return _version(*found[:5])


@lru_cache(maxsize=64)
def _version(version_id: int, flow_id: int, flow: str, number: int, definition: str) -> FlowVersion:
    kept = json.loads(definition)
    return FlowVersion(
        version_id,
        flow_id,
        flow,
        number,
        Flow.model_validate(kept["flow"]),
        tuple(Node(**node) for node in kept["nodes"]),
        {name: Condition(each["sql"], tuple(each["reads"])) for name, each in kept["conditions"].items()},
        ZoneInfo(kept["zone"]),
    )
