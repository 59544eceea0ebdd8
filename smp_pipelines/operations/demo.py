"""The demo: the main job on the sample CRM, from nothing to a report, with a mail catcher of its own."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from smp_pipelines.assets.facts import CLOCK_TAG
from smp_pipelines.assets.mirror import table_key
from smp_pipelines.assets.selections import selection_key
from smp_pipelines.assets.sends import is_triggered
from smp_pipelines.campaign.calendar import due_moment
from smp_pipelines.campaign.project import StepRef
from smp_pipelines.crm.sample import load
from smp_pipelines.deployment import MOMENTS, Deployment
from smp_pipelines.operations.guard import Guard
from smp_pipelines.operations.instance import open_instance
from smp_pipelines.operations.running import read_running
from smp_pipelines.operations.tick import Ticked, Ticker
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.due import Skipped
from smp_pipelines.sending.reasons import explain
from smp_pipelines.sending.status import read_statuses
from smp_pipelines.stores.clock import StartedAt, SystemClock
from smp_pipelines.stores.settings import Settings

STEP = "servicemails/servicemail"
"""The step that the demo sends."""
_LEASE_PATIENCE = 2 * ledger.LEASE.total_seconds()


@dataclass(frozen=True)
class Outcome:
    """What the demo did, for the table at its end."""

    people: int
    moment: datetime
    done: list[Ticked]
    skipped: list[Skipped]
    speed: float | None
    seconds: float


def run_demo(settings: Settings, people: int, console: Console) -> None:
    """Run the demo and print what it did. Safe to stop at any moment and to run again."""
    started = time.monotonic()
    with _progress(console) as progress, _catcher(settings) as smtp_port:
        settings = dataclasses.replace(settings, mail_url=f"smtp://127.0.0.1:{smtp_port}")
        deployment = Deployment.load(settings)
        starting = progress.add_task("Postgres", total=1)
        with deployment.running():
            progress.update(starting, completed=1)
            outcome = _main_job(deployment, people, progress, started)
    _print(console, settings, outcome)


def _main_job(deployment: Deployment, people: int, progress: Progress, started: float) -> Outcome:
    ref = deployment.project.step(STEP)
    zone = deployment.project.settings.zone
    now = SystemClock().now()
    # the demo takes place at the latest moment at which the service mail was due
    moment = due_moment(ref.step.schedule, zone, now) if ref.step.schedule else None
    if moment is None:
        raise SmpError(f"{STEP} has not started yet")
    count = _load_sample(deployment, people, moment, progress)
    _go_live(deployment, [ref, *_for_visitors(deployment)], moment)
    with open_instance(deployment.settings, deployment.url) as instance:
        ticker = Ticker(deployment, instance)
        _materialise(deployment, ticker, moment, progress)
        sending = progress.add_task("Service mail through Dagster", total=None)
        with _watching(deployment, progress, sending):
            done, skipped = _tick(deployment, ticker, moment)
        progress.update(sending, total=1, completed=1)
    failed = [each.failure for each in done if each.failure]
    if failed:
        raise SmpError(f"the send failed: {failed[0]}")
    speed = next((found for each in done if (found := _speed(deployment, each))), None)
    return Outcome(count, moment, done, skipped, speed, time.monotonic() - started)


def _tick(deployment: Deployment, ticker: Ticker, moment: datetime) -> tuple[list[Ticked], list[Skipped]]:
    """Do what is due; wait for mails that a killed run had in hand, until their leases have passed."""
    clock = StartedAt(moment)
    done, skipped = ticker.tick(moment, moment)
    give_up = time.monotonic() + _LEASE_PATIENCE
    while _is_open(deployment) and not any(each.failure for each in done) and time.monotonic() < give_up:
        time.sleep(1)
        again, skipped = ticker.tick(clock.now(), clock.now())
        done += again
    return done, skipped


def _is_open(deployment: Deployment) -> bool:
    with deployment.connection() as postgres:
        return any(send.state == "open" for send in ledger.step_sends(postgres, STEP, 1))


def _load_sample(deployment: Deployment, people: int, moment: datetime, progress: Progress) -> int:
    loading = progress.add_task("Sample CRM", total=len(deployment.project.catalog.crm()))
    with deployment.connection() as postgres:
        found = postgres.execute("select count(*) from crm.person").fetchone()
    if not (found and found[0]):
        zone = deployment.project.settings.zone
        load(
            deployment.url,
            people,
            moment.astimezone(zone).date(),
            progress=lambda _table, _rows: progress.advance(loading),
        )
    progress.update(loading, completed=len(deployment.project.catalog.crm()))
    with deployment.connection() as postgres:
        found = postgres.execute("select count(*) from crm.person").fetchone()
    return int(found[0]) if found else 0


def _for_visitors(deployment: Deployment) -> list[StepRef]:
    """The forms and pages, and the mails that follow a form: nobody gets one who does not ask for it."""
    return [ref for ref in deployment.project.steps() if not ref.step.is_mail or is_triggered(ref)]


def _go_live(deployment: Deployment, refs: Sequence[StepRef], moment: datetime) -> None:
    with deployment.connection() as postgres:
        statuses = read_statuses(postgres, [ref.key for ref in refs])
    for ref in refs:
        # who stopped a step meant it: only one that never ran is set live
        if statuses[ref.key].status == "concept":
            deployment.change_status(ref.key, "live", moment, "demo", "make demo")


def _materialise(deployment: Deployment, ticker: Ticker, moment: datetime, progress: Progress) -> None:
    names = deployment.library.names
    task = progress.add_task("Mirror and selections", total=1)
    assets = [table_key(table.name) for table in deployment.project.catalog.crm()]
    assets += [table_key(MOMENTS), *(selection_key(name) for name in names)]
    failure = ticker.run(assets, {CLOCK_TAG: moment.isoformat()})
    if failure:
        raise SmpError(f"the selections could not be made: {failure}")
    progress.update(task, completed=1)


@contextmanager
def _watching(deployment: Deployment, progress: Progress, task: object) -> Iterator[None]:
    """Move the bar by what the ledger says."""
    ended = threading.Event()

    def watch() -> None:
        with deployment.connection() as postgres:
            while not ended.wait(0.2):
                sends = [send for send in ledger.step_sends(postgres, STEP, 1) if send.state != "planning"]
                for send in sends:
                    totals = ledger.totals(postgres, send)
                    progress.update(task, total=totals.all, completed=totals.all - totals.open)  # type: ignore[arg-type]

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


@contextmanager
def _catcher(settings: Settings) -> Iterator[int]:
    """The SMTP port of the local mail catcher: the one of `smp up` when it runs, otherwise one for this demo."""
    if read_running(settings) is not None:
        yield settings.smtp_port
        return
    command = [sys.executable, "-m", "smp_pipelines.catcher", "--folder", str(settings.inbox_folder)]
    command += ["--smtp-port", "0", "--http-port", "0"]
    settings.home.mkdir(parents=True, exist_ok=True)
    # when the demo is killed without a word, the guard ends the catcher and the embedded Postgres server
    guard = Guard(settings.home, settings.home / "demo.log")
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    process = subprocess.Popen(command, stdin=nothing, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    guard.add(process.pid)
    try:
        yield _announced_port(process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        guard.dismiss()


def _announced_port(process: subprocess.Popen[str]) -> int:
    for line in process.stdout or ():
        if line.startswith("SMTP"):
            return int(line.rstrip("/\n").rpartition(":")[2])
    told = process.stderr.read().strip() if process.stderr else ""
    raise SmpError(f"the mail catcher does not start: {told or 'it says nothing'}")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<30}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )


def _print(console: Console, settings: Settings, outcome: Outcome) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_row("people in the CRM", f"{outcome.people:,}")
    for each in outcome.done:
        totals = each.totals
        if totals is None:
            continue
        table.add_row("selected", f"{totals.all:,}")
        table.add_row("sent (accepted by the mail server)", f"{totals.accepted:,}")
        for reason, count in totals.reasons.items():
            table.add_row(f"  {explain(reason)}", f"{count:,}")
    if outcome.speed:
        table.add_row("mails per second", f"{outcome.speed:,.0f}")
    table.add_row("seconds in all", f"{outcome.seconds:.0f}")
    console.print()
    console.print(table)
    again = [skipped for skipped in outcome.skipped if skipped.ref.key == STEP]
    if again and not outcome.done:
        console.print(
            f"\nNobody was mailed this time: {again[0].ref.key}: {again[0].why}.", markup=False, soft_wrap=True
        )
        console.print("Nobody gets a mail twice.")
    _where_to_look(console, settings)


def _speed(deployment: Deployment, each: Ticked) -> float | None:
    if each.send is None or each.totals is None or not each.totals.accepted:
        return None
    with deployment.connection() as postgres:
        found = postgres.execute(
            "select extract(epoch from max(m.settled_at) - s.planned_at)::float"
            " from smp.send s join smp.message m using (send_id)"
            " where send_id = %s and m.state = 'accepted' group by s.planned_at",
            (each.send.send_id,),
        ).fetchone()
    return each.totals.accepted / found[0] if found and found[0] else None


def _where_to_look(console: Console, settings: Settings) -> None:
    console.print("\nWhere to look", style="bold")
    lines = (
        ("the mails", f"make up, then http://127.0.0.1:{settings.inbox_port}"),
        ("a form", f"make up, then http://127.0.0.1:{settings.preview_port}/s/welcome/signup"),
        ("Dagster", f"make up, then http://127.0.0.1:{settings.ui_port}"),
        ("the report file", f"{settings.report_file} (opens in DuckDB)"),
        ("reports to print", ".venv/bin/smp report"),
        ("the proof", ".venv/bin/smp ledger verify"),
    )
    for name, where in lines:
        console.print(f"  {name:<18}{where}", markup=False, soft_wrap=True)
