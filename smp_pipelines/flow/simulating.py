"""Simulating: a flow over a stretch of the past with a clock of its own; nothing is sent and nothing is written (X2).

The engine is the real one. Its tables about people are temporary ones of this connection, and steps that change the CRM
only say that they did. What is not known of the past is taken as it is now: addresses, consents and blocked cards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from smp_pipelines.campaign.flow.graph import Node
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.flow import goals, sources
from smp_pipelines.flow.advancing import advance
from smp_pipelines.flow.calendar import read_calendar
from smp_pipelines.flow.judging import Judge
from smp_pipelines.flow.tables import pretend, pretend_now, use
from smp_pipelines.flow.version import FlowState, FlowVersion
from smp_pipelines.stores.postgres import Connection, engine_sql

_CHANGES = frozenset(("update", "create", "add_to_list", "remove_from_list"))
_FLOW_ID = -1


@dataclass(frozen=True)
class Mails:
    """The mails of one step on one local day: sent, and stopped by the frequency cap."""

    day: date
    node: int
    sent: int
    capped: int


@dataclass(frozen=True)
class StepSeen:
    """What happened at one step. middle and longest: how long those who went on were there; ways: which way they went,
    or why they got no mail.
    """

    node: Node
    came: int
    waiting: int
    middle: timedelta
    longest: timedelta
    ways: Mapping[str, int]


@dataclass(frozen=True)
class Simulation:
    """What a flow would have done. entries: by source and the reason why an event enrolled nobody (None: it did).

    outcomes: participations by outcome and reason (None: still in the flow), and how many of them met a goal.
    stops: how often the clock stood still. every: how long events were gathered for one look.
    """

    version: FlowVersion
    start: datetime
    end: datetime
    every: timedelta
    stops: int
    mails: Sequence[Mails]
    steps: Sequence[StepSeen]
    entries: Sequence[tuple[str, str | None, int]]
    outcomes: Sequence[tuple[str | None, str | None, int, int]]

    @property
    def enrolled(self) -> int:
        """All participations."""
        return sum(people for _, _, people, _ in self.outcomes)

    @property
    def met(self) -> int:
        """Participations that met a goal."""
        return sum(met for *_, met in self.outcomes)

    @property
    def succeeded(self) -> int:
        """Those of them that left as they should: completed, by the goal, or moved on because of it (F34)."""
        return sum(met for outcome, _, _, met in self.outcomes if outcome in ("completed", "goal", "moved"))

    @property
    def skipped(self) -> Counter[str]:
        """Why mails of the flow were not sent to whom, and how often."""
        found: Counter[str] = Counter()
        for step in self.steps:
            for way, people in step.ways.items():
                if way.startswith("skipped: "):
                    found[way.removeprefix("skipped: ")] += people
        return found


def as_if(version: FlowVersion) -> FlowVersion:
    """The version as a simulation runs it: under ids that no flow has, and with steps that change nothing.

    A version of its own, since it counts what happened from the start on, however late the real one was made.
    """
    nodes = tuple(replace(node, options={"as_if": True}) if node.kind in _CHANGES else node for node in version.nodes)
    return replace(version, flow_id=_FLOW_ID, version_id=0, nodes=nodes)


def simulate(
    connection: Connection,
    version: FlowVersion,
    project: LoadedProject,
    judge: Judge,
    start: datetime,
    end: datetime,
) -> Simulation:
    """Run a flow from start to end as if it had gone live at the start, over what the CRM says happened since.

    The connection commits statement by statement and is of no other use afterwards: its temporary tables stand in
    front of the real ones. flow_past_mail, if it is there, holds mails that people got then, for the frequency cap.
    """
    use(connection)
    pretend(connection)
    connection.execute("set synchronous_commit = off")  # nothing of it is to last
    connection.execute(
        "create temporary table if not exists flow_past_mail (person_id bigint not null, moment timestamptz not null)"
    )
    made = as_if(version)
    _write_nodes(connection, made)
    calendar = read_calendar(connection, made, project, start, end)
    run = _Run(connection, made, project, judge, start)
    coming = sorted({*calendar.looks, *calendar.others})
    looks, place = frozenset(calendar.looks), 0
    while run.at < end:
        run.go_to(run.next_due(coming[place]), looks)
        place += run.at >= coming[place]
    return _seen(connection, version, start, end, calendar.every, run.stops)


class _Run:
    """One simulation, with its clock."""

    def __init__(
        self, connection: Connection, version: FlowVersion, project: LoadedProject, judge: Judge, start: datetime
    ) -> None:
        self._connection = connection
        self._version = version
        self._project = project
        self._judge = judge
        self.at = self._looked_at = start
        self.stops = 0
        self._state = FlowState(_FLOW_ID, version.flow, "live", start, start, version.version_id)
        cap = project.settings.frequency_cap
        self._days = timedelta(days=cap.days if cap else 0)
        self._cap = {
            "most": cap.mails if cap else None,
            "exempt": [ref.key for ref in project.steps() if cap and ref.step.topic in cap.exempt],
        }

    def next_due(self, latest: datetime) -> datetime:
        """The next moment at which somebody is due; `latest` when that is later."""
        found = self._connection.execute(
            "select due_at from participant where flow_id = %s and left_at is null and due_at is not null"
            " order by due_at limit 1",
            (_FLOW_ID,),
        ).fetchone()
        return min(latest, found[0]) if found is not None else latest

    def go_to(self, now: datetime, looks: Collection[datetime]) -> None:
        """Do what a tick does at this moment: events (where the calendar has any), goals, and whoever is due."""
        connection, version, state = self._connection, self._version, self._state
        pretend_now(connection, now)
        with connection.transaction():
            if now in looks:
                sources.look(connection, version, state, self._project, self._judge, now, self._looked_at)
                self._looked_at = now
            goals.mark(connection, version, state, self._project, self._judge, now, self.at)
            sources.wake(connection, version, state, now, self.at)
        arrived = advance(connection, version, self._project, self._judge, now)
        if any(node.kind == "mail" and arrived[node.name] for node in version.nodes):
            since = now.astimezone(version.zone) - self._days
            connection.execute(engine_sql("flow/simulate/sent.sql"), {**self._cap, "now": now, "since": since})
        self.at, self.stops = now, self.stops + 1


def _write_nodes(connection: Connection, version: FlowVersion) -> None:
    """What the engine looks up of a version's steps: which form or page somebody waits for."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into flow_node (version_id, node, name, title, kind, step, ways)"
            " values (%s, %s, %s, %s, %s, %s, '{}')",
            [
                (version.version_id, each.number, each.name, each.title, each.kind, each.options.get("step"))
                for each in version.nodes
            ],
        )


def _seen(
    connection: Connection, version: FlowVersion, start: datetime, end: datetime, every: timedelta, stops: int
) -> Simulation:
    def rows(name: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return connection.execute(engine_sql(f"flow/simulate/{name}.sql"), parameters or None).fetchall()

    steps = [
        StepSeen(version.nodes[node], came, waiting, _length(middle), _length(longest), ways)
        for node, came, waiting, middle, longest, ways in rows("steps")
    ]
    return Simulation(
        *(version, start, end, every, stops),
        mails=[Mails(*row) for row in rows("mails", zone=version.zone.key)],
        steps=steps,
        entries=[(by, reason, count) for by, reason, count in rows("entries")],
        outcomes=[(outcome, reason, people, met) for outcome, reason, people, met in rows("people")],
    )


def _length(seconds: float | None) -> timedelta:
    return timedelta(seconds=round(seconds or 0))
