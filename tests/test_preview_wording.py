"""Schedules in words, as the pages for colleagues tell them."""

from __future__ import annotations

import re
from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smp_pipelines.campaign.models import WEEKDAYS, Schedule, Step
from smp_pipelines.site.colleagues.wording import join_words, schedule_words


def a_step(**parts: object) -> Step:
    return Step.model_validate({"name": "x", "topic": "service", "send": "continuous"} | parts)


DAILY = {"start": "2026-01-01", "frequency": "daily", "times": ["10:00"]}


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"schedule": DAILY | {"times": ["15:00", "09:00"]}}, "Every day at 09:00 and 15:00, from 1 January 2026"),
        (
            {"schedule": DAILY | {"frequency": "weekly", "days": ["thu", "mon"], "end": "2027-06-30"}},
            "Every Monday and Thursday at 10:00, from 1 January 2026 until 30 June 2027",
        ),
        (
            {"schedule": DAILY | {"frequency": "monthly", "day": 1}},
            "Every month on day 1 at 10:00, from 1 January 2026",
        ),
        (
            {"schedule": DAILY | {"frequency": "monthly", "day": 31}},
            "Every month on day 31 (only months with 31 days) at 10:00, from 1 January 2026",
        ),
        ({"send": "one_off", "schedule": {"at": "2026-12-01 10:00"}}, "Once, on 1 December 2026 at 10:00"),
        ({"send": "one_off"}, "Once, when somebody starts it"),
        ({"send": "trigger"}, "After the step before it"),
    ],
)
def test_a_schedule_is_told_in_words(parts: dict[str, object], words: str) -> None:
    assert schedule_words(a_step(**parts)) == words


@given(
    st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True), st.sets(st.times(time(6), time(22, 59)), min_size=1)
)
def test_the_words_of_a_weekly_schedule_name_every_day_and_time_once(days: list[str], times: set[time]) -> None:
    schedule = Schedule.model_validate(DAILY | {"frequency": "weekly", "days": days, "times": times})
    words = schedule_words(a_step(schedule=schedule))
    assert len(re.findall("[A-Z][a-z]+day", words)) == len(days)
    for moment in times:
        assert f"{moment:%H:%M}" in words


@given(st.lists(st.text("abc", min_size=1), min_size=1))
def test_a_list_in_words_keeps_every_word_in_order(words: list[str]) -> None:
    assert re.split(", | and ", join_words(words)) == words
