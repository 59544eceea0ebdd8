"""Advancing: everybody who is due goes as far as they can, all of them together, one statement per step.

Steps lead forward only, so one walk along them is enough. A sweep takes so many people at most, moves them in scratch
tables, writes each one's new place once, and commits: killed in the middle, nothing of it happened.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from smp_pipelines.campaign.flow.graph import Node
from smp_pipelines.campaign.flow.models import MoveOn
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.flow.judging import Judge
from smp_pipelines.flow.moves import RESTS, move
from smp_pipelines.flow.tables import hold
from smp_pipelines.flow.version import FlowVersion
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import Connection, PostgresGoneError, engine_sql

BATCH = 100_000
"""How many people a sweep takes at most: what one transaction, and the memory, have to hold."""
RETRY = timedelta(minutes=15)
"""How long whoever is at a step that fails waits until it is tried again."""
_LEFT = -1


class StepsFailedError(SmpError):
    """Steps that could not be done; everybody else went on. arrived: how many arrived at which step."""

    def __init__(self, failures: list[str], arrived: Counter[str]) -> None:
        super().__init__("; ".join(dict.fromkeys(failures)))
        self.arrived = arrived


def advance(
    connection: Connection,
    version: FlowVersion,
    project: LoadedProject,
    judge: Judge,
    now: datetime,
    batch: int = BATCH,
) -> Counter[str]:
    """Move everybody of this version who is due, in as many sweeps as it takes; says how many arrived at which step.

    `goal` counts those who left because they had met one. The connection commits statement by statement. When a step
    cannot be done, whoever is there waits for RETRY and all others go on; raises StepsFailedError at the end.
    """
    arrived: Counter[str] = Counter()
    failures: list[str] = []
    while True:
        with connection.transaction():
            hold(connection, version.flow_id)
            counts = _sweep(connection, version, project, judge, now, batch, failures)
        if not counts:
            break
        if left := counts.pop(_LEFT, 0):
            arrived["goal"] += left
        for node, people in counts.items():
            arrived[version.nodes[node].name] += people
    if failures:
        raise StepsFailedError(failures, arrived)
    return arrived


def _sweep(
    connection: Connection,
    version: FlowVersion,
    project: LoadedProject,
    judge: Judge,
    now: datetime,
    batch: int,
    failures: list[str],
) -> Counter[int]:
    """One sweep: how many were at which step; empty when nobody was due. Adds what failed to `failures`."""
    connection.execute("truncate flow_at, flow_stay")
    counts: Counter[int] = Counter(
        dict(connection.execute(engine_sql("flow/advance/take.sql"), _taking(version, now, batch)))
    )
    if not counts:
        return counts
    # what writes to people's cards comes last: nobody goes on from there in this sweep, and no card is locked while
    # conditions are judged
    for node in sorted(version.nodes, key=lambda node: node.kind in RESTS):
        if not counts[node.number]:
            continue
        try:
            with connection.transaction():
                counts.update(_moved(connection, version, node, project, judge, now))
        except (PostgresGoneError, psycopg.OperationalError):
            raise
        except (SmpError, psycopg.DatabaseError) as error:
            words = refusal(error) if isinstance(error, psycopg.Error) else str(error)
            failures.append(f"step {node.name}: {words}")
            connection.execute(engine_sql("flow/advance/stay.sql"), {"node": node.number, "due_at": now + RETRY})
    connection.execute(engine_sql("flow/advance/settle.sql"))
    return counts


def _moved(
    connection: Connection, version: FlowVersion, node: Node, project: LoadedProject, judge: Judge, now: datetime
) -> dict[int, int]:
    """Move everybody who is at this step; says how many arrived at which other one."""
    step = move(version, node, project, now)
    if step.condition is not None:
        people = sql.SQL("select person_id from flow_at where node = {}").format(node.number)
        judge.fill(connection, version.conditions[step.condition], now, people)
    if step.joined is not None:
        for file in ("lock_lists", "make_lists"):
            connection.execute(engine_sql(f"submission/{file}.sql"), {"names": [step.joined]})
    return dict(connection.execute(step.statement, step.parameters).fetchall())


def refusal(error: psycopg.Error) -> str:
    """What Postgres does not do, without the row that it is about: that may hold an address."""
    return f"Postgres refuses: {error.diag.message_primary or type(error).__name__}"


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
