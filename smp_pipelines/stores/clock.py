"""The clock: where `now` comes from. Nothing else in the package reads the wall clock (invariant 3)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Says what time it is, as an aware datetime in UTC."""

    def now(self) -> datetime:
        """The present moment."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The present moment."""
        return datetime.now(UTC)


class StartedAt:
    """A clock that was set to a moment and runs on from there: `smp tick --at`, replays, tests."""

    def __init__(self, moment: datetime) -> None:
        if moment.tzinfo is None:
            raise ValueError("a moment needs a time zone")
        self._moment = moment.astimezone(UTC)
        self._started = time.monotonic()

    def now(self) -> datetime:
        """The set moment plus the seconds that passed since."""
        return self._moment + timedelta(seconds=time.monotonic() - self._started)
