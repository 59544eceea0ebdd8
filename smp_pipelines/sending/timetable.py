"""The timetable: when a worker's tasks may leave, and over how many connections, by limits that all workers share."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from smp_pipelines.sending.ledger import Claimed
from smp_pipelines.sending.limits import HORIZON, WHOLE, Limiter
from smp_pipelines.stores.postgres import Connection

Later = dict[UUID, float]
"""For which recipient keys there is no time soon, and in how many seconds there will be."""
_SLOT_WAIT = timedelta(seconds=2)
_SLACK = 0.3
"""Seconds of a rate that a worker may catch up with after it was busy for a moment."""
_AHEAD = 1.0
"""How many seconds ahead of its moment on its domain's rate a task gets one on the transport's."""


@dataclass(slots=True)
class Task:
    """A claimed row with what its mail is made from, and the monotonic moments between which it may leave."""

    claimed: Claimed
    context: Mapping[str, Any] | None
    deadline: float
    not_before: float = 0.0
    domain: str | None = None


class Timetable:
    """The moments and connections that one worker took from the limits; `lanes` is how many it uses at most."""

    def __init__(self, limiter: Limiter, lanes: int) -> None:
        self._limiter = limiter
        self._lanes = lanes
        self._slots: dict[str | None, int] = {}
        self._unplaced: list[Task] = []
        self._paces: dict[str, float] = {}
        self._tasks: Counter[str | None] = Counter()

    @property
    def is_paced(self) -> bool:
        """Whether tasks wait for their moment."""
        return self._limiter.is_paced

    @property
    def connections(self) -> int:
        """How many connections this worker may use at all."""
        return self._slots.get(WHOLE, 0)

    def prepare(self, connection: Connection) -> None:
        """Make what the limits are kept in, and take as many connections as are free."""
        self._limiter.prepare(connection)
        self._take_slots(connection, WHOLE)

    def look(self, connection: Connection) -> None:
        """Take connections that came free, up to as many as are wanted, and give back those without a task.

        Somebody else may have the mails that wait for them: whose clock is ahead takes them up first every time.
        """
        if self.connections < self._lanes:
            self._take_slots(connection, WHOLE)
        for scope, held in self._slots.items():
            if scope is not None and scope != WHOLE and held and not self._tasks[scope]:
                self._limiter.give_slots(connection, scope)
                self._slots[scope] = 0

    def room(self, connection: Connection, most: int) -> int:
        """For how many tasks, up to `most`, there is time soon."""
        rate = self._limiter.rate(WHOLE)
        if rate is None:
            return most
        return 0 if self._limiter.room_in(connection) > HORIZON / 2 else min(most, max(1, int(rate * HORIZON / 2)))

    def may_begin(self, task: Task, now: float, busy: Mapping[str | None, int]) -> bool:
        """Whether the limits let a task leave now; `busy` says how many mails are in hand per limited domain."""
        if not self.is_paced:
            return True
        if task.not_before > now or (task.domain is not None and busy.get(task.domain, 0) >= self._slots[task.domain]):
            return False
        return all(self._paces.get(scope, 0.0) <= now for scope in (task.domain, WHOLE) if scope)

    def note(self, task: Task, now: float) -> None:
        """A task begins. Time that passed unused is not made up for at once: late mails leave at their rate as well."""
        for scope in (task.domain, WHOLE) if self.is_paced else ():
            rate = self._limiter.rate(scope) if scope else None
            if scope and rate:
                self._paces[scope] = max(self._paces.get(scope, 0.0), now - _SLACK) + 1 / rate

    def add(self, connection: Connection, tasks: Sequence[Task]) -> Later:
        """Give every task its moment on its domain's rate; those that have no room soon are not taken in."""
        later: Later = {}
        for task in tasks:
            task.domain = self._limiter.domain(task.claimed.address)
        for domain in {task.domain for task in tasks} - {None}:
            if not self._take_slots(connection, str(domain)):
                later |= {
                    task.claimed.recipient_key: _SLOT_WAIT.total_seconds() for task in tasks if task.domain == domain
                }
        scopes: dict[str, list[Task]] = {}
        for task in tasks:
            if task.domain is not None and task.claimed.recipient_key not in later:
                scopes.setdefault(task.domain, []).append(task)
        self._take_time(connection, scopes, later)
        taken = [task for task in tasks if task.claimed.recipient_key not in later]
        self._tasks.update(task.domain for task in taken)
        self._unplaced.extend(taken)
        return later

    def leave(self, task: Task) -> None:
        """A task that was added is no more this worker's: what became of it is known, or it goes back."""
        self._tasks[task.domain] -= 1

    def due(self, connection: Connection) -> tuple[list[Task], Later]:
        """Give tasks their moment on the rate of the transport once their domain lets them leave within a second.

        Not sooner: the time would pass unused while they wait, and then they would leave on top of others.
        """
        if not self._unplaced:
            return [], {}
        soon = time.monotonic() + self._limiter.room_in(connection) + _AHEAD
        self._unplaced.sort(key=lambda task: task.not_before)
        due = [task for task in self._unplaced if task.not_before <= soon]
        del self._unplaced[: len(due)]
        later: Later = {}
        self._take_time(connection, {WHOLE: due} if due else {}, later)
        for task in due:
            if task.claimed.recipient_key in later:
                self.leave(task)
        return [task for task in due if task.claimed.recipient_key not in later], later

    def clear(self) -> list[Task]:
        """Let go of every task that is not due yet, and return them."""
        left, self._unplaced = self._unplaced, []
        return left

    def _take_slots(self, connection: Connection, scope: str) -> int:
        self._slots[scope] = self._limiter.take_slots(connection, scope, self._lanes)
        return self._slots[scope]

    def _take_time(self, connection: Connection, scopes: Mapping[str, Sequence[Task]], later: Later) -> None:
        """Move every task to its place on its scope's rate, or note for how many seconds it has to go back."""
        grants = self._limiter.reserve(connection, {scope: len(each) for scope, each in scopes.items()})
        now = time.monotonic()
        for scope, grant in grants.items():
            for place, task in enumerate(scopes[scope]):
                if place < grant.count:
                    task.not_before = max(task.not_before, now + grant.starts_in + place * grant.gap)
                else:
                    later[task.claimed.recipient_key] = grant.queue_in + (place - grant.count) * grant.gap
