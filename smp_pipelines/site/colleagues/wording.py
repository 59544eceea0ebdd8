"""Wording: schedules and moments in English, as colleagues would say them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from smp_pipelines.campaign.models import WEEKDAYS, OneOffSchedule, Schedule, Step

SEND_KINDS = {"one_off": "One-off", "continuous": "Continuous", "trigger": "Trigger", "form": "Form", "page": "Page"}
"""What colleagues call the ways of sending (F04), and what is on the site (F03)."""

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def kind_words(step: Step) -> str:
    """What kind of send a step is: "One-off", or "Internal, continuous" for a preview to colleagues (F04, F26)."""
    kind = SEND_KINDS[step.send or step.channel]
    return f"Internal, {kind.lower()}" if step.internal else kind


def schedule_words(step: Step) -> str:
    """When a step is sent: "Every Tuesday at 10:00, from 1 January 2026" (F19, F20)."""
    if not step.is_mail:
        return "Whenever somebody opens it"
    if step.send == "trigger":
        return "After the step before it"
    if isinstance(step.schedule, OneOffSchedule):
        return f"Once, on {date_words(step.schedule.at.date())} at {step.schedule.at:%H:%M}"
    if step.schedule is None:
        return "Once, when somebody starts it"
    times = join_words([f"{moment:%H:%M}" for moment in sorted(step.schedule.times)])
    until = f" until {date_words(step.schedule.end)}" if step.schedule.end else ""
    return f"{_days(step.schedule)} at {times}, from {date_words(step.schedule.start)}{until}"


def _days(schedule: Schedule) -> str:
    if schedule.frequency == "weekly":
        return "Every " + join_words([_DAYS[number] for number, day in enumerate(WEEKDAYS) if day in schedule.days])
    if schedule.frequency == "monthly":
        some = f" (only months with {schedule.day} days)" if (schedule.day or 0) > 28 else ""
        return f"Every month on day {schedule.day}{some}"
    return "Every day"


def date_words(day: date) -> str:
    """A date written out: 3 November 2026."""
    return f"{day.day} {day:%B %Y}"


def moment_words(moment: datetime, zone: ZoneInfo) -> str:
    """An aware moment in local time: Tue 3 Nov 2026, 09:00."""
    local = moment.astimezone(zone)
    return f"{local:%a} {local.day} {local:%b %Y, %H:%M}"


def join_words(words: Sequence[str]) -> str:
    """Words as a list in a sentence: a, b and c."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def sentence(text: str) -> str:
    """A message as a sentence of its own on a page."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
