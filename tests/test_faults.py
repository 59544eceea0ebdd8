"""Faults: servers that stop, processes that are killed or work twice. Nobody is mailed twice, nobody is lost."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from smp_pipelines.catcher.server import Catcher
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.delivery import BATCH
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.postgres import migrate
from smp_pipelines.stores.server import EmbeddedServer
from tests.conftest import REPOSITORY
from tests.support.mailserver import MailServer
from tests.support.processes import Program, program
from tests.support.theatre import MONDAY_0900, STEP, Theatre, deployment, twice

CONNECTIONS = 2

TICK = """
import datetime, json, sys
from smp_pipelines.deployment import Deployment
from smp_pipelines.operations.instance import open_instance
from smp_pipelines.operations.tick import Ticker
from smp_pipelines.stores.settings import read_settings
now = datetime.datetime.fromisoformat(sys.argv[1])
deployment = Deployment.load(read_settings())
with deployment.running(), open_instance(deployment.settings, deployment.url) as instance:
    ticker = Ticker(deployment, instance)
    print("ready", flush=True)
    sys.stdin.readline()
    done, skipped = ticker.tick(now, now)
    told = [(each.due.send_key, each.failure) for each in done]
print(json.dumps([told, [each.why for each in skipped if each.ref.key == sys.argv[2]]]), flush=True)
"""

DELIVER = """
import datetime, pathlib, sys
from smp_pipelines.sending import ledger
from smp_pipelines.sending.delivery import Delivering
from smp_pipelines.stores.clock import StartedAt
from tests.support.theatre import deployment
url, smtp, now, home, key = sys.argv[1:]
made = deployment(url, pathlib.Path(home))
with made.connection() as connection:
    send = ledger.read_send(connection, key)
