"""Events: what has to be mailed because of a submission or a flow, taken from the outbox and made into sends, once.

Whatever causes a mail writes its event in its own transaction (smp.trigger_event), so nothing is lost when nobody
listens. Taking gives a batch of events to a send that is still to be planned, in one statement; planning
reads them from there. Whoever dies in between leaves a send that somebody else plans and delivers (F05).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.sending.context import Recipient
from smp_pipelines.sending.given import plan_given
from smp_pipelines.sending.ledger import Send, read_send
from smp_pipelines.stores.postgres import Connection, engine_sql

CHANNEL = "smp_submission"
"""Notified, at its commit, by every transaction that wrote an event."""
BATCH = 1_000
"""How many events of submissions go into one send at most."""
BATCH_OF_FLOWS = 50_000
"""How many mails of flows go into one send at most."""


@dataclass(frozen=True)
class Waiting:
    """Events of one step that no send took: how many, since when, and the step's status (None: it is in no file)."""

    step: str
    events: int
    since: datetime
    status: str | None

    @property
    def words(self) -> str:
        """The same, for a reader."""
        many = f"{self.events:,} event{'' if self.events == 1 else 's'} for {self.step}"
        if self.status is None:
            return f"{many}, which is no trigger step in any file (renamed or removed?): they wait until it is"
        return f"{many}, which is {self.status}: they wait until it is live"


def take(
    connection: Connection,
    project: LoadedProject,
    now: datetime,
    run_id: str | None = None,
    *,
    with_flows: bool = True,
) -> list[Send]:
    """Make sends, still to be planned, of the events that wait, in one transaction; whoever else takes gets others.

    with_flows: also of the mails of flows, which may be very many; those of a paused flow wait.

    Events of a step that is not live wait. Once it is live, those from before and older than its late_minutes
    are marked as missed (`late`), and so are those without the linked record that the step is about (`no_record`).
    """
    steps = [ref for ref in project.steps() if ref.step.send == "trigger"]
    parameters = {
        "steps": [ref.key for ref in steps],
        "late_minutes": [ref.step.late_minutes for ref in steps],
        "about_a_record": [ref.step.record is not None for ref in steps],
        "now": now,
        "most": BATCH,
        "with_flows": with_flows,
        "most_of_flows": BATCH_OF_FLOWS,
        "run_id": run_id,
    }
    return [Send(*row) for row in connection.execute(engine_sql("events/take.sql"), parameters)]


def read_waiting(connection: Connection, project: LoadedProject) -> list[Waiting]:
    """The events that no send took, by step; those of a live step are about to be taken."""
    known = {ref.key for ref in project.steps() if ref.step.send == "trigger"}
    found = connection.execute(engine_sql("events/waiting.sql")).fetchall()
    return [Waiting(step, events, since, status if step in known else None) for step, events, since, status in found]


def plan_events(connection: Connection, project: LoadedProject, ref: StepRef, send: Send, now: datetime) -> Send:
    """Plan a send from the events that it took; one that was planned before is left as it is.

    Somebody with two events is one row, by the rules of given recipients. Raises SmpError when the step is not live.
    """
    recipients = _recipients(connection, ref, send)
    if not recipients:  # everybody in it was erased since
        connection.execute(
            "update smp.send set state = 'open', planned_at = %s, changed_tx = pg_current_xact_id()"
            " where send_id = %s and state = 'planning'",
            (now, send.send_id),
        )
        return read_send(connection, send.send_id)
    return plan_given(connection, project, ref, send, recipients, now)


def note_run(connection: Connection, send: Send, run_id: str) -> None:
    """Write down which run of Dagster works on a send that was taken outside of one."""
    connection.execute(
        "update smp.send set run_id = %s, changed_tx = pg_current_xact_id() where send_id = %s and run_id is null",
        (run_id, send.send_id),
    )


def _recipients(connection: Connection, ref: StepRef, send: Send) -> list[Recipient]:
    found = connection.execute(
        "select person_id, record_id from smp.trigger_event where send_id = %s order by event_id", (send.send_id,)
    )
    # a form may be about a record that the mail is not about
    return [(person_id, record_id if ref.step.record else None) for person_id, record_id in found]


def read_unasked(connection: Connection, after: int) -> list[Send]:
    """Sends with a higher id that took events and that no run has begun to plan."""
    return [Send(*row) for row in connection.execute(engine_sql("events/unasked.sql"), {"after": after})]
