"""Charts of a flow: bars in SVG, made on the server, since pages have no scripts and allow no styles of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from smp_pipelines.campaign.flow.graph import Node
from smp_pipelines.flow.seeing import Day, MailCounts, VersionCounts
from smp_pipelines.site.colleagues.wording import date_words

WIDTH, HEIGHT = 720, 140
_WIDEST = 36.0
_PARTS = ("went on", "waiting", "goal met", "dropped out", "left")


@dataclass(frozen=True)
class Part:
    """A part of a bar: how many, where it begins and how long it is (per cent of the longest bar)."""

    name: str
    count: int
    begins_at: float
    share: float

    @property
    def look(self) -> str:
        """The class that gives its colour."""
        return self.name.replace(" ", "-")


@dataclass(frozen=True)
class StepBar:
    """The bar of a step: who came, by what became of them."""

    node: Node
    came: int
    parts: list[Part]
    mails: MailCounts | None


def step_bars(version: VersionCounts | None) -> list[StepBar]:
    """A bar for each step; the longest is as wide as there is room."""
    steps = version.steps if version else ()
    most = max((each.came for each in steps), default=0) or 1
    bars = []
    for each in steps:
        others = max(each.left - each.went_on - each.goal - each.drop_outs, 0)
        parts, at = [], 0.0
        for name, count in zip(_PARTS, (each.went_on, each.waiting, each.goal, each.drop_outs, others), strict=True):
            if count:
                parts.append(Part(name, count, at, count * 100 / most))
                at += count * 100 / most
        bars.append(StepBar(each.node, each.came, parts, each.mails))
    return bars


@dataclass(frozen=True)
class DayBar:
    """A day on the chart, in units of its view box: who entered and, below the line, who left."""

    x: float
    width: float
    entered: float
    departed: float
    words: str


@dataclass(frozen=True)
class DayChart:
    """Days with the most that entered or left on one of them, and dates along the bottom: (x, words)."""

    bars: list[DayBar]
    top: int
    ticks: list[tuple[float, str]]


def draw_days(days: Sequence[Day]) -> DayChart | None:
    """The chart of entering and leaving, from the first day on which anything happened; None when nothing did."""
    if not days:
        return None
    known = {each.day: each for each in days}
    first, last = min(known), max(known)
    every = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    top = max(max(each.entered, each.departed) for each in days) or 1
    width = min(WIDTH / len(every), _WIDEST)
    half = HEIGHT / 2
    bars = [_bar(known[day], place * width, width, half / top) for place, day in enumerate(every) if day in known]
    step = max(1, round(70 / width))
    ticks = [(round(place * width, 1), _short(every[place])) for place in range(0, len(every), step)]
    return DayChart(bars, top, ticks)


def _bar(day: Day, x: float, width: float, scale: float) -> DayBar:
    words = f"{date_words(day.day)}: {day.entered:,} entered, {day.departed:,} left, {day.goals:,} met a goal"
    return DayBar(
        round(x, 2), round(width * 0.84, 2), round(day.entered * scale, 2), round(day.departed * scale, 2), words
    )


def _short(day: date) -> str:
    return f"{day.day} {day:%b}"
