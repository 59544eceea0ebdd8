"""By hand: colleagues enrol people, one by one or a whole selection (F31, F42). The rules of the flow hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from smp_pipelines.flow.entering import Entered, enter
from smp_pipelines.flow.judging import Judge
from smp_pipelines.flow.sources.names import HAND
from smp_pipelines.flow.tables import hold
from smp_pipelines.flow.version import FlowState, FlowVersion, read_state, read_version
from smp_pipelines.problems import SmpError
from smp_pipelines.selection.condition import Condition
from smp_pipelines.stores.numbers import copy_in
from smp_pipelines.stores.postgres import Connection


def enrol_people(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    judge: Judge,
    people: Sequence[int],
    key: str,
    now: datetime,
    record_id: int | None = None,
) -> Entered:
    """Enrol these people. The same `key` again enrols nobody twice. Raises SmpError for a flow that is not live."""
    with connection.transaction():
        version = _hold(connection, version, state)
        connection.execute("truncate flow_yes")
        copy_in(connection, "flow_yes (person_id)", np.fromiter(people, dtype=np.int64))
        return _enter(connection, version, judge, key, now, record_id)


def enrol_condition(
    connection: Connection,
    version: FlowVersion,
    state: FlowState,
    judge: Judge,
    condition: Condition,
    key: str,
    now: datetime,
) -> Entered:
    """Enrol everybody who meets a condition, e.g. is in a selection (`condition_of`), as `enrol_people` does."""
    with connection.transaction():
        version = _hold(connection, version, state)
        judge.fill(connection, condition, now, "select person_id from crm.person")
        return _enter(connection, version, judge, key, now, None)


def _hold(connection: Connection, version: FlowVersion, state: FlowState) -> FlowVersion:
    """Hold the flow; the version that people enter now: somebody may have ended or changed it meanwhile."""
    hold(connection, version.flow_id)
    state = read_state(connection, version.flow) or state
    if state.state != "live":
        raise SmpError(
            f"flow {version.flow} is {state.state}, so nobody can enter it\n"
            f"    → `smp flow {'resume' if state.state == 'paused' else 'live'} {version.flow}` lets it run"
        )
    return version if state.version_id is None else read_version(connection, state.version_id)


def _enter(
    connection: Connection, version: FlowVersion, judge: Judge, key: str, now: datetime, record_id: int | None
) -> Entered:
    connection.execute(
        "insert into flow_candidate (person_id, record_id, entry_key)"
        " select person_id, %s::bigint, %s::text from flow_yes",
        (record_id, f"hand:{key}"),
    )
    return enter(connection, version, judge, HAND, now)
