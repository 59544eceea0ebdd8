"""A flow in a database of its own, and short ways to let things happen and see who enters it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

from psycopg import sql

from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.flow import goals, sources
from smp_pipelines.flow.entering import Entered
from smp_pipelines.flow.tables import use
from smp_pipelines.flow.version import FlowState, FlowVersion, freeze, read_state
from smp_pipelines.stores.postgres import Connection, connect
from tests.support.flow_files import sample
from tests.support.flow_world import SqlJudge, compiled

NOON = datetime(2026, 11, 23, 11, tzinfo=UTC)
"""A Monday, 12 o'clock in Amsterdam, when the flows of these tests go live."""
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
STEPS: Mapping[str, Any] = {"rest": {"wait": "30 days"}}


def after(minutes: float) -> datetime:
    """So long after the flow went live."""
    return NOON + timedelta(minutes=minutes)


@dataclass
class Watched:
    """A live flow, with a connection to its database."""

    url: str
    connection: Connection
    version: FlowVersion
    judge: SqlJudge
    project: LoadedProject

    @property
    def state(self) -> FlowState:
        found = read_state(self.connection, self.version.flow)
        assert found is not None
        return found

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        done = self.connection.execute(sql.SQL(cast("Any", statement)), values)
        return done.fetchall() if done.description else []

    def people(self, *numbers: int, **columns: object) -> None:
        """Add people."""
        names = "".join(f", {name}" for name in columns)
        for number in numbers:
            self.sql(
                f"insert into crm.person (person_id, last_name, created_at{names})"
                f" values (%s, 'Jansen', %s{', %s' * len(columns)})",
                *(number, NOON - timedelta(days=400), *columns.values()),
            )

    def look(self, now: datetime, since: datetime | None = None) -> dict[str, Entered]:
        """Look at every trigger; what became of people, by source."""
        return dict(sources.look(self.connection, self.version, self.state, self.project, self.judge, now, since))

    def mark(self, now: datetime, since: datetime | None = None) -> int:
        """Look at the goals."""
        return goals.mark(self.connection, self.version, self.state, self.project, self.judge, now, since)

    def enrol(self, people: Sequence[int], key: str, now: datetime) -> Entered:
        """Enrol people by hand."""
        return sources.enrol_people(self.connection, self.version, self.state, self.judge, people, key, now)

    def wake(self, now: datetime) -> int:
        """Wake who waits for a form or a page."""
        return sources.wake(self.connection, self.version, self.state, now)

    def is_new(self, now: datetime) -> bool:
        """Whether a look would find anything."""
        return sources.has_news(self.connection, self.version, self.state, self.project, now, [self.version])

    def entered(self) -> list[tuple[int, str]]:
        """Who entered, by which event, in their order."""
        return [
            (person, key)
            for person, key in self.sql("select person_id, entry_key from smp.participant order by participant_id")
        ]

    def who(self) -> list[int]:
        """Who entered."""
        return [person for person, _ in self.entered()]

    def leave(self, person: int, now: datetime) -> None:
        """Let somebody leave the flow."""
        self.sql(
            "update smp.participant set left_at = %s, due_at = null, outcome = 'completed' where person_id = %s"
            " and left_at is null",
            *(now, person),
        )

    def turn(self, state: str) -> None:
        """Pause the flow, or let it run."""
        self.sql("update smp.flow set state = %s", state)

    def change(self, made_at: datetime, **file: Any) -> None:
        """Let a new version of the flow go live."""
        self.version = _frozen(self.connection, self.version.flow, file, made_at)
        self.sql("update smp.flow set version_id = %s", self.version.version_id)

    def submit(
        self, person: int, at: datetime, step: str = "after_form/form", *, asks: bool = False, send: int | None = None
    ) -> int:
        """Submit a form; with `asks` it waits for a confirmation."""
        ((number,),) = self.sql(
            "insert into smp.submission (submission_key, form, step, person_id, identified, answers, language,"
            " submitted_at, awaits_confirmation, send_id)"
            " values (%s, 'x', %s, %s, 'link', '{}', 'nl', %s, %s, %s) returning submission_id",
            *(uuid4(), step, person, at, asks, send),
        )
        return int(number)

    def send(self, step: str = "newsletter/december", purpose: str = "live") -> int:
        """A send whose mails people react to."""
        ((number,),) = self.sql(
            "insert into smp.send (send_key, step, purpose, moment, opened_at) values (%s, %s, %s, %s, %s)"
            " returning send_id",
            *(str(uuid4()), step, purpose, NOON - timedelta(days=1), NOON),
        )
        return int(number)

    def hit(
        self, kind: str, person: int, send: int | None, at: datetime, link: str = "https://example.org/",
        step: str = "newsletter/december", agent: str = FIREFOX,
    ) -> None:  # fmt: skip
        """A click, an opened mail, a page."""
        self.sql(
            "insert into smp.hit (kind, happened_at, step, person_id, send_id, recipient_key, link, method, user_agent)"
            " values (%s, %s, %s, %s, %s, md5(%s::text)::uuid, %s, 'GET', %s)",
            *(kind, at, step, person, send, person, link, agent),
        )

    def close(self) -> None:
        self.connection.close()


def watched(url: str, *triggers: Mapping[str, Any], **file: Any) -> Watched:
    """A flow that went live at NOON with these triggers. `selections` are the SQL of its triggers', by name."""
    connection = connect(url)
    connection.autocommit = True
    use(connection)
    version = _frozen(connection, "walk", {"triggers": list(triggers), **file}, NOON)
    connection.execute(
        "update smp.flow set state = 'live', since = %s, live_since = %s, version_id = %s",
        (NOON, NOON, version.version_id),
    )
    return Watched(url, connection, version, SqlJudge(), sample()[0])


def _frozen(connection: Connection, name: str, file: Mapping[str, Any], now: datetime) -> FlowVersion:
    whole = {"name": "A walk", "steps": STEPS, **file}
    selections = whole.pop("selections", {})
    made = compiled(name, whole)
    conditions = {
        f"trigger:{place}": {"sql": selections[trigger["selection"]], "reads": ["crm.person"]}
        for place, trigger in enumerate(whole["triggers"])
        if trigger["type"] == "selection"
    }
    definition = {**made.definition, "conditions": {**made.definition["conditions"], **conditions}}
    return freeze(connection, replace(made, definition=definition), now, "anna")
