"""A site with the sample's forms and a few people, and a visitor who asks it for pages and sends its forms."""

from __future__ import annotations

import http.client
import itertools
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import psycopg

from smp_pipelines.sending.links import LinkSigner
from smp_pipelines.sending.personal import PersonalLink, personal_path
from smp_pipelines.site.app import make_app
from smp_pipelines.site.server import make_server, open_port
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.settings import Settings
from smp_pipelines.submission.ticket import FIELD, Ticket
from tests.conftest import copy_project, fresh_database
from tests.support.waiting import until

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LAST_DAY = date(2026, 12, 31)
HOST = "links.theatre.example"
SECRET = "a secret of the tests of visits"
SIGNUP, REGISTRATION = "/s/welcome/signup", "/s/open_house/registration"
ANNA, WIM, BLOCKED = 3, 7, 9
HAMLET = 2
_STEPS = (
    *("welcome/signup", "welcome/check_your_mail", "welcome/confirm", "welcome/confirmed", "welcome/welcome"),
    *("open_house/registration", "open_house/registered", "open_house/confirmation"),
    *("preferences/centre", "preferences/saved", "feedback/survey", "feedback/thanks"),
)
_PEOPLE = """
insert into crm.person (person_id, first_name, infix, last_name, email, phone, city, blocked, created_at) values
  (3, 'Anna', null, 'Adema', 'anna@x.example', '+31201234567', 'Lindenstad', false, now()),
  (7, null, 'van', 'Test', 'wim@linde.example', null, null, false, now()),
  (9, 'Bo', null, 'Blok', 'bo@x.example', null, null, true, now());
insert into crm.performance (performance_id, title, genre, hall, starts_at, duration_minutes) values
  (2, 'Hamlet & co', 'toneel', 'Grote Zaal', '2026-11-20 19:15+00', 90);
insert into crm.consent (person_id, channel, topic, granted, changed_at, source, wording) values
  (3, 'email', 'newsletter', true, '2020-01-01', 'kassa', 'ja graag'),
  (3, 'email', 'offers', false, '2020-01-01', 'kassa', 'nee');
"""
_LIVE = """
insert into smp.step_status (step, status, since) select step, 'live', now() from unnest(%s::text[]) as step
"""
_ADDRESSES = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    """What the site answered; header names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def ticket(self) -> str:
        """The hidden field of the form in the page."""
        found = re.search(rf'name="{FIELD}" value="([^"]*)"', self.body)
        assert found, self.body
        return unescape(found[1])

    @property
    def location(self) -> str:
        """Where it leads."""
        return self.headers["location"]

    def value(self, name: str) -> str:
        """What a field of the form is filled in with."""
        found = re.search(rf'<input[^>]* name="{name}"[^>]* value="([^"]*)"', self.body)
        assert found, self.body
        return unescape(found[1])


@dataclass
class VisitedSite:
    """The site that runs, asked as its visitors do: under its public name, each by another address."""

    settings: Settings
    port: int
    signer: LinkSigner = field(init=False)

    def __post_init__(self) -> None:
        self.signer = LinkSigner(self.settings.link_secrets)

    def ask(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Answer:
        """Ask for a path. Headers are given with _ for -."""
        sent = {"Host": HOST, "X-Forwarded-For": f"192.0.{next(_ADDRESSES) >> 8 & 255}.{next(_ADDRESSES) & 255}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, sent)
            got = connection.getresponse()
            text = got.read().decode()
            return Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, text)
        finally:
            connection.close()

    def post(self, path: str, answers: Mapping[str, Any], **headers: str) -> Answer:
        """Post these fields, and nothing else."""
        headers = {"Content_Type": "application/x-www-form-urlencoded", **headers}
        return self.ask(path, urlencode(answers, doseq=True).encode(), **headers)

    def send(self, path: str, answers: Mapping[str, Any], **headers: str) -> Answer:
        """Open a form, and send it with these answers."""
        return self.post(path, {FIELD: self.ask(path).ticket, **answers}, **headers)

    def ticket(self, step: str, person_id: int | None = None, made_at: datetime = NOW) -> str:
        """The hidden field of a form, made as the site makes it."""
        return Ticket(step, person_id, made_at, uuid4()).sign(self.signer)

    def personal(self, step: str, person_id: int, record_id: int | None = None, last_day: date = LAST_DAY) -> str:
        """The path of a personal URL."""
        return personal_path(self.signer, PersonalLink(step, person_id, record_id, None, last_day))

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement; its rows, if it has any."""
        with psycopg.connect(str(self.settings.postgres_url), autocommit=True) as connection:
            done = connection.execute(statement, values or None)
            return done.fetchall() if done.description else []

    def one(self, statement: str, *values: object) -> Any:
        """The only value of the only row."""
        ((value,),) = self.sql(statement, *values)
        return value

    def everything(self) -> list[tuple[Any, ...]]:
        """A mark of all that a visitor could change."""
        tables = ("crm.person", "crm.consent", "crm.registration", "crm.survey_answer", "crm.list_member")
        tables += ("smp.submission", "smp.trigger_event")
        return [
            self.sql(f"select md5(string_agg(t::text, '|' order by t::text)), count(*) from {name} t")[0]
            for name in tables
        ]


def visited_settings(folder: Path, postgres_url: str, **changes: Any) -> Settings:
    """Settings of a site that a trusted proxy on this machine passes visitors on to."""
    given = {"public_url": f"https://{HOST}", "link_secret": SECRET, "proxies": "127.0.0.1"} | changes
    return Settings(folder / "my project", folder / "state", postgres_url=postgres_url, **given)


@contextmanager
def running(settings: Settings, now: datetime = NOW) -> Iterator[VisitedSite]:
    """The site on a port of this machine."""
    door = open_port(0)
    server = make_server(make_app(settings, StartedAt(now)), settings.proxies)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    until(lambda: server.started or not thread.is_alive(), "the site")
    assert server.started
    try:
        yield VisitedSite(settings, door.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        door.close()


@contextmanager
def visited(embedded_url: str, migrated_template: str, folder: Path, **changes: Any) -> Iterator[VisitedSite]:
    """A site over a fresh database with three people, its forms and pages live."""
    copy_project(folder / "my project")
    with fresh_database(embedded_url, migrated_template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_PEOPLE)
            connection.execute(_LIVE, (list(_STEPS),))
        with running(visited_settings(folder, url, **changes)) as site:
            yield site


def new_address() -> str:
    """An e-mail address that nobody has yet."""
    return f"{uuid4().hex[:12]}@example.org"


def signup(**answers: Any) -> dict[str, Any]:
    """Good answers to the newsletter's form; None leaves one out."""
    given = {"email": new_address(), "first_name": "Piet", "last_name": "Jansen", "newsletter": "y"} | answers
    return {name: value for name, value in given.items() if value is not None}


def registration(**answers: Any) -> dict[str, Any]:
    """Good answers to the form of the open house; None leaves one out."""
    given = {"email": new_address(), "first_name": "Piet", "last_name": "Jansen", "tour": "none", "guests": "2"}
    return {name: value for name, value in (given | answers).items() if value is not None}


def preferences(**answers: Any) -> dict[str, Any]:
    """Good answers to the preference centre."""
    return {"last_name": "Adema", "first_name": "Anna"} | answers


def path_of(url: str) -> str:
    """The path of an address on the site."""
    return urlsplit(url).path
