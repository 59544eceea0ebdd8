"""A deployment that runs: `smp up` on a copy of the sample project with a trigger step, in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from bench.posting import SECRET, SIGNUP, Load, post
from smp_pipelines.sending.status import change_status
from smp_pipelines.stores.postgres import connect
from smp_pipelines.stores.server import EmbeddedServer
from smp_pipelines.stores.settings import REPOSITORY

STEP = "latency/thanks"
PEOPLE = 500
_CAMPAIGN = """\
name: Bedankt
description: Na een formulier, om te meten hoe lang de mail erover doet
steps:
  thanks:
    name: Bedankt
    description: Direct na het formulier
    send: trigger
    at_night: send
    sender: "Schouwburg De Linde <nieuws@schouwburg.example>"
    subject: "Bedankt, {{ person.first_name }}"
    content: thanks.html
    topic: service
"""
_MAIL = "<html><body><p>{{ person.salutation }}, bedankt voor uw antwoord.</p></body></html>\n"
_PORTS = ("SMP_UI_PORT", "SMP_INBOX_PORT", "SMP_PREVIEW_PORT", "SMP_SMTP_PORT", "SMP_CODE_PORT")
_LIVE = (STEP, "welcome/signup", "welcome/check_your_mail", "welcome/confirm")
_PATIENCE = 180.0
_OURS = re.compile(r"^run_(launcher|coordinator):\n(  .*\n)+", re.MULTILINE)
_QUEUE = "run_queue: {dequeue_interval_seconds: 1, dequeue_use_threads: true, dequeue_num_workers: 4}\n"
"""The queue of before, instead of our coordinator."""


@dataclass(frozen=True)
class Up:
    """The running deployment: its database, and the port of its site."""

    url: str
    site_port: int

    def submit(self, person: int, *, notify: bool = True) -> datetime:
        """One submission with its event, written as the site does; the moment just before."""
        now = datetime.now(UTC)
        with psycopg.connect(self.url) as connection:
            (submission,) = connection.execute(
                "insert into smp.submission (submission_key, form, step, person_id, identified, answers, language,"
                " submitted_at) values (%s, 'bench', 'latency/form', %s, 'link', '{}', 'nl', %s)"
                " returning submission_id",
                (uuid.uuid4(), person, now),
            ).fetchone() or (0,)
            connection.execute(
                "insert into smp.trigger_event (step, person_id, submission_id, cause, happened_at)"
                " values (%s, %s, %s, 'submitted', %s)",
                (STEP, person, submission, now),
            )
            if notify:
                connection.execute("select pg_notify('smp_submission', '')")
        return now

    def latencies(self, since: datetime, count: int) -> list[float]:
        """Seconds from each submission since then to its mail accepted, in order, once there are so many.

        Raises RuntimeError when they do not come.
        """
        give_up = time.monotonic() + _PATIENCE
        while time.monotonic() < give_up:
            with connect(self.url) as connection:
                found = connection.execute(
                    "select extract(epoch from m.settled_at - e.happened_at) from smp.trigger_event as e"
                    " join smp.message as m on m.send_id = e.send_id and m.person_id = e.person_id"
                    " where e.happened_at >= %s and m.state = 'accepted' order by e.happened_at",
                    (since,),
                ).fetchall()
            if len(found) >= count:
                return [float(seconds) for (seconds,) in found]
            time.sleep(0.1)
        raise RuntimeError(f"only {len(found)} of {count} mails came")

    def post(self, count: int) -> tuple[int, float]:
        """That many sign-ups at the site's own door within a second: how many mails people got, and the seconds from
        the first submission to the last mail accepted.

        Raises RuntimeError when one was not stored, or its mail does not come.
        """
        load = Load(self.site_port, SECRET, "welcome/signup", SIGNUP, "up", 64, count, 600.0, float(count))
        posted = post(load)
        if posted.stored != count:
            raise RuntimeError(f"only {posted.stored} of {count} sign-ups were stored")
        give_up = time.monotonic() + _PATIENCE
        while time.monotonic() < give_up:
            with connect(self.url) as connection:
                mails, people, seconds = connection.execute(
                    "select count(*), count(distinct s.submission_id),"
                    " extract(epoch from max(m.settled_at) - min(s.submitted_at)) from smp.submission as s"
                    " join smp.message as m using (person_id) where s.step = 'welcome/signup' and m.state = 'accepted'"
                ).fetchone() or (0, 0, 0)
            if people == count:
                return int(mails), float(seconds)
            time.sleep(0.1)
        raise RuntimeError(f"only {people} of {count} people were mailed")


@contextmanager
def up(folder: Path, smtp_port: int, *, warm: bool = True) -> Iterator[Up]:
    """The deployment in this folder, with its trigger step live; `warm`: with our run launcher and queue."""
    project, home = _project(folder, warm), folder / "home"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SMP_", "DAGSTER_"))}
    ports = _ports()
    environment |= {"SMP_PROJECT": str(project), "SMP_HOME": str(home), **ports}
    environment |= {"SMP_MAIL_URL": f"smtp://127.0.0.1:{smtp_port}", "SMP_LINK_SECRET": SECRET}
    environment["SMP_PROXIES"] = "127.0.0.1"  # each visitor of the load comes from an address of its own
    output = folder / "up.log"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "smp_pipelines.cli", "up"], env=environment, stdout=file, stderr=file
        )
    try:
        _wait(lambda: "running, after" in output.read_text(encoding="utf-8"), process, output)
        url = EmbeddedServer(home).url()
        _fill(url)
        yield Up(url, int(ports["SMP_PREVIEW_PORT"]))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_PATIENCE)


def _project(folder: Path, warm: bool) -> Path:
    project = folder / "project"
    project.mkdir(parents=True)
    for name in ("campaigns", "forms", "sql"):
        shutil.copytree(REPOSITORY / name, project / name)
    shutil.copy(REPOSITORY / "smp.yaml", project)
    campaign = project / "campaigns" / STEP.partition("/")[0]
    campaign.mkdir()
    (campaign / "campaign.yaml").write_text(_CAMPAIGN, encoding="utf-8")
    (campaign / "thanks.html").write_text(_MAIL, encoding="utf-8")
    if not warm:
        text = (REPOSITORY / "dagster.yaml").read_text(encoding="utf-8")
        (project / "dagster.yaml").write_text(_OURS.sub("", text) + _QUEUE, encoding="utf-8")
    return project


def _ports() -> dict[str, str]:
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in _PORTS]
    found = {name: str(each.getsockname()[1]) for name, each in zip(_PORTS, with_ports, strict=True)}
    for each in with_ports:
        each.close()
    return found


def _fill(url: str) -> None:
    now = datetime.now(UTC)
    with connect(url) as connection:
        connection.execute(
            "insert into crm.person (person_id, first_name, last_name, email, salutation, created_at)"
            " select n, 'Anna', 'Jansen', 'p' || n || '@example.org', 'Beste Anna', %s from generate_series(1, %s) n",
            (now, PEOPLE),
        )
        for step in _LIVE:
            change_status(connection, step, "live", now, "bench")


def _wait(is_so: object, process: subprocess.Popen[bytes], output: Path) -> None:
    give_up = time.monotonic() + _PATIENCE
    while not is_so():  # type: ignore[operator]
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"smp up does not come up: {output.read_text(encoding='utf-8')}")
        time.sleep(0.1)
