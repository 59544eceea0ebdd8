"""The pages for colleagues change nothing, give nothing away and start and stop cleanly."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import psycopg
import pytest

from smp_pipelines.site.server import open_port
from smp_pipelines.site.source import Source
from smp_pipelines.stores.settings import Settings
from tests.site_pages import STEP, Ask, page, serving
from tests.site_pages import asking as _asking  # noqa: F401  (fixtures)
from tests.site_pages import site_settings as _settings  # noqa: F401
from tests.support.waiting import PATIENCE


def test_no_page_changes_anything(settings: Settings, ask: Ask) -> None:
    assert settings.postgres_url

    def everything() -> dict[str, object]:
        with psycopg.connect(str(settings.postgres_url)) as connection:
            tables = connection.execute(
                "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('smp', 'crm')"
            ).fetchall()
            assert len(tables) > 15
            return {
                name: connection.execute(f"select array_agg(md5(t::text) order by t::text) from {name} t").fetchone()
                for (name,) in tables
            }

    before = everything()
    for path in ("/", STEP, f"{STEP}/html", f"{STEP}?person=3", "/steps/newsletter/december", "/health"):
        page(ask, path)
        assert ask(path, method="POST")[0] == 405
    assert everything() == before
    assert not (settings.project / ".smp").exists()


def test_the_database_refuses_writing_on_the_connection_of_the_pages(settings: Settings) -> None:
    with Source(settings).connection() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("delete from crm.person")


def test_every_answer_carries_strict_headers(ask: Ask) -> None:
    for path in (
        "/",
        STEP,
        "/health",
        "/static/site.css",
        "/static/icon.svg",
        "/static/none",
        "/none",
        f"{STEP}?person=x",
    ):
        _, headers, _ = ask(path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


def test_the_mail_in_the_frame_has_no_power(settings: Settings, ask: Ask) -> None:
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in page(ask, STEP)
    _, headers, _ = ask(f"{STEP}/html")
    policy = headers["content-security-policy"]
    for part in ("default-src 'none'", "script-src 'none'", "form-action 'none'", "frame-ancestors 'self'", "sandbox"):
        assert part in policy
    assert "https:" not in policy
    assert "https:" in ask(f"{STEP}/html?images=1")[1]["content-security-policy"]


def test_another_name_for_this_machine_is_refused(ask: Ask) -> None:
    assert ask("/", Host="evil.example")[0] == 400


def test_a_database_that_is_away_is_told_and_unhealthy(settings: Settings) -> None:
    with open_port(0) as closed:
        url = f"postgresql://smp:secret@127.0.0.1:{closed.getsockname()[1]}/smp"
    with serving(Settings(settings.project, settings.home, postgres_url=url)) as ask:
        assert "No connection to Postgres" in page(ask, "/", 503)
        status, _, body = ask("/health")
    assert status == 503
    assert json.loads(body)["status"] == "unavailable"
    assert "secret" not in body


def test_a_mistake_of_the_site_itself_is_a_page_with_the_same_headers(settings: Settings, ask: Ask) -> None:
    assert settings.postgres_url
    with psycopg.connect(settings.postgres_url) as connection:
        connection.execute("drop table smp.step_status")
    status, headers, body = ask("/")
    assert status == 500
    assert "Something went wrong" in body
    assert "step_status" not in body
    assert "default-src 'none'" in headers["content-security-policy"]


# ---------------------------------------------------------------- the process


def start(settings: Settings, port: int) -> subprocess.Popen[str]:
    environment = os.environ | {"SMP_POSTGRES_URL": str(settings.postgres_url), "SMP_HOME": str(settings.home)}
    command = ["-m", "smp_pipelines.site", "--project", str(settings.project), "--port", str(port)]
    return subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_process_serves_and_stops_cleanly_on_sigterm(settings: Settings) -> None:
    with start(settings, 0) as process:
        assert process.stdout
        url = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(f"{url}/health", timeout=PATIENCE) as answer:
            assert json.loads(answer.read())["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")


def test_a_taken_port_is_told_in_one_line(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start(settings, port) as process:
            _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert errors == (
        f"port {port} on 127.0.0.1 cannot be used: another program listens there. Choose another with --port\n"
    )
