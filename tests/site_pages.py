"""What the tests of the pages for colleagues share: people to show, the site in a thread, and how to ask it."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from smp_pipelines.site.app import make_app
from smp_pipelines.site.server import address, make_server, open_port
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.settings import Settings

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


@contextmanager
def serving(settings: Settings, host: str | None = None) -> Iterator[Ask]:
    """Run the site in a thread; gives a function that asks it for a path, from outside when a host is named."""
    door = open_port(0)
    server = make_server(make_app(settings, StartedAt(NOW)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    base, opener = address(door), urllib.request.build_opener(_NoRedirect)

    def ask(path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if host is not None:
            sent.setdefault("Host", host)
            path = path.removeprefix(f"https://{host}")
        request = urllib.request.Request(base + path, body, sent, method=method)
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read().decode()

    try:
        yield ask
    finally:
        server.should_exit = True
        thread.join()
        door.close()


@pytest.fixture(name="settings")
def site_settings(postgres_url: str, project_folder: Path, tmp_path: Path) -> Settings:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(PEOPLE)
    return Settings(project_folder, tmp_path / "state", postgres_url=postgres_url)


@pytest.fixture(name="ask")
def asking(settings: Settings) -> Iterator[Ask]:
    with serving(settings) as ask:
        yield ask


def page(ask: Ask, path: str, status: int = 200) -> str:
    answered, _, body = ask(path)
    assert answered == status, body
    return body


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
