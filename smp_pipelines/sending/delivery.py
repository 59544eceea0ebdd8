"""Delivery: workers that claim rows of a send, hand the mails over and write down what became of them.

A worker is symmetric: any number of them, in any number of processes, may work on the same send.
It never hands anything over that it has not claimed, and begins with no mail when its lease runs out.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from smp_pipelines.campaign.calendar import is_quiet
from smp_pipelines.campaign.content import Content, ContentError
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.context import full_name, read_contexts
from smp_pipelines.sending.ledger import Claim, Claimed, ClaimRules, Outcome, Send
from smp_pipelines.sending.message import MessageBuilder
from smp_pipelines.sending.planning import claim_rules
from smp_pipelines.sending.smtp import TIMEOUT, Answer, MailServerDownError, SmtpConnection
from smp_pipelines.sending.status import read_status
from smp_pipelines.stores.clock import Clock
from smp_pipelines.stores.postgres import Connection, connect, told

BATCH = 50
"""Rows a worker claims at a time: what may become `unknown` when its process is killed."""
PAUSES = (5, 20, 60, 300, 900, 1800, 3600)
"""Seconds until a mail that the server put off is tried again; after the last one it is given up."""
_HOLDING = (ledger.LEASE / 2).total_seconds()
"""Seconds from the claim in which a worker begins with a mail of its batch; the rest it gives back."""
_LOOK_SECONDS = 1.0
"""How often a worker looks whether the step still runs, in the middle of a batch too (F23)."""
_WRITE_PATIENCE = 30.0


@dataclass
class Delivery:
    """What delivering a send came to: counts of this call, and why it ended before the send did, if so."""

    outcomes: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    held: str | None = None

    @property
    def accepted(self) -> int:
        """Mails that the mail server took."""
        return self.outcomes["accepted"]


class Delivering:
    """Delivers one send with a few connections, each on a thread of its own.

    `patience` is for how many seconds a worker tries to write down what became of its mails when
    Postgres is away; `smtp_timeout` how many seconds one answer of the mail server may take.
    """

    def __init__(
        self,
        postgres_url: str,
        mail_url: str,
        project: LoadedProject,
        send: Send,
        clock: Clock,
        *,
        connections: int = 4,
        patience: float = _WRITE_PATIENCE,
        smtp_timeout: float = TIMEOUT,
    ) -> None:
        self._url = postgres_url
        self._smtp_url = mail_url
        self._smtp_timeout = smtp_timeout
        self._patience = patience
        self._project = project
        self._ref: StepRef = project.step(send.step)
        self._rules: ClaimRules = claim_rules(project, self._ref.step)
        self._send = send
        self._clock = clock
        self._connections = connections
        self._content = Content.compile(self._ref, project)
        self._builder = MessageBuilder(
            sender=self._ref.step.sender, reply_to=self._ref.step.reply_to, step=send.step, send_key=send.send_key
        )
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._down: MailServerDownError | None = None
        self._result = Delivery()
        self._guard = threading.Lock()

    def run(self, progress: Callable[[Delivery], None] | None = None) -> Delivery:
        """Deliver until nothing is left, or the send is held; then finish it if every row is final.

        An interrupt or an error gives back what was not handed over and is raised again. Raises
        SmpError when Postgres or the mail server is away; the rest is delivered by the next call.
        """
        started = time.monotonic()
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._connections)]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                for thread in threads:
                    thread.join(timeout=0.1)
                self._report(progress, started)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        self._report(progress, started)
        if self._errors:
            raise self._errors[0]
        finished = self._finish()
        # one connection too many for the mail server is no reason to fail when the others did the work
        if self._down is not None and not finished and self._result.held is None:
            raise self._down
        return self._result

    def _finish(self) -> bool:
        with told(), connect(self._url) as connection:
            connection.autocommit = True
            ledger.expire(connection, self._send, self._clock.now())
            return ledger.finish(connection, self._send, self._clock.now())

    def _report(self, progress: Callable[[Delivery], None] | None, started: float) -> None:
        self._result.seconds = time.monotonic() - started
        if progress:
            progress(self._result)

    def _work(self) -> None:
        try:
            smtp = SmtpConnection(self._smtp_url, self._smtp_timeout)
            with told(), connect(self._url) as connection, contextlib.closing(smtp):
                connection.autocommit = True
                while not self._stop.is_set() and not self._is_held(connection):
                    if not self._take_a_batch(connection, smtp) and not self._wait_for_others(connection):
                        return
        except MailServerDownError as error:
            self._down = error
        except BaseException as error:
            self._errors.append(error)
            self._stop.set()

    def _take_a_batch(self, connection: Connection, smtp: SmtpConnection) -> bool:
        """Claim rows and hand them over; says whether there were any."""
        deadline = time.monotonic() + _HOLDING
        claim = ledger.claim(connection, self._send, self._rules, self._clock.now(), BATCH)
        with self._guard:
            self._result.skipped.update(claim.skipped)
        if claim.messages:
            self._hand_over(connection, smtp, claim, deadline)
        return bool(claim.messages or claim.skipped)

    def _is_held(self, connection: Connection) -> bool:
        """Whether nothing may leave now: the step does not run, or it is night. The result says why."""
        if self._send.purpose == "live":
            status = read_status(connection, self._send.step)
            if status.status != "live":
                since = f" since {self._local(status.since)}" if status.since else ""
                self._result.held = f"{self._send.step} is {status.status}{since}: what is left waits until it is live"
            elif self._is_night():
                self._result.held = "nothing is sent between 23:00 and 06:00: what is left waits until the morning"
        return self._result.held is not None

    def _is_night(self) -> bool:
        local = self._clock.now().astimezone(self._project.settings.zone)
        return self._send.purpose == "live" and is_quiet(local.time())

    def _local(self, moment: datetime) -> str:
        return f"{moment.astimezone(self._project.settings.zone):%Y-%m-%d %H:%M}"

    def _wait_for_others(self, connection: Connection) -> bool:
        """Whether to go on: rows are put off, or in the hands of another worker whose lease still runs."""
        now = self._clock.now()
        ledger.expire(connection, self._send, now)
        left = ledger.waiting(connection, self._send, now)
        if left.next_at is None:
            return False
        if left.next_at > now + 2 * ledger.LEASE:
            self._result.held = (
                f"{left.rows} mails wait until {self._local(left.next_at)}: the mail server put them off"
            )
            return False
        self._stop.wait(min(max((left.next_at - now).total_seconds(), 0.05), 0.5))
        return True

    def _hand_over(self, connection: Connection, smtp: SmtpConnection, claim: Claim, deadline: float) -> None:
        outcomes: list[Outcome] = []
        try:
            step = self._ref.step
            recipients = [(message.person_id, message.record_id) for message in claim.messages]
            contexts = read_contexts(connection, recipients, step.record, self._rules.record)
            look_at = time.monotonic() + _LOOK_SECONDS
            for message in claim.messages:
                if self._stop.is_set() or time.monotonic() > deadline or self._is_night():
                    break
                if time.monotonic() > look_at:
                    if self._is_held(connection):
                        break
                    look_at = time.monotonic() + _LOOK_SECONDS
                outcomes.append(self._send_one(smtp, message, contexts.get((message.person_id, message.record_id))))
        finally:
            self._write_down(connection, claim, outcomes)

    def _send_one(self, smtp: SmtpConnection, message: Claimed, context: Mapping[str, Any] | None) -> Outcome:
        if context is None:
            return Outcome(message.recipient_key, "rejected", "person_gone")
        try:
            mail = self._builder.build(
                self._content.render(context),
                name=full_name(context["person"]),
                address=message.address,
                recipient_key=message.recipient_key,
                date=self._clock.now(),
            )
        except (ContentError, ValueError, TypeError) as error:
            # whatever is odd about this person must not keep the mail from all the others
            return Outcome(message.recipient_key, "rejected", "content_error", str(error)[:500])
        return self._outcome(message, smtp.send(self._builder.envelope_sender, message.address, mail))

    def _outcome(self, message: Claimed, answer: Answer) -> Outcome:
        key = message.recipient_key
        if answer.kind == "accepted":
            return Outcome(key, "accepted", None, answer.response)
        if answer.kind == "unknown":
            return Outcome(key, "unknown", "connection_lost", answer.response)
        if answer.kind == "refused":
            return Outcome(key, "rejected", "refused", answer.response)
        if message.attempts > len(PAUSES):
            return Outcome(key, "rejected", "gave_up", answer.response)
        retry_at = self._clock.now() + timedelta(seconds=PAUSES[message.attempts - 1])
        return Outcome(key, "planned", None, answer.response, retry_at)

    def _write_down(self, connection: Connection, claim: Claim, outcomes: Sequence[Outcome]) -> None:
        """Settle and release, for as long as it takes Postgres to be back (up to `patience` seconds)."""
        handled = {outcome.recipient_key for outcome in outcomes}
        left = [message.recipient_key for message in claim.messages if message.recipient_key not in handled]
        give_up = time.monotonic() + self._patience
        while True:
            try:
                if connection.closed:
                    with connect(self._url) as again:
                        again.autocommit = True
                        self._settle(again, claim.token, outcomes, left)
                else:
                    self._settle(connection, claim.token, outcomes, left)
                break
            except (psycopg.OperationalError, SmpError):
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.2)
        with self._guard:
            self._result.outcomes.update(outcome.state for outcome in outcomes)

    def _settle(self, connection: Connection, token: UUID, outcomes: Sequence[Outcome], left: Sequence[UUID]) -> None:
        ledger.settle(connection, self._send, token, outcomes, self._clock.now())
        ledger.release(connection, self._send, token, left)