print("ready", flush=True)
sys.stdin.readline()
done = Delivering(url, smtp, made.project, send, StartedAt(datetime.datetime.fromisoformat(now))).run()
print(done.accepted, flush=True)
"""


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """An embedded server that the test may stop."""
    folder = Path(tempfile.mkdtemp(prefix="smp faults "))
    folder.chmod(0o755)
    yield EmbeddedServer(folder)
    EmbeddedServer(folder).stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def house(own_server: EmbeddedServer, tmp_path: Path) -> Iterator[Theatre]:
    with own_server.use() as url:
        migrate(url, REPOSITORY / "sql" / "schema")
        opened = Theatre(deployment(url, tmp_path))
        opened.live()
        yield opened


def caught(catcher: Catcher) -> list[str]:
    return [mail.recipients[0] for mail in catcher.mailbox.search(limit=10_000).mails]


def test_postgres_that_is_stopped_fails_the_run_in_words_and_loses_and_doubles_nothing(
    house: Theatre, own_server: EmbeddedServer, tmp_path: Path
) -> None:
    send = house.plan_these(house.people(300))
    told: list[BaseException] = []
    with Catcher(tmp_path / "in box") as catcher:

        def run() -> None:
            try:
                house.deliver(send, catcher.smtp_port, patience=1.0)
            except BaseException as error:
                told.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while catcher.mailbox.count() < 60:
            assert thread.is_alive()
        own_server.stop()
        thread.join()
        assert isinstance(told[0], SmpError)
        assert str(told[0]).startswith(("Postgres went away", "no connection to Postgres"))
        before = catcher.mailbox.count()
        assert before < 300, "it was stopped too late to prove anything"
        with own_server.use() as url:
            assert url == house.url
            assert house.verdict(send).holds
            done = house.deliver(send, catcher.smtp_port, clock=StartedAt(house.now + timedelta(minutes=2)))
            assert done.held is None
            verdict, states = house.verdict(send), house.states(send)
        mails = caught(catcher)
    assert verdict.holds
    assert verdict.state == "finished"
    assert twice(mails) == []
    assert states.get("unknown", 0) <= BATCH * CONNECTIONS
    # whoever is not known to have it, or to be unknown, has it
    assert states["accepted"] + states.get("unknown", 0) == 300
    assert states["accepted"] <= len(mails) <= 300


def test_postgres_that_is_restarted_costs_no_outcome_at_all(house: Theatre, own_server: EmbeddedServer) -> None:
    send = house.plan_these(house.people(200))
    told: list[SmpError] = []
    with MailServer() as server:

        def run() -> None:
            try:
                house.deliver(send, server.port, patience=20.0)
            except SmpError as error:
                told.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        server.wait_for(lambda: len(server.whole) >= 30)
        own_server.stop()
        with own_server.use():
            thread.join()
            assert len(told) == 1, "the claim after the restart finds its connection gone"
            assert house.states(send)["accepted"] == len(server.whole)
            house.deliver(send, server.port, clock=StartedAt(house.now + timedelta(minutes=2)))
            states = house.states(send)
    assert twice(server.recipients) == []
    assert states.get("unknown", 0) == 0
    assert states["accepted"] == 200


def test_postgres_that_is_stopped_while_the_lake_is_read_is_told_without_the_password(
    house: Theatre, own_server: EmbeddedServer
) -> None:
    password = own_server.password()
    with house.deployment.running():
        for open_lake in (house.deployment.lake.open, house.deployment.lake.open_for_selections):

            def read(opened: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]] = open_lake) -> None:
                with opened() as lake:
                    own_server.stop()
                    lake.execute("from smp.message")

            with own_server.use(), pytest.raises(SmpError, match="the lake cannot be read or written") as raised:
                read()
            assert "onnection" in str(raised.value)
            assert password not in str(raised.value)
            assert raised.value.__suppress_context__


def test_a_worker_process_that_is_killed_leaves_at_most_what_it_had_in_hand_unknown(
    tmp_path: Path, postgres_url: str
) -> None:
    house = Theatre(deployment(postgres_url, tmp_path))
    house.live()
    send = house.plan_these(house.people(300))
    with MailServer(lambda _who, _nth: "250") as server:
        arguments = (house.url, f"smtp://127.0.0.1:{server.port}", house.now.isoformat(), tmp_path, send.send_key)
        with program(DELIVER, *arguments) as worker:
            assert worker.line() == "ready"
            worker.go()
            server.wait_for(lambda: len(server.whole) >= 60)
            worker.kill()
        assert house.verdict(send).holds
        house.deliver(send, server.port, clock=StartedAt(house.now + timedelta(minutes=2)))
    states = house.states(send)
    assert house.verdict(send).holds
    assert house.verdict(send).state == "finished"
    assert twice(server.recipients) == []
    assert 0 < states["unknown"] <= BATCH * 4
    assert states["accepted"] + states["unknown"] == 300


def test_the_same_tick_in_two_processes_at_once_is_one_send(
    tmp_path: Path, postgres_url: str, project_folder: Path
) -> None:
    house = Theatre(deployment(postgres_url, tmp_path))
    house.people(120)
    house.live()
    with Catcher(tmp_path / "in box") as catcher:
        environment = {
            "SMP_PROJECT": str(project_folder),
            "SMP_HOME": str(tmp_path / "state"),
            "SMP_POSTGRES_URL": postgres_url,
            "SMP_MAIL_URL": f"smtp://127.0.0.1:{catcher.smtp_port}",
        }
        ticks = (TICK, MONDAY_0900.isoformat(), STEP)
        with program(*ticks, environment=environment) as one, program(*ticks, environment=environment) as two:
            both: list[Program] = [one, two]
            for each in both:
                assert each.line() == "ready"
            for each in both:
                each.go()
            results = [json.loads(each.end()) for each in both]
        mails = caught(catcher)
    key = f"{STEP}@2026-11-23T09:00+01:00"
    assert all(done in ([], [[key, None]]) for done, _why in results)
    assert [[key, None]] in [done for done, _why in results]
    assert house.sql("select send_key, state from smp.send") == [(key, "finished")]
    assert house.sql("select state::text, count(*) from smp.message group by 1") == [("accepted", 120)]
    assert sorted(mails) == sorted(f"p{n}@example.org" for n in range(1, 121))
