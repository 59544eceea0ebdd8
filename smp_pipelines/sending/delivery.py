"""Delivery: what is left of a send leaves, by a worker in this process and, for a large send, by others beside it."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from smp_pipelines.campaign.content.mail import content_ref
from smp_pipelines.campaign.content.readable import named_products
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.sending import ledger
from smp_pipelines.sending.crew import Crew, Errand, crew
from smp_pipelines.sending.estate import settle_estates
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.order import Order
from smp_pipelines.sending.planning import claim_rules
from smp_pipelines.sending.postroom import SendPostroom
from smp_pipelines.sending.smtp import TIMEOUT
from smp_pipelines.sending.transports import open_transport
from smp_pipelines.sending.worker import Worker
from smp_pipelines.stores.clock import Clock
from smp_pipelines.stores.postgres import connect, told
from smp_pipelines.stores.settings import Settings

PATIENCE = 30.0
"""Seconds that a worker waits for Postgres, or a mail server that it had reached, to come back."""
CONNECTIONS = 4
"""Connections of one process to the transport."""
ROWS_EACH = 5_000
"""So many rows are worth another process: it takes about a second to start."""


@dataclass
class Delivery:
    """What delivering a send came to: counts of this call, and why it ended before the send did, if so."""

    outcomes: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    held: str | None = None

    @property
    def accepted(self) -> int:
        """Mails that the transport took."""
        return self.outcomes["accepted"]


class Delivering:
    """Delivers what is left of one send.

    connections: of each process. processes: at most so many, this one included; only a send with many
    rows gets more than one. patience: seconds for which Postgres, or a mail server that was reached
    before, may be away. timeout: seconds that one answer of the transport may take.
    """

    def __init__(
        self,
        settings: Settings,
        postgres_url: str,
        project: LoadedProject,
        send: Send,
        clock: Clock,
        *,
        connections: int = CONNECTIONS,
        processes: int = 1,
        patience: float = PATIENCE,
        timeout: float = TIMEOUT,
    ) -> None:
        ref = project.step(send.step)
        step, products = ref.step, named_products(content_ref(ref, project), project)
        self._url = postgres_url
        self._journals = settings.journals_folder
        rules = claim_rules(project, step, send.purpose)
        self._order = Order(send, rules, step.record, clock, step.at_night == "drop", products)
        self._processes = processes
        self._errand = Errand(settings, postgres_url, send.send_id, clock.now(), connections, patience)
        self._worker = Worker(
            postgres_url,
            open_transport(settings.transport_url, timeout=timeout),
            self._order,
            SendPostroom(settings, project, send),
            self._journals,
            limits=project.settings.limits,
            connections=connections,
            patience=patience,
        )
        self.crew: Crew | None = None
        """The other processes, while there are any."""

    def stop(self) -> None:
        """Begin with no other mail, finish those in hand. For another thread."""
        self._worker.stop()

    def run(self, progress: Callable[[Delivery], None] | None = None) -> Delivery:
        """Deliver until nothing is left, or the send is held; then finish it if every row is final.

        An interrupt gives back what was not handed over and is raised again. Raises SmpError when
        Postgres or the transport is away; the rest is delivered by the next call.
        """
        started = time.monotonic()

        def report() -> None:
            if progress is not None:
                progress(self._count(started))

        rows = self._before()
        others = min(self._processes, rows // ROWS_EACH) - 1
        with crew(self._errand, others) if others > 0 else contextlib.nullcontext() as self.crew:
            self._worker.run(report)
        done = self._count(started)
        finished = self._finish()
        if progress is not None:
            progress(done)
        # one connection too many for the mail server is no reason to fail when the others did the work
        if self._worker.down is not None and not finished and done.held is None:
            raise self._worker.down
        return done

    def _count(self, started: float) -> Delivery:
        count = self._worker.count
        outcomes, skipped = Counter(count.outcomes), Counter(count.skipped)
        if self.crew is not None:
            outcomes += self.crew.counted("outcomes")
            skipped += self.crew.counted("skipped")
        return Delivery(outcomes, skipped, time.monotonic() - started, count.held)

    def _before(self) -> int:
        """Tidy up after workers that are gone and after the night; how many rows are left."""
        with told(), connect(self._url) as connection:
            connection.autocommit = True
            settle_estates(connection, self._journals, self._order.clock.now())
            self._order.drop(connection)
            return ledger.waiting(connection, self._order.send, self._order.clock.now()).rows

    def _finish(self) -> bool:
        with told(), connect(self._url) as connection:
            connection.autocommit = True
            settle_estates(connection, self._journals, self._order.clock.now())
            self._order.drop(connection)
            ledger.expire(connection, self._order.send, self._order.clock.now())
            return ledger.finish(connection, self._order.send, self._order.clock.now())
