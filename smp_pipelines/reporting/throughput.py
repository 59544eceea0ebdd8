"""Throughput: how fast a send went, as the ledger tells it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from smp_pipelines.sending.ledger import Send
from smp_pipelines.stores.postgres import Connection, engine_sql


@dataclass(frozen=True)
class Throughput:
    """How fast a send went.

    per_second: mails accepted a second while the send was at work, pauses of more than a minute left
    out; None when nothing can be said, e.g. of a send that was settled in one stroke.
    seconds: the length of one step of the clock below.
    course: for each step of the clock, when it begins and how many mails were accepted in it.
    """

    per_second: float | None
    seconds: float
    course: list[tuple[datetime, int]]


def read_throughput(connection: Connection, send: Send) -> Throughput:
    """How fast a send went, from the moments at which its mails were settled."""
    found = connection.execute(engine_sql("reporting/throughput.sql"), {"send_id": send.send_id}).fetchall()
    if not found:
        return Throughput(None, 1.0, [])
    _begins_at, seconds, _accepted, busy, in_busy = found[0]
    return Throughput(in_busy / busy if busy and in_busy else None, seconds, [(row[0], row[2]) for row in found])
