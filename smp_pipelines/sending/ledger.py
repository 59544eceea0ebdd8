"""The ledger: sends and their messages in Postgres. One row per send and recipient key; nothing is sent without one.

The states of a message: planned → claimed → accepted, rejected or unknown; or skipped, with a
reason, at planning or at the claim. A claim that was certainly not handed over goes back to planned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, LiteralString, NamedTuple
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from psycopg import sql

from smp_pipelines.campaign.calendar import is_quiet
from smp_pipelines.campaign.models import Record
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import address
from smp_pipelines.stores.postgres import Connection, engine_sql

Purpose = Literal["live", "internal", "test"]
LEASE = timedelta(seconds=30)
"""How long a worker may keep a claim; long before that it begins with no other mail."""


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
    """What the claim checks for a step, besides the person's own record; `zone` tells when it is night.

    consent: whether the person's yes or no to the topic counts; it does not for internal and test mails.
    any_hour: whether it may leave at night too: a test mail, and an answer that somebody waits for (F05, F28).
    """

    zone: ZoneInfo
    channel: str
    topic: str
    opt_in: bool
    deduplicate: bool
    record: Record | None = None
    block: str | None = None
    consent: bool = True
    any_hour: bool = False

    def is_night(self, now: datetime) -> bool:
        """Whether the quiet hours keep mails back at this moment (F22)."""
        return not self.any_hour and is_quiet(now.astimezone(self.zone).time())


class Claimed(NamedTuple):
    """A message in the hands of this worker, with the address that the claim judged."""

    recipient_key: UUID
    seq: int
    person_id: int
    record_id: int | None
    attempts: int
    address: str


@dataclass(frozen=True)
class Claim:
    """A batch of messages under one token; `skipped` counts the rows that the rules refused."""

    token: UUID
    messages: list[Claimed]
    skipped: Counter[str]


class Outcome(NamedTuple):
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

    @property
    def open(self) -> int:
        """Rows that are not final yet."""
        return self.planned + self.claimed

    @property
    def all(self) -> int:
        """All rows of the send."""
        return self.open + self.accepted + self.rejected + self.unknown + self.skipped


@dataclass(frozen=True)
class Waiting:
    """What is left of a send: rows that are not final, and the moment from which one of them can be taken up."""

    rows: int
    next_at: datetime | None


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
    connection: Connection,
    send_key: str,
    step: str,
    moment: datetime,
    now: datetime,
    run_id: str | None,
    purpose: Purpose = "live",
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


def unfinished_sends(connection: Connection, now: datetime) -> list[Send]:
    """Sends that are not finished and with which there is something to do at this moment, oldest first.

    A send of which every row is in the hands of a worker, or put off until later, is not among them.
    """
    found = connection.execute(engine_sql("ledger/unfinished.sql"), {"now": now})
    return [Send(*row) for row in found]


def step_sends(connection: Connection, step: str, limit: int = 10) -> list[Send]:
    """The latest sends of a step, newest first."""
    found = connection.execute(_SEND + " where step = %s order by send_id desc limit %s", (step, limit))
    return [Send(*row) for row in found]


def claim(
    connection: Connection,
    send: Send,
    rules: ClaimRules,
    now: datetime,
    batch: int,
    *,
    token: UUID | None = None,
    after: int = -1,
) -> Claim:
    """Claim up to `batch` rows of a send; the rules are read in the claiming statement. None at night (F22).

    `token` is the worker's own. Fresh rows are looked for behind the sequence number `after`, which
    only spares the walk over rows that this worker has seen gone; what is behind it, somebody has to ask for again.
    """
    token = token or uuid4()
    if rules.is_night(now):
        return Claim(token, [], Counter())
    query = sql.SQL(engine_sql("ledger/claim.sql")).format(**_record_parts(rules))
    parameters = {
        "send_id": send.send_id,
        "step": send.step,
        "needs_live": send.purpose != "test",
        "after": after,
        "consent": rules.consent and send.purpose == "live",
        "now": now,
        "batch": batch,
        "token": token,
        "lease": LEASE,
        **address.POSTGRES_RULE,
        "channel": rules.channel,
        "topic": rules.topic,
        "opt_in": rules.opt_in,
        "deduplicate": rules.deduplicate,
    }
    with connection.transaction():
        found = connection.execute(query, parameters).fetchall()
    messages = [Claimed(*row[:6]) for row in found if row[6] == "claimed"]
    skipped = Counter(row[7] for row in found if row[6] == "skipped")
    return Claim(token, sorted(messages, key=lambda message: message.seq), skipped)


def _record_parts(rules: ClaimRules) -> dict[str, sql.Composable]:
    if rules.record is None:
        return {"record_rule": sql.SQL(""), "record_join": sql.SQL("")}
    key = sql.Identifier(rules.record.key)
    gone = sql.SQL("when r.{} is null then 'record_gone'").format(key)
    blocked = (
        sql.SQL(" when r.{} then 'record_blocked'").format(sql.Identifier(rules.block)) if rules.block else sql.SQL("")
    )
    table = sql.Identifier(*rules.record.table.split("."))
    return {
        "record_rule": gone + blocked,
        "record_join": sql.SQL("left join {} as r on r.{} = c.record_id").format(table, key),
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
        "responses": [_storable(outcome.response) for outcome in outcomes],
        "retry_ats": [outcome.retry_at for outcome in outcomes],
    }
    with connection.transaction():
        return _written(connection, send, connection.execute(engine_sql("ledger/settle.sql"), parameters).fetchall())


def _storable(text: str | None) -> str | None:
    # a mail server may answer with any bytes; what Postgres cannot hold must not cost the outcome
    return None if text is None else text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def put_back(
    connection: Connection, send: Send, token: UUID, keys: Sequence[UUID], retry_ats: Sequence[datetime]
) -> None:
    """Give back claimed messages that were not begun, each until its own moment. Only the token's holder may."""
    parameters = {"send_id": send.send_id, "token": token, "keys": list(keys), "retry_ats": list(retry_ats)}
    connection.execute(engine_sql("ledger/put_back.sql"), parameters)


