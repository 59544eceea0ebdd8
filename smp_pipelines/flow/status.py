"""Status: whether a flow runs (F37): live, paused, ending (people go on, nobody enters), ended. Every change is kept.

A paused flow reads nothing and moves nobody, so it loses nothing: what happened meanwhile is read when it resumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from smp_pipelines.flow import tables
from smp_pipelines.flow.version import Draft, FlowState, State, freeze, read_state
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.status import change_status, read_statuses
from smp_pipelines.stores.postgres import Connection, engine_sql


@dataclass(frozen=True)
class FlowChange:
    """One line of a flow's audit. change: live, pause, resume, end, ended, apply, admit, decline.

    details: its effect.
    """

    flow: str
    change: str
    changed_at: datetime
    changed_by: str
    details: Mapping[str, Any]
    reason: str | None


def run(
    connection: Connection, made: Draft, steps: Sequence[str], now: datetime, by: str, reason: str | None = None
) -> FlowChange | None:
    """Let a flow run as its file has it now; None when it does already. Whether it may is judged before (F39).

    People enter the new version from now on; who is on an older one stays there (F46). Its steps that are concept or
    testing go live as well. Raises SmpError for a step that was stopped, and for a live flow whose file has changed.
    """
    with connection.transaction():
        state = _held(connection, made.flow, now, by)
        version = freeze(connection, made, now, by)
        if state.state == "live":
            if state.version_id == version.version_id:
                return None
            raise SmpError(
                f"flow {made.flow} is live, and its file has changed since\n    → `smp flow plan {made.flow}` shows "
                f"what that would do, `smp flow apply {made.flow}` does it"
            )
        moved = steps_live(connection, made.flow, steps, now, by)
        before = _paused_from(connection, state) if state.state == "paused" else state.state
        if before in ("ending", "ended"):
            connection.execute(engine_sql("flow/status/begin_anew.sql"), {"flow_id": state.flow_id})
        since = state.live_since if before == "live" else now
        connection.execute(
            "update smp.flow set state = 'live', since = %s, live_since = %s, version_id = %s where flow_id = %s",
            (now, since, version.version_id, state.flow_id),
        )
        details = {"from": state.state, "to": "live", "version": version.number, "steps": moved}
        return record(connection, state, "live", details, now, by, reason)


def pause(connection: Connection, flow: str, now: datetime, by: str, reason: str | None = None) -> FlowChange | None:
    """Let a flow stand still; None when it does already. Raises SmpError for one that does not run."""
    with connection.transaction():
        state = _running(connection, flow, now, by)
        if state.state == "paused":
            return None
        if state.state not in ("live", "ending"):
            raise SmpError(_not_running(state))
        return _turn(connection, state, "pause", "paused", now, by, reason)


def resume(connection: Connection, flow: str, now: datetime, by: str, reason: str | None = None) -> FlowChange | None:
    """Let a paused flow go on as it was; None when it is not paused. Raises SmpError for one that does not run."""
    with connection.transaction():
        state = _running(connection, flow, now, by)
        if state.state in ("live", "ending"):
            return None
        if state.state != "paused":
            raise SmpError(_not_running(state))
        return _turn(connection, state, "resume", _paused_from(connection, state), now, by, reason)


def end(
    connection: Connection, flow: str, now: datetime, by: str, reason: str | None = None, *, drop: bool = False
) -> FlowChange | None:
    """Let nobody enter a flow any more. Who is in it goes on to the end, or with `drop` leaves now.

    None when that is so already. A mail that a send took already still goes out. Raises SmpError for a flow that does
    not run.
    """
    with connection.transaction():
        state = _running(connection, flow, now, by)
        if state.state == "ended" or (state.state == "ending" and not drop):
            return None
        if state.state == "concept":
            raise SmpError(_not_running(state))
        if not drop:
            change = _turn(connection, state, "end", "ending", now, by, reason)
            if settle(connection, state.flow_id, now):
                return replace(change, details={**change.details, "to": "ended"})
            return change
        parameters = {"flow_id": state.flow_id, "now": now}
        found = connection.execute(engine_sql("flow/status/drop.sql"), parameters).fetchone()
        return _turn(connection, state, "end", "ended", now, by, reason, {"dropped": found[0] if found else 0})


def settle(connection: Connection, flow_id: int, now: datetime) -> bool:
    """Let an ending flow that everybody left be ended; tells whether it is so from now on."""
    done = connection.execute(engine_sql("flow/status/settle.sql"), {"flow_id": flow_id, "now": now})
    return done.fetchone() is not None


def read_flow_changes(connection: Connection, flow: str) -> list[FlowChange]:
    """The audit of a flow, newest first."""
    found = connection.execute(
        "select flow, change, changed_at, changed_by, details, c.reason"
        " from smp.flow_change as c join smp.flow using (flow_id) where flow = %s order by change_id desc",
        (flow,),
    )
    return [FlowChange(*row) for row in found]


def record(
    connection: Connection,
    state: FlowState,
    change: str,
    details: Mapping[str, Any],
    now: datetime,
    by: str,
    reason: str | None,
) -> FlowChange:
    """Write a change into the audit."""
    connection.execute(
        "insert into smp.flow_change (flow_id, changed_at, changed_by, change, details, reason)"
        " values (%s, %s, %s, %s, %s, %s)",
        (state.flow_id, now, by.strip(), change, Jsonb(dict(details)), reason),
    )
    return FlowChange(state.flow, change, now, by.strip(), dict(details), reason)


def hold_state(connection: Connection, flow: str, by: str) -> FlowState | None:
    """The state of a flow, which nobody changes or moves people in until the transaction ends; None: never live."""
    if not by.strip():
        raise SmpError("a change of a flow needs the name of who makes it")
    state = read_state(connection, flow)
    if state is None:
        return None
    tables.hold(connection, state.flow_id)
    return read_state(connection, flow)


def _held(connection: Connection, flow: str, now: datetime, by: str) -> FlowState:
    connection.execute("insert into smp.flow (flow, since) values (%s, %s) on conflict (flow) do nothing", (flow, now))
    state = hold_state(connection, flow, by)
    if state is None:
        raise SmpError(f"flow {flow} was removed from the database at this very moment; try again")
    return state


def _running(connection: Connection, flow: str, now: datetime, by: str) -> FlowState:
    state = hold_state(connection, flow, by)
    return state or FlowState(0, flow, "concept", now, None, None)


def _not_running(state: FlowState) -> str:
    return f"flow {state.flow} is {state.state}\n    → `smp flow live {state.flow}` lets it run"


def _turn(
    connection: Connection,
    state: FlowState,
    change: str,
    to: State,
    now: datetime,
    by: str,
    reason: str | None,
    more: Mapping[str, Any] | None = None,
) -> FlowChange:
    connection.execute("update smp.flow set state = %s, since = %s where flow_id = %s", (to, now, state.flow_id))
    return record(connection, state, change, {"from": state.state, "to": to, **(more or {})}, now, by, reason)


def _paused_from(connection: Connection, state: FlowState) -> State:
    """What a paused flow was before: live, or ending."""
    found = connection.execute(
        "select details ->> 'from' from smp.flow_change where flow_id = %s and change = 'pause'"
        " order by change_id desc limit 1",
        (state.flow_id,),
    ).fetchone()
    return "ending" if found and found[0] == "ending" else "live"


def steps_live(connection: Connection, flow: str, steps: Sequence[str], now: datetime, by: str) -> list[str]:
    """Put the steps of a flow live that were not yet; says which. Raises SmpError for one that was stopped."""
    statuses = read_statuses(connection, list(steps))
    stopped = [step for step in steps if statuses[step].status == "stopped"]
    if stopped:
        raise SmpError(
            f"flow {flow} cannot go live: {', '.join(stopped)} {'was' if len(stopped) == 1 else 'were'} stopped\n"
            f"    → `smp step status {stopped[0]} live`, or take the step out of the flow"
        )
    changed = [change_status(connection, step, "live", now, by, f"flow {flow} went live") for step in steps]
    return [change.step for change in changed if change is not None]
