"""Ticking: whatever flows have to do at a moment: goals, new participants, people who are due, flows that end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.flow import goals, sources, status
from smp_pipelines.flow.advancing import advance
from smp_pipelines.flow.entering import Entered
from smp_pipelines.flow.judging import Judge
from smp_pipelines.flow.tables import hold, use
from smp_pipelines.flow.version import FlowState, FlowVersion, read_state, read_states, read_version
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.events import CHANNEL
from smp_pipelines.stores.postgres import Connection, PostgresGoneError, engine_sql


@dataclass(frozen=True)
class Ticked:
    """What a tick did with one flow. entered: by trigger; arrived: how many came to which step; goals: met anew.

    failure: why nothing, or not all, was done, in words.
    """

    flow: str
    entered: list[tuple[str, Entered]] = field(default_factory=list)
    arrived: Counter[str] = field(default_factory=Counter)
    goals: int = 0
    ended: bool = False
    failure: str | None = None

    @property
    def did_something(self) -> bool:
        """Whether anything changed, as far as is known."""
        if self.failure is not None:
            return True
        judged = any(each.enrolled or each.refused for _, each in self.entered)
        return judged or bool(self.arrived) or self.goals > 0 or self.ended


def is_due(connection: Connection, project: LoadedProject, now: datetime) -> bool:
    """Whether a tick would find anything to do: somebody is due, or something happened that flows look at."""
    connection.execute("set search_path = smp, public")
    found = connection.execute(engine_sql("flow/due.sql"), {"now": now}).fetchone()
    return bool(found and found[0]) or any(
        _has_news(connection, project, state, now)
        for state in read_states(connection).values()
        if state.state in ("live", "ending")
    )


def _has_news(connection: Connection, project: LoadedProject, state: FlowState, now: datetime) -> bool:
    populated = _versions(connection, state)
    if any(goals.may_be_met(connection, version, state, project, now) for version in populated):
        return True
    return state.version_id is not None and sources.has_news(
        connection, read_version(connection, state.version_id), state, project, now, populated
    )


def tick(connection: Connection, project: LoadedProject, judge: Judge, now: datetime) -> list[Ticked]:
    """Do what is due in every flow that runs. Asked again, or by two at once, it does nothing twice.

    Per flow: goals are marked, events enrol, and everybody who is due moves on, each in transactions that hold the
    flow. The connection commits statement by statement.
    """
    use(connection)
    return [
        _tick(connection, project, state, judge, now)
        for state in read_states(connection).values()
        if state.state in ("live", "ending") and state.version_id is not None
    ]


def _tick(connection: Connection, project: LoadedProject, state: FlowState, judge: Judge, now: datetime) -> Ticked:
    """One flow's failure is its own: the others go on."""
    try:
        return tick_flow(connection, project, state, judge, now)
    except PostgresGoneError:
        raise
    except SmpError as error:
        return Ticked(state.flow, failure=str(error))


def tick_flow(
    connection: Connection,
    project: LoadedProject,
    state: FlowState,
    judge: Judge,
    now: datetime,
    after: datetime | None = None,
) -> Ticked:
    """Do what is due in one flow; `use` was called on this connection.

    after: None in real life; in a simulation, the moment behind which events count as new.
    """
    entered: list[tuple[str, Entered]] = []
    with connection.transaction():
        hold(connection, state.flow_id)
        if after is None and (now_so := read_state(connection, state.flow)) is not None:
            state = now_so  # somebody may have paused it meanwhile
        if state.state not in ("live", "ending"):
            return Ticked(state.flow)
        running = _versions(connection, state)
        met = sum(goals.mark(connection, version, state, project, judge, now, after) for version in running)
        for version in running:
            sources.wake(connection, version, state, now, after)
        if state.state == "live" and state.version_id is not None:
            latest = read_version(connection, state.version_id)
            entered = sources.look(connection, latest, state, project, judge, now, after)
    arrived: Counter[str] = Counter()
    for version in _versions(connection, state):
        arrived += advance(connection, version, project, judge, now)
    if arrived:  # whoever sends what is in the outbox waits for this word
        connection.execute("select pg_notify(%s, '')", (CHANNEL,))
    ended = state.state == "ending" and status.settle(connection, state.flow_id, now)
    return Ticked(state.flow, entered, arrived, met, ended)


def _versions(connection: Connection, state: FlowState) -> list[FlowVersion]:
    """The versions that people are on, oldest first."""
    found = connection.execute(
        "select version_id from smp.flow_version as v where flow_id = %s and exists (select from participant as p"
        " where p.version_id = v.version_id and p.left_at is null) order by number",
        (state.flow_id,),
    )
    return [read_version(connection, version_id) for (version_id,) in found]
