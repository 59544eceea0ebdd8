"""Overruling: a person lets a send go that an audience test stopped, once, with audit (X5).

The stopped send stays as it is: nobody in it was mailed, and everybody sees why. Its people are mailed by a new send
under a key of its own, planned from a fresh selection, so that exclusion, consent and cap are judged again and nobody
gets anything twice. The row of the audit and the new send are written together: whoever dies after that, or asks
again, goes on with the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.audience_results import failing, overruled, read_stops
from smp_pipelines.sending.ledger import Purpose, Send
from smp_pipelines.stores.postgres import Connection, engine_sql


@dataclass(frozen=True)
class Overrule:
    """The audit of a stopped send that a person let go: who, when, why, and the send that took its place."""

    send_id: int
    new_send_id: int
    overruled_at: datetime
    overruled_by: str
    reason: str


def new_key(send: Send) -> str:
    """The key of the send that takes the place of a stopped one."""
    return f"{send.send_key}+overruled"


def read_overrule(connection: Connection, send: Send) -> Overrule | None:
    """How a stopped send was overruled, if it was."""
    row = connection.execute(
        "select send_id, new_send_id, overruled_at, overruled_by, reason from smp.audience_overrule where send_id = %s",
        (send.send_id,),
    ).fetchone()
    return None if row is None else Overrule(*row)


def stops_in_words(connection: Connection, sends: Sequence[int]) -> dict[int, str]:
    """By number: that an audience test stopped a send and what to do, or whose place it takes; only sends with such."""
    found = connection.execute(engine_sql("tests/stopped.sql"), {"sends": list(sends)})
    return {number: "; ".join(_words(number, *row)) for number, *row in found}


def _words(
    number: int,
    stopped_by: str | None,
    new: int | None,
    by: str | None,
    instead_of: int | None,
    let_go_by: str | None,
    reason: str | None,
) -> Iterator[str]:
    if instead_of is not None:
        yield f"takes the place of send {instead_of}: {let_go_by} overruled its audience test, {reason}"
    if stopped_by is not None:
        how = f"overrule with `smp send overrule {number} --reason …`, once"
        yield f"stopped by an audience test: {stopped_by}"
        yield how if new is None else f"overruled by {by}: send {new} takes its place"


def under_way(connection: Connection, send: Send) -> Send | None:
    """The new send of a stopped one that was overruled before, when it is not finished; None when nobody overruled it.

    Raises SmpError for a send that no audience test stopped, and for one whose new send is finished.
    """
    if not read_stops(connection, send):
        raise SmpError(f"send {send.send_id} was not stopped by an audience test: there is nothing to overrule")
    before = read_overrule(connection, send)
    if before is None:
        return None
    new = ledger.read_send(connection, before.new_send_id)
    if new.state == "finished":
        words = f"send {send.send_id} was overruled by {before.overruled_by} already, once: send {new.send_id}"
        again = f"\n    → that one was stopped as well: `smp send overrule {new.send_id}`"
        raise SmpError(words + (again if read_stops(connection, new) else " took its place and is finished"))
    return new


def refuse_new_failures(connection: Connection, send: Send, runs: Sequence[int]) -> None:
    """Raise SmpError when a blocking test fails at these fresh runs that did not fail when the send was stopped."""
    known = {(each.selection, each.test) for each in read_stops(connection, send)} | overruled(connection, send)
    new = [each for each in failing(connection, runs) if (each.selection, each.test) not in known]
    if new:
        told = "; ".join(str(each) for each in new)
        raise SmpError(
            f"now another audience test fails, which was right when send {send.send_id} was stopped: {told}\n"
            f"    → `smp selection check {new[0].selection}` shows the people"
        )


def open_overruled(
    connection: Connection,
    send: Send,
    purpose: Purpose,
    now: datetime,
    by: str,
    reason: str,
    run_id: str | None,
) -> Send:
    """Write the audit and open the new send, both or neither; of two who overrule at once both get the first one's.

    Raises SmpError when nobody is named, or no reason is given; and when a later send of a step for colleagues was
    planned: that leaves nobody out, so they would get it twice.
    """
    if not by.strip() or not reason.strip():
        raise SmpError("say who overrules the audience test, and why: both are kept in the audit")
    with connection.transaction():
        # the lock that planning holds
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"plan {send.step}",))
        before = read_overrule(connection, send)
        if before is not None:
            return ledger.read_send(connection, before.new_send_id)
        if purpose != "live":
            _refuse_overtaken(connection, send)
        new = ledger.open_send(connection, new_key(send), send.step, now, now, run_id, purpose)
        connection.execute(
            "insert into smp.audience_overrule (send_id, new_send_id, overruled_at, overruled_by, reason)"
            " values (%s, %s, %s, %s, %s)",
            (send.send_id, new.send_id, now, by.strip(), reason.strip()),
        )
        return new


def _refuse_overtaken(connection: Connection, send: Send) -> None:
    """Raise SmpError when a later send of the same step was planned that no audience test stopped."""
    found = connection.execute(engine_sql("tests/overtaken.sql"), {"send_id": send.send_id}).fetchone()
    if found is not None:
        raise SmpError(
            f"send {send.send_id} may not be overruled any more: send {found[0]} of {send.step} was planned since,"
            " and whoever is in both would get it twice"
        )
