"""The outbox, listened to: whoever waits for events hears of them at their commit and makes sends of them at once.

Two kinds of takers: the sensor, which only asks for a run, and a run that lingers after its own work and can
plan and deliver at once. While one lingers (it holds a lock of Postgres, which ends with it), the sensor leaves
the events to it. Who takes what is settled by the rows' own locks: nothing here has to be right for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.sending.events import CHANNEL, take
from smp_pipelines.sending.ledger import Send
from smp_pipelines.stores.clock import Clock
from smp_pipelines.stores.postgres import Connection

_LOOK = 0.2
"""Seconds between two looks while somebody else is to take what comes."""
_LOCK = "hashtextextended('smp submissions listener', 2)"


class Outbox:
    """The events of a project, over a connection that commits each statement; it is this object's own meanwhile."""

    def __init__(self, connection: Connection, project: LoadedProject, clock: Clock) -> None:
        self._connection = connection
        self._project = project
        self._clock = clock
        connection.execute(f"listen {CHANNEL}")

    def wait(self, seconds: float) -> list[Send]:
        """Sends of the events that wait, or come within so many seconds; none while a run that lingers takes them."""
        until = time.monotonic() + seconds
        while True:
            with self._connection.transaction():
                free = self._is("pg_try_advisory_xact_lock")
                sends = take(self._connection, self._project, self._clock.now()) if free else []
            left = until - time.monotonic()
            if sends or left <= 0:
                return sends
            self._heard(left if free else min(left, _LOOK))

    def linger(self, seconds: float, run_id: str, is_outdated: Callable[[], bool]) -> list[Send]:
        """The same for a run, before others; none when another run lingers all the while.

        The mails of flows are left to others: somebody who waits for an answer does not stand behind them.
        None either as soon as it is outdated: an edited project is for the runs that come.
        """
        until = time.monotonic() + seconds
        alone = False
        try:
            while not is_outdated():
                alone = alone or self._is("pg_try_advisory_lock")
                sends = self._taken(run_id) if alone else []
                left = until - time.monotonic()
                if sends or left <= 0:
                    return sends
                self._heard(left if alone else min(left, _LOOK))
            return []
        finally:
            if alone:
                self._is("pg_advisory_unlock")

    def _taken(self, run_id: str) -> list[Send]:
        return take(self._connection, self._project, self._clock.now(), run_id, with_flows=False)

    def _is(self, function: str) -> bool:
        found = self._connection.execute(f"select {function}({_LOCK})").fetchone()
        return bool(found and found[0])

    def _heard(self, seconds: float) -> None:
        for _notice in self._connection.notifies(timeout=seconds, stop_after=1):
            return
