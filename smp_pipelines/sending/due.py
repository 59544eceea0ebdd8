"""What is due: which step has to be sent at a moment, by its calendar, its status and the ledger; why others wait.

The rule of a moment that was missed (the machine was off, the files were broken): it is sent late, up
to the step's `late_minutes`, and after that not at all. Of several missed moments of a step only the
latest is sent: its people are those of the moments before it, and two sends of one step at once would
reach whoever the selection does not exclude on the same day twice (F21). The night makes no moment
wait: one that is too late at 06:00 is not sent. A step that went live after a moment is not sent for it,
a planned one-off neither: nobody expects that changing a status mails everybody at once.

Once people are in the ledger none of this counts any more: their mails leave when the step is live and
it is not night, however late it gets, or a person cancels them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from smp_pipelines.campaign.calendar import due_moment, has_ended, is_quiet, moments, night_since
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.sending import ledger
from smp_pipelines.sending.ledger import Send, unfinished_sends
from smp_pipelines.sending.overruling import stops_in_words
from smp_pipelines.sending.status import StepStatus, read_statuses
from smp_pipelines.stores.postgres import Connection

_NIGHT = "nothing is sent between 23:00 and 06:00"


@dataclass(frozen=True)
class Due:
    """A step that has to be sent, or a send that has to go on; `planned`: its people are in the ledger already."""

    ref: StepRef
    moment: datetime
    send_key: str
    planned: bool = False


@dataclass(frozen=True)
class Skipped:
    """A step that is not sent now, or a send that waits, and why, in words for marketing-ops."""

    ref: StepRef
    why: str


def send_key(ref: StepRef, moment: datetime, project: LoadedProject) -> str:
    """The key of a scheduled send: the same step at the same moment is the same send."""
    if ref.step.send == "one_off":
        return f"{ref.key}@once"
    return f"{ref.key}@{moment.astimezone(project.settings.zone).isoformat(timespec='minutes')}"


def judge(project: LoadedProject, ref: StepRef, status: StepStatus, moment: datetime, now: datetime) -> Due | Skipped:
    """Whether a step that has a moment now is sent: status, end date, how late it is, quiet hours (F19, F22, F23)."""
    schedule = ref.step.schedule
    zone = project.settings.zone
    if status.status != "live":
        return Skipped(ref, f"status is {status.status}" + _since(status, project))
    if status.since is not None and status.since > moment:
        return Skipped(ref, _went_live_late(ref, status.since, moment, project))
    if schedule is not None and has_ended(schedule, zone, now):
        return Skipped(ref, "its end date has passed")
    if missed := _missed(project, ref, moment, now):
        return Skipped(ref, missed)
    if is_quiet(now.astimezone(zone).time()):
        return Skipped(ref, _NIGHT)
    return Due(ref, moment, send_key(ref, moment, project))


def due(connection: Connection, project: LoadedProject, now: datetime) -> tuple[list[Due], list[Skipped]]:
    """Everything that has to be sent at this moment, and what is not sent and why.

    A moment that was sent already is not due again; a send that is not finished goes on, or waits
    for a reason that is told.
    """
    statuses = read_statuses(connection, [ref.key for ref in project.steps()])
    goes_on, skipped = _judge_sends(connection, project, statuses, now)
    scheduled = dict(_recent_moments(project, now))
    states = _states(connection, list(scheduled))
    told = {each.send_key for each in goes_on} | {key for key, _why in skipped}
    latest = {ref.key: key for key, (ref, _moment) in scheduled.items()}
    not_sent = [why for _key, why in skipped]
    for key, (ref, moment) in scheduled.items():
        if key in told:
            continue
        verdict = judge(project, ref, statuses[ref.key], moment, now)
        if latest[ref.key] != key:
            # an earlier moment is worth a word only when nothing came of it while the step was live
            if key not in states and _was_live(statuses[ref.key], moment) and isinstance(verdict, Skipped):
                not_sent.append(verdict)
        elif key in states:
            not_sent.append(Skipped(ref, states[key]))
        elif isinstance(verdict, Skipped):
            not_sent.append(verdict)
        else:
            goes_on.append(verdict)
    return goes_on, not_sent


def unfinished(connection: Connection, project: LoadedProject, now: datetime) -> list[Due]:
    """Sends that are not finished and may go on now: the step is live and it is not night.

    Once people are in the ledger their mails are sent, however late it gets; a send that was
    never planned is only taken up while its moment may still be sent (see the module), or when it took
    events. What a step drops at night (`at_night: drop`) is taken up at night already: nothing leaves,
    delivery skips it.
    """
    statuses = read_statuses(connection, [ref.key for ref in project.steps()])
    return _judge_sends(connection, project, statuses, now)[0]


def why_waiting(project: LoadedProject, ref: StepRef, status: StepStatus, send: Send, now: datetime) -> str | None:
    """Why a send that is not finished does not go on now, in words; None: a worker may take it up.

    A test mail needs no live step and knows no night (F28); who was to get it has to be named again. A send of a
    trigger step that nobody is planned for took events: it is planned from them however late, at night too (F05).
    """
    zone = project.settings.zone
    planning = send.state == "planning"
    if send.purpose == "test":
        return "nobody was planned for it; ask for it again" if planning else None
    if planning and ref.step.send != "trigger" and (missed := _missed(project, ref, send.moment, now)):
        return missed
    if status.status != "live":
        ended = ref.step.schedule is not None and has_ended(ref.step.schedule, zone, now)
        left = f"the end date has passed: `smp send cancel {send.send_id}` ends it" if ended else "it goes on when live"
        return f"status is {status.status}{_since(status, project)}; {left}"
    dropped = ref.step.at_night == "drop" and send.state == "open"
    at_any_hour = ref.step.at_night == "send" or (planning and ref.step.send == "trigger")
    if is_quiet(now.astimezone(zone).time()) and not dropped and not at_any_hour:
        return f"{_NIGHT}; it goes on at 06:00"
    return None


def _judge_sends(
    connection: Connection, project: LoadedProject, statuses: dict[str, StepStatus], now: datetime
) -> tuple[list[Due], list[tuple[str, Skipped]]]:
    """The sends with which there is something to do: those that go on, and by key those that wait, with the reason."""
    known = {ref.key: ref for ref in project.steps()}
    goes_on: list[Due] = []
    waits: list[tuple[str, Skipped]] = []
    for send in unfinished_sends(connection, now):
        ref = known.get(send.step)
        if ref is None:
            continue
        why = why_waiting(project, ref, statuses[ref.key], send, now)
        if why is None:
            goes_on.append(Due(ref, send.moment, send.send_key, planned=send.state == "open"))
        else:
            rows = ledger.waiting(connection, send, now).rows
            told = f"{rows:,} mails of send {send.send_id} wait: {why}" if rows else why
            waits.append((send.send_key, Skipped(ref, told)))
    return goes_on, waits


def _recent_moments(project: LoadedProject, now: datetime) -> Iterator[tuple[str, tuple[StepRef, datetime]]]:
    """By the key of its send: each scheduled step with its latest moment, after those that may still be sent late."""
    zone = project.settings.zone
    for ref in project.steps():
        schedule = ref.step.schedule
        latest = due_moment(schedule, zone, now) if schedule else None
        if schedule is None or latest is None:
            continue
        window = now - timedelta(minutes=ref.step.late_minutes, microseconds=1)
        for moment in sorted({*moments(schedule, zone, window, now), latest}):
            yield send_key(ref, moment, project), (ref, moment)


def _states(connection: Connection, keys: list[str]) -> dict[str, str]:
    """By key of a send that is there: why nothing has to be started for it, in words."""
    found = connection.execute(
        "select send_id, send_key, state, exists (select from smp.send_change as c where c.send_id = s.send_id)"
        " from smp.send as s where send_key = any (%s)",
        (keys,),
    ).fetchall()
    stopped = stops_in_words(connection, [send_id for send_id, *_rest in found])
    in_hand = "its last mails are in a worker's hands, or put off by the mail server"
    return {
        key: stopped.get(send_id)
        or (in_hand if state != "finished" else f"was {'cancelled' if cancelled else 'sent already'}: {key}")
        for send_id, key, state, cancelled in found
    }


def _missed(project: LoadedProject, ref: StepRef, moment: datetime, now: datetime) -> str | None:
    """Why a moment that nobody was planned for is not sent any more, by the rule of missed moments."""
    schedule, zone = ref.step.schedule, project.settings.zone
    by_hand = f"; `smp step send {ref.key}` sends it now" if ref.step.send == "one_off" else ""
    if now - moment > timedelta(minutes=ref.step.late_minutes):
        return f"this moment was missed by more than {ref.step.late_minutes} minutes (late_minutes){by_hand}"
    later = due_moment(schedule, zone, now) if schedule is not None and ref.step.send == "continuous" else None
    if later is not None and later > moment:
        return (
            f"the moment of {_local(moment, project)} was missed and that of {_local(later, project)} has come: "
            "of several moments only the latest is sent"
        )
    if ref.step.at_night == "drop" and night_since(moment, now, zone) and not is_quiet(now.astimezone(zone).time()):
        return f"the night came after this moment, and this step drops what is left at 23:00 (at_night){by_hand}"
    return None


def ended(project: LoadedProject, statuses: dict[str, StepStatus], now: datetime) -> list[StepRef]:
    """Live steps whose end date has passed: their status has to become stopped (F19)."""
    return [
        ref
        for ref in project.steps()
        if ref.step.schedule is not None
        and statuses[ref.key].status == "live"
        and has_ended(ref.step.schedule, project.settings.zone, now)
    ]


def _went_live_late(ref: StepRef, since: datetime, moment: datetime, project: LoadedProject) -> str:
    if ref.step.send == "one_off":
        return (
            f"it was planned for {_local(moment, project)} and went live on {_local(since, project)}, after that; "
            f"`smp step send {ref.key}` sends it now"
        )
    return f"went live on {_local(since, project)}, after this moment"


def _was_live(status: StepStatus, moment: datetime) -> bool:
    return status.status == "live" and (status.since is None or status.since <= moment)


def _since(status: StepStatus, project: LoadedProject) -> str:
    if status.since is None:
        return " (it never went live)" if status.status == "concept" else ""
    return f" since {_local(status.since, project)}"


def _local(moment: datetime, project: LoadedProject) -> str:
    return f"{moment.astimezone(project.settings.zone):%Y-%m-%d %H:%M}"
