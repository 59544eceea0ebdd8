"""A deployment on the sample project with a handful of people of its own, and a place to put mails."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.deployment import Deployment
from smp_pipelines.selection.library import SelectionLibrary
from smp_pipelines.selection.runs import SelectionRun
from smp_pipelines.sending import ledger
from smp_pipelines.sending.delivery import Delivering, Delivery
from smp_pipelines.sending.ledger import ClaimRules, Send, Verdict
from smp_pipelines.sending.planning import claim_rules, plan
from smp_pipelines.sending.status import change_status
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.settings import Settings
from tests.conftest import REPOSITORY, fresh_database

STEP = "servicemails/servicemail"
NEWSLETTER = "newsletter/december"
MONDAY_0900 = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
"""A Monday morning at nine in Amsterdam."""
PERFORMANCE = 7
"""The performance two days later, for which everybody has a ticket."""


@dataclass
class Theatre:
    """A deployment whose Postgres server runs, with short ways to do what the tests do all the time."""

    deployment: Deployment
    now: datetime = MONDAY_0900
    step: str = STEP
    sends: int = field(default=0)

    @property
    def url(self) -> str:
        return self.deployment.url

    @property
    def rules(self) -> ClaimRules:
        return claim_rules(self.deployment.project, self.deployment.project.step(self.step).step)

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement in Postgres; its rows, if it has any."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            done = connection.execute(statement, values)
            return done.fetchall() if done.description else []

    def people(self, count: int, *, first: int = 1, tickets: bool = True) -> list[int]:
        """Add people p1@example.org, p2@… with a ticket for the performance."""
        ids = list(range(first, first + count))
        self.sql(
            "insert into crm.performance (performance_id, title, genre, hall, starts_at, duration_minutes)"
            " values (%s, 'Hamlet', 'toneel', 'Grote zaal', %s, 120) on conflict do nothing",
            PERFORMANCE,
            self.now + timedelta(days=2),
        )
        self.sql(
            "insert into crm.person (person_id, first_name, last_name, email, salutation, created_at)"
            " select n, 'Anna', 'Jansen ' || n, 'p' || n || '@example.org', 'Beste Anna', %s"
            " from unnest(%s::int[]) as n",
            self.now,
            ids,
        )
        if tickets:
            self.sql(
                "insert into crm.ticket (ticket_id, person_id, performance_id, price, bought_at)"
                " select n, n, %s, 20, %s from unnest(%s::int[]) as n",
                PERFORMANCE,
                self.now - timedelta(days=9),
                ids,
            )
        return ids

    def live(self, step: str | None = None) -> None:
        self.status("live", step)

    def status(self, status: str, step: str | None = None) -> None:
        with self.deployment.connection() as connection:
            change_status(connection, step or self.step, status, self.now - timedelta(days=1), "anna")

    def open_send(self, key: str | None = None) -> Send:
        self.sends += 1
        ref = self.deployment.project.step(self.step)
        return self.deployment.open_send(ref, key or f"{self.step}@{self.sends}", self.now, self.now, None)

    def mirror(self) -> None:
        self.deployment.mirror(
            [f"crm.{name}" for name in ("person", "consent", "suppression", "performance", "ticket")]
        )

    def materialise(self) -> SelectionRun:
        """Mirror everything and write the step's selection."""
        ref = self.deployment.project.step(self.step)
        self.mirror()
        self.deployment.mirror_moments()
        return self.deployment.audiences.materialise(str(ref.step.selection), self.now, None).run

    def plan(self, key: str | None = None) -> Send:
        """A planned send of the step to whoever its selection finds now."""
        ref, send = self.deployment.project.step(self.step), self.open_send(key)
        selection = self.materialise()
        with self.deployment.connection() as postgres, self.deployment.lake.open() as lake:
            return plan(postgres, lake, self.deployment.project, ref, send, selection, self.now)

    def plan_these(self, people: list[int]) -> Send:
        """A planned send to these people, written without the lake: quick, for what comes after planning."""
        send = self.open_send()
        self.sql(
            "insert into smp.message (send_id, recipient_key, seq, person_id, record_id, state)"
            " select %s, md5('address:p' || n || '@example.org')::uuid, n, n, %s, 'planned'"
            " from unnest(%s::int[]) as n",
            send.send_id,
            PERFORMANCE,
            people,
        )
        self.sql("update smp.send set state = 'open', planned = %s where send_id = %s", len(people), send.send_id)
        with self.deployment.connection() as connection:
            return ledger.read_send(connection, send.send_id)

    def delivering(self, send: Send, smtp_port: int, **options: Any) -> Delivering:
        options = {"connections": 2, "patience": 5.0, "timeout": 5.0} | options
        clock = options.pop("clock", None) or StartedAt(self.now)
        settings = dataclasses.replace(self.deployment.settings, mail_url=f"smtp://127.0.0.1:{smtp_port}")
        return Delivering(settings, self.url, self.deployment.project, send, clock, **options)

    def deliver(self, send: Send, smtp_port: int, **options: Any) -> Delivery:
        return self.delivering(send, smtp_port, **options).run()

    def states(self, send: Send) -> dict[str, int]:
        found = self.sql("select state::text, count(*) from smp.message where send_id = %s group by 1", send.send_id)
        return dict(found)

    def reasons(self, send: Send) -> dict[int, str | None]:
        """Why each person did or did not get the mail."""
        return dict(self.sql("select person_id, reason from smp.message where send_id = %s", send.send_id))

    def claim(self, send: Send, now: datetime | None = None, batch: int = 50) -> ledger.Claim:
        with self.deployment.connection() as connection:
            return ledger.claim(connection, send, self.rules, now or self.now, batch)

    def verdict(self, send: Send) -> Verdict:
        with self.deployment.connection() as connection:
            (found,) = ledger.verify(connection, send.send_id)
        return found


