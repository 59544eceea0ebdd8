"""Advancing: everybody who is due goes as far as they can, all of them together, one statement per step.

Steps lead forward only, so one walk along them is enough. A sweep takes so many people at most, moves them in scratch
tables, writes each one's new place once, and commits: killed in the middle, nothing of it happened.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from psycopg import sql

from smp_pipelines.campaign.flow.models import MoveOn
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.flow.judging import Judge
from smp_pipelines.flow.moves import move
from smp_pipelines.flow.tables import hold
from smp_pipelines.flow.version import FlowVersion
from smp_pipelines.stores.postgres import Connection, engine_sql

BATCH = 100_000
"""How many people a sweep takes at most: what one transaction, and the memory, have to hold."""
_LEFT = -1


def advance(
    connection: Connection,
    version: FlowVersion,
    project: LoadedProject,
    judge: Judge,
    now: datetime,
    batch: int = BATCH,
) -> Counter[str]:
    """Move everybody of this version who is due, in as many sweeps as it takes; says how many arrived at which step.

    `goal` counts those who left because they had met one. The connection commits statement by statement.
    """
    arrived: Counter[str] = Counter()
    while True:
        with connection.transaction():
            hold(connection, version.flow_id)
            counts = _sweep(connection, version, project, judge, now, batch)
        if not counts:
            return arrived
        if left := counts.pop(_LEFT, 0):
            arrived["goal"] += left
        for node, people in counts.items():
            arrived[version.nodes[node].name] += people


def _sweep(
    connection: Connection, version: FlowVersion, project: LoadedProject, judge: Judge, now: datetime, batch: int
) -> Counter[int]:
    """One sweep: how many were at which step; empty when nobody was due."""
    connection.execute("truncate flow_at, flow_stay")
    counts: Counter[int] = Counter(
        dict(connection.execute(engine_sql("flow/advance/take.sql"), _taking(version, now, batch)))
    )
    if not counts:
        return counts
    for node in version.nodes:
        if not counts[node.number]:
            continue
        step = move(version, node, project, now)
        if step.condition is not None:
            people = sql.SQL("select person_id from flow_at where node = {}").format(node.number)
            judge.fill(connection, version.conditions[step.condition], now, people)
        if step.joined is not None:
            for file in ("lock_lists", "make_lists"):
                connection.execute(engine_sql(f"submission/{file}.sql"), {"names": [step.joined]})
        counts.update(dict(connection.execute(step.statement, step.parameters)))
    connection.execute(engine_sql("flow/advance/settle.sql"))
    return counts


def _taking(version: FlowVersion, now: datetime, batch: int) -> dict[str, Any]:
    success = version.model.on_success
    return {
        "flow_id": version.flow_id,
        "version_id": version.version_id,
        "now": now,
        "most": batch,
        "leaves": success != "go_on",
        "moves_to": success.move_to if isinstance(success, MoveOn) else None,
    }
