"""The desk: a worker's side towards the ledger. Claims rows ahead of the hands, and writes down what became of them.

It runs on a thread of its own, so that no connection to a mail server ever waits for Postgres. What
was handed over and the next claim go in one transaction; the claim is durable before any of its
mails may leave.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import psycopg

from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.context import Recipient, read_contexts
from smp_pipelines.sending.estate import settle_estates
from smp_pipelines.sending.journal import Journal
from smp_pipelines.sending.ledger import Claim, Claimed, Outcome
from smp_pipelines.sending.limits import Limiter
from smp_pipelines.sending.order import Order
from smp_pipelines.sending.suppression import is_hard_bounce, note_bounces
from smp_pipelines.sending.timetable import Task, Timetable
from smp_pipelines.stores.postgres import Connection, connect, told

BATCH = 400
"""Rows a worker claims at a time, and about as many as it has ready."""
_HOLDING = (ledger.LEASE / 2).total_seconds()
"""Seconds from the claim in which a worker begins with a mail; later it gives the row back."""
_LOOK_SECONDS = 0.5
"""How often it is looked whether the step still runs (F23), and whether rows of others came free."""
# a worker that is stopped in the middle of a transaction must not keep the others from its rows
_PATIENT_SERVER = "set idle_in_transaction_session_timeout = '10s'"


@dataclass
class Count:
    """What a worker's call came to, so far: outcomes and skips by kind, and why it ended before the send did."""

    outcomes: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    held: str | None = None


