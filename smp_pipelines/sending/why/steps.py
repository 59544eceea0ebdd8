"""What the step itself says before anybody is looked at: its status, its calendar, the night, its group and tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from smp_pipelines.campaign.calendar import due_moment, has_ended, is_quiet, moments
from smp_pipelines.campaign.models import Schedule
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.selection.runs import SelectionRun
from smp_pipelines.sending.audience_results import failing
from smp_pipelines.sending.due import send_key
from smp_pipelines.sending.status import StepStatus, read_changes, read_status
from smp_pipelines.sending.target.group import read_linked
from smp_pipelines.sending.why.answer import Rule
from smp_pipelines.stores.postgres import Connection, engine_sql

_AHEAD = timedelta(days=100)
"""More than the longest time between two moments of one schedule."""


@dataclass(frozen=True)
class Moment:
    """The moment of the send that is asked about, and the send that was planned for it, if that happened."""

    moment: datetime
    send_id: int | None


def next_moment(connection: Connection, project: LoadedProject, ref: StepRef, now: datetime) -> Moment:
    """The moment of the step's next send: one that came and was not sent yet, else the next one, else this moment."""
    schedule, zone = ref.step.schedule, project.settings.zone
    last = due_moment(schedule, zone, now) if schedule is not None else None
    waits = last is not None and now - last <= timedelta(minutes=ref.step.late_minutes)
    if last is not None and (waits or ref.step.send == "one_off"):
        planned = _planned(connection, send_key(ref, last, project))
        if planned is None or ref.step.send == "one_off":
            return Moment(last if waits else now, planned)
    if ref.step.send == "one_off" and last is None:
        once = _planned(connection, send_key(ref, now, project))
        if once is not None:
            return Moment(now, once)
    ahead = moments(schedule, zone, now, now + _AHEAD) if schedule is not None else []
    return Moment(ahead[0] if ahead else now, None)


def status_at(connection: Connection, step: str, at: datetime) -> StepStatus:
    """The status that a step had at a moment in the past, from the audit of its changes."""
    change = next((each for each in read_changes(connection, step) if each.changed_at <= at), None)
    return StepStatus(step, change.to_status, change.changed_at) if change else StepStatus(step, "concept", None)


def step_rules(
    connection: Connection,
    project: LoadedProject,
    ref: StepRef,
    moment: datetime,
    runs: Sequence[SelectionRun],
    at: datetime | None,
) -> Iterator[Rule]:
    """The rules of the step for a send at a moment; `at`: seen from then, with the runs that a send was planned from.

    Without `at` the runs are the latest: tests that failed at them may fail again.
    """
    zone = project.settings.zone
    status = read_status(connection, ref.key) if at is None else status_at(connection, ref.key, at)
    since = f" since {status.since.astimezone(zone):%Y-%m-%d %H:%M}" if status.since else ""
    since = since or (" (it never went live)" if status.status == "concept" else "")
    yield Rule("status", status.status == "live", f"status is {status.status}{since}")
    yield _calendar(project, ref, moment)
    quiet = is_quiet(moment.astimezone(zone).time())
    told = "nothing is sent between 23:00 and 06:00" if quiet else "it is sent between 06:00 and 23:00"
    yield Rule("quiet hours", not quiet, told)
    if ref.step.is_frozen:
        linked = read_linked(connection, ref.key)
        when = f"linked on {linked.linked_at.astimezone(zone):%Y-%m-%d %H:%M} by {linked.linked_by}" if linked else ""
        yield Rule("target group", linked is not None, when or "the target group is not linked yet")
    for failure in failing(connection, [run.selection_run_id for run in runs]):
        found = next(run for run in runs if run.selection_run_id == failure.selection_run_id)
        when = f"{found.moment.astimezone(zone):%Y-%m-%d %H:%M}"
        yield Rule("audience test", None if at is None else False, f"{failure} failed at the run of {when}")


def _calendar(project: LoadedProject, ref: StepRef, moment: datetime) -> Rule:
    schedule, zone = ref.step.schedule, project.settings.zone
    when = f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"
    if ref.step.send == "trigger":
        return Rule("schedule", True, "follows another step or an event: whoever triggers it gets it")
    if schedule is None:
        return Rule("schedule", True, "has no moment: it is sent by hand")
    if has_ended(schedule, zone, moment):
        ended = schedule.end if isinstance(schedule, Schedule) else None
        return Rule("schedule", False, f"its end date has passed: {ended}")
    return Rule("schedule", True, f"the send of {when}")


def _planned(connection: Connection, key: str) -> int | None:
    found = connection.execute(engine_sql("why/planned.sql"), {"key": key}).fetchone()
    return None if found is None else int(found[0])
