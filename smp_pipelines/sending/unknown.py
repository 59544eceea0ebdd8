"""Unknown: the mails of which nobody knows whether they left, and how a person or a transport resolves them.

Nothing here is ever sent again by itself (invariant 1). Whoever resolves a row says on what evidence,
and that is kept. A resolved row has no claim token any more, so that a late answer of the worker that
once had it in hand cannot change what was decided.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.cancelling import is_cancelled
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.reasons import explain
from smp_pipelines.sending.transport import Kind, Transport
from smp_pipelines.stores.postgres import Connection, engine_sql

Resolved = Literal["accepted", "rejected", "planned"]
"""What an unknown row can become. `planned`: it certainly did not leave, so it is sent after all."""

_BATCH = 500
"""Message-IDs that a transport is asked about at a time."""
_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"']+@[^\s<>()\[\],;:\"']+")
_BECOMES: dict[Kind, Resolved] = {"accepted": "accepted", "refused": "rejected", "later": "planned"}


@dataclass(frozen=True)
class Unknown:
    """One mail of which nobody knows whether it left: who and what it was for, why, since when, the last response."""

    send_id: int
    recipient_key: UUID
    seq: int
    person_id: int
    record_id: int | None
    reason: str
    since: datetime
    response: str | None

    @property
    def why(self) -> str:
        """The reason in words."""
        return explain(self.reason)


def list_unknown(connection: Connection, send_id: int | None = None, limit: int | None = None) -> list[Unknown]:
    """The unknown rows of one send, or of all; at most `limit`. Addresses in a server's answer are left out."""
    found = connection.execute(engine_sql("ledger/unknown.sql"), {"send_id": send_id, "limit": limit})
    return [replace(Unknown(*row), response=_without_addresses(row[-1])) for row in found]


def count_unknown(connection: Connection, send_id: int | None = None) -> int:
    """How many rows of one send, or of all, are unknown."""
    found = connection.execute(
        "select count(*) from smp.message where state = 'unknown' and (%s::bigint is null or send_id = %s)",
        (send_id, send_id),
    ).fetchone()
    return int(found[0]) if found else 0


def resolve(
    connection: Connection,
    send: Send,
    which: Sequence[UUID] | Sequence[int] | Literal["all"],
    to: Resolved,
    now: datetime,
    by: str,
    evidence: str,
) -> int:
    """Write down what became of unknown rows, named by recipient key or by number in the send; says how many.

    `planned` sends them after all: a finished send is opened again for that. Raises SmpError, and
    changes nothing, when a named row is not unknown (any more), when nobody or no evidence is
    named, and when a mail of a cancelled send would leave.
    """
    if not by.strip() or not evidence.strip():
        raise SmpError("say who resolves this and on what evidence: both are kept")
    with connection.transaction():
        if to == "planned" and is_cancelled(connection, send):
            raise SmpError(f"send {send.send_id} was cancelled: nothing of it is sent again; resolve as rejected")
        keys = _undecided(connection, send, which)
        return _write(connection, send, keys, [to] * len(keys), [evidence.strip()] * len(keys), now, by.strip())


def look_up(
    connection: Connection, send: Send, transport: Transport, message_id: Callable[[UUID], str], now: datetime
) -> Counter[str]:
    """Ask the transport what became of the unknown rows of a send, and resolve those that it knows.

    `message_id` gives the Message-ID of a recipient key. The result counts rows by what they became;
    those of which the transport knows nothing stay `unknown`. A mail of which it says that it was not
    taken and may be tried again is sent after all, unless the send was cancelled.
    """
    told: Counter[str] = Counter()
    rows = list_unknown(connection, send.send_id)
    cancelled = is_cancelled(connection, send)
    for start in range(0, len(rows), _BATCH):
        by_id = {message_id(row.recipient_key): row.recipient_key for row in rows[start : start + _BATCH]}
        answers = transport.look_up(list(by_id))
        known = [
            (by_id[each], _BECOMES[answer.kind], answer.response or answer.kind)
            for each, answer in answers.items()
            if each in by_id and answer.kind in _BECOMES
        ]
        if cancelled:
            known = [(key, "rejected" if to == "planned" else to, evidence) for key, to, evidence in known]
        with connection.transaction():
            open_still = set(_undecided(connection, send, [key for key, _to, _evidence in known], strict=False))
            written = [each for each in known if each[0] in open_still]
            keys, states, evidences = ([each[place] for each in written] for place in range(3))
            _write(connection, send, keys, states, evidences, now, f"transport {transport.name}")  # type: ignore[arg-type]
        told.update(to for _key, to, _evidence in written)
    told["unknown"] = count_unknown(connection, send.send_id)
    return told


def _undecided(
    connection: Connection, send: Send, which: Sequence[UUID] | Sequence[int] | Literal["all"], *, strict: bool = True
) -> list[UUID]:
    """The keys of the rows that are unknown now, locked; strict: SmpError when one of those named is not."""
    named = [] if which == "all" else list(which)
    parameters = {
        "send_id": send.send_id,
        "all": which == "all",
        "keys": [each for each in named if isinstance(each, UUID)],
        "seqs": [each for each in named if isinstance(each, int)],
    }
    found = connection.execute(engine_sql("ledger/undecided.sql"), parameters).fetchall()
    there = {value for row in found for value in row}
    missing = [str(each) for each in dict.fromkeys(named) if each not in there]
    if strict and missing:
        raise SmpError(
            f"row {', '.join(missing[:10])} of send {send.send_id} is not unknown (any more); nothing was changed: "
            f"`smp ledger unknown {send.send_id}` shows what is"
        )
    return [key for key, _seq in found]


def _write(
    connection: Connection,
    send: Send,
    keys: Sequence[UUID],
    states: Sequence[Resolved],
    evidence: Sequence[str],
    now: datetime,
    by: str,
) -> int:
    if not keys:
        return 0
    parameters = {
        "send_id": send.send_id,
        "keys": list(keys),
        "states": list(states),
        "evidence": [_without_addresses(each) for each in evidence],
        "now": now,
        "by": by,
    }
    written = connection.execute(engine_sql("ledger/resolve.sql"), parameters).rowcount
    # the mirror reads the send again; it goes on when something is to be sent after all
    connection.execute(engine_sql("ledger/late.sql"), {"send_id": send.send_id})
    return written


def _without_addresses(text: str | None) -> str | None:
    # mail servers like to repeat the recipient; the ledger's lists and its audit name nobody
    return None if text is None else _ADDRESS.sub("(address)", text.replace("\x00", ""))
