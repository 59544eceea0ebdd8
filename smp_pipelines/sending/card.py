"""The person card: who somebody is, and every contact moment, read from the ledger and the hits themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import dict_row

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.context import full_name
from smp_pipelines.sending.reasons import explain
from smp_pipelines.stores.postgres import Connection, engine_sql


@dataclass(frozen=True)
class CardMoment:
    """One line of the card: what happened (`kind`) in which step at what moment, and how it ended.

    outcome: of a mail its state in the ledger; else happened, or unconfirmed. why: the reason in words; of a click
    where it led.
    """

    moment: datetime
    step: str
    kind: str
    record_id: int | None
    outcome: str
    why: str


@dataclass(frozen=True)
class Card:
    """A person with their latest contact moments (at most 200), newest first."""

    person_id: int
    name: str
    email: str | None
    moments: list[CardMoment]


def read_card(connection: Connection, person_id: int) -> Card:
    """The card of one person (F15). Raises SmpError when there is nobody with this id."""
    with connection.cursor(row_factory=dict_row) as cursor:
        person = cursor.execute("select * from crm.person where person_id = %s", (person_id,)).fetchone()
    if person is None:
        raise SmpError(f"there is no person {person_id}")
    found = connection.execute(engine_sql("ledger/card.sql"), {"person_id": person_id}).fetchall()
    moments = [
        CardMoment(moment, step, kind, record, outcome, _words(outcome, reason, link))
        for moment, step, kind, record, outcome, reason, link, _send in found
    ]
    return Card(person_id, full_name(person), person["email"], moments)


def _words(outcome: str, reason: str | None, link: str | None) -> str:
    if outcome == "unconfirmed":
        return "the link in the mail that asks for it was not followed yet"
    return explain(reason) if reason else link or ""
