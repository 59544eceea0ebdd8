"""Proof: that a send mailed nobody twice and lost nobody (X3), in words that a person can check.

That no recipient key stands twice in a send is the table's primary key; a worker mails the address
whose key it claimed and no other (`ledger.claim`), so under de-duplication (F24) no address is mailed
twice either. Here is checked what a constraint cannot say: that the counts add up, and that people
do not stand in one send under two keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.ledger import Verdict
from smp_pipelines.sending.reasons import explain
from smp_pipelines.stores.postgres import Connection, engine_sql

_FINDINGS = {
    "twice": "{} people are in this send more than once",
    "no_reason": "{} rows are skipped without a reason",
    "no_other": "{} people were left out for somebody with the same address who is not in the send",
}


@dataclass(frozen=True)
class Proof:
    """The identity of one send and everything that is wrong with it, in words; no words: it holds."""

    verdict: Verdict
    findings: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether the identity holds and nothing was found."""
        return self.verdict.holds and not self.findings

    @property
    def sentence(self) -> str:
        """The identity, e.g. `10 planned = 8 accepted + 0 rejected + 0 unknown + 2 skipped`."""
        v = self.verdict
        parts = [(v.accepted, "accepted"), (v.rejected, "rejected"), (v.unknown, "unknown"), (v.skipped, "skipped")]
        if v.open:
            parts.append((v.open, "waiting"))
        sign = "=" if v.planned == sum(count for count, _name in parts) else "≠"
        return f"{v.planned:,} planned {sign} " + " + ".join(f"{count:,} {name}" for count, name in parts)


def prove(connection: Connection, send_id: int | None = None) -> list[Proof]:
    """Check one send, or all. Raises SmpError for a send of which there is nothing, not even a lost row.

    That nobody stands in a send twice under two keys is checked only when one send is asked for: for
    all of them at once that would take ten times as long as everything else.
    """
    verdicts = ledger.verify(connection, send_id)
    if send_id is not None and not verdicts:
        raise SmpError(f"there is no send {send_id}; `smp send list` shows them")
    by_send: dict[int, list[str]] = {}
    for number, finding, count in connection.execute(engine_sql("ledger/findings.sql"), {"send_id": send_id}):
        by_send.setdefault(number, []).append(_FINDINGS[finding].format(f"{count:,}"))
    general = [] if _is_unique(connection) else ["the database does not refuse a second row for a recipient any more"]
    return [Proof(each, [*general, *_miscounted(each), *by_send.get(each.send_id, [])]) for each in verdicts]


def read_reasons(connection: Connection, send_id: int) -> list[tuple[str, int, str]]:
    """Why people of a send got no mail for certain: (state, how many, why in words), most first."""
    found = connection.execute(engine_sql("ledger/totals.sql"), {"send_id": send_id}).fetchall()
    told = [(state, int(count), explain(reason)) for state, reason, count in found if reason]
    return sorted(told, key=lambda each: -each[1])


def _miscounted(verdict: Verdict) -> Iterator[str]:
    lost = verdict.planned - verdict.in_ledger
    if verdict.send_key == "no such send":
        yield f"{verdict.in_ledger:,} rows belong to a send that is not there"
        return
    if lost > 0:
        yield f"{lost:,} of {verdict.planned:,} planned rows are not in the ledger"
    elif lost < 0:
        yield f"{-lost:,} rows are in the ledger that were never planned"
    if verdict.open and verdict.state == "finished":
        yield f"the send is finished, and {verdict.open:,} rows still wait"


def _is_unique(connection: Connection) -> bool:
    found = connection.execute(
        "select 1 from pg_index where indrelid = 'smp.message'::regclass and indisprimary and indisvalid"
    )
    return found.fetchone() is not None
