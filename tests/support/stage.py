"""A stage: a theatre on Dagster's own storage; its commands run in this process or, to be killed, in their own."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from typer.testing import CliRunner

from smp_pipelines.assets.facts import SEND_KEY_TAG
from smp_pipelines.cli import app
from smp_pipelines.deployment import Deployment
from smp_pipelines.operations.environment import dagster_home
from smp_pipelines.operations.instance import open_instance
from smp_pipelines.sending import ledger
from smp_pipelines.stores.settings import Settings, read_settings
from tests.conftest import REPOSITORY, fresh_database
from tests.support.processes import start_smp
from tests.support.sink import Sink, sink
from tests.support.theatre import STEP, Theatre, beside, deployment, lake_template, twice
from tests.support.waiting import until
from tests.support.warm import WarmProcess

NINE = "2026-11-23 09:00"
KEY = f"{STEP}@2026-11-23T09:00+01:00"


@dataclass
class Stage:
    """A theatre of which processes of their own are told by the environment, and the mail server they send to."""

    house: Theatre
    sink: Sink
    environment: dict[str, str]
    home: Path
    project: Path

    def limit(self, per_second: int) -> None:
        """Let so many mails leave a second at most, so that a send lasts long enough to be disturbed."""
        with (self.project / "smp.yaml").open("a", encoding="utf-8") as file:
            file.write(f"\nlimits: {{per_second: {per_second}}}\n")

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[WarmProcess]:
        """An `smp` command in a process of its own, which does not outlive the block."""
        process = start_smp(self.environment, *arguments)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def smp(self, *arguments: str) -> str:
        """An `smp` command from its start to its good end, in this process; what it said."""
        with pytest.MonkeyPatch.context() as patch:
            self.enter(patch)
            done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        """Give this process the environment of the stage."""
        for name, value in self.environment.items():
            patch.setenv(name, value)

    def tick_killed_half_way(self, taken: int) -> None:
        """The tick of Monday at nine, killed as soon as the mail server has so many mails."""
        with self.started("tick", "--at", NINE) as process:
            until(lambda: len(self.sink.taken) >= taken or process.poll() is not None, "mails")
            assert process.poll() is None, process.communicate()[0]
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def instance(self) -> Iterator[tuple[Deployment, dg.DagsterInstance]]:
        """The same deployment and Dagster instance in this process."""
        with pytest.MonkeyPatch.context() as patch:
            self.enter(patch)
            loaded = Deployment.load(read_settings())
            with loaded.running(), open_instance(loaded.settings, loaded.url) as instance:
                yield loaded, instance

    def all_is_well(self, people: int, unknown: int = 0) -> None:
        """One send, finished; each person's mail left once, but for at most so many of which nobody can tell."""
        one_send_is_well(self.house, self.sink.taken, people, unknown)


def one_send_is_well(house: Theatre, taken: Sequence[str], people: int, unknown: int) -> None:
    """There is one send, and it is finished; of so many people each got one mail, of `unknown` nobody can tell."""
    ((key,),) = house.sql("select send_key from smp.send")
    with house.deployment.connection() as connection:
        send = ledger.read_send(connection, key)
        verdicts = ledger.verify(connection)
    assert [(each.state, each.holds) for each in verdicts] == [("finished", True)]
    states = house.states(send)
    assert states["accepted"] + states.get("unknown", 0) == people
    assert states.get("unknown", 0) <= unknown
    assert twice(taken) == []
    assert states["accepted"] <= len(taken) <= people
    assert len(taken) >= people - unknown


@contextlib.contextmanager
def staged(embedded_url: str, migrated_template: str, project: Path, folder: Path, now: datetime) -> Iterator[Stage]:
    """A stage with an empty CRM, whose service mail is live since the day before `now`."""
    home = folder / "the state"
    with (
        fresh_database(embedded_url, lake_template(embedded_url, migrated_template)) as url,
        fresh_database(embedded_url, _storage_template(embedded_url)) as dagster_url,
        sink(folder / "taken") as server,
    ):
        house = Theatre(deployment(url, home, project=project), now=now)
        house.live()
        _note_storage(house.deployment.settings)
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("SMP_", "DAGSTER_"))}
        own = {
            "SMP_PROJECT": str(project),
            "SMP_HOME": str(home),
            "SMP_POSTGRES_URL": url,
            "SMP_DAGSTER_POSTGRES_URL": dagster_url,
            "SMP_MAIL_URL": f"smtp://127.0.0.1:{server.port}",
        }
        yield Stage(house, server, outside | own, home, project)


def _storage_template(embedded_url: str) -> str:
    """A database with the tables of Dagster's storage, to copy from; made once on each server."""
    name = "template_dagster"
    with psycopg.connect(embedded_url, autocommit=True) as connection:
        if connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
            return name
        connection.execute(f"create database {name}")
    url = beside(embedded_url, name)
    with tempfile.TemporaryDirectory(prefix="smp storage ") as folder:
        settings = Settings(REPOSITORY, Path(folder), postgres_url=embedded_url, dagster_postgres_url=url)
        with open_instance(settings, embedded_url):
            pass
    return name


def _note_storage(settings: Settings) -> None:
    """Say in this state folder what is so: Dagster's storage has the tables of this version."""
    dagster_home(settings).mkdir(parents=True)
    (dagster_home(settings) / "storage.version").write_text(dg.__version__, encoding="ascii")


def runs_of(instance: dg.DagsterInstance, key: str = KEY) -> list[dg.DagsterRun]:
    """Dagster's runs of a send."""
    return list(instance.get_runs(filters=dg.RunsFilter(tags={SEND_KEY_TAG: key})))
