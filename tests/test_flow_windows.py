"""Windows of flows: when they are open, over midnight and through the nights in which clocks change (F45)."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smp_pipelines.campaign.flow.models import Window
from smp_pipelines.campaign.models import WEEKDAYS
from smp_pipelines.flow.windows import is_open, next_opening

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
ZONES = st.sampled_from([AMSTERDAM, ZoneInfo("America/St_Johns"), ZoneInfo("Pacific/Apia"), ZoneInfo("UTC")])


def moments(first: str, days: int) -> st.SearchStrategy[datetime]:
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    return st.integers(0, days * 86_400).map(lambda seconds: start + timedelta(seconds=seconds))


MOMENTS = st.one_of(moments("2010-01-01", 7300), moments("2026-03-28", 2), moments("2026-10-24", 2))
CLOCK = st.times().map(lambda moment: moment.replace(second=0, microsecond=0))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    days = draw(st.sets(st.sampled_from(WEEKDAYS), min_size=1))
    written = {"days": tuple(days), "from": f"{draw(CLOCK):%H:%M}", "until": f"{draw(CLOCK):%H:%M}"}
    return Window.model_validate(written)


def window(days: str, start: str, end: str) -> Window:
    return Window.model_validate({"days": tuple(days.split()), "from": start, "until": end})


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=AMSTERDAM).astimezone(UTC)


@given(windows(), MOMENTS, ZONES)
def test_the_next_opening_is_later_and_open(each: Window, now: datetime, zone: ZoneInfo) -> None:
    opens = next_opening(each, now, zone)
    assert now < opens <= now + timedelta(days=16)
    assert is_open(each, opens, zone)


@given(windows(), MOMENTS, ZONES, st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_whoever_waits_outside_finds_it_closed_until_it_opens(
    each: Window, now: datetime, zone: ZoneInfo, part: float
) -> None:
    if is_open(each, now, zone):
        return
    opens = next_opening(each, now, zone)
    between = min(now + (opens - now) * part, opens - timedelta(microseconds=1))
    assert not is_open(each, between, zone)


@pytest.mark.parametrize(
    ("moment", "is_inside"),
    [
        ("2026-11-23 21:59", False),  # Monday
        ("2026-11-23 22:00", True),
        ("2026-11-24 05:59", True),
        ("2026-11-24 06:00", False),
        ("2026-11-24 22:30", False),  # Tuesday is not one of its days
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(moment: str, is_inside: bool) -> None:
    assert is_open(window("mon", "22:00", "06:00"), local(moment), AMSTERDAM) == is_inside


def test_until_midnight_is_the_end_of_the_day() -> None:
    evening = window("mon", "18:00", "00:00")
    assert is_open(evening, local("2026-11-23 23:59"), AMSTERDAM)
    assert not is_open(evening, local("2026-11-24 00:00"), AMSTERDAM)


def test_a_night_window_lasts_an_hour_longer_in_autumn_and_an_hour_less_in_spring() -> None:
    night = window("sat", "22:00", "06:00")
    for day, hours in (("2026-10-24", 9), ("2026-03-28", 7), ("2026-11-21", 8)):
        opens = local(f"{day} 22:00")
        assert is_open(night, opens + timedelta(hours=hours, minutes=-1), AMSTERDAM)
        assert not is_open(night, opens + timedelta(hours=hours), AMSTERDAM)


def test_a_window_that_the_spring_night_skips_opens_after_the_jump() -> None:
    skipped = window("sun", "02:10", "02:50")
    opens = next_opening(skipped, local("2026-03-28 12:00"), AMSTERDAM)
    assert opens == local("2026-03-29 03:10")  # as many minutes after the jump as it was written after the gap began
    assert time(3, 10) == opens.astimezone(AMSTERDAM).time()
