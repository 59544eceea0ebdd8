"""A database with the sample project's schema, on which flows of tests run beside the reference interpreter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from smp_pipelines.deployment import Deployment
from smp_pipelines.flow.judging import Judge
from smp_pipelines.flow.tables import use
from smp_pipelines.flow.ticking import Ticked, tick
from smp_pipelines.flow.version import freeze
from smp_pipelines.stores.postgres import Connection, connect
from tests.conftest import fresh_database
from tests.support.flow_crm import Person
from tests.support.flow_reference import Reference, RunningFlow, Version
from tests.support.flow_world import Event, SqlJudge, World, compiled, differences, facts_in, facts_of
from tests.support.flows import LISTS, Story
from tests.support.theatre import deployment, lake_template


@dataclass(repr=False)
class Stage:
    """A database of its own, and the deployment on it."""

    deployment: Deployment
    connection: Connection

    def tick(self, now: datetime, judge: Judge | None = None) -> list[Ticked]:
        """Let the engine do what is due."""
        return tick(self.connection, self.deployment.project, judge or SqlJudge(), now)


@contextmanager
def staged(embedded_url: str, migrated_template: str, folder: Path, *, with_lake: bool = False) -> Iterator[Stage]:
    """A stage, for the length of the block."""
    template = lake_template(embedded_url, migrated_template) if with_lake else migrated_template
    with fresh_database(embedded_url, template) as url, opened(url) as connection:
        yield Stage(deployment(url, folder), connection)


@contextmanager
def opened(url: str) -> Iterator[Connection]:
    """A connection that the engine can work with."""
    with connect(url) as connection:
        connection.autocommit = True
        use(connection)
        yield connection


@dataclass(repr=False)
class Play:
    """Flows that run from a moment on, for the engine and for the interpreter."""

    stage: Stage
    world: World
    reference: Reference

    def happen(self, *events: Event) -> None:
        """Let things happen, in both."""
        for event in events:
            if event.kind == "turn":
                name, change = event.said
                self.world.turn(self.reference, name, change, event.at)
            else:
                self.world.happen(event)

    def tick(self, now: datetime, judge: Judge | None = None) -> None:
        """Let both do what is due, and compare them."""
        self.stage.tick(now, judge)
        self.expect(now)

    def expect(self, now: datetime) -> None:
        """Let the interpreter do what is due; the engine must have come to the same."""
        self.reference.tick(now)
        self.compare(f"{now}")

    def compare(self, when: str = "") -> None:
        """The engine must have come to what the interpreter has."""
        told = differences(facts_of(self.reference), self.facts())
        assert not told, "\n".join([when, *told])

    def facts(self) -> dict[str, Any]:
        """What the engine has come to."""
        return facts_in(self.stage.connection, self.world.names)


def begin(stage: Stage, flows: Mapping[str, Mapping[str, Any]], people: Mapping[int, Person], now: datetime) -> Play:
    """Empty the database, put people in and let flows be live from now on."""
    world = World(stage.connection, people, LISTS)
    for name, file in flows.items():
        with stage.connection.transaction():
            version = freeze(stage.connection, compiled(name, file), now, "test")
            stage.connection.execute(
                "update smp.flow set state = 'live', live_since = %s, version_id = %s where flow_id = %s",
                (now, version.version_id, version.flow_id),
            )
    running = [RunningFlow(name, [Version(1, file, now)]) for name, file in flows.items()]
    return Play(stage, world, Reference(world.crm, running))


def tell(stage: Stage, story: Story, judge: Judge | None = None) -> Play:
    """Play a whole story, comparing at each tick."""
    play = begin(stage, story.flows, story.people, story.start - timedelta(hours=2))
    play.world.later = story.later
    story.play(play.happen, lambda now: play.tick(now, judge))
    return play
