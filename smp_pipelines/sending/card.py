"""The person card: who somebody is, and every contact moment, read from the ledger itself."""

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
    """One line of the card: a step at a moment, and how it ended, with the reason in words."""

    moment: datetime
    step: str
    record_id: int | None
    outcome: str
    why: str


@dataclass(frozen=True)
class Card:
    """A person with their contact moments, newest first."""

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
        CardMoment(moment, step, record, outcome, explain(reason) if reason else "")
        for moment, step, record, outcome, reason in found
    ]
    return Card(person_id, full_name(person), person["email"], moments)
