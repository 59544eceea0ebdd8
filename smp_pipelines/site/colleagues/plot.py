"""Plots: bars in SVG, drawn on the server, since the pages have no scripts and allow no styles of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

WIDTH = 720
HEIGHT = 140
_WIDEST_BAR = 48.0
_TICKS = 6


@dataclass(frozen=True)
class Bar:
    """One bar: its place in the picture, in units of the view box, and what it says when pointed at."""

    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True)
class Plot:
    """Bars with the highest value, which the top line stands for, and moments along the bottom: (x, words)."""

    bars: list[Bar]
    top: float
    ticks: list[tuple[float, str]]


def draw_rates(course: Sequence[tuple[datetime, int]], seconds: float, zone: ZoneInfo) -> Plot | None:
    """Mails a minute over time, from counts per `seconds`; None when there is nothing to draw."""
    if not any(count for _, count in course):
        return None
    rates = [count * 60 / seconds for _, count in course]
    top = _round_up(max(rates))
    width = min(WIDTH / len(rates), _WIDEST_BAR)
    clock = "%H:%M:%S" if seconds < 60 else "%H:%M" if seconds < 3600 else "%d-%m %H:%M"
    moments = [moment.astimezone(zone) for moment, _ in course]
    bars = [
        Bar(
            x=round(place * width, 2),
            y=round(HEIGHT - rate / top * HEIGHT, 2),
            width=round(width * 0.86, 2),
            height=round(rate / top * HEIGHT, 2),
            words=f"{moment:{clock}}–{moment + timedelta(seconds=seconds):{clock}}: {rate:,.0f} a minute",
        )
        for place, (moment, rate) in enumerate(zip(moments, rates, strict=True))
        if rate
    ]
    every = max(1, -(-len(moments) // _TICKS))
    # a moment needs some 80 units; the last ones of a short plot may not have them
    every = max(every, round(80 / width))
    ticks = [(round(place * width, 2), f"{moments[place]:{clock}}") for place in range(0, len(moments), every)]
    return Plot(bars, top, [(x, words) for x, words in ticks if x <= WIDTH - 60])


def _round_up(value: float) -> float:
    """The next of 1, 1.2, 1.6, 2, 3 … 10, 12 …: a height that people can read, and so can half of it."""
    step = 1.0
    while True:
        for factor in (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8):
            if value <= step * factor:
                return step * factor
        step *= 10
