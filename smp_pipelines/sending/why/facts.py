"""The facts behind "why (not) me": what planning would make of some people, judged by planning's own query.

Only these people and those who share an address with them are looked at, so that it is quick among ten million.
"""

# ruff: noqa: S608  values are whole numbers
from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb

from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.sending.cap import Cap
from smp_pipelines.sending.ledger import ClaimRules
from smp_pipelines.sending.planning import judging_query, judging_values
from smp_pipelines.sending.target.group import reached_query
from smp_pipelines.sending.target.used import leaves_out
from smp_pipelines.stores.lake import identifier, literal, rows
from smp_pipelines.stores.postgres import Connection, engine_sql

_PARAMETER = re.compile(r"\$([a-z_]+)")


@dataclass(frozen=True)
class Planned:
    """What planning makes of one selected row: its state, the reason, and who gets the mail instead."""

    person_id: int
    record_id: int | None
    state: str
    reason: str | None
    winner: int | None


@dataclass(frozen=True)
class Facts:
    """What the rules look at for one person, with one linked record where they are selected with one."""

    person_id: int
    selected: bool
    record_id: int | None
    known: bool
    blocked: bool
    has_address: bool
    broken: bool
    suppressed_for: str | None
    suppressed_since: datetime | None
    granted: bool | None
    consent_changed_at: datetime | None
    consent_source: str | None
    record_known: bool | None
    record_blocked: bool | None
    record_title: str | None


@dataclass(frozen=True)
class Mail:
    """A mail that somebody received, themselves or at their address."""

    person_id: int
    step: str
    happened_at: datetime


@dataclass(frozen=True)
class Reached:
    """Somebody was reached by a step before, themselves or (`via`) somebody with the same address."""

    person_id: int
    record_id: int | None
    happened_at: datetime
    via: int


@dataclass(frozen=True)
class InLedger:
    """A row of the ledger: what became of somebody in a send of the step."""

    person_id: int
    send_id: int
    send_key: str
    moment: datetime
    record_id: int | None
    outcome: str
    reason: str | None
    settled_at: datetime | None


def near_in_crm(connection: Connection, people: Collection[int]) -> list[int]:
    """These people and all who share an address with one of them, by the CRM as it is now."""
    found = connection.execute(engine_sql("why/near_in_crm.sql"), {"people": list(people)})
    return sorted({person for (person,) in found} | set(people))


def mails_under(connection: duckdb.DuckDBPyConnection, people: Collection[int], cap: Cap | None) -> list[Mail]:
    """The mails of these people that count for the frequency cap, the latest first; none without a cap.

    Read, as `used`, from what `gather_near` wrote.
    """
    if cap is None:
        return []
    query = engine_sql("why/mails.sql").format(
        people=numbers(people), since=_moment(cap.since), exempt=_texts(cap.exempt)
    )
    return [Mail(person, step, moment) for person, step, moment, _send in rows(connection, query)]


def used(
    connection: duckdb.DuckDBPyConnection,
    project: LoadedProject,
    ref: StepRef,
    people: Collection[int],
    moment: datetime,
    selected: datetime,
) -> list[Mail]:
    """What these people got of other steps of the campaign that keeps them out of this one, the latest first (F55)."""
    others = [each for each in project.steps() if each.campaign == ref.campaign and each.key != ref.key]
    strict = [each.key for each in others if leaves_out(each)]
    every = leaves_out(ref)
    if not every and (not strict or ref.step.purpose != "live"):
        return []
    query = engine_sql("why/used.sql").format(
        people=numbers(people),
        step=literal(ref.key),
        campaign=literal(ref.campaign),
        every=str(every).lower(),
        strict=_texts([] if every else strict),
        moment=_moment(moment),
        selected=_moment(selected),
    )
    return [Mail(*row) for row in rows(connection, query)]


def held(connection: Connection, project: LoadedProject, ref: StepRef, people: Collection[int]) -> list[Mail]:
    """Which frozen groups of other steps of the campaign hold these people, so that this step leaves them out (F55)."""
    if not leaves_out(ref) or ref.step.is_frozen:
        return []
    steps = [each.key for each in project.steps() if each.campaign == ref.campaign and each.step.is_frozen]
    found = connection.execute(
        "select person_id, step, since from smp.target_member"
        " where linked and step = any (%s) and person_id = any (%s)",
        (steps, list(people)),
    )
    return [Mail(*row) for row in found]


def with_sharing(connection: duckdb.DuckDBPyConnection, used_mails: Sequence[Mail]) -> list[Mail]:
    """The same mails, and each for everybody who shares an address with the one it went to, as planning has it.

    Read from what `gather_near` wrote.
    """
    sharing = defaultdict(list)
    for person, other in rows(connection, engine_sql("why/sharing.sql")):
        sharing[person].append(other)
    found = [*used_mails, *(replace(mail, person_id=other) for mail in used_mails for other in sharing[mail.person_id])]
    return sorted(dict.fromkeys(found), key=lambda mail: mail.happened_at, reverse=True)