class Desk:
    """Gives a worker its tasks and takes their outcomes; the worker calls, from one thread, what has no underscore."""

    def __init__(
        self,
        postgres_url: str,
        order: Order,
        journal: Journal,
        limiter: Limiter,
        token: UUID,
        *,
        patience: float,
        lanes: int,
        knock: Callable[[], None],
    ) -> None:
        self.count = Count()
        self.error: BaseException | None = None
        self.finished = threading.Event()
        """Set when there is nothing to do for now: everything is final, put off, held or broken."""
        self._url = postgres_url
        self._order = order
        self._journal = journal
        self._timetable = Timetable(limiter, lanes)
        self._token = token
        self._patience = patience
        self._knock = knock
        self._ready: deque[Task] = deque()
        self._done: deque[tuple[Task, Outcome]] = deque()
        self._back: deque[Task] = deque()
        self._owed: list[tuple[Task, Outcome]] = []
        self._owed_back: list[UUID] = []
        self._open = 0
        self._seen = -1
        self._is_dry = False
        self._paused = False
        self._stopping = False
        self._look_at = 0.0
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="desk", daemon=True)

    def start(self) -> None:
        """Begin to claim."""
        self._thread.start()

    def stop(self) -> bool:
        """Write down what is left to write down and give back what was not begun; whether no row is in hand then."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        return self._open == 0

    def pause(self, *, on: bool) -> None:
        """Claim nothing and give back what is ready, as long as there is no way out for mails."""
        self._paused = on
        self._wake.set()

    @property
    def is_paced(self) -> bool:
        """Whether tasks wait for their moment."""
        return self._timetable.is_paced

    @property
    def connections(self) -> int:
        """How many connections this worker may use now."""
        return self._timetable.connections

    @property
    def ready(self) -> int:
        """How many tasks can be taken."""
        return len(self._ready)

    def take(self, moment: datetime, busy: Mapping[str | None, int]) -> Task | None:
        """The next task that may begin at this moment; `busy` says how many mails are in hand per limited domain."""
        if not self._ready or self._order.is_night(moment):
            return None
        now = time.monotonic()
        for _ in range(len(self._ready)):
            task = self._ready.popleft()
            if now > task.deadline:
                self.give_back(task)
            elif self._timetable.may_begin(task, now, busy):
                # only when it is time for more: a task that waits for its moment is no reason to ask
                if len(self._ready) in (BATCH // 2, 0):
                    self._wake.set()
                self._timetable.note(task, now)
                return task
            else:
                self._ready.append(task)
        return None

    def settle(self, task: Task, outcome: Outcome) -> None:
        """What became of a task."""
        self._done.append((task, outcome))
        # the next claim takes the outcomes along; without one they would wait
        if len(self._done) >= 2 * BATCH or not self._ready:
            self._wake.set()

    def give_back(self, task: Task) -> None:
        """A task that was certainly not begun."""
        self._back.append(task)
        self._wake.set()

    def _work(self) -> None:
        try:
            with told(), connect(self._url) as connection:
                connection.autocommit = True
                connection.execute(_PATIENT_SERVER)
                self._timetable.prepare(connection)
                while not self._stopping and self.count.held is None and not self._is_over(connection):
                    self._turn(connection)
                self.finished.set()
                self._knock()
                self._wind_up(connection)
        except BaseException as error:
            self.error = error
            self.finished.set()
            self._knock()
            self._save()

    def _turn(self, connection: Connection) -> None:
        """Look, write down, claim; then wait until there is something to do."""
        if time.monotonic() > self._look_at:
            self._look_at = time.monotonic() + _LOOK_SECONDS
            self.count.held = self._order.held(connection)
            if self.count.held:
                return
            self._timetable.look(connection)
        self._collect()
        wanted = self._wanted(connection)
        if self._owed or self._owed_back or wanted:
            self._exchange(connection, wanted)
        self._place(connection)
        self._knock()
        if self._ready or self._open or not wanted:
            self._wake.wait(_LOOK_SECONDS)
        self._wake.clear()

    def _collect(self) -> None:
        if self._paused:
            self._empty()
        while self._done:
            self._owed.append(self._done.popleft())
            self._timetable.leave(self._owed[-1][0])
        while self._back:
            task = self._back.popleft()
            self._owed_back.append(task.claimed.recipient_key)
            self._timetable.leave(task)

    def _empty(self) -> None:
        """Give back every task that nobody has taken."""
        self._back.extend(self._timetable.clear())
        while self._ready:
            self._back.append(self._ready.popleft())

    def _wanted(self, connection: Connection) -> int:
        """How many rows to claim now."""
        if self._paused or self._journal.is_full or len(self._ready) > BATCH // 2 or not self.connections:
            return 0
        return self._timetable.room(connection, BATCH)

    def _exchange(self, connection: Connection, wanted: int) -> None:
        """Write down what is owed and claim what is wanted, both or neither."""
        deadline = time.monotonic() + _HOLDING
        with connection.transaction():
            self._write(connection)
            claim = self._claim(connection, wanted) if wanted else None
            tasks = self._tasks(connection, claim.messages, deadline) if claim and claim.messages else []
        self._written()
        if claim is not None:
            self.count.skipped.update(claim.skipped)
            self._is_dry = not (claim.messages or claim.skipped)
            self._open += len(tasks)
            fresh = [task.claimed.seq for task in tasks if task.claimed.attempts == 1]
            self._seen = max(fresh, default=self._seen if tasks or claim.skipped else -1)
            if len(tasks) + claim.skipped.total() < wanted:
                self._seen = -1  # there is nothing behind it; before it, somebody may have given rows back
            if self.is_paced:
                self._put_back(connection, self._timetable.add(connection, tasks))
            else:
                self._ready.extend(tasks)

    def _claim(self, connection: Connection, wanted: int) -> Claim:
        order = self._order
        now = order.clock.now()
        claim = ledger.claim(connection, order.send, order.rules, now, wanted, token=self._token, after=self._seen)
        if self._seen < 0 or claim.messages or claim.skipped:
            return claim
        return ledger.claim(connection, order.send, order.rules, now, wanted, token=self._token)

    def _tasks(self, connection: Connection, claimed: Sequence[Claimed], deadline: float) -> list[Task]:
        recipients: list[Recipient] = [(message.person_id, message.record_id) for message in claimed]
        order = self._order
        contexts = read_contexts(connection, recipients, order.record_name, order.rules.record, order.products)
        return [Task(each, contexts.get((each.person_id, each.record_id)), deadline) for each in claimed]

    def _place(self, connection: Connection) -> None:
        """Make ready what may leave soon."""
        due, later = self._timetable.due(connection)
        self._put_back(connection, later)
        self._ready.extend(due)

    def _put_back(self, connection: Connection, later: Mapping[UUID, float]) -> None:
        if not later:
            return
        now = self._order.clock.now()
        moments = [now + timedelta(seconds=seconds) for seconds in later.values()]
        ledger.put_back(connection, self._order.send, self._token, list(later), moments)
        self._open -= len(later)

    def _write(self, connection: Connection) -> None:
        """Put what is owed into the ledger, within a transaction."""
        order, now = self._order, self._order.clock.now()
        outcomes = [outcome for _task, outcome in self._owed]
        ledger.settle(connection, order.send, self._token, outcomes, now)
        ledger.release(connection, order.send, self._token, self._owed_back)
        bounced = [
            task.claimed.address
            for task, outcome in self._owed
            if outcome.state == "rejected" and outcome.reason == "refused" and is_hard_bounce(outcome.response or "")
        ]
        if bounced and order.send.purpose == "live":
            note_bounces(connection, order.send.send_id, bounced, now)

    def _written(self) -> None:
        """What was owed is in the ledger."""
        self._journal.forget([outcome.recipient_key for _task, outcome in self._owed])
        self._journal.forget(self._owed_back)
        self.count.outcomes.update(outcome.state for _task, outcome in self._owed)
        self._open -= len(self._owed) + len(self._owed_back)
        self._owed.clear()
        self._owed_back.clear()

    def _is_over(self, connection: Connection) -> bool:
        """Whether this worker has nothing in hand and there is nothing to take up, now or soon."""
        nothing_came = self._is_dry or not self.connections
        if self._open or self._ready or self._done or self._back or self._paused or not nothing_came:
            return False
        order, now = self._order, self._order.clock.now()
        settle_estates(connection, self._journal.folder, now)
        ledger.expire(connection, order.send, now)
        left = ledger.waiting(connection, order.send, now)
        if left.next_at is None:
            return True
        if left.next_at > now + 2 * ledger.LEASE:
            self.count.held = order.put_off(left)
            return True
        soonest = 0.02 if self.connections else _LOOK_SECONDS
        self._wake.wait(min(max((left.next_at - now).total_seconds(), soonest), _LOOK_SECONDS))
        return False

    def _wind_up(self, connection: Connection) -> None:
        """Wait for the mails that are in hand, and write everything down; what was not begun goes back."""
        while True:
            if self._owes():
                self._pay(connection)
            if self._stopping and not (self._done or self._back):
                return
            self._rest(_LOOK_SECONDS)

    def _save(self) -> None:
        """Postgres went away: write everything down for as long as it may take to come back (`patience`, seconds)."""
        give_up = time.monotonic() + self._patience
        while True:
            if self._owes():
                with contextlib.suppress(psycopg.OperationalError, SmpError), connect(self._url) as connection:
                    connection.autocommit = True
                    self._pay(connection)
            if self._stopping and (time.monotonic() > give_up or not (self._owed or self._owed_back or self._done)):
                return
            self._rest(0.2)

    def _owes(self) -> bool:
        """Whether something is to be written down when nothing more is begun."""
        self._empty()
        self._collect()
        return bool(self._owed or self._owed_back)

    def _pay(self, connection: Connection) -> None:
        with connection.transaction():
            self._write(connection)
        self._written()

    def _rest(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()
