"""Sends: the list of them that a person looks at, with what is left of each and what was done with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from smp_pipelines.sending.ledger import Send
from smp_pipelines.stores.postgres import Connection, engine_sql


@dataclass(frozen=True)
class Listed:
    """A send with its rows that wait, that a worker has in hand, and of which nobody knows whether they left."""

    send: Send
    waiting: int
    in_hand: int
    unknown: int
    cancelled: bool


@dataclass(frozen=True)
class SendChange:
    """One line of a send's audit: what was done, with how many rows, when, by whom and why."""

    change: str
    messages: int
    changed_at: datetime
    changed_by: str
    reason: str | None


def list_sends(connection: Connection, step: str | None = None, limit: int = 20) -> list[Listed]:
    """The latest sends of a step, or of all, and every older one that is not finished; newest first."""
    found = connection.execute(engine_sql("ledger/sends.sql"), {"step": step, "limit": limit})
    return [Listed(Send(*row[:8]), *row[8:]) for row in found]


def read_send_changes(connection: Connection, send: Send) -> list[SendChange]:
    """The audit of a send, newest first."""
    found = connection.execute(
        "select change, messages, changed_at, changed_by, reason from smp.send_change where send_id = %s"
        " order by change_id desc",
        (send.send_id,),
    )
    return [SendChange(*row) for row in found]
