"""Delivery: workers that claim rows of a send, hand the mails over and write down what became of them.

A worker is symmetric: any number of them, in any number of processes, may work on the same send.
It never hands anything over that it has not claimed, and nothing after its lease.
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
from smp_pipelines.sending.smtp import Answer, MailServerDownError, SmtpConnection
from smp_pipelines.sending.status import read_status
from smp_pipelines.stores.clock import Clock
from smp_pipelines.stores.postgres import Connection, connect

BATCH = 50
"""Rows a worker claims at a time: what may become `unknown` when its process is killed."""
_ATTEMPTS = 6
_SETTLE_PATIENCE = 30.0
_LEASE_MARGIN = timedelta(seconds=10)


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
    """Delivers one send with a few connections, each on a thread of its own."""

    def __init__(
        self, postgres_url: str, smtp_url: str, project: LoadedProject, send: Send, clock: Clock, *, connections: int = 4
    ) -> None:
        self._url = postgres_url
        self._smtp_url = smtp_url
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
        self._result = Delivery()
        self._guard = threading.Lock()

    def run(self, progress: Callable[[Delivery], None] | None = None) -> Delivery:
        """Deliver until nothing is left, or the send is held; then finish it if every row is final.

        An interrupt or an error gives back what was not handed over and is raised again.
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
        with connect(self._url) as connection:
            connection.autocommit = True
            ledger.expire(connection, self._send, self._clock.now())
            ledger.finish(connection, self._send, self._clock.now())
        return self._result

    def _report(self, progress: Callable[[Delivery], None] | None, started: float) -> None:
        self._result.seconds = time.monotonic() - started
        if progress:
            progress(self._result)

    def _work(self) -> None:
        try:
            with connect(self._url) as connection, contextlib.closing(SmtpConnection(self._smtp_url)) as smtp:
                connection.autocommit = True
                while not self._stop.is_set() and self._hold(connection) is None:
                    claim = ledger.claim(connection, self._send, self._rules, self._clock.now(), BATCH)
                    with self._guard:
                        self._result.skipped.update(claim.skipped)
                    if claim.messages:
                        self._hand_over(connection, smtp, claim)
                    elif not claim.skipped and not self._wait_for_others(connection):
                        return
        except BaseException as error:
            self._errors.append(error)
            self._stop.set()

    def _hold(self, connection: Connection) -> str | None:
        """Why nothing may leave now, if so: the step does not run, or it is night."""
        local = self._clock.now().astimezone(self._project.settings.zone)
        if self._send.purpose == "live":
            status = read_status(connection, self._send.step)
            if status.status != "live":
                since = f" since {status.since:%Y-%m-%d %H:%M} UTC" if status.since else ""
                self._result.held = f"{self._send.step} is {status.status}{since}: what is left waits until it is live"
            elif is_quiet(local.time()):
                self._result.held = "nothing is sent between 23:00 and 06:00: what is left waits until the morning"
        return self._result.held

    def _wait_for_others(self, connection: Connection) -> bool:
        """Whether to go on: rows are put off, or in the hands of another worker whose lease still runs."""
        now = self._clock.now()
        ledger.expire(connection, self._send, now)
        totals = ledger.totals(connection, self._send)
        if not totals.open:
            return False
        until = min((m for m in (totals.next_retry, totals.last_lease) if m is not None), default=now)
        self._stop.wait(min(max((until - now).total_seconds(), 0.05), 0.5))
        return True

    def _hand_over(self, connection: Connection, smtp: SmtpConnection, claim: Claim) -> None:
        outcomes: list[Outcome] = []
        try:
            step = self._ref.step
            recipients = [(message.person_id, message.record_id) for message in claim.messages]
            contexts = read_contexts(connection, recipients, step.record, self._rules.record)
            deadline = time.monotonic() + (ledger.LEASE - _LEASE_MARGIN).total_seconds()
            for message in claim.messages:
                if self._stop.is_set() or time.monotonic() > deadline:
                    break
                outcomes.append(self._send_one(smtp, message, contexts.get((message.person_id, message.record_id))))
        finally:
            self._write_down(connection, claim, outcomes)

    def _send_one(self, smtp: SmtpConnection, message: Claimed, context: Mapping[str, Any] | None) -> Outcome:
        if context is None:
            return Outcome(message.recipient_key, "rejected", "person_gone")
        person = context["person"]
        try:
            rendered = self._content.render(context)
        except ContentError as error:
            return Outcome(message.recipient_key, "rejected", "content_error", str(error)[:500])
        address = str(person["email"]).strip()
        mail = self._builder.build(
            rendered,
            name=full_name(person),
            address=address,
            recipient_key=message.recipient_key,
            date=self._clock.now(),
        )
        return self._outcome(message, smtp.send(self._builder.envelope_sender, address, mail))

    def _outcome(self, message: Claimed, answer: Answer) -> Outcome:
        key = message.recipient_key
        if answer.kind == "accepted":
            return Outcome(key, "accepted", None, answer.response)
        if answer.kind == "unknown":
            return Outcome(key, "unknown", "connection_lost", answer.response)
        if answer.kind == "refused":
            return Outcome(key, "rejected", "refused", answer.response)
        if message.attempts >= _ATTEMPTS:
            return Outcome(key, "rejected", "gave_up", answer.response)
        retry_at = self._clock.now() + timedelta(seconds=2**message.attempts)
        return Outcome(key, "planned", None, answer.response, retry_at)

    def _write_down(self, connection: Connection, claim: Claim, outcomes: Sequence[Outcome]) -> None:
        handled = {outcome.recipient_key for outcome in outcomes}
        left = [message.recipient_key for message in claim.messages if message.recipient_key not in handled]
        give_up = time.monotonic() + _SETTLE_PATIENCE
        while True:
            # What the server took must be written down, even when Postgres is away for a moment.
            try:
                now = self._clock.now()
                if connection.closed:
                    with connect(self._url) as again:
                        again.autocommit = True
                        self._settle(again, claim.token, outcomes, left, now)
                else:
                    self._settle(connection, claim.token, outcomes, left, now)
            except (psycopg.OperationalError, SmpError):
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.2)
                continue
            break
        with self._guard:
            self._result.outcomes.update(outcome.state for outcome in outcomes)

    def _settle(
        self, connection: Connection, token: UUID, outcomes: Sequence[Outcome], left: Sequence[UUID], now: datetime
    ) -> None:
        ledger.settle(connection, self._send, token, outcomes, now)
        ledger.release(connection, self._send, token, left)


__all__ = ["BATCH", "Delivering", "Delivery", "MailServerDownError"]
