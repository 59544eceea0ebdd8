"""The calendar: local wall time, both DST nights, day 31, start and end dates, quiet hours (F19-F22)."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smp_pipelines.campaign.calendar import (
    cron_lines,
    due_moment,
    has_ended,
    is_quiet,
    moments,
    night_since,
)
from smp_pipelines.campaign.models import WEEKDAYS, OneOffSchedule, Schedule

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
ZONES = [
    "Europe/Amsterdam",
    "America/New_York",
    "America/Havana",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Casablanca",
    "UTC",
]
QUARTERS = [time(hour, minute) for hour in range(24) for minute in (0, 15, 30, 45)]


def daily(*times: str, start: str = "2026-01-01", end: str | None = None) -> Schedule:
    return Schedule.model_validate({"start": start, "end": end, "frequency": "daily", "times": list(times)})


def monthly(day: int) -> Schedule:
    return Schedule.model_validate({"start": "2026-01-01", "frequency": "monthly", "day": day, "times": ["09:00"]})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    start = draw(st.dates(date(2011, 12, 1), date(2027, 6, 1)))
    frequency = draw(st.sampled_from(["daily", "weekly", "monthly"]))
    end = draw(st.none() | st.integers(-2, 200).map(lambda days: start + timedelta(days=days)))
    return Schedule(
        start=start,
        end=end,
        frequency=frequency,
        days=tuple(draw(st.sets(st.sampled_from(WEEKDAYS), min_size=1))) if frequency == "weekly" else (),
        day=draw(st.integers(1, 31)) if frequency == "monthly" else None,
        times=tuple(draw(st.lists(st.sampled_from(QUARTERS), min_size=1, max_size=4))),
    )


def expected(schedule: Schedule, zone: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    """Walk the real clock in quarters of an hour and look at what a wall clock shows: no arithmetic in local time."""
    found = []
    instant = after.replace(minute=0, second=0, microsecond=0)
    while instant <= until:
        wall = instant.astimezone(zone)
        on_time = wall.time() in schedule.times and not is_quiet(wall.time())
        in_dates = schedule.start <= wall.date() and (schedule.end is None or wall.date() <= schedule.end)
        on_day = {
            "daily": True,
            "weekly": WEEKDAYS[wall.weekday()] in schedule.days,
            "monthly": wall.day == schedule.day,
        }[schedule.frequency]
        if on_time and in_dates and on_day and wall.fold == 0 and after < instant <= until:
            found.append(instant)
        instant += timedelta(minutes=15)
    return found


@given(schedules(), st.sampled_from(ZONES), st.integers(-30, 220), st.integers(0, 24 * 40), st.integers(0, 59))
def test_moments_are_what_a_wall_clock_shows(
    schedule: Schedule, zone_name: str, offset: int, hours: int, minutes: int
) -> None:
    zone = ZoneInfo(zone_name)
    after = datetime.combine(schedule.start, time(0, minutes), tzinfo=UTC) + timedelta(days=offset)
    until = after + timedelta(hours=hours)
    assert moments(schedule, zone, after, until) == expected(schedule, zone, after, until)


@given(schedules(), st.sampled_from(ZONES), st.integers(0, 300), st.integers(0, 60), st.integers(0, 60))
def test_two_windows_that_touch_give_every_moment_once(
    schedule: Schedule, zone_name: str, offset: int, first: int, second: int
) -> None:
    zone = ZoneInfo(zone_name)
    begin = datetime.combine(schedule.start, time(9), tzinfo=UTC) + timedelta(days=offset)
    middle, end = begin + timedelta(hours=7 * first), begin + timedelta(hours=7 * (first + second))
    parts = moments(schedule, zone, begin, middle) + moments(schedule, zone, middle, end)
    assert parts == moments(schedule, zone, begin, end)
    assert parts == sorted(set(parts))


@given(schedules(), st.sampled_from(ZONES), st.integers(-3, 900))
def test_the_due_moment_is_the_last_of_all_moments_so_far(schedule: Schedule, zone_name: str, offset: int) -> None:
    zone = ZoneInfo(zone_name)
    at = datetime.combine(schedule.start, time(10), tzinfo=UTC) + timedelta(days=offset)
    everything = moments(schedule, zone, datetime.combine(schedule.start, time(), tzinfo=UTC) - timedelta(days=2), at)
    assert due_moment(schedule, zone, at) == (everything[-1] if everything else None)


@given(schedules(), st.sampled_from(ZONES), st.integers(0, 400))
def test_no_moment_lies_in_the_quiet_hours(schedule: Schedule, zone_name: str, offset: int) -> None:
    zone = ZoneInfo(zone_name)
    begin = datetime.combine(schedule.start, time(), tzinfo=UTC) + timedelta(days=offset)
    found = moments(schedule, zone, begin, begin + timedelta(days=60))
    assert not [moment for moment in found if is_quiet(moment.astimezone(zone).time())]


def test_nine_o_clock_stays_nine_o_clock_over_the_spring_night() -> None:
    found = moments(daily("09:00"), AMSTERDAM, utc("2026-03-27T12:00"), utc("2026-03-30T12:00"))
    assert found == [utc("2026-03-28T08:00"), utc("2026-03-29T07:00"), utc("2026-03-30T07:00")]


def test_nine_o_clock_stays_nine_o_clock_over_the_autumn_night() -> None:
    found = moments(daily("09:00"), AMSTERDAM, utc("2026-10-23T12:00"), utc("2026-10-26T12:00"))
    assert found == [utc("2026-10-24T07:00"), utc("2026-10-25T08:00"), utc("2026-10-26T08:00")]


def test_a_day_that_a_zone_skipped_has_no_moment() -> None:
    # Samoa went from 29 to 31 December 2011: 30 December must not become a second send on the 31st.
    found = moments(
        daily("09:00", start="2011-12-01"), ZoneInfo("Pacific/Apia"), utc("2011-12-29T00:00"), utc("2012-01-01T00:00")
    )
    assert found == [utc("2011-12-29T19:00"), utc("2011-12-30T19:00"), utc("2011-12-31T19:00")]


def test_day_31_goes_only_in_months_with_31_days() -> None:
    found = moments(monthly(31), AMSTERDAM, utc("2026-01-01T00:00"), utc("2026-12-31T23:00"))
    assert [moment.month for moment in found] == [1, 3, 5, 7, 8, 10, 12]


def test_day_29_goes_in_february_of_a_leap_year() -> None:
    assert moments(monthly(29), AMSTERDAM, utc("2027-02-01T00:00"), utc("2027-03-01T00:00")) == []
    assert moments(monthly(29), AMSTERDAM, utc("2028-02-01T00:00"), utc("2028-03-01T00:00")) == [
        utc("2028-02-29T08:00")
    ]


def test_start_and_end_date_both_count() -> None:
    schedule = daily("09:00", start="2026-05-04", end="2026-05-05")
    found = moments(schedule, AMSTERDAM, utc("2026-01-01T00:00"), utc("2026-12-31T00:00"))
    assert found == [utc("2026-05-04T07:00"), utc("2026-05-05T07:00")]


def test_the_window_is_open_at_the_begin_and_closed_at_the_end() -> None:
    schedule = daily("09:00", "15:00")
    nine, three = utc("2026-07-01T07:00"), utc("2026-07-01T13:00")
    assert moments(schedule, AMSTERDAM, nine, three) == [three]
    assert moments(schedule, AMSTERDAM, nine, nine) == []


def test_a_schedule_has_ended_when_the_local_day_of_its_end_date_is_over() -> None:
    schedule = daily("09:00", end="2026-06-30")
    assert not has_ended(schedule, AMSTERDAM, utc("2026-06-30T21:59"))
    assert has_ended(schedule, AMSTERDAM, utc("2026-06-30T22:00"))
    assert not has_ended(daily("09:00"), AMSTERDAM, utc("2099-01-01T00:00"))


def test_the_last_moment_stays_due_years_after_the_end() -> None:
    schedule = daily("09:00", end="2026-06-30")
    assert due_moment(schedule, AMSTERDAM, utc("2036-01-01T00:00")) == utc("2026-06-30T07:00")


def test_a_planned_one_off_step_has_one_moment() -> None:
    schedule = OneOffSchedule.model_validate({"at": "2026-12-01 10:00"})
    assert moments(schedule, AMSTERDAM, utc("2026-01-01T00:00"), utc("2030-01-01T00:00")) == [utc("2026-12-01T09:00")]
    assert due_moment(schedule, AMSTERDAM, utc("2026-12-01T08:59")) is None
    assert due_moment(schedule, AMSTERDAM, utc("2029-12-01T08:59")) == utc("2026-12-01T09:00")
    assert not has_ended(schedule, AMSTERDAM, utc("2029-12-01T08:59"))


def test_a_time_of_2330_never_becomes_a_moment_or_a_cron_line() -> None:
    schedule = daily("23:30", "09:00")
    assert cron_lines(schedule) == ["0 9 * * *"]
    assert moments(schedule, AMSTERDAM, utc("2026-07-01T00:00"), utc("2026-07-02T00:00")) == [utc("2026-07-01T07:00")]


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [("22:59", False), ("23:00", True), ("00:00", True), ("05:59", True), ("06:00", False), ("12:00", False)],
)
def test_quiet_hours_run_from_23_up_to_6(moment: str, quiet: bool) -> None:
    assert is_quiet(time.fromisoformat(moment)) is quiet


def test_cron_lines_say_the_same_as_the_schedule() -> None:
    assert cron_lines(daily("15:00", "09:05", "09:05")) == ["5 9 * * *", "0 15 * * *"]
    weekly = {"start": "2026-01-01", "frequency": "weekly", "days": ["tue", "sun", "mon"], "times": ["10:00"]}
    assert cron_lines(Schedule.model_validate(weekly)) == ["0 10 * * 0,1,2"]
    assert cron_lines(monthly(31)) == ["0 9 31 * *"]


def test_moments_without_a_zone_are_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        moments(daily("09:00"), AMSTERDAM, utc("2026-01-01").replace(tzinfo=None), utc("2026-01-02"))


NIGHT_ZONES = [*ZONES, "America/Nuuk"]
"""In Nuuk the clock jumps at 23:00 in spring, and shows the hour before midnight twice in autumn."""


def a_quarter(name: str) -> st.SearchStrategy[datetime]:
    """Quarters of an hour around both DST nights of 2026 in this zone, or any other day when it has none."""
    zone = ZoneInfo(name)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    days = [begin + timedelta(days=day) for day in range(365)]
    changes = [
        day
        for day in days
        if day.astimezone(zone).utcoffset() != (day + timedelta(days=1)).astimezone(zone).utcoffset()
    ]
    return st.builds(
        lambda day, quarters: day + timedelta(minutes=15 * quarters),
        st.sampled_from(changes or days),
        st.integers(-96, 192),
    )


@given(st.sampled_from(NIGHT_ZONES), st.data(), st.integers(-10, 130))
def test_a_night_came_in_between_when_a_wall_clock_showed_it(name: str, data: st.DataObject, quarters: int) -> None:
    zone, moment = ZoneInfo(name), data.draw(a_quarter(name))
    now = moment + timedelta(minutes=15 * quarters)
    walked = (moment + timedelta(minutes=15 * step) for step in range(quarters + 1))
    assert night_since(moment, now, zone) is any(is_quiet(each.astimezone(zone).time()) for each in walked)


@pytest.mark.parametrize(
    ("moment", "now", "came"),
    [
        # the spring night is an hour shorter: 22:30 is 21:30 UTC, 23:00 is 22:00 UTC
        ("2026-03-28T21:30", "2026-03-28T21:59", False),
        ("2026-03-28T21:30", "2026-03-28T22:00", True),
        ("2026-03-29T04:00", "2026-03-29T20:59", False),  # from 06:00 to 22:59 in summer time
        ("2026-03-29T03:59", "2026-03-29T04:00", True),  # 05:59 was night itself
        # the autumn night is an hour longer: 22:30 is 20:30 UTC, and 06:00 is 05:00 UTC
        ("2026-10-24T20:30", "2026-10-24T20:59", False),
        ("2026-10-24T20:30", "2026-10-24T21:00", True),
        ("2026-10-24T20:30", "2026-10-25T09:00", True),
        ("2026-10-25T05:00", "2026-10-25T21:59", False),  # from 06:00 to 22:59 in winter time
        ("2026-10-25T04:59", "2026-10-25T05:00", True),
        ("2026-10-25T05:00", "2026-10-25T04:00", False),  # backwards is no time at all
    ],
)
def test_a_night_came_in_between_over_both_dst_nights(moment: str, now: str, came: bool) -> None:
    assert night_since(utc(moment), utc(now), AMSTERDAM) is came


def test_a_night_between_moments_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        night_since(utc("2026-01-01").replace(tzinfo=None), utc("2026-01-02"), AMSTERDAM)


@given(st.dates(date(2026, 1, 1), date(2027, 12, 31)), st.sampled_from(QUARTERS), st.sampled_from(ZONES))
def test_a_planned_one_off_step_is_due_once_at_the_time_on_the_wall_and_never_at_night(
    day: date, at: time, name: str
) -> None:
    wall = datetime.combine(day, at)
    zone, schedule = ZoneInfo(name), OneOffSchedule(at=wall)
    found = moments(schedule, zone, datetime(2025, 12, 1, tzinfo=UTC), datetime(2028, 2, 1, tzinfo=UTC))
    if is_quiet(wall.time()):
        assert found == []
    else:
        assert [each.astimezone(zone).replace(tzinfo=None) for each in found] == [wall]
        assert due_moment(schedule, zone, found[0]) == found[0]
        assert due_moment(schedule, zone, found[0] - timedelta(minutes=1)) is None


@given(schedules(), st.sampled_from(ZONES), st.integers(0, 200))
def test_the_cron_lines_fire_at_every_moment_on_the_wall(schedule: Schedule, name: str, offset: int) -> None:
    """What Dagster runs must leave no moment out: each moment's local minute, hour and day match a line."""
    zone = ZoneInfo(name)
    begin = datetime.combine(schedule.start, time(), tzinfo=UTC) + timedelta(days=offset)
    lines = [line.split() for line in cron_lines(schedule)]
    for moment in moments(schedule, zone, begin, begin + timedelta(days=40)):
        wall = moment.astimezone(zone)
        weekday = str((wall.weekday() + 1) % 7)
        assert any(
            (minute, hour) == (str(wall.minute), str(wall.hour))
            and day in ("*", str(wall.day))
            and (weekdays == "*" or weekday in weekdays.split(","))
            for minute, hour, day, _month, weekdays in lines
        )


@given(st.integers(1, 31), st.integers(0, 30))
def test_a_day_of_the_month_comes_in_the_months_that_have_it_and_only_once(day: int, years: int) -> None:
    found = moments(monthly(day), AMSTERDAM, utc(f"{2026 + years}-01-01"), utc(f"{2027 + years}-01-01"))
    months = [month for month in range(1, 13) if day <= monthrange(2026 + years, month)[1]]
    assert [each.astimezone(AMSTERDAM).month for each in found] == months
    assert {each.astimezone(AMSTERDAM).day for each in found} == {day}
