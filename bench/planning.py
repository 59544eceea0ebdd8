"""Case `planning`: a selection becomes rows of the ledger.

Measured: the whole call of smp_pipelines.sending.planning.plan, with consent, suppression, addresses and
de-duplication judged. Against: psycopg's COPY of the same rows, from a ready CSV file, on the same server, into a
table with the same columns and the same unique key, committed. Laps alternate, each a send of its own.
"""

from __future__ import annotations

import resource
from pathlib import Path

from psycopg import sql

from bench.process import MEMORY_LIMIT
from bench.row import Row, Stopwatch, at_most, spread
from bench.world import FEWER, NOW, RECIPIENTS, World, planned_step
from smp_pipelines.crm.bulk import copy_in, copy_out
from smp_pipelines.deployment import Deployment
from smp_pipelines.selection.runs import SelectionRun
from smp_pipelines.sending import ledger
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.planning import plan
from smp_pipelines.stores.postgres import Connection

_COLUMNS = ("send_id", "recipient_key", "seq", "person_id", "record_id", "state", "reason", "duplicate_of")


def run(world: World) -> list[Row]:
    """Time planning and the bare COPY."""
    deployment = world.deployment()
    small = _memory_of(deployment, FEWER)
    selection = deployment.audiences.materialise(RECIPIENTS, NOW, None).run
    planning, bare = Stopwatch(), Stopwatch()
    with deployment.connection() as postgres:
        postgres.execute(
            "create table if not exists public.bare_message"
            " (like smp.message including defaults, primary key (send_id, recipient_key))"
        )
        for lap in range(world.sizes.laps):
            send = _plan(deployment, postgres, lap, selection, planning)
            _copy(postgres, send, world.folder / "rows.csv", bare)
        totals = ledger.totals(postgres, send)
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in totals.reasons.items())
    note = f"{send.planned:,} rows, {totals.planned:,} to be sent; {reasons}; {spread(planning.seconds)}"
    flat = f"the process's peak; the baseline is its peak after a tenth of the rows; DuckDB's limit is {MEMORY_LIMIT}"
    return [
        at_most("planning", "recipients into the ledger", planning.median, bare.median, 4, note),
        Row("planning", "memory, all the rows", _peak(), "MiB", small, note=flat),
    ]


def _memory_of(deployment: Deployment, selection_name: str) -> float:
    """The process's peak memory in MiB after planning another selection."""
    selection = deployment.audiences.materialise(selection_name, NOW, None).run
    with deployment.connection() as postgres:
        _plan(deployment, postgres, 0, selection, Stopwatch())
    deployment.mirror_moments()
    return _peak()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _plan(deployment: Deployment, postgres: Connection, lap: int, selection: SelectionRun, planning: Stopwatch) -> Send:
    ref = deployment.project.step(planned_step(lap))
    # a state that is kept (--state) has earlier sends of these keys
    (found,) = postgres.execute("select count(*) from smp.send").fetchone() or (0,)
    send = ledger.open_send(postgres, f"{ref.key}@bench-{found}", ref.key, NOW, NOW, None)
    with deployment.lake.open() as lake, planning.lap():
        return plan(postgres, lake, deployment.project, ref, send, selection, NOW)


def _copy(postgres: Connection, send: Send, file: Path, bare: Stopwatch) -> None:
    columns = sql.SQL(", ").join(sql.Identifier(column) for column in _COLUMNS)
    query = sql.SQL("select {} from smp.message where send_id = {} order by seq").format(columns, send.send_id)
    with postgres.cursor() as cursor:
        copy_out(cursor, query, file)
        with bare.lap(), postgres.transaction():
            copied = copy_in(cursor, "public.bare_message", _COLUMNS, file)
    if copied != send.planned:
        raise AssertionError(f"{copied} rows copied, {send.planned} planned")
