"""Contact moments of a few people: when they received a step, the value found for a predicate about that."""

# ruff: noqa: S608  ids are whole numbers
from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import duckdb

from smp_pipelines.stores.lake import literal, rows
from smp_pipelines.stores.postgres import engine_sql

_FEW = 3
"""So many people are looked up one by one; more of them all at once."""


@dataclass(frozen=True)
class Received:
    """A person received a step, themselves or (`by`) somebody with the same address."""

    person_id: int
    step: str
    happened_at: datetime
    record_id: int | None
    by: int


def near_people(connection: duckdb.DuckDBPyConnection, people: Collection[int]) -> list[int]:
    """These people and all who share an address with one of them."""
    found = {person for (person,) in rows(connection, engine_sql("why/near_person.sql").format(people=_list(people)))}
    return sorted(found | set(people))


def gather_near(connection: duckdb.DuckDBPyConnection, near: Collection[int]) -> None:
    """Write what the lake has of these people to temporary tables: `near_person`, `near_message`, `near_moment`.

    `near` holds everybody who shares an address with one of them.
    """
    # DuckDB skips what cannot match for `=`, not for a list of values
    wanted = [f"person_id = {int(each)}" for each in near] if len(near) <= _FEW else [f"person_id in ({_list(near)})"]
    messages = " union all ".join(f"select * from smp.message where {each}" for each in wanted)
    connection.execute(engine_sql("why/near_message.sql").format(messages=messages, people=_list(near)))


def moments_of(
    connection: duckdb.DuckDBPyConnection, people: Collection[int], steps: Sequence[str], *, sharing: bool, near: bool
) -> dict[int, list[Received]]:
    """What these people received of these steps; when `sharing`, what went to their address as well.

    With `near` it is read from the tables of `gather_near`.
    """
    query = engine_sql("why/received.sql" if sharing else "why/received_themselves.sql").format(
        people=_list(people),
        steps=", ".join(literal(step) for step in steps),
        person="temp.near_person" if near else "crm.person",
        moment="temp.near_moment" if near else "smp.contact_moment",
    )
    found: dict[int, list[Received]] = defaultdict(list)
    for person, *moment in rows(connection, query):
        found[person].append(Received(person, *moment))
    return found


def _list(numbers: Collection[int]) -> str:
    return ", ".join(str(int(number)) for number in numbers)
