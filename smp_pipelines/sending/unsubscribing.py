"""Unsubscribing: whoever got a mail says no to its topic, by the link in it. Nobody needs to log in for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import Connection, engine_sql

Source = Literal["one_click", "unsubscribe_page"]


class UnknownMailError(SmpError):
    """The ledger has no such mail."""


@dataclass(frozen=True)
class Mailed:
    """A mail that somebody wants no more of.

    ref: its step, None when the project has it no longer. topics: what a no is about; of a step that is gone
    nobody knows, so it is all topics. already: whether there is a no to all of them.
    """

    send_id: int
    recipient_key: UUID
    ref: StepRef | None
    topics: tuple[str, ...]
    already: bool


def read_mailed(connection: Connection, project: LoadedProject, send_id: int, recipient_key: UUID) -> Mailed:
    """The mail that an unsubscribe link is in. Only reads. Raises UnknownMailError when the ledger has none."""
    found = connection.execute(
        "select s.step from smp.message as m join smp.send as s using (send_id)"
        " where m.send_id = %s and m.recipient_key = %s",
        (send_id, recipient_key),
    ).fetchone()
    if found is None:
        raise UnknownMailError("the mail that this link comes from is no longer known here")
    ref = next((ref for ref in project.steps() if ref.key == found[0]), None)
    topics = (ref.step.topic,) if ref else tuple(project.settings.topics)
    parameters = {"send_id": send_id, "recipient_key": recipient_key, "topics": list(topics)}
    row = connection.execute(engine_sql("ledger/unsubscribed.sql"), parameters).fetchone()
    return Mailed(send_id, recipient_key, ref, topics, bool(row and row[0]))


def unsubscribe(connection: Connection, mailed: Mailed, source: Source, wording: str, now: datetime) -> int:
    """Write down the no: for the person, and for whoever shares the mailbox that this one mail was for.

    A family with one address gets one mail (F24); without the others the next one would come all the same.
    Says how many rows of crm.consent it wrote: 0 when there was a no already, or nobody is left to say one. If it
    wrote any, it is written down too which mail it was that made somebody unsubscribe (F48).
    """
    parameters = {
        "send_id": mailed.send_id,
        "recipient_key": mailed.recipient_key,
        "topics": list(mailed.topics),
        "source": source,
        "wording": wording,
        "now": now,
    }
    with connection.transaction():
        noted = connection.execute(engine_sql("ledger/unsubscribe.sql"), parameters).fetchone()
    return int(noted[0]) if noted else 0


def topic_names(project: LoadedProject, topics: Sequence[str]) -> list[str]:
    """What readers call topics: `topic_names` in smp.yaml; a topic without one by the campaigns that mail about it."""
    given = project.settings.topic_names
    names = [given[topic] for topic in topics if topic in given]
    names += [
        project.campaigns[ref.campaign].name
        for ref in project.steps()
        if ref.step.topic in topics and ref.step.topic not in given and ref.step.internal is None
    ]
    return list(dict.fromkeys(names))
