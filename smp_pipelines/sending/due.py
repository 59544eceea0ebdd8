"""What is due: which step has to be sent at a moment, by its calendar, its status and the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from smp_pipelines.campaign.calendar import due_moment, has_ended, is_quiet
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.sending.ledger import unfinished_sends
from smp_pipelines.sending.status import StepStatus, read_statuses
from smp_pipelines.stores.postgres import Connection


@dataclass(frozen=True)
class Due:
    """A step that has to be sent, or a send that has to go on; `planned`: its people are in the ledger already."""

    ref: StepRef
    moment: datetime
    send_key: str
    planned: bool = False


@dataclass(frozen=True)
class Skipped:
    """A step that is not sent now, and why, in words for marketing-ops."""

    ref: StepRef
    why: str


def send_key(ref: StepRef, moment: datetime, project: LoadedProject) -> str:
    """The key of a scheduled send: the same step at the same moment is the same send."""
    if ref.step.send == "one_off":
        return f"{ref.key}@once"
    return f"{ref.key}@{moment.astimezone(project.settings.zone).isoformat(timespec='minutes')}"


def judge(project: LoadedProject, ref: StepRef, status: StepStatus, moment: datetime, now: datetime) -> Due | Skipped:
    """Whether a step that has a moment now is sent: status, end date, quiet hours, how late it is (F19, F22, F23)."""
    schedule = ref.step.schedule
    zone = project.settings.zone
    if status.status != "live":
        return Skipped(ref, f"status is {status.status}" + _since(status, project))
    if status.since is not None and status.since > moment:
        return Skipped(ref, f"went live{_since(status, project)}, after this moment")
    if schedule is not None and has_ended(schedule, zone, now):
        return Skipped(ref, "its end date has passed")
    if _is_late(ref, moment, now):
        return Skipped(ref, f"this moment was missed by more than {ref.step.late_minutes} minutes (late_minutes)")
    if is_quiet(now.astimezone(zone).time()):
        return Skipped(ref, "nothing is sent between 23:00 and 06:00")
    return Due(ref, moment, send_key(ref, moment, project))


def due(connection: Connection, project: LoadedProject, now: datetime) -> tuple[list[Due], list[Skipped]]:
    """Everything that has to be sent at this moment, and what is not sent and why.

    A moment that was sent already is not due again; a send that is not finished goes on.
    """
    statuses = read_statuses(connection, [ref.key for ref in project.steps()])
    goes_on = unfinished(connection, project, now)
    taken_up = {each.send_key for each in goes_on}
    moments = dict(_latest_moments(project, now))
    states = _states(connection, list(moments))
    skipped = []
    for key, (ref, moment) in moments.items():
        verdict = judge(project, ref, statuses[ref.key], moment, now)
        if states.get(key) == "finished":
            skipped.append(Skipped(ref, f"was sent already: {key}"))
        elif key in taken_up:
            continue
        elif isinstance(verdict, Skipped):
            skipped.append(verdict)
        elif states.get(key) == "open":
            skipped.append(Skipped(ref, "its last mails are in a worker's hands, or put off by the mail server"))
        else:
            goes_on.append(verdict)
    return goes_on, skipped


def unfinished(connection: Connection, project: LoadedProject, now: datetime) -> list[Due]:
    """Sends that are not finished and may go on now: the step is live and it is not night.

    Once people are in the ledger their mails are sent, however late it gets; a send that was
    never planned is only taken up while its moment may still be sent (`late_minutes`).
    """
    if is_quiet(now.astimezone(project.settings.zone).time()):
        return []
    known = {ref.key: ref for ref in project.steps()}
    statuses = read_statuses(connection, list(known))
    return [
        Due(known[send.step], send.moment, send.send_key, planned=send.state == "open")
        for send in unfinished_sends(connection, now)
        if send.step in known
        and statuses[send.step].status == "live"
        and not (send.state == "planning" and _is_late(known[send.step], send.moment, now))
    ]


def _latest_moments(project: LoadedProject, now: datetime) -> Iterator[tuple[str, tuple[StepRef, datetime]]]:
    """By the key of its send: each scheduled step with its latest moment."""
    for ref in project.steps():
        moment = due_moment(ref.step.schedule, project.settings.zone, now) if ref.step.schedule else None
        if moment is not None:
            yield send_key(ref, moment, project), (ref, moment)


def _states(connection: Connection, keys: list[str]) -> dict[str, str]:
    return dict(
        connection.execute("select send_key, state from smp.send where send_key = any (%s)", (keys,)).fetchall()
    )


def _is_late(ref: StepRef, moment: datetime, now: datetime) -> bool:
    return now - moment > timedelta(minutes=ref.step.late_minutes)


def ended(project: LoadedProject, statuses: dict[str, StepStatus], now: datetime) -> list[StepRef]:
    """Live steps whose end date has passed: their status has to become stopped (F19)."""
    return [
        ref
        for ref in project.steps()
        if ref.step.schedule is not None
        and statuses[ref.key].status == "live"
        and has_ended(ref.step.schedule, project.settings.zone, now)
    ]


def _since(status: StepStatus, project: LoadedProject) -> str:
    if status.since is None:
        return " (it never went live)" if status.status == "concept" else ""
    return f" since {status.since.astimezone(project.settings.zone):%Y-%m-%d %H:%M}"
