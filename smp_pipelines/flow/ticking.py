"""Ticking: whatever flows have to do at a moment: goals, new participants, people who are due, flows that end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import psycopg

from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.flow import goals, sources, status
from smp_pipelines.flow.advancing import StepsFailedError, advance, refusal
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


@dataclass(frozen=True)
class Ahead:
    """Whether a tick would find anything to do, and of which flows that cannot be told, with why."""

    is_due: bool
    failures: tuple[str, ...] = ()


def look_ahead(connection: Connection, project: LoadedProject, now: datetime) -> Ahead:
    """Whether somebody is due in a flow, or something happened that flows look at; reads indexes only."""
    connection.execute("set search_path = smp, public")
    found = connection.execute(engine_sql("flow/due.sql"), {"now": now}).fetchone()
    if found and found[0]:
        return Ahead(True)
    failures: list[str] = []
    for state in read_states(connection).values():
        if state.state not in ("live", "ending"):
            continue
        try:
            with _told():
                if _has_news(connection, project, state, now):
                    return Ahead(True)
        except PostgresGoneError:
            raise
        except SmpError as error:
            failures.append(f"{state.flow}: {error}")
    return Ahead(False, tuple(failures))


def _has_news(connection: Connection, project: LoadedProject, state: FlowState, now: datetime) -> bool:
    populated = _versions(connection, state)
    if any(goals.may_be_met(connection, version, state, project, now) for version in populated):
        return True
    return state.version_id is not None and sources.has_news(
        connection, read_version(connection, state.version_id), state, project, now, populated
    )


def tick(connection: Connection, project: LoadedProject, judge: Judge, now: datetime) -> list[Ticked]:
    """Do what is due in every flow that runs. Asked again, or by two at once, it does nothing twice.

    Per flow: events enrol, goals are marked, and everybody who is due moves on, each in transactions that hold the
    flow. The connection commits statement by statement.
    """
    use(connection)
    return [
        tick_flow(connection, project, state, judge, now)
        for state in read_states(connection).values()
        if state.state in ("live", "ending") and state.version_id is not None
    ]


def tick_flow(
    connection: Connection,
    project: LoadedProject,
    state: FlowState,
    judge: Judge,
    now: datetime,
    after: datetime | None = None,
) -> Ticked:
    """Do what is due in one flow; `use` was called on this connection. What fails is told, and keeps no other flow.

    after: None in real life; in a simulation, the moment behind which events count as new.
    """
    # a trigger that cannot be read lets nobody in; who is in the flow already goes on
    done = _looked(connection, project, state, judge, now, after, Ticked(state.flow))
    try:
        with _told(), connection.transaction():
            state = _held(connection, state, after)
            running = _versions(connection, state) if state.state in ("live", "ending") else []
            met = sum(goals.mark(connection, version, state, project, judge, now, after) for version in running)
            done = replace(done, goals=met)
            for version in running:
                sources.wake(connection, version, state, now, after)
        done = _advanced(connection, project, state, judge, now, done)
    except PostgresGoneError:
        raise
    except SmpError as error:
        done = _failed(done, error)
    if done.arrived:  # whoever sends what is in the outbox waits for this word
        connection.execute("select pg_notify(%s, '')", (CHANNEL,))
    return replace(done, ended=state.state == "ending" and status.settle(connection, state.flow_id, now))


@contextmanager
def _told() -> Iterator[None]:
    """Turn what Postgres refuses into words, without the row: that may hold an address."""
    try:
        yield
    except psycopg.OperationalError:
        raise
    except psycopg.DatabaseError as error:
        raise SmpError(refusal(error)) from error


def _held(connection: Connection, state: FlowState, after: datetime | None) -> FlowState:
    """Hold a flow, and read its state again: somebody may have paused it meanwhile."""
    hold(connection, state.flow_id)
    return state if after is not None else read_state(connection, state.flow) or state


def _failed(done: Ticked, error: SmpError) -> Ticked:
    return replace(done, failure="; ".join(filter(None, (done.failure, str(error)))))


def _looked(
    connection: Connection,
    project: LoadedProject,
    state: FlowState,
    judge: Judge,
    now: datetime,
    after: datetime | None,
    done: Ticked,
) -> Ticked:
    try:
        with _told(), connection.transaction():
            state = _held(connection, state, after)
            if state.state != "live" or state.version_id is None:
                return done
            latest = read_version(connection, state.version_id)
            return replace(done, entered=sources.look(connection, latest, state, project, judge, now, after))
    except PostgresGoneError:
        raise
    except SmpError as error:
        return _failed(done, error)


def _advanced(
    connection: Connection, project: LoadedProject, state: FlowState, judge: Judge, now: datetime, done: Ticked
) -> Ticked:
    for version in _versions(connection, state):
        try:
            arrived = advance(connection, version, project, judge, now)
        except StepsFailedError as error:
            done, arrived = _failed(done, error), error.arrived
        done = replace(done, arrived=done.arrived + arrived)
    return done


def _versions(connection: Connection, state: FlowState) -> list[FlowVersion]:
    """The versions that people are on, oldest first."""
    found = connection.execute(
        "select version_id from smp.flow_version as v where flow_id = %s and exists (select from participant as p"
        " where p.version_id = v.version_id and p.left_at is null) order by number",
        (state.flow_id,),
    )
    return [read_version(connection, version_id) for (version_id,) in found]