@functools.cache
def _loaded(project: Path) -> tuple[LoadedProject, SelectionLibrary]:
    loaded = Deployment.load(Settings(project=project, home=project))
    return loaded.project, loaded.library


def deployment(postgres_url: str, home: Path, *, project: Path = REPOSITORY, **options: Any) -> Deployment:
    """A deployment of a project (the sample one is read once) on a database."""
    settings = Settings(project=project, home=home, postgres_url=postgres_url, **options)
    loaded = _loaded(project) if project == REPOSITORY else None
    return Deployment(settings, *loaded) if loaded else Deployment.load(settings)


def lake_template(embedded_url: str, template: str, *, mirrored: bool = True) -> str:
    """A database with the lake made as well, to copy from; made once on each server.

    With the mirror of the CRM, which must be empty then: the files of a copy lie in a folder of its own.
    """
    name = f"{template}_with_lake"
    with psycopg.connect(embedded_url, autocommit=True) as connection:
        if connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
            return name
        connection.execute(f'create database {name} template "{template}"')
    with tempfile.TemporaryDirectory(prefix="smp lake ") as home:
        made = deployment(beside(embedded_url, name), Path(home))
        with made.running():
            if mirrored:
                made.mirror([table.name for table in made.project.catalog.crm()])
    return name


@contextmanager
def theatre(embedded_url: str, migrated_template: str, home: Path, **options: Any) -> Iterator[Theatre]:
    """A theatre on a fresh database with an empty CRM and an empty lake, for the length of the block.

    The lake of the copy keeps its files in a folder of its own.
    """
    with fresh_database(embedded_url, lake_template(embedded_url, migrated_template)) as url:
        yield Theatre(deployment(url, home, **options))


def beside(url: str, database: str) -> str:
    """The URL of another database of the same server."""
    return f"{url.rsplit('/', 1)[0]}/{database}"


def twice(recipients: Sequence[str]) -> list[str]:
    """The addresses that are in there more than once."""
    seen: set[str] = set()
    return sorted({each for each in recipients if each in seen or seen.add(each)})  # type: ignore[func-returns-value]
