"""Calendar: when a step is due, as pure rules over local wall time.

A schedule is written in local time and every moment that comes out is an aware datetime in UTC.
Nothing here reads the clock.

How wall time becomes an instant: a time that the clock shows twice (the autumn night) means the
first of the two; a time that the clock skips (the spring night) means as many minutes after the
jump as it was written after the start of the gap. A day that a zone skipped altogether has no moments.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from smp_pipelines.campaign.models import WEEKDAYS, OneOffSchedule, Schedule

QUIET_FROM = time(23, 0)
"""From this local time on nothing is sent (F22)."""

QUIET_UNTIL = time(6, 0)
"""From this local time on sending is allowed again (F22)."""

_LONGEST_PAUSE = timedelta(days=100)
"""More than the longest time between two moments of one schedule: day 31 leaves 62 days, skipped days some more."""


def is_quiet(moment: time) -> bool:
    """Tell whether a local time of day lies in the quiet hours, from 23:00 up to but without 06:00 (F22)."""
    wall = moment.replace(tzinfo=None)
    return wall >= QUIET_FROM or wall < QUIET_UNTIL


def night_since(moment: datetime, now: datetime, zone: ZoneInfo) -> bool:
    """Tell whether any instant from `moment` up to `now` lay in the quiet hours (F22): what is left ran into a night.

    Both are aware; ValueError otherwise. False when `now` is before `moment`.
    """
    if moment.tzinfo is None or now.tzinfo is None:
        raise ValueError("moment and now need a time zone")
    if now < moment:
        return False
    began = moment.astimezone(zone)
    if is_quiet(began.time()):
        return True
    # It is day at the moment, so the next night begins at 23:00 of that same local date, also when its clock changes.
    return now >= datetime.combine(began.date(), QUIET_FROM, tzinfo=zone).astimezone(UTC)


def cron_lines(schedule: Schedule) -> list[str]:
    """Give one cron line per time of day, in local time, earliest first (F20).

    Cron knows no start and end date: who runs these lines asks `due_moment` as well. Times in the
    quiet hours are left out, so that a step whose files were never checked cannot send at night.
    """
    if schedule.frequency == "monthly":
        rest = f"{schedule.day} * *"
    elif schedule.frequency == "weekly":
        # Cron counts from Sunday = 0, `WEEKDAYS` from Monday = 0.
        rest = "* * " + ",".join(
            str(number) for number in sorted((WEEKDAYS.index(day) + 1) % 7 for day in schedule.days)
        )
    else:
        rest = "* * *"
    return [f"{moment.minute} {moment.hour} {rest}" for moment in _open_times(schedule)]


def moments(schedule: Schedule | OneOffSchedule, zone: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    """List the moments m with after < m <= until, in UTC, increasing.

    Start and end are local dates and both count (F19). Day 31 exists only in months with 31 days (F20).
    `after` and `until` are aware; ValueError otherwise.
    """
    if after.tzinfo is None or until.tzinfo is None:
        raise ValueError("after and until need a time zone")
    if after >= until:
        return []
    if isinstance(schedule, OneOffSchedule):
        candidates = [] if is_quiet(schedule.at.time()) else [_instant(schedule.at.date(), schedule.at.time(), zone)]
    else:
        times = _open_times(schedule)
        days = _days(schedule, after.astimezone(zone).date(), until.astimezone(zone).date())
        candidates = [_instant(day, moment, zone) for day in days for moment in times]
    return sorted({moment for moment in candidates if moment is not None and after < moment <= until})


def due_moment(schedule: Schedule | OneOffSchedule, zone: ZoneInfo, at: datetime) -> datetime | None:
    """Give the latest moment that is not after `at`, in UTC, or None when there has been none yet.

    How late that moment may still be sent (`late_minutes`) is for the caller to judge.
    """
    until = at
    if isinstance(schedule, OneOffSchedule):
        after = datetime.combine(schedule.at.date() - timedelta(days=2), time(), tzinfo=UTC)
    else:
        if schedule.end is not None:
            # Two days later in UTC is past the end date in every zone: the search must not start years later.
            until = min(at, datetime.combine(schedule.end + timedelta(days=2), time(), tzinfo=UTC))
        after = until - _LONGEST_PAUSE
    found = moments(schedule, zone, after, until)
    return found[-1] if found else None


def has_ended(schedule: Schedule | OneOffSchedule, zone: ZoneInfo, at: datetime) -> bool:
    """Tell whether the end date's local day is over, so that the step becomes stopped (F19).

    A one-off step has no end date: it ends by being sent.
    """
    if isinstance(schedule, OneOffSchedule) or schedule.end is None:
        return False
    return at.astimezone(zone).date() > schedule.end


def _open_times(schedule: Schedule) -> list[time]:
    return sorted({moment for moment in schedule.times if not is_quiet(moment)})


def _days(schedule: Schedule, first: date, last: date) -> Iterator[date]:
    """Walk the local dates from first to last, both included, on which the schedule sends."""
    day = max(first, schedule.start)
    last = last if schedule.end is None else min(last, schedule.end)
    while day <= last:
        if _sends_on(schedule, day):
            yield day
        day += timedelta(days=1)


def _sends_on(schedule: Schedule, day: date) -> bool:
    if schedule.frequency == "monthly":
        return day.day == schedule.day
    if schedule.frequency == "weekly":
        return WEEKDAYS[day.weekday()] in schedule.days
    return True


def _instant(day: date, moment: time, zone: ZoneInfo) -> datetime | None:
    instant = datetime.combine(day, moment, tzinfo=zone).astimezone(UTC)
    # A wall time inside a gap moves forward; when that leads to another day, this day did not exist there.
    return instant if instant.astimezone(zone).date() == day else None
