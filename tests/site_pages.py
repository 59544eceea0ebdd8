"""What the tests of the pages for colleagues share: people to show, the site in a thread, and how to ask it."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from starlette.types import ASGIApp

from smp_pipelines.site.app import make_app
from smp_pipelines.site.colleagues.accounts import add, start_session
from smp_pipelines.site.server import address, make_server, open_port
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.postgres import PostgresGoneError, connect
from smp_pipelines.stores.settings import Settings
from tests.conftest import copy_project, fresh_database

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
STEP = "/steps/servicemails/servicemail"
Answer = tuple[int, dict[str, str], str]
Ask = Callable[..., Answer]

PEOPLE = """
insert into crm.person (person_id, first_name, infix, last_name, salutation, email, internal_test, created_at) values
  (3, 'Anna', null, 'Adema', 'Beste Anna', 'anna@x.example', false, now()),
  (7, 'Wim', 'van', 'Test', 'Beste Wim', 'wim@linde.example', true, now()),
  (9, 'Zoë', null, '<b>Zwart</b>', 'Beste Zoë', null, false, now());
insert into crm.performance (performance_id, title, genre, hall, starts_at, duration_minutes) values
  (1, 'Gisteren', 'toneel', 'Grote Zaal', '2026-11-20 19:15+00', 90),
  (2, 'Hamlet & co', 'toneel', 'Grote Zaal', '2026-12-04 19:15+00', 90),
  (5, 'Morgen', 'toneel', 'Kleine Zaal', '2026-11-22 19:15+00', 90);
"""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: a mail program does not follow one (RFC 8058)."""

    def redirect_request(self, *_: object) -> None:
        return None


def session_cookie(settings: Settings, name: str | None = None) -> str:
    """The cookie of somebody who is signed in on this machine; with a name: of a new colleague, from anywhere."""
    token = "x" * 43  # a database that is away is to be asked as well
    with suppress(PostgresGoneError), connect(str(settings.postgres_url)) as connection:
        colleague = None
        if name is not None:
            add(connection, f"{name}@theatre.example", name, NOW, "tests")
            (colleague,) = connection.execute("select max(colleague_id) from smp.colleague").fetchone() or (None,)
        token = start_session(connection, colleague, NOW)
    prefix = "__Host-" if name is not None and settings.site_url.startswith("https:") else ""
    return f"{prefix}smp_session={token}"


@contextmanager
def serving(settings: Settings, host: str | None = None, *, signed_in: bool = True) -> Iterator[Ask]:
    """Run the site in a thread; gives a function that asks it for a path.

    From outside, and as a stranger, when a host is named; else as whoever is signed in on this machine.
    """
    cookie = {"Cookie": session_cookie(settings)} if signed_in and host is None else {}
    with running_app(make_app(settings, StartedAt(NOW))) as anybody:

        def ask(path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Answer:
            if host is not None:
                headers.setdefault("Host", host)
                path = path.removeprefix(f"https://{host}")
            return anybody(path, body, method, **(cookie | headers))

        yield ask


@contextmanager
def running_app(app: ASGIApp, *, proxies: str = "") -> Iterator[Ask]:
    """Run an app in a thread; gives a function that asks it for a path."""
    door = open_port(0)
    server = make_server(app, proxies)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    base, opener = address(door), urllib.request.build_opener(_NoRedirect)

    def ask(path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(base + path, body, sent, method=method)
        try:
            with opener.open(request, timeout=60) as answer:
                text = answer.read().decode(errors="replace")  # a picture is no text
                return answer.status, dict(answer.headers), text
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read().decode()

    try:
        yield ask
    finally:
        server.should_exit = True
        thread.join()
        door.close()


@contextmanager
def a_house(embedded_url: str, migrated_template: str, folder: Path, **options: str) -> Iterator[Settings]:
    """The sample project with people to show, on a database of its own, for the tests of a whole file."""
    with fresh_database(embedded_url, migrated_template) as url:
        with psycopg.connect(url) as connection:
            connection.execute(PEOPLE)
        yield Settings(copy_project(folder / "my project"), folder / "state", postgres_url=url, **options)  # type: ignore[arg-type]


@pytest.fixture(name="settings")
def site_settings(postgres_url: str, project_folder: Path, tmp_path: Path) -> Settings:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(PEOPLE)
    return Settings(project_folder, tmp_path / "state", postgres_url=postgres_url)


@pytest.fixture(name="ask")
def asking(settings: Settings) -> Iterator[Ask]:
    with serving(settings) as ask:
        yield ask


def page(ask: Ask, path: str, status: int = 200, /, **headers: str) -> str:
    answered, _, body = ask(path, **headers)
    assert answered == status, body
    return body


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