def reached(connection: duckdb.DuckDBPyConnection, ref: StepRef) -> list[Reached]:
    """What planning of a frozen group sees of these people: who was reached by the step before, the latest first.

    Read from what `gather_near` wrote.
    """
    query = reached_query(ref, moment="temp.near_moment", person="temp.near_person")
    ordered = f"from ({query}) order by happened_at desc, via = person_id desc"
    return [Reached(*row) for row in rows(connection, ordered)]


def in_ledger(
    connection: duckdb.DuckDBPyConnection, ref: StepRef, people: Collection[int], until: datetime, *, near: bool
) -> dict[int, list[InLedger]]:
    """What the ledger says of these people in sends of the step up to a moment, the latest first.

    With `near` it is read from what `gather_near` wrote.
    """
    query = engine_sql("why/got.sql").format(
        messages="temp.near_message" if near else "smp.message",
        people=numbers(people),
        step=literal(ref.key),
        purpose=literal(ref.step.purpose),
        moment=_moment(until),
    )
    found: dict[int, list[InLedger]] = defaultdict(list)
    for row in rows(connection, query):
        found[row[0]].append(InLedger(*row))
    return found


def load_selected(
    connection: duckdb.DuckDBPyConnection, rules: ClaimRules, selected: Sequence[tuple[int, int | None]]
) -> None:
    """Write who is selected, with which record, to the connection's `temp.why_selected`."""
    record = identifier(rules.record.key if rules.record else "record_id")
    connection.execute(f"create or replace temp table why_selected (person_id bigint, {record} bigint)")
    _fill(connection, "why_selected", selected)


def judge_rows(
    connection: duckdb.DuckDBPyConnection,
    rules: ClaimRules,
    cap: Cap | None,
    mails: Sequence[Mail],
    used_people: Collection[int],
) -> list[Planned]:
    """What planning makes of everybody in `temp.why_selected`, by the query that plans sends."""
    connection.execute("create or replace temp table received (person_id bigint, mails bigint)")
    _fill(connection, "received", list(Counter(mail.person_id for mail in mails).items()))
    connection.execute("create or replace temp table used_in_campaign (person_id bigint)")
    _fill(connection, "used_in_campaign", [(person,) for person in used_people])
    query = judging_query(rules, "temp.why_selected as people")
    found = rows(connection, _with_values(f"from ({query})", judging_values(rules, cap)))
    winners = {key: person for key, _seq, person, _record, state, _reason, _of in found if state == "planned"}
    return [
        Planned(person, record, state, reason, winners.get(of))
        for _key, _seq, person, record, state, reason, of in found
    ]


def facts_of(connection: duckdb.DuckDBPyConnection, rules: ClaimRules, people: Collection[int]) -> list[Facts]:
    """The facts of these people, once for each record that they are selected with, in order."""
    record = rules.record
    schema, _, table = record.table.partition(".") if record else ("", "", "")
    query = engine_sql("why/facts.sql").format(
        people=numbers(people),
        record_id=identifier(record.key if record else "record_id"),
        record_known=f"r.{identifier(record.key)} is not null" if record else "null",
        record_blocked=f"r.{identifier(rules.block)}" if record and rules.block else "null",
        record_title=f"r.{identifier(record.title)}" if record else "null",
        record_join=(
            f"left join {identifier(schema)}.{identifier(table)} as r on r.{identifier(record.key)} = s.record_id"
            if record
            else ""
        ),
    )
    return [Facts(*row) for row in rows(connection, _with_values(query, judging_values(rules, None)))]


def numbers(values: Collection[int]) -> str:
    """Whole numbers as a list in SQL; written out, for a bound parameter costs a command two seconds."""
    return ", ".join(str(int(value)) for value in values)


def _texts(values: Sequence[str]) -> str:
    return ", ".join(literal(value) for value in values) or "''"


def _moment(moment: datetime) -> str:
    return f"{literal(moment.isoformat())}::timestamptz"


def _fill(connection: duckdb.DuckDBPyConnection, table: str, values: Sequence[tuple[int | None, ...]]) -> None:
    if values:
        lines = (", ".join("null" if each is None else str(int(each)) for each in row) for row in values)
        connection.execute(f"insert into {table} values {', '.join(f'({line})' for line in lines)}")


def _with_values(query: str, values: Mapping[str, object]) -> str:
    """The query with literals in the place of its parameters: binding would make DuckDB import pandas."""

    def written(name: str) -> str:
        value = values[name]
        if value is None:
            return "null"
        if isinstance(value, bool | int):
            return str(value).lower()
        return literal(str(value))

    return _PARAMETER.sub(lambda found: written(found[1]), query)
