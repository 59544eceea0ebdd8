"""The ledger: sends and their messages in Postgres. One row per send and recipient key; nothing is sent without one.

The states of a message: planned → claimed → accepted, rejected or unknown; or skipped, with a
reason, at planning or at the claim. A claim that was certainly not handed over goes back to planned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, LiteralString
from uuid import UUID, uuid4

from psycopg import sql

from smp_pipelines.campaign.models import Record
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import Connection, engine_sql

Purpose = Literal["live", "internal", "test"]
LEASE = timedelta(seconds=60)
"""How long a worker may keep a claim; it hands nothing over after that."""


@dataclass(frozen=True)
class Send:
    """One send: a step at a moment, for a purpose. Its key makes the same tick the same send."""

    send_id: int
    send_key: str
    step: str
    purpose: Purpose
    moment: datetime
    state: Literal["planning", "open", "finished"]
    planned: int
    selection_run_id: int | None = None


@dataclass(frozen=True)
class ClaimRules:
    """What the claim checks for a step, besides the person's own record."""

    channel: str
    topic: str
    opt_in: bool
    deduplicate: bool
    record: Record | None = None
    block: str | None = None


@dataclass(frozen=True)
class Claimed:
    """A message in the hands of this worker."""

    recipient_key: UUID
    seq: int
    person_id: int
    record_id: int | None
    attempts: int


@dataclass(frozen=True)
class Claim:
    """A batch of messages under one token; `skipped` counts the rows that the rules refused."""

    token: UUID
    messages: list[Claimed]
    skipped: Counter[str]


@dataclass(frozen=True)
class Outcome:
    """What became of one message. State `planned` puts it off until `retry_at`."""

    recipient_key: UUID
    state: Literal["accepted", "rejected", "unknown", "planned"]
    reason: str | None = None
    response: str | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True)
class Totals:
    """The counts of a send by state, and of its skips and refusals by reason."""

    planned: int = 0
    claimed: int = 0
    accepted: int = 0
    rejected: int = 0
    unknown: int = 0
    skipped: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    next_retry: datetime | None = None
    last_lease: datetime | None = None

    @property
    def open(self) -> int:
        """Rows that are not final yet."""
        return self.planned + self.claimed

    @property
    def all(self) -> int:
        """All rows of the send."""
        return self.open + self.accepted + self.rejected + self.unknown + self.skipped


@dataclass(frozen=True)
class Verdict:
    """The identity of one send (X3), and whether it holds."""

    send_id: int
    send_key: str
    state: str
    planned: int
    in_ledger: int
    accepted: int
    rejected: int
    unknown: int
    skipped: int
    open: int

    @property
    def holds(self) -> bool:
        """Whether every planned row is there and, once the send is finished, final."""
        final = self.accepted + self.rejected + self.unknown + self.skipped
        complete = self.planned == self.in_ledger == final + self.open
        return complete and (self.open == 0 or self.state != "finished")


_SEND = "select send_id, send_key, step, purpose, moment, state, planned, selection_run_id from smp.send"


def open_send(
    connection: Connection, send_key: str, step: str, moment: datetime, now: datetime, run_id: str | None, purpose: Purpose = "live"
) -> Send:
    """The send with this key; it is made when it is not there yet. Safe to call twice at once."""
    with connection.transaction():
        connection.execute(
            "insert into smp.send (send_key, step, purpose, moment, opened_at, run_id) values (%s, %s, %s, %s, %s, %s)"
            " on conflict (send_key) do nothing",
            (send_key, step, purpose, moment, now, run_id),
        )
        return read_send(connection, send_key)


def read_send(connection: Connection, key: str | int) -> Send:
    """The send with this key or id. Raises SmpError when there is none."""
    where: LiteralString = " where send_id = %s" if isinstance(key, int) else " where send_key = %s"
    found = connection.execute(_SEND + where, (key,)).fetchone()
    if found is None:
        raise SmpError(f"there is no send {key}")
    return Send(*found)


def unfinished_sends(connection: Connection) -> list[Send]:
    """Sends that still have rows to deliver or to settle, oldest first."""
    found = connection.execute(_SEND + " where state <> 'finished' order by send_id")
    return [Send(*row) for row in found]


def step_sends(connection: Connection, step: str, limit: int = 10) -> list[Send]:
    """The latest sends of a step, newest first."""
    found = connection.execute(_SEND + " where step = %s order by send_id desc limit %s", (step, limit))
    return [Send(*row) for row in found]


