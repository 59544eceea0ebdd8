"""The page of one send: whether its identity holds, how far it is, how fast it goes, and why it waits (X3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from smp_pipelines.campaign.policy import Limits
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.reporting.throughput import read_throughput
from smp_pipelines.sending import ledger
from smp_pipelines.sending.due import why_waiting
from smp_pipelines.sending.ledger import Send, Totals, Verdict
from smp_pipelines.sending.overruling import stops_in_words
from smp_pipelines.sending.sends import Listed, SendChange, list_sends, read_send_changes
from smp_pipelines.sending.status import StatusChange, StepStatus, read_changes, read_status
from smp_pipelines.site.colleagues.plot import Plot, draw_rates
from smp_pipelines.stores.postgres import Connection

LATEST = 50
"""Sends on the list; older ones that are not finished come along."""
REFRESH = 2
"""Seconds after which the page of a send that is not finished loads itself again …"""
_ROWS_A_SECOND = 50_000
"""… and one more for so many rows: to count a million takes most of a second."""
PURPOSES = {
    "live": "to its target group",
    "internal": "to colleagues, to check the mails",
    "test": "to test persons, as a test",
}
"""What a send is for, in words."""
_OUTCOMES = ("accepted", "skipped", "rejected", "unknown", "waiting")


class UnknownSendError(SmpError):
    """There is no send with this number."""


@dataclass(frozen=True)
class Part:
    """A part of a whole: how many, and what share of it (per cent); where it begins on a bar (per cent)."""

    name: str
    count: int
    share: float
    begins_at: float = 0.0


@dataclass(frozen=True)
class SendPage:
    """Everything that the page of a send shows.

    ref: its step, None when no file has it any more. waits: why it does not go on, None when it does.
    change: the latest change of the step's status. left: what there is to go at this speed.
    stopped: which audience test stopped it, or whose place it takes.
    """

    send: Send
    ref: StepRef | None
    status: StepStatus
    change: StatusChange | None
    totals: Totals
    verdict: Verdict
    outcomes: list[Part]
    reasons: list[Part]
    per_second: float | None
    left: timedelta | None
    plot: Plot | None
    waits: str | None
    changes: list[SendChange]
    limits: Limits
    stopped: str | None

    @property
    def refresh(self) -> int | None:
        """Seconds until the page is loaded again; None for a send that is over."""
        return None if self.send.state == "finished" else REFRESH + self.send.planned // _ROWS_A_SECOND


def read_send_page(connection: Connection, project: LoadedProject, send_id: int, now: datetime) -> SendPage:
    """Read what the page of a send shows: two walks over its rows. Raises UnknownSendError."""
    if not connection.execute("select 1 from smp.send where send_id = %s", (send_id,)).fetchone():
        raise UnknownSendError(f"there is no send {send_id}")
    send = ledger.read_send(connection, send_id)
    ref = next((ref for ref in project.steps() if ref.key == send.step), None)
    status = read_status(connection, send.step)
    totals = ledger.totals(connection, send)
    speed = read_throughput(connection, send)
    running = send.state != "finished"
    waits = _why(project, ref, status, send, now) if running else None
    going = speed.per_second if running and waits is None else None
    return SendPage(
        send=send,
        ref=ref,
        status=status,
        change=next(iter(read_changes(connection, send.step)), None),
        totals=totals,
        verdict=_verdict(send, totals),
        outcomes=_outcomes(totals),
        reasons=_parts(totals.reasons),
        per_second=speed.per_second,
        left=timedelta(seconds=round(totals.open / going)) if going and totals.open else None,
        plot=draw_rates(speed.course, speed.seconds, project.settings.zone),
        waits=waits,
        changes=read_send_changes(connection, send),
        limits=project.settings.limits,
        stopped=stops_in_words(connection, [send.send_id]).get(send.send_id),
    )


def latest_sends(connection: Connection) -> list[Listed]:
    """The latest sends of all steps, newest first, and those that are not finished."""
    return list_sends(connection, None, LATEST)


def _why(project: LoadedProject, ref: StepRef | None, status: StepStatus, send: Send, now: datetime) -> str | None:
    if ref is None:
        return f"its step is in no file any more; `smp send cancel {send.send_id}` ends it"
    return why_waiting(project, ref, status, send, now)


def _verdict(send: Send, totals: Totals) -> Verdict:
    return Verdict(
        send_id=send.send_id,
        send_key=send.send_key,
        state=send.state,
        planned=send.planned,
        in_ledger=totals.all,
        accepted=totals.accepted,
        rejected=totals.rejected,
        unknown=totals.unknown,
        skipped=totals.skipped,
        open=totals.open,
    )


def _outcomes(totals: Totals) -> list[Part]:
    counts = (totals.accepted, totals.skipped, totals.rejected, totals.unknown, totals.open)
    whole, done = max(totals.all, 1), 0
    parts = []
    for name, count in zip(_OUTCOMES, counts, strict=True):
        parts.append(Part(name, count, count * 100 / whole, done * 100 / whole))
        done += count
    return parts


def _parts(counts: dict[str, int]) -> list[Part]:
    most = max(counts.values(), default=1)
    return [Part(name, count, count * 100 / most) for name, count in counts.items()]
