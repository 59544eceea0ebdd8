"""Admission: a selection that suddenly has many more people waits for a yes before they enter a flow (F44).

A yes enrols them at the next look; a no takes them for people who were in the selection all along. An answer is for
the number that was asked about: when it has grown a lot since, the question is asked anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import Connection, engine_sql


@dataclass(frozen=True)
class Admission:
    """A question: so many people are new in the selection of a trigger. answer: None while nobody said anything."""

    admission_id: int
    flow: str
    source: str
    people: int
    asked_at: datetime
    answer: bool | None = None


def read_open(connection: Connection, flow: str | None = None) -> list[Admission]:
    """The questions that nobody answered yet, of one flow or of all, oldest first."""
    found = connection.execute(
        "select admission_id, flow, source, people, asked_at from smp.flow_admission join smp.flow using (flow_id)"
        " where answer is null and (%(flow)s::text is null or flow = %(flow)s) order by admission_id",
        {"flow": flow},
    )
    return [Admission(*row) for row in found]


def answer(connection: Connection, flow: str, yes: bool, now: datetime, by: str) -> list[Admission]:
    """Answer every open question of a flow; the answers are kept in its audit. Raises SmpError when there is none."""
    if not by.strip():
        raise SmpError("an answer needs the name of who gives it")
    found = connection.execute(
        engine_sql("flow/admission/answer.sql"),
        {"flow": flow, "yes": yes, "now": now, "by": by.strip(), "change": "admit" if yes else "decline"},
    ).fetchall()
    if not found:
        raise SmpError(f"flow {flow} asks nothing: nobody waits to be admitted")
    return [Admission(*row) for row in found]


def read_waiting(connection: Connection, flow_id: int, source: str) -> Admission | None:
    """The question about a source that is open, or answered and not acted upon yet; None without."""
    found = connection.execute(engine_sql("flow/admission/waiting.sql"), {"flow_id": flow_id, "source": source})
    row = found.fetchone()
    return None if row is None else Admission(*row)


def decide(
    connection: Connection, flow_id: int, source: str, people: int, ask_above: int, now: datetime
) -> bool | None:
    """Whether so many people, new in the selection of a source, may enter; False: take note of them only.

    None: somebody has to say so first. Call it within the transaction that enrols them, for an answer counts once.
    """
    waiting = read_waiting(connection, flow_id, source)
    covered = ask_above
    if waiting is not None and waiting.answer is None:
        if people == 0:  # the selection is as it was
            connection.execute("delete from flow_admission where admission_id = %s", (waiting.admission_id,))
            return True
        connection.execute(
            "update flow_admission set people = %s where admission_id = %s and people <> %s",
            (people, waiting.admission_id, people),
        )
        return None
    if waiting is not None:
        forget(connection, flow_id, source, now)
        covered += waiting.people
    if people > covered:
        connection.execute(
            "insert into flow_admission (flow_id, source, people, asked_at) values (%s, %s, %s, %s)",
            (flow_id, source, people, now),
        )
        return None
    return True if waiting is None else waiting.answer


def forget(connection: Connection, flow_id: int, source: str, now: datetime) -> None:
    """Take the answers about a source as acted upon."""
    connection.execute(
        "update flow_admission set taken_at = %s"
        " where flow_id = %s and source = %s and answer is not null and taken_at is null",
        (now, flow_id, source),
    )
