"""The worker: hands the mails of one send over, on several connections at once, with one thread.

A worker is symmetric: any number of them, in any number of processes on any machines, may work on
the same send. It hands nothing over that it has not claimed, begins with no mail when its lease runs
out, and notes in its journal what it begins, so that its death leaves little unknown.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from smp_pipelines.campaign.content.mail import ContentError
from smp_pipelines.campaign.policy import Limits
from smp_pipelines.sending.answers import final_outcome
from smp_pipelines.sending.blocking import ThreadedStream
from smp_pipelines.sending.desk import Count, Desk
from smp_pipelines.sending.journal import Journal
from smp_pipelines.sending.ledger import Outcome
from smp_pipelines.sending.limits import Limiter
from smp_pipelines.sending.order import Order
from smp_pipelines.sending.postroom import Postroom
from smp_pipelines.sending.timetable import Task
from smp_pipelines.sending.transport import Answer, Mail, Streaming, Transport, TransportDownError

PAUSES = (5, 20, 60, 300, 900, 1800, 3600)
"""Seconds until a mail that the server put off is tried again; after the last one it is given up."""
_BEAT = 0.1
"""How long a worker waits at most, in seconds, before it looks around."""


class Worker:
    """One worker on one send. `run` may be called once.

    connections: how many it uses at most, fewer where a limit says so. patience: for how many seconds
    it waits for Postgres to come back with outcomes in hand, and for a mail server that it had reached before.
    """

    def __init__(
        self,
        postgres_url: str,
        transport: Transport,
        order: Order,
        postroom: Postroom,
        journals: Path,
        *,
        limits: Limits,
        connections: int,
        patience: float,
    ) -> None:
        token = uuid4()
        self._transport = transport
        self._order = order
        self._postroom = postroom
        self._patience = patience
        self._connections = connections
        self._journal = Journal(journals, token, order.send.send_id)
        self._knocks, self._knocking = socket.socketpair()
        for end in (self._knocks, self._knocking):
            end.setblocking(False)
        self._desk = Desk(
            postgres_url,
            order,
            self._journal,
            Limiter(transport.name, limits),
            token,
            patience=patience,
            lanes=connections,
            knock=self._knock,
        )
        self._selector = selectors.DefaultSelector()
        self._lanes: list[Streaming] = []
        self._opening = 0
        self._opened: queue.SimpleQueue[Streaming | TransportDownError] = queue.SimpleQueue()
        self._reached = False
        self._down: TransportDownError | None = None
        self._try_at = 0.0
        self._give_up_at: float | None = None
        self._tasks: dict[str, Task] = {}
        self._ahead: deque[tuple[Task, Mail]] = deque()
        self._busy: Counter[str | None] = Counter()
        self._stop = threading.Event()
        self._error: BaseException | None = None

    @property
    def count(self) -> Count:
        """What came of it so far."""
        return self._desk.count

    @property
    def down(self) -> TransportDownError | None:
        """Why the transport could not be used, at least not with as many connections as were wanted."""
        return self._down

    def stop(self) -> None:
        """Begin with no other mail; what is in hand is finished. For another thread."""
        self._stop.set()
        self._knock()

    def run(self, progress: Callable[[], None] | None = None) -> None:
        """Deliver until nothing is left that can be taken up soon, or the send is held.

        Raises SmpError when Postgres is away; an interrupt is passed on. Either way what is known is in
        the ledger, or in the journal for whoever comes next. `down` says whether the transport was away.
        """
        # Not on the thread that calls: an interrupt comes to that one, and would tear a mail from its answer here.
        hands = threading.Thread(target=self._work, name="hands", daemon=True)
        hands.start()
        try:
            while hands.is_alive():
                hands.join(_BEAT)
                if progress is not None:
                    progress()
        finally:
            self.stop()
            hands.join()
        error = self._error or self._desk.error
        if error is not None:
            raise error

    def _work(self) -> None:
        self._selector.register(self._knocks, selectors.EVENT_READ)
        self._desk.start()
        try:
            self._deliver()
        except BaseException as error:
            self._error = error
        finally:
            self._clear_up()

    def _deliver(self) -> None:
        while not self._stop.is_set():
            over = self._desk.finished.is_set()
            if over or self._give_up_at is not None:
                self._give_back_ahead()
            if (over and not self._tasks) or self._is_cut_off():
                return
            if not over:
                self._open_lanes()
                self._fill(self._lanes)
            self._wait()

    @property
    def _is_over(self) -> bool:
        """Whether no other mail may be begun."""
        return self._desk.finished.is_set() or self._stop.is_set()

    def _give_back_ahead(self) -> None:
        while self._ahead:
            self._desk.give_back(self._ahead.popleft()[0])

    def _open_lanes(self) -> None:
        """Open as many connections as there is work for; each says hello on a thread of its own."""
        while not self._opened.empty():
            self._take_lane(self._opened.get())
        allowed = min(self._connections, self._desk.connections)
        wanted = min(allowed, len(self._tasks) + self._desk.ready)
        if time.monotonic() < self._try_at:
            return
        while len(self._lanes) + self._opening < wanted:
            self._opening += 1
            threading.Thread(target=self._connect, daemon=True).start()

    def _connect(self) -> None:
        try:
            found = self._transport.connect()
            self._opened.put(found if isinstance(found, Streaming) else ThreadedStream(found))
        except TransportDownError as error:
            self._opened.put(error)
        except Exception as error:
            self._opened.put(TransportDownError(f"{self._transport.name} cannot be used: {error}"))
        self._knock()

    def _take_lane(self, found: Streaming | TransportDownError) -> None:
        self._opening -= 1
        if isinstance(found, TransportDownError):
            self._down = found
            # one connection too many for the server is no reason to stop while the others do the work
            self._connections = max(len(self._lanes) + self._opening, 1)
            self._try_at = time.monotonic() + 1
            if not self._lanes:
                self._wait_for_way_out()
            return
        found.begun = self._begin
        self._reached, self._down, self._try_at = True, None, 0.0
        if not isinstance(found, ThreadedStream):
            self._give_up_at = None  # it has said hello; of others only an answer tells that they work
        self._desk.pause(on=False)
        self._lanes.append(found)
        self._selector.register(found, selectors.EVENT_READ, found)

    def _is_cut_off(self) -> bool:
        """Whether there is no way out for mails any more."""
        if self._lanes or self._opening or self._give_up_at is None:
            return False
        if time.monotonic() > self._give_up_at:
            return True
        if time.monotonic() > self._try_at:
            self._opening += 1
            self._try_at = time.monotonic() + 1
            threading.Thread(target=self._connect, daemon=True).start()
        return False

    def _fill(self, lanes: list[Streaming]) -> None:
        """Give every connection that takes a mail its next one, and write."""
        for lane in list(lanes):
            offered = False
            while lane.takes and (made := self._next(lane.eight_bit)) is not None:
                offered = True
                task, mail = made
                self._tasks[mail.message_id] = task
                self._busy[task.domain] += 1
                lane.offer(mail)
            self._flush(lane)
            if not lane.is_open or (offered and not lane.in_hand):
                self._hear(lane)

    def _flush(self, lane: Streaming) -> None:
        """Write what can be written, and be told when the rest can."""
        lane.flush()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if lane.wants_to_write else 0)
        if lane.is_open and self._selector.get_key(lane).events != events:
            self._selector.modify(lane, events, lane)

    def _next(self, eight_bit: bool) -> tuple[Task, Mail] | None:
        """The next mail that may leave now, with its task."""
        while self._ahead:
            task, mail = self._ahead.popleft()
            if time.monotonic() < task.deadline and not self._order.is_night(self._order.clock.now()):
                return task, mail
            self._desk.give_back(task)
        return self._next_made(eight_bit)

    def _next_made(self, eight_bit: bool) -> tuple[Task, Mail] | None:
        while True:
            now = self._order.clock.now()
            task = self._desk.take(now, self._busy)
            if task is None:
                return None
            mail = self._make(task, now, eight_bit)
            if mail is not None:
                return task, mail

    def _make_ahead(self) -> bool:
        """Make a mail while the server is busy with others; whether there was one to make, and room for it."""
        if self._desk.is_paced or len(self._ahead) >= len(self._lanes) or self._is_over:
            return False
        # any mail fits any connection: they all lead to the same server
        made = self._next_made(self._lanes[0].eight_bit)
        if made is not None:
            self._ahead.append(made)
        return made is not None

    def _make(self, task: Task, now: datetime, eight_bit: bool) -> Mail | None:
        """The mail of a task; None when it cannot be made, which is its outcome then."""
        if task.context is None:
            self._desk.settle(task, Outcome(task.claimed.recipient_key, "rejected", "person_gone"))
            return None
        try:
            return self._postroom.make(task.claimed, task.context, now, eight_bit=eight_bit)
        except (ContentError, ValueError, TypeError) as error:
            # whatever is odd about this person must not keep the mail from all the others
            words = str(error)[:500]
            self._desk.settle(task, Outcome(task.claimed.recipient_key, "rejected", "content_error", words))
            return None

    def _wait(self) -> None:
        """Wait for the connections, and take what they say."""
        ready = self._selector.select(0)
        while not ready and self._make_ahead():
            ready = self._selector.select(0)
        ready = ready or self._selector.select(_BEAT)
        lanes: list[Streaming] = []
        for key, _events in ready:
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._knocks.recv(4096)
            else:
                lanes.append(key.data)
        now = time.monotonic()
        overdue = [lane for lane in self._lanes if lane not in lanes and (lane.deadline or now) < now]
        for lane in itertools.chain(lanes, overdue):
            self._hear(lane)
        still_open = [lane for lane in lanes if lane.is_open]
        if not self._is_over:
            self._fill(still_open)
        else:
            for lane in still_open:
                self._flush(lane)

    def _hear(self, lane: Streaming) -> None:
        """Take the answers of one connection; let go of it when it is of no use any more."""
        try:
            self._note(lane.pump())
        except TransportDownError as error:
            # it is the same for every mail: no other is begun
            self._down = error
            self._stop.set()
            self._drop(lane)
            return
        if not lane.is_open:
            self._drop(lane)

    def _drop(self, lane: Streaming) -> None:
        self._selector.unregister(lane)
        self._lanes.remove(lane)
        answers = lane.close()
        if isinstance(lane, ThreadedStream) and lane.down is not None:
            self._lose_way_out(answers, lane.down)
        else:
            self._note(answers)

    def _lose_way_out(self, answers: list[tuple[Mail, Answer]], why: TransportDownError) -> None:
        """A connection that takes nothing from anybody: its mail goes back as it was, and another is tried later."""
        for mail, answer in answers:
            if answer.kind == "later":
                task = self._tasks.pop(mail.message_id)
                self._busy[task.domain] -= 1
                self._journal.answer(task.claimed.recipient_key, answer)
                self._desk.give_back(task)
            else:
                self._note([(mail, answer)])
        self._down = why
        self._try_at = time.monotonic() + 1
        if not self._lanes:
            self._wait_for_way_out()

    def _wait_for_way_out(self) -> None:
        """Hold everything until a connection can be had; for how long, was decided when it was first lost."""
        if self._give_up_at is None:
            self._give_up_at = time.monotonic() + (self._patience if self._reached else 0)
        self._desk.pause(on=True)

    def _begin(self, mail: Mail) -> None:
        self._journal.begin(self._tasks[mail.message_id].claimed.recipient_key)

    def _note(self, answers: list[tuple[Mail, Answer]]) -> None:
        if answers:
            self._give_up_at = None
        for mail, answer in answers:
            task = self._tasks.pop(mail.message_id)
            self._busy[task.domain] -= 1
            self._journal.answer(task.claimed.recipient_key, answer)
            self._desk.settle(task, self._outcome(task, answer))

    def _outcome(self, task: Task, answer: Answer) -> Outcome:
        key, attempts = task.claimed.recipient_key, task.claimed.attempts
        final = final_outcome(key, answer)
        if final is not None:
            return final
        if attempts > len(PAUSES):
            return Outcome(key, "rejected", "gave_up", answer.response)
        retry_at = self._order.clock.now() + timedelta(seconds=PAUSES[attempts - 1])
        return Outcome(key, "planned", None, answer.response, retry_at)

    def _clear_up(self) -> None:
        """Hear the mails out that are in hand, let go of every connection, and write everything down."""
        self._stop.set()
        self._give_back_ahead()
        try:
            while self._tasks and any(lane.in_hand for lane in self._lanes):
                self._wait()
        finally:
            for lane in list(self._lanes):
                self._drop(lane)
            for task in self._tasks.values():
                self._desk.give_back(task)
            settled = self._desk.stop()
            self._journal.close(settled=settled)
            self._selector.close()
            self._knocks.close()
            self._knocking.close()

    def _knock(self) -> None:
        with contextlib.suppress(OSError):
            self._knocking.send(b"!")
