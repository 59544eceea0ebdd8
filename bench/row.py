"""A row of the table: what was measured, against what, and whether its target was met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import monotonic, process_time


@dataclass(frozen=True)
class Row:
    """One measurement.

    measured: the figure, in `unit`. baseline: the same work done bare, in the same unit (None: there is none).
    target: in words; met: whether it was, None for a figure that is only reported.
    """

    case: str
    what: str
    measured: float
    unit: str
    baseline: float | None = None
    target: str | None = None
    met: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Measured over baseline."""
        return self.measured / self.baseline if self.baseline else None


class Stopwatch:
    """Seconds of something that is done several times; `processor` is what this process's threads used of them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.processor: list[float] = []

    @contextmanager
    def lap(self) -> Iterator[None]:
        """Time the block."""
        started, used = monotonic(), process_time()
        yield
        self.seconds.append(monotonic() - started)
        self.processor.append(process_time() - used)

    @property
    def median(self) -> float:
        """The middle one of the laps."""
        return median(self.seconds)


def at_most(case: str, what: str, measured: float, baseline: float, limit: float, note: str = "") -> Row:
    """A row in seconds whose target is a ratio."""
    return Row(case, what, measured, "s", baseline, f"≤ {limit:g}×", measured <= limit * baseline, note)


def spread(seconds: Sequence[float]) -> str:
    """The laps in words, so that a reader sees how noisy the machine was."""
    return "laps " + ", ".join(f"{lap:.2f}" for lap in seconds) + " s"
