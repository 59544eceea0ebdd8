"""Faults: servers that stop, processes that are killed or work twice. Nobody is mailed twice, nobody is lost."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import duckdb
import psutil
import pytest

from smp_pipelines.catcher.server import Catcher
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.delivery import CONNECTIONS as CONNECTIONS_OF_A_WORKER
from smp_pipelines.sending.delivery import Delivery
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.postgres import migrate
from smp_pipelines.stores.server import EmbeddedServer
from tests.conftest import REPOSITORY
from tests.support.mailserver import MailServer
from tests.support.processes import Program, program
from tests.support.sink import sink
from tests.support.stage import KEY, staged
from tests.support.theatre import MONDAY_0900, STEP, Theatre, deployment, twice
from tests.support.waiting import PATIENCE, until
from tests.support.workers import BOUNDARIES, worker, workers

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
    assert states.get("unknown", 0) == 0, "the journal and patience know all of them"
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


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_worker_that_is_killed_at_a_boundary_leaves_only_what_was_on_the_wire_unknown(
    boundary: str, tmp_path: Path, postgres_url: str
) -> None:
    house = Theatre(deployment(postgres_url, tmp_path))
    house.live()
    send = house.plan_these(house.people(1500))
    with sink(tmp_path / "taken") as server:
        with worker(house, send.send_key, server.port, tmp_path, boundary, nth=3) as doomed:
            assert doomed.line() == "ready"
            doomed.go()
            assert doomed.process.wait(PATIENCE) == -signal.SIGKILL
        assert house.verdict(send).holds
        # no lease has to pass: the one that is gone left its journal
        house.deliver(send, server.port, connections=4)
    states = house.states(send)
    assert house.verdict(send).state == "finished"
    assert house.verdict(send).holds
    assert twice(server.taken) == []
    assert states["accepted"] + states.get("unknown", 0) == 1500
    assert states.get("unknown", 0) <= CONNECTIONS_OF_A_WORKER
    assert states["accepted"] <= len(server.taken) <= 1500
    assert list((tmp_path / "journals").iterdir()) == []


def test_with_5000_mails_three_workers_and_everything_killed_nobody_is_mailed_twice_or_lost(
    house: Theatre, own_server: EmbeddedServer, tmp_path: Path
) -> None:
    count = 5000
    send = house.plan_these(house.people(count))
    killed = 0
    with sink(tmp_path / "taken") as server:
        # one that dies with mails on the wire, one before it writes down, one that lives through the rest
        boundaries = ["after the content", "before settle", ""]
        with workers(house, send.send_key, server.port, tmp_path, boundaries, nth=8) as crew:
            for each in crew:
                each.go()
            assert crew[0].process.wait(PATIENCE) == -signal.SIGKILL
            assert crew[1].process.wait(PATIENCE) == -signal.SIGKILL
            killed = 2
            until(lambda: len(server.taken) > 1500)
            server.kill()
            server.start()
            until(lambda: len(server.taken) > 2500)
            kill_postgres(own_server)
            with own_server.use():
                crew[2].process.wait(PATIENCE)
                assert house.verdict(send).holds
                later = StartedAt(house.now + timedelta(minutes=2))
                house.deliver(send, server.port, connections=4, clock=later)
                verdict, states = house.verdict(send), house.states(send)
    assert (verdict.state, verdict.holds) == ("finished", True)
    assert twice(server.taken) == []
    assert states["accepted"] + states.get("unknown", 0) == count
    # each of the killed workers, and each connection that the killed mail server had, may leave one on the wire
    assert states.get("unknown", 0) <= CONNECTIONS_OF_A_WORKER * (killed + 1)
    assert states["accepted"] <= len(server.taken) <= count


def test_a_worker_that_was_only_slow_doubles_nothing_when_it_goes_on_after_its_lease(
    tmp_path: Path, postgres_url: str
) -> None:
    house = Theatre(deployment(postgres_url, tmp_path))
    house.live()
    send = house.plan_these(house.people(1200))
    with sink(tmp_path / "taken") as server, worker(house, send.send_key, server.port, tmp_path) as slow:
        assert slow.line() == "ready"
        slow.go()
        until(lambda: len(server.taken) > 100)
        slow.process.send_signal(signal.SIGSTOP)
        # the others wait for its lease, by a clock that is minutes ahead
        later = StartedAt(house.now + timedelta(minutes=2))
        house.deliver(send, server.port, clock=later)
        assert house.verdict(send).state == "finished"
        assert house.states(send).get("unknown", 0) > 0
        slow.process.send_signal(signal.SIGCONT)
        slow.process.communicate(timeout=PATIENCE)
        # what it knew it has written down; what it had not begun it has given back
        house.deliver(send, server.port, clock=later)
    assert house.verdict(send).state == "finished"
    assert house.verdict(send).holds
    assert twice(server.taken) == []
    assert house.states(send) == {"accepted": 1200}
    assert len(server.taken) == 1200


def test_a_server_that_puts_off_refuses_closes_and_stalls_costs_nobody_else_their_mail(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smp_pipelines.sending.worker.PAUSES", (0.2, 0.2, 0.2))
    house = Theatre(deployment(postgres_url, tmp_path))
    house.live()
    send = house.plan_these(house.people(1000))
    with sink(tmp_path / "taken", later=0.1, never=0.01, close=0.05, vanish=0.02, stall=0.004) as server:
        house.deliver(send, server.port, connections=4, timeout=1.0)
    states, reasons = house.states(send), Counter(house.reasons(send).values())
    assert house.verdict(send).state == "finished"
    assert sum(states.values()) == 1000
    assert twice(server.taken) == []
    assert reasons["refused"] == states["rejected"] > 0
    assert reasons["connection_lost"] == states["unknown"] > 0
    assert states["accepted"] + states["unknown"] == len(server.taken), "those that vanished or stalled had arrived"
    assert 950 < states["accepted"] < 1000


def test_a_send_of_more_rows_than_one_process_is_worth_is_shared_and_survives_the_others(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smp_pipelines.sending.delivery.ROWS_EACH", 600)
    house = Theatre(deployment(postgres_url, tmp_path))
    house.live()
    send = house.plan_these(house.people(3000))
    with sink(tmp_path / "taken") as server:
        work = house.delivering(send, server.port, processes=3)

        def kill_one(_done: Delivery) -> None:
            crew = work.crew
            if crew is not None and crew.counted("outcomes")["accepted"] > 50 and len(server.taken) < 2500:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(crew.pids[0], signal.SIGKILL)

        done = work.run(kill_one)
    assert done.held is None
    states = house.states(send)
    assert house.verdict(send).state == "finished"
    assert twice(server.taken) == []
    assert states["accepted"] + states.get("unknown", 0) == 3000
    assert states.get("unknown", 0) <= CONNECTIONS_OF_A_WORKER


def kill_postgres(server: EmbeddedServer) -> None:
    """End every process of the server at once, as when the machine's memory runs out."""
    postmaster = int((server.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
    family = [psutil.Process(postmaster), *psutil.Process(postmaster).children(recursive=True)]
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # those whose parent is gone end by themselves
            each.kill()
    psutil.wait_procs(family)


def test_the_same_tick_in_two_processes_at_once_is_one_send(
    embedded_url: str, migrated_template: str, tmp_path: Path, project_folder: Path
) -> None:
    with staged(embedded_url, migrated_template, project_folder, tmp_path, MONDAY_0900) as stage:
        stage.house.people(120)
        ticks = (TICK, MONDAY_0900.isoformat(), STEP)
        with (
            program(*ticks, environment=stage.environment) as one,
            program(*ticks, environment=stage.environment) as two,
        ):
            both: list[Program] = [one, two]
            for each in both:
                assert each.line() == "ready"
            for each in both:
                each.go()
            results = [json.loads(each.end()) for each in both]
        assert all(done in ([], [[KEY, None]]) for done, _why in results)
        assert [[KEY, None]] in [done for done, _why in results]
        assert stage.house.sql("select send_key, state from smp.send") == [(KEY, "finished")]
        assert stage.house.sql("select state::text, count(*) from smp.message group by 1") == [("accepted", 120)]
        assert sorted(stage.sink.taken) == sorted(f"p{n}@example.org" for n in range(1, 121))
