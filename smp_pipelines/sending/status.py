"""Status: whether a step runs (F23). A new step is a concept; only live sends; every change is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import Connection

Status = Literal["concept", "testing", "live", "stopped"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class StepStatus:
    """The status of a step and the moment since which it has it (None: never changed)."""

    step: str
    status: Status
    since: datetime | None


@dataclass(frozen=True)
class StatusChange:
    """One line of the audit: who changed a step's status, when, from what to what, and why."""

    step: str
    from_status: Status
    to_status: Status
    changed_at: datetime
    changed_by: str
    reason: str | None


def read_status(connection: Connection, step: str) -> StepStatus:
    """The status of one step."""
    return read_statuses(connection, [step])[step]


def read_statuses(connection: Connection, steps: list[str]) -> dict[str, StepStatus]:
    """The statuses of several steps, by key."""
    found = connection.execute("select step, status::text, since from smp.step_status where step = any (%s)", (steps,))
    known = {step: StepStatus(step, status, since) for step, status, since in found}
    return {step: known.get(step, StepStatus(step, "concept", None)) for step in steps}


def change_status(
    connection: Connection, step: str, status: str, now: datetime, by: str, reason: str | None = None
) -> StatusChange | None:
    """Give a step another status, in effect at once; None when it has that status already.

    Raises SmpError for a status that does not exist or a change by nobody.
    """
    if status not in STATUSES:
        raise SmpError(f"'{status}' is not a status; choose from {', '.join(STATUSES)}")
    if not by.strip():
        raise SmpError("a status change needs the name of who makes it")
    with connection.transaction():
        # two changes at once queue up here: each is recorded with what it really came from
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"status {step}",))
        before = read_status(connection, step).status
        if before == status:
            return None
        connection.execute(
            "insert into smp.step_status (step, status, since) values (%s, %s, %s)"
            " on conflict (step) do update set status = excluded.status, since = excluded.since",
            (step, status, now),
        )
        connection.execute(
            "insert into smp.step_status_change (step, from_status, to_status, changed_at, changed_by, reason)"
            " values (%s, %s, %s, %s, %s, %s)",
            (step, before, status, now, by.strip(), reason),
        )
    return StatusChange(step, before, status, now, by.strip(), reason)


def read_changes(connection: Connection, step: str) -> list[StatusChange]:
    """The audit of a step's status, newest first."""
    found = connection.execute(
        "select step, from_status::text, to_status::text, changed_at, changed_by, reason"
        " from smp.step_status_change where step = %s order by change_id desc",
        (step,),
    )
    return [StatusChange(*row) for row in found]
