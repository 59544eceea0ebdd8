"""The clock of the reference interpreter: local time in Amsterdam by zoneinfo, waits and windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Amsterdam")
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def wall(at: datetime) -> datetime:
    """What the clock on the wall shows."""
    return at.astimezone(ZONE).replace(tzinfo=None)


def instant(shown: datetime, *, first: bool) -> datetime:
    """When the clock shows this; a time that it skips in spring means as many minutes after the jump.

    first: of the two moments that show the same in autumn. Appointments (windows, a date and time) mean the first,
    as every schedule does; what is counted in days ends at the second, when winter time has begun.
    """
    moments = [shown.replace(tzinfo=ZONE, fold=fold).astimezone(UTC) for fold in (0, 1)]
    is_skipped = wall(moments[0]) != shown
    return max(moments) if is_skipped or not first else min(moments)


def later(at: datetime, length: str) -> datetime:
    """The end of a wait, e.g. of `3 days`: minutes and hours are absolute, days and weeks go by the wall clock."""
    count, unit = int(length.split()[0]), length.split()[1].rstrip("s")
    if unit == "minute":
        return at + timedelta(minutes=count)
    if unit == "hour":
        return at + timedelta(hours=count)
    days = count * 7 if unit == "week" else count
    return instant(wall(at) + timedelta(days=days), first=False) if days else at


def _times(window: Mapping[str, Any], near: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The openings and closings of a window from two days before a moment to nine days after it."""
    opens = time.fromisoformat(window.get("from", "00:00"))
    closes = time.fromisoformat(window.get("until", "00:00"))
    for away in range(-2, 10):
        day: date = wall(near).date() + timedelta(days=away)
        if WEEK[day.weekday()] in window.get("days", WEEK):
            last = day + timedelta(days=1) if closes <= opens or closes == time(0) else day
            start, end = (instant(datetime.combine(*each), first=True) for each in ((day, opens), (last, closes)))
            if start < end:  # a night may skip it altogether
                yield start, end


def is_inside(window: Mapping[str, Any], now: datetime) -> bool:
    """Whether a window is open."""
    return any(opens <= now < closes for opens, closes in _times(window, now))


def next_opening(window: Mapping[str, Any], now: datetime) -> datetime:
    """When a window opens next."""
    return min(opens for opens, _ in _times(window, now) if opens > now)
