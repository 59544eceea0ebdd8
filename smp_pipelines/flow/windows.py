"""Windows: when somebody may go on, in local time; over midnight and through both nights in which clocks change (F45).

A wall time that the clock shows twice means the first of the two; one that it skips means as many minutes after the
jump, as for every schedule.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from smp_pipelines.campaign.flow.models import Window
from smp_pipelines.campaign.models import WEEKDAYS

_DAYS_AHEAD = 9
"""Within these there is an opening of every window: a week, and a day that a change of clocks emptied."""


def is_open(window: Window, now: datetime, zone: ZoneInfo) -> bool:
    """Whether a moment (aware) lies in the window."""
    today = now.astimezone(zone).date()
    return any(opens <= now < closes for opens, closes in _intervals(window, today - timedelta(days=2), 4, zone))


def next_opening(window: Window, now: datetime, zone: ZoneInfo) -> datetime:
    """The first moment after now at which the window opens, in UTC."""
    today = now.astimezone(zone).date()
    days = _DAYS_AHEAD * (1 + len(WEEKDAYS))
    return min(opens for opens, _ in _intervals(window, today - timedelta(days=1), days, zone) if opens > now)


def instant(day: date, moment: time, zone: ZoneInfo) -> datetime:
    """The instant of a local wall time, in UTC."""
    return datetime.combine(day, moment, tzinfo=zone).astimezone(UTC)


def _intervals(window: Window, first: date, days: int, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    for number in range(days):
        day = first + timedelta(days=number)
        if WEEKDAYS[day.weekday()] not in window.days:
            continue
        is_next_day = window.is_over_midnight or window.until == time(0)
        opens = instant(day, window.from_, zone)
        closes = instant(day + timedelta(days=is_next_day), window.until, zone)
        if opens < closes:
            yield opens, closes
