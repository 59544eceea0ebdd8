"""Mails that were accepted, and hits of them: written straight into the tables, for what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
NETWORK = "198.51.100.0/24"


@dataclass
class Reactions:
    """A database with mails, accepted at `moment`, to people of whom each has the recipient key of their number."""

    url: str
    moment: datetime
    sends: int = field(default=0)

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            done = connection.execute(statement, values)
            return done.fetchall() if done.description else []

    def mail(
        self,
        people: Sequence[int],
        *,
        step: str = "news/letter",
        purpose: str = "live",
        record: int | None = None,
        state: str = "accepted",
    ) -> int:
        """A finished send; its number."""
        self.sends += 1
        ((send_id,),) = self.sql(
            "insert into smp.send (send_key, step, purpose, moment, state, planned, opened_at)"
            " values (%s, %s, %s, %s, 'finished', %s, %s) returning send_id",
            *(f"{step}@{purpose}{self.sends}", step, purpose, self.moment, len(people), self.moment),
        )
        self.sql(
            "insert into smp.message (send_id, recipient_key, seq, person_id, record_id, state, settled_at)"
            " select %s, lpad(n::text, 32, '0')::uuid, n, n, %s, %s, %s from unnest(%s::int[]) as n",
            *(send_id, record, state, None if state == "claimed" else self.moment, list(people)),
        )
        return int(send_id)

    def hit(
        self,
        kind: str,
        person: int | None,
        after: float,
        send_id: int | None = None,
        *,
        step: str = "news/letter",
        link: str | None = None,
        agent: str | None = BROWSER,
        method: str = "GET",
        prefetch: bool = False,
        network: str = NETWORK,
        record: int | None = None,
        submission: int | None = None,
    ) -> int:
        """A hit so many seconds after the mails were accepted; its number."""
        of_mail = kind in ("open", "click", "view")
        ((hit_id,),) = self.sql(
            "insert into smp.hit (kind, happened_at, step, person_id, record_id, send_id, recipient_key, submission_id,"
            " link, method, prefetch, user_agent, network)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning hit_id",
            *(kind, self.moment + timedelta(seconds=after), step, person, record, send_id),
            UUID(f"{person:032d}") if of_mail and person else None,
            *(submission, link, method, prefetch, agent, network),
        )
        return int(hit_id)

    def submit(self, person: int, after: float, *, step: str, send_id: int | None = None, **columns: Any) -> int:
        """A submission so many seconds after the mails were accepted; its number."""
        given = {"record_id": None, "awaits_confirmation": False, "confirmed_at": None} | columns
        ((submission_id,),) = self.sql(
            "insert into smp.submission (submission_key, form, step, person_id, identified, answers, language,"
            " submitted_at, send_id, record_id, awaits_confirmation, confirmed_at)"
            " values (gen_random_uuid(), 'f', %s, %s, 'link', '{}', 'nl', %s, %s, %s, %s, %s) returning submission_id",
            *(step, person, self.moment + timedelta(seconds=after), send_id, *given.values()),
        )
        return int(submission_id)

    def classes(self, person: int) -> list[tuple[str, str | None]]:
        """Class and sign of a person's hits, in the order in which they were noted."""
        return self.sql("select class, sign from smp.hit_class_1 where person_id = %s order by hit_id", person)

    def kinds(self, person: int) -> dict[str, int]:
        """How often a person did what, as the card and the selections have it."""
        found = self.sql("select kind, count(*) from smp.reaction where person_id = %s group by kind", person)
        return dict(found)
