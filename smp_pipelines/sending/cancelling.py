"""Cancelling: what still waits in a send gets no mail any more, by a person's choice or by a rule of its step.

What a worker has in its hands stays with it: it leaves, or it comes back. What comes back to a send
that was cancelled is skipped as well, by `skip_returned`.
"""

from __future__ import annotations

from datetime import datetime

from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.ledger import Send
from smp_pipelines.stores.postgres import Connection, engine_sql

CANCELLED = "cancelled"
"""The reason of rows that a person cancelled."""
QUIET_HOURS = "quiet_hours"
"""The reason of rows that a step drops at night (`at_night: drop`, F22)."""


def skip_planned(connection: Connection, send: Send, reason: str, now: datetime) -> int:
    """Skip every row that still waits, with this reason; says how many. The send is not finished by this."""
    with connection.transaction():
        parameters = {"send_id": send.send_id, "reason": reason, "now": now}
        return connection.execute(engine_sql("ledger/skip.sql"), parameters).rowcount


def cancel(connection: Connection, send: Send, now: datetime, by: str, reason: str) -> int:
    """Cancel what is left of a send, with audit, and finish it as soon as no worker has rows in hand; says how many.

    A send that was never planned is cancelled, too: nobody is planned for it any more. Raises
    SmpError for a send that is finished, and when nobody is named.
    """
    if not by.strip():
        raise SmpError("cancelling needs the name of who does it")
    with connection.transaction():
        # the lock that planning holds: rows are in the ledger now, or will never be
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"plan {send.step}",))
        if ledger.read_send(connection, send.send_id).state == "finished":
            raise SmpError(f"send {send.send_id} is finished: there is nothing left to cancel")
        skipped = skip_planned(connection, send, CANCELLED, now)
        connection.execute(
            "insert into smp.send_change (send_id, change, messages, changed_at, changed_by, reason)"
            " values (%s, 'cancelled', %s, %s, %s, %s)",
            (send.send_id, skipped, now, by.strip(), reason.strip() or None),
        )
        connection.execute(
            "update smp.send set state = 'open', changed_tx = pg_current_xact_id() where send_id = %s", (send.send_id,)
        )
        ledger.finish(connection, send, now)
        return skipped


def is_cancelled(connection: Connection, send: Send) -> bool:
    """Whether somebody cancelled this send."""
    found = connection.execute(
        "select 1 from smp.send_change where send_id = %s and change = 'cancelled' limit 1", (send.send_id,)
    )
    return found.fetchone() is not None


def skip_returned(connection: Connection, now: datetime) -> int:
    """Skip what workers gave back to sends that were cancelled meanwhile, and finish those; says how many rows.

    For whoever looks what is due: such a send needs no worker, and its step may not run.
    """
    found = connection.execute(
        "select s.send_id from smp.send as s where s.state = 'open'"
        " and exists (select from smp.send_change as c where c.send_id = s.send_id and c.change = 'cancelled')"
    ).fetchall()
    skipped = 0
    for (send_id,) in found:
        send = ledger.read_send(connection, send_id)
        ledger.expire(connection, send, now)
        skipped += skip_planned(connection, send, CANCELLED, now)
        ledger.finish(connection, send, now)
    return skipped
