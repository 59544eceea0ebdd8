"""Decisions: what colleagues say of a record after they saw its mail (F26, F27). To block stops the real send."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from smp_pipelines.campaign.content.mail import content_ref
from smp_pipelines.campaign.models import Record
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.links import Verdict
from smp_pipelines.stores.postgres import Connection, engine_sql


class NotThereError(SmpError):
    """The record, or the person who decides, is no longer in the CRM."""


@dataclass(frozen=True)
class Decision:
    """What a colleague decided. `changed`: it set or took away the tick of the record. `decided_by`: their name."""

    step: str
    record: str
    record_id: int
    decision: Verdict
    decided_at: datetime
    person_id: int | None
    decided_by: str
    changed: bool


@dataclass(frozen=True)
class Decidable:
    """A record about which somebody may decide, as it is now.

    moment: what its first column with a moment says, e.g. when a performance begins. by_decision: it is a
    decision that blocked it; otherwise somebody ticked it in the CRM.
    """

    ref: StepRef
    record_id: int
    title: str
    moment: datetime | None
    blocked: bool
    by_decision: bool
    latest: Decision | None

    @property
    def can_block(self) -> bool:
        """Whether the step names a column that stops its send."""
        return self.ref.step.block is not None

    @property
    def keeps_block(self) -> bool:
        """Whether approving leaves the record blocked: colleagues ticked the column themselves."""
        return self.blocked and not self.by_decision


def decidable(connection: Connection, project: LoadedProject, step_key: str, record_id: int) -> Decidable:
    """How a record stands, for a page that asks somebody to decide. Only reads.

    Raises NotThereError when the record is gone, SmpError when the step is, or has no linked record.
    """
    ref, record = _about(project, step_key)
    return _decidable(connection, project, ref, record, record_id, lock=False)


def decide(
    connection: Connection,
    project: LoadedProject,
    step_key: str,
    record_id: int,
    decision: Verdict,
    person_id: int,
    now: datetime,
) -> Decision:
    """Write down what a colleague decided of a record, and make it so, in one transaction.

    'blocked' ticks the column that stops the step's send; 'approved' takes that tick away if an earlier decision
    set it, and leaves a tick that was set in the CRM itself. The step is the one whose mail it is; for an internal
    step that is its content step. The same decision of the same person twice is one, as long as nobody decided
    otherwise in between. Raises NotThereError when the record or the person is gone, SmpError when the step is,
    or when it has nothing to block with.
    """
    ref, record = _about(project, step_key)
    if decision == "blocked" and ref.step.block is None:
        raise SmpError(f"{ref.key} names no column to block a {ref.step.record} with: add `block: …` to the step")
    with connection.transaction():
        # the lock on the record makes people who decide at once queue up
        found = _decidable(connection, project, ref, record, record_id, lock=True)
        if not connection.execute("select 1 from crm.person where person_id = %s", (person_id,)).fetchone():
            raise NotThereError("whoever got this link is no longer in the CRM, so nothing was changed")
        blocked = decision == "blocked" or found.keeps_block
        if ref.step.block and blocked != found.blocked:
            _set_block(connection, record, ref.step.block, record_id, blocked)
        parameters = {
            "step": ref.key,
            "record": ref.step.record,
            "record_id": record_id,
            "decision": decision,
            "now": now,
            "person_id": person_id,
            "changed": blocked != found.blocked,
        }
        connection.execute(engine_sql("ledger/decide.sql"), parameters)
        return next(each for each in decisions(connection, project, ref, record_id) if each.person_id == person_id)


def decisions(connection: Connection, project: LoadedProject, ref: StepRef, record_id: int) -> list[Decision]:
    """What was decided of a record for a step's mail (an internal step: its content step's), latest first."""
    ref = content_ref(ref, project)
    parameters = {"steps": [ref.key], "record": ref.step.record, "record_id": record_id}
    return [Decision(*row) for row in connection.execute(engine_sql("ledger/decisions.sql"), parameters)]


def _about(project: LoadedProject, step_key: str) -> tuple[StepRef, Record]:
    ref = content_ref(project.step(step_key), project)
    record = project.record(ref)
    if record is None:
        raise SmpError(f"{ref.key} has no linked record, so there is nothing to approve or block")
    return ref, record


def _decidable(
    connection: Connection, project: LoadedProject, ref: StepRef, record: Record, record_id: int, *, lock: bool
) -> Decidable:
    row = _read_record(connection, project, ref, record, record_id, lock=lock)
    if row is None:
        raise NotThereError(f"this {ref.step.record} is no longer in the CRM, so nothing will be sent about it")
    title, moment, blocked = row
    # steps that have the column in common share the tick, and so what was decided of it
    about = (ref.step.record, ref.step.block)
    sharing = [other.key for other in project.steps() if (other.step.record, other.step.block) == about]
    parameters = {"steps": sharing, "record": ref.step.record, "record_id": record_id}
    made = [Decision(*each) for each in connection.execute(engine_sql("ledger/decisions.sql"), parameters)]
    latest = next((each for each in made if each.step == ref.key), None)
    by_decision = next((each.decision == "blocked" for each in made if each.changed), False)
    return Decidable(ref, record_id, title, moment, blocked, blocked and by_decision, latest)


def _read_record(
    connection: Connection, project: LoadedProject, ref: StepRef, record: Record, record_id: int, *, lock: bool
) -> tuple[str, datetime | None, bool] | None:
    """A record's title, moment and tick; the lock is for the transaction."""
    columns = project.catalog.tables[record.table].columns.values()
    moment = next((column.name for column in columns if column.type.startswith("timestamptz")), None)
    text = sql.SQL("select {title}::text, {moment}, coalesce({block}, false) from {table} where {key} = %s{lock}")
    query = text.format(
        moment=sql.Identifier(moment) if moment else sql.SQL("null::timestamptz"),
        title=sql.Identifier(record.title),
        block=sql.Identifier(ref.step.block) if ref.step.block else sql.SQL("false"),
        table=sql.Identifier(*record.table.split(".")),
        key=sql.Identifier(record.key),
        lock=sql.SQL(" for no key update" if lock else ""),
    )
    found: tuple[str, datetime | None, bool] | None = connection.execute(query, (record_id,)).fetchone()
    return found


def _set_block(connection: Connection, record: Record, column: str, record_id: int, blocked: bool) -> None:
    query = sql.SQL("update {table} set {block} = %s where {key} = %s").format(
        table=sql.Identifier(*record.table.split(".")),
        block=sql.Identifier(column),
        key=sql.Identifier(record.key),
    )
    connection.execute(query, (blocked, record_id))


@dataclass(frozen=True)
class Decided:
    """The latest decision of a record, with its title (None: the record is gone) and whether it is blocked now."""

    record_id: int
    title: str | None
    blocked: bool
    decision: Verdict
    decided_at: datetime
    decided_by: str


def latest_decisions(connection: Connection, project: LoadedProject, ref: StepRef, limit: int) -> list[Decided]:
    """The latest decision per record for a step's own mail, latest first; none for a step without a linked record."""
    record = project.record(ref)
    if record is None or ref.step.internal is not None:
        return []
    query = sql.SQL(engine_sql("ledger/decided.sql")).format(
        title=sql.Identifier(record.title),
        block=sql.Identifier("r", ref.step.block) if ref.step.block else sql.SQL("false"),
        table=sql.Identifier(*record.table.split(".")),
        key=sql.Identifier(record.key),
    )
    parameters = {"record": ref.step.record, "step": ref.key, "limit": limit}
    return [Decided(*row) for row in connection.execute(query, parameters)]
