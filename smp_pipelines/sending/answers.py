"""Answers: what a mail server's answer means for a row of the ledger."""

from __future__ import annotations

from uuid import UUID

from smp_pipelines.sending.ledger import Outcome
from smp_pipelines.sending.transport import Answer


def final_outcome(key: UUID, answer: Answer) -> Outcome | None:
    """The outcome that an answer settles for good; None for an answer of the kind "later": the mail is tried again."""
    match answer.kind:
        case "accepted":
            return Outcome(key, "accepted", None, answer.response)
        case "refused":
            return Outcome(key, "rejected", "refused", answer.response)
        case "unknown":
            return Outcome(key, "unknown", "connection_lost", answer.response)
        case "later":
            return None