def release(connection: Connection, send: Send, token: UUID, keys: Sequence[UUID]) -> int:
    """Give back claimed messages that were certainly not handed over; says how many. Only the token's holder may."""
    if not keys:
        return 0
    parameters = {"send_id": send.send_id, "token": token, "keys": list(keys)}
    with connection.transaction():
        return _written(connection, send, connection.execute(engine_sql("ledger/release.sql"), parameters).fetchall())


def _written(connection: Connection, send: Send, rows: Sequence[tuple[bool]]) -> int:
    """How many rows were written; each says whether that was after its lease, which concerns the send as well."""
    if any(late for (late,) in rows):
        connection.execute(engine_sql("ledger/late.sql"), {"send_id": send.send_id})
    return len(rows)


def expire(connection: Connection, send: Send, now: datetime) -> int:
    """Turn claims whose lease has passed into `unknown`; says how many."""
    with connection.transaction():
        return connection.execute(engine_sql("ledger/expire.sql"), {"send_id": send.send_id, "now": now}).rowcount


def finish(connection: Connection, send: Send, now: datetime) -> bool:
    """Mark a send finished when no row is left in a non-final state (checked); says whether it is."""
    with connection.transaction():
        found = connection.execute(
            "select state from smp.send where send_id = %s for update", (send.send_id,)
        ).fetchone()
        if found == ("finished",):
            return True
        updated = connection.execute(
            "update smp.send set state = 'finished', finished_at = %s, changed_tx = pg_current_xact_id()"
            " where send_id = %s and state = 'open'"
            " and not exists (select 1 from smp.message where send_id = %s and state = 'planned')"
            " and not exists (select 1 from smp.message where send_id = %s and state = 'claimed')",
            (now, send.send_id, send.send_id, send.send_id),
        )
        return updated.rowcount == 1


def waiting(connection: Connection, send: Send, now: datetime) -> Waiting:
    """What is left of a send (reads the open rows only)."""
    found = connection.execute(engine_sql("ledger/waiting.sql"), {"send_id": send.send_id, "now": now}).fetchone()
    return Waiting(*(found or (0, None)))


def totals(connection: Connection, send: Send) -> Totals:
    """The counts of a send as they are now."""
    found = connection.execute(engine_sql("ledger/totals.sql"), {"send_id": send.send_id}).fetchall()
    states: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for state, reason, count in found:
        states[state] += count
        if reason and state in ("skipped", "rejected", "unknown"):
            reasons[reason] += count
    return Totals(**states, reasons=dict(reasons.most_common()))


def verify(connection: Connection, send_id: int | None = None) -> list[Verdict]:
    """The identity of every send, or of one (X3)."""
    found = connection.execute(engine_sql("ledger/verify.sql"), {"send_id": send_id}).fetchall()
    return [Verdict(*row) for row in found]
