"""The audience of a past send, exactly as it was: who was selected, and what became of each (X7).

Who was selected is in the lake, at the snapshot of the selection run that the send was planned from; what became of
them is in the ledger. Both hold bare keys: somebody who was erased from the CRM is a number here and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import duckdb

from smp_pipelines.problems import SmpError
from smp_pipelines.selection.history.past import columns_of, rows_of
from smp_pipelines.selection.runs import SelectionRun, read_run
from smp_pipelines.sending.ledger import Send, read_send
from smp_pipelines.sending.reasons import REASONS
from smp_pipelines.sending.target.group import Linked, read_linked
from smp_pipelines.stores.lake import identifier, literal, rows
from smp_pipelines.stores.postgres import Connection, engine_sql

_NOBODY = "select null::bigint as person_id, null::bigint as record_id where false"


@dataclass(frozen=True)
class PlannedFrom:
    """A send with the run that it was planned from (None: its people were given), and an internal one's records.

    about_records: whether its mails had a linked record. linked: the linking of its frozen target group, if it has one.
    """

    send: Send
    run: SelectionRun | None
    records: SelectionRun | None
    about_records: bool
    linked: Linked | None

    @property
    def runs(self) -> list[SelectionRun]:
        """The selection runs of the send, that of the people first."""
        return [run for run in (self.run, self.records) if run is not None]


@dataclass(frozen=True)
class Fate:
    """How many people of a send, selected by its run or not, came to the same end: a state and a reason in words.

    state: None for who was selected and is not in the ledger.
    """

    selected: bool
    state: str | None
    why: str | None
    count: int


class Member(NamedTuple):
    """Somebody of a send's audience: whether the run had them, and what the ledger says."""

    person_id: int
    record_id: int | None
    selected: bool
    state: str | None
    reason: str | None
    why: str | None


@dataclass(frozen=True)
class SentAudience:
    """The people of a send: how they fared, and the first of them. `note`: why the lake cannot say who was selected."""

    planned: PlannedFrom
    fates: list[Fate]
    people: list[Member]
    note: str | None

    def count(self, *, selected: bool | None = None, state: str | None = None) -> int:
        """How many were selected (or not), or are in a state of the ledger."""
        return sum(
            fate.count for fate in self.fates if selected in (None, fate.selected) and state in (None, fate.state)
        )


_COLUMNS = ", ".join(Member._fields)


def read_planned_from(connection: Connection, number: int) -> PlannedFrom:
    """A send with its selection runs. Raises SmpError when there is no such send."""
    send = read_send(connection, number)
    query = (
        "select s.selection_run_id, s.records_run_id,"
        " exists (select from smp.message as m where m.send_id = s.send_id and m.record_id is not null)"
        " from smp.send as s where s.send_id = %s"
    )
    ((people, records, about_records),) = connection.execute(query, (number,)).fetchall()
    found = [None if run is None else read_run(connection, run) for run in (people, records)]
    return PlannedFrom(send, found[0], found[1], about_records, read_linked(connection, send.step))


def read_audience(
    connection: duckdb.DuckDBPyConnection,
    planned: PlannedFrom,
    records: Sequence[str],
    limit: int,
    people: Path | None = None,
) -> SentAudience:
    """Read the audience of a send; `records` are the columns that may hold its linked record, the likeliest first.

    `people` is a CSV file for everybody. Raises SmpError when it cannot be written.
    """
    selected, note = _selected(connection, planned, records)
    ledger = (
        f"select person_id, record_id, state::text, reason from smp.message where send_id = {planned.send.send_id:d}"
    )
    words = ", ".join(f"({literal(reason)}, {literal(text)})" for reason, text in REASONS.items())
    query = engine_sql("selection/audience.sql")
    connection.execute(query.format(selected=selected, ledger=literal(ledger), words=words))
    counted = "select selected, state, coalesce(why, reason), count(*) from temp.audience group by all order by all"
    fates = [Fate(*row) for row in rows(connection, counted)]
    first = [
        Member(*row) for row in rows(connection, f"select {_COLUMNS} from temp.audience order by all limit {limit:d}")
    ]
    if people is not None:
        _write(connection, people)
    return SentAudience(planned, fates, first, note)


def _selected(
    connection: duckdb.DuckDBPyConnection, planned: PlannedFrom, records: Sequence[str]
) -> tuple[str, str | None]:
    """The query of who was selected, with a note when that is not known; then the ledger has to tell."""
    if planned.run is None:
        return _NOBODY, None
    try:
        if planned.records is not None:
            record = _record(connection, planned.records, records)
            shown = f"(select distinct {record} as record_id from {rows_of(planned.records)})"
            return f"select distinct person_id, record_id from {rows_of(planned.run)} cross join {shown}", None
        record = _record(connection, planned.run, records) if planned.about_records else "null::bigint"
        return f"select distinct person_id, {record} as record_id from {rows_of(planned.run)}", None
    except SmpError as error:
        return _NOBODY, str(error).splitlines()[0]


def _record(connection: duckdb.DuckDBPyConnection, run: SelectionRun, records: Sequence[str]) -> str:
    """The column of a run that holds the linked record, quoted; a null when it has none, or is not kept."""
    there = columns_of(connection, run)
    return next((identifier(name) for name in records if name in there), "null::bigint")


def _write(connection: duckdb.DuckDBPyConnection, target: Path) -> None:
    query = f"select {_COLUMNS} from temp.audience order by person_id, record_id"
    try:
        connection.execute(f"copy ({query}) to {literal(str(target))} (format csv, header)")
    except duckdb.IOException as error:
        raise SmpError(f"{target} cannot be written: {str(error).splitlines()[0]}") from None