def claim(connection: Connection, send: Send, rules: ClaimRules, now: datetime, batch: int) -> Claim:
    """Claim up to `batch` rows of a send; the rules are read in the claiming statement."""
    token = uuid4()
    query = sql.SQL(engine_sql("ledger/claim.sql")).format(**_record_parts(rules))
    parameters = {
        "send_id": send.send_id,
        "step": send.step,
        "needs_live": send.purpose == "live",
        "now": now,
        "batch": batch,
        "token": token,
        "lease": LEASE,
        "channel": rules.channel,
        "topic": rules.topic,
        "opt_in": rules.opt_in,
        "deduplicate": rules.deduplicate,
    }
    with connection.transaction():
        found = connection.execute(query, parameters).fetchall()
    messages = [Claimed(*row[:5]) for row in found if row[5] == "claimed"]
    skipped = Counter(row[6] for row in found if row[5] == "skipped")
    return Claim(token, sorted(messages, key=lambda message: message.seq), skipped)


def _record_parts(rules: ClaimRules) -> dict[str, sql.Composable]:
    if rules.record is None or rules.block is None:
        return {"record_rule": sql.SQL(""), "record_join": sql.SQL("")}
    return {
        "record_rule": sql.SQL("when r.{} then 'record_blocked'").format(sql.Identifier(rules.block)),
        "record_join": sql.SQL("left join {} as r on r.{} = c.record_id").format(
            sql.Identifier(*rules.record.table.split(".")), sql.Identifier(rules.record.key)
        ),
    }


def settle(connection: Connection, send: Send, token: UUID, outcomes: Sequence[Outcome], now: datetime) -> int:
    """Write down what became of claimed messages; says how many rows took it. Only the token's holder may."""
    if not outcomes:
        return 0
    parameters = {
        "send_id": send.send_id,
        "token": token,
        "now": now,
        "keys": [outcome.recipient_key for outcome in outcomes],
        "states": [outcome.state for outcome in outcomes],
        "reasons": [outcome.reason for outcome in outcomes],
        "responses": [outcome.response for outcome in outcomes],
        "retry_ats": [outcome.retry_at for outcome in outcomes],
    }
    with connection.transaction():
        settled = connection.execute(engine_sql("ledger/settle.sql"), parameters).rowcount
        # an answer that came after the end changes a finished send: the mirror must read it again
        connection.execute(
            "update smp.send set changed_tx = pg_current_xact_id() where send_id = %s and state = 'finished'",
            (send.send_id,),
        )
        return settled


def release(connection: Connection, send: Send, token: UUID, keys: Sequence[UUID]) -> int:
    """Give back claimed messages that were certainly not handed over; says how many."""
    if not keys:
        return 0
    parameters = {"send_id": send.send_id, "token": token, "keys": list(keys)}
    with connection.transaction():
        return connection.execute(engine_sql("ledger/release.sql"), parameters).rowcount


def expire(connection: Connection, send: Send, now: datetime) -> int:
    """Turn claims whose lease has passed into `unknown`; says how many."""
    with connection.transaction():
        return connection.execute(engine_sql("ledger/expire.sql"), {"send_id": send.send_id, "now": now}).rowcount


def finish(connection: Connection, send: Send, now: datetime) -> bool:
    """Mark a send finished when no row is left in a non-final state (checked); says whether it is."""
    with connection.transaction():
        connection.execute("select 1 from smp.send where send_id = %s for update", (send.send_id,))
        updated = connection.execute(
            "update smp.send set state = 'finished', finished_at = coalesce(finished_at, %s),"
            " changed_tx = pg_current_xact_id()"
            " where send_id = %s and state in ('open', 'finished') and not exists"
            " (select 1 from smp.message where send_id = %s and state in ('planned', 'claimed'))",
            (now, send.send_id, send.send_id),
        )
        return updated.rowcount == 1


def totals(connection: Connection, send: Send) -> Totals:
    """The counts of a send as they are now."""
    found = connection.execute(engine_sql("ledger/totals.sql"), {"send_id": send.send_id}).fetchall()
    states: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for state, reason, count, _retry, _lease in found:
        states[state] += count
        if reason and state in ("skipped", "rejected", "unknown"):
            reasons[reason] += count
    retries = [row[3] for row in found if row[3] is not None and row[0] == "planned"]
    leases = [row[4] for row in found if row[4] is not None and row[0] == "claimed"]
    waits_for_retry = bool(retries) and not any(row[0] == "planned" and row[3] is None for row in found)
    return Totals(
        **states,
        reasons=dict(reasons.most_common()),
        next_retry=min(retries) if waits_for_retry else None,
        last_lease=max(leases, default=None),
    )


def verify(connection: Connection, send_id: int | None = None) -> list[Verdict]:
    """The identity of every send, or of one (X3)."""
    found = connection.execute(engine_sql("ledger/verify.sql"), {"send_id": send_id}).fetchall()
    return [Verdict(*row) for row in found]
