"""Recipients: the people and linked records that a preview can be made for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg import sql

from smp_pipelines.campaign.models import Record
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.crm.catalog import Table
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import Connection

_NEXT: LiteralString = "where {moment} >= coalesce(%(now)s, now()) order by {moment}, {key} limit %(limit)s"
_LATEST: LiteralString = "where {moment} is not null order by {moment} desc, {key} limit %(limit)s"
_SMALLEST: LiteralString = "order by {key} limit %(limit)s"
_NAME = sql.SQL("select person_id, concat_ws(' ', first_name, infix, last_name) from crm.person")


@dataclass(frozen=True)
class Choice:
    """A person or record to choose: its key, its name or title, and its moment when it has one."""

    key: int
    label: str
    moment: datetime | None = None


def test_people(connection: Connection, limit: int) -> list[Choice]:
    """The first internal test persons: colleagues who may get test mails."""
    found = connection.execute(_NAME + sql.SQL(" where internal_test order by person_id limit %s"), (limit,))
    return [Choice(*row) for row in found]


def default_person(connection: Connection) -> int:
    """The first internal test person, else the first person. Raises SmpError when the CRM is empty."""
    found = test_people(connection, 1) or [
        Choice(*row) for row in connection.execute(_NAME + sql.SQL(" order by person_id limit 1"))
    ]
    if not found:
        raise SmpError("there are no people in the CRM yet, so there is nobody to make a preview for")
    return found[0].key


def default_record(connection: Connection, project: LoadedProject, record: Record, now: datetime | None) -> int:
    """The next record after `now`, as `next_records` has them. Raises SmpError when the table is empty."""
    found = next_records(connection, project, record, now, 1)
    if not found:
        raise SmpError(f"{record.table} has no rows yet, so there is nothing that this mail can be about")
    return found[0].key


def test_record(
    connection: Connection, project: LoadedProject, ref: StepRef, record_id: int | None, now: datetime
) -> int | None:
    """The linked record of a test mail: the one that is named, else the next one; None for a step without one (F28)."""
    record = project.record(ref)
    if record is None or record_id is not None:
        return record_id
    return default_record(connection, project, record, now)


def next_records(
    connection: Connection, project: LoadedProject, record: Record, now: datetime | None, limit: int
) -> list[Choice]:
    """The next rows of a record's table by its first moment column; without such a column those with the smallest keys.

    When all moments have passed: the latest. `now` is aware; None means the database's own clock. Raises
    SmpError when smp.yaml names a table or column that is not in the CRM.
    """
    columns = _table(project, record).columns
    moment = next((name for name, column in columns.items() if column.type.startswith("timestamptz")), None)
    names = {
        "key": sql.Identifier(record.key),
        "title": sql.Identifier(record.title),
        "table": sql.Identifier(*record.table.split(".")),
        "moment": sql.Identifier(moment) if moment else sql.SQL("null::timestamptz"),
    }
    for order in (_NEXT, _LATEST, _SMALLEST) if moment else (_SMALLEST,):
        query = sql.SQL("select {key}, {title}::text, {moment} from {table} ").format(**names)
        query += sql.SQL(order).format(**names)
        found = connection.execute(query, {"now": now, "limit": limit}).fetchall()
        if found:
            return [Choice(*row) for row in found]
    return []


def _table(project: LoadedProject, record: Record) -> Table:
    table = project.catalog.tables.get(record.table)
    if table is None:
        raise SmpError(f"smp.yaml names the table {record.table}, which is not in the CRM")
    for column in (record.key, record.title):
        if column not in table.columns:
            raise SmpError(f"smp.yaml names the column {column} of {record.table}, which is not there")
    return table
