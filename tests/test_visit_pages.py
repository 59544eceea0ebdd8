"""Every kind of page in a real browser: usable by everybody (axe-core) on a phone and at a desk, valid html (Nu)."""

from __future__ import annotations

import smtplib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from playwright.sync_api import Page

from smp_pipelines.catcher.server import Catcher
from smp_pipelines.sending import ledger
from smp_pipelines.sending.links import LinkSigner, MailLinks
from smp_pipelines.site.app import make_app
from smp_pipelines.site.server import address, make_server, open_port
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.settings import Settings
from tests.conftest import REPOSITORY
from tests.site_pages import NOW, PEOPLE, STEP, session_cookie
from tests.support.browser import DESKTOP, PHONE, Visitor, accessible, assert_valid

ANNA = 3
KEY = UUID("0123456789abcdef0123456789abcdef")
COLLEAGUES = {
    "overview": ("/", "Campaigns"),
    "step": (STEP, "Servicemail vooraf"),
    "step_as_text": (f"{STEP}?view=text", "Servicemail vooraf"),
    "sends": ("/sends", "Sends"),
    "send": ("/sends/1", "Servicemail vooraf"),
    "not_there": ("/steps/no/such", "404 · Campaigns"),
}
"""The pages for colleagues: the path, and words of the title."""


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The site in a thread; gives its address."""
    door = open_port(0)
    server = make_server(make_app(settings, StartedAt(NOW)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
    thread.start()
    try:
        yield address(door)
    finally:
        server.should_exit = True
        thread.join()
        door.close()


@pytest.fixture(name="settings")
def site_settings(postgres_url: str, tmp_path: Path) -> Settings:
    """Anna got a mail."""
    step = "servicemails/servicemail"
    with psycopg.connect(postgres_url) as connection:
        connection.execute(PEOPLE)
        send = ledger.open_send(connection, "k", step, NOW, NOW, None)
        connection.execute(
            "insert into smp.message (send_id, recipient_key, seq, person_id, state)"
            " values (%s, %s, 1, %s, 'accepted')",
            (send.send_id, KEY, ANNA),
        )
        # over: the page of a send that runs loads itself again, which ends whatever the browser was doing
        connection.execute("update smp.send set state = 'finished', planned = 1, finished_at = %s", (NOW,))
    return Settings(REPOSITORY, tmp_path / "state", postgres_url=postgres_url, link_secret="a secret of the tests")


def links(settings: Settings) -> MailLinks:
    with psycopg.connect(str(settings.postgres_url)) as connection:
        send = ledger.open_send(connection, "k", "servicemails/servicemail", NOW, NOW, None)
    return MailLinks(settings.site_url, LinkSigner(settings.link_secrets), "servicemails/servicemail", send)


def sign_in(page: Page, settings: Settings, base: str) -> None:
    name, _, value = session_cookie(settings).partition("=")
    page.context.add_cookies([{"name": name, "value": value, "url": base}])


def test_the_pages_of_the_site_are_for_everybody(settings: Settings, visitor: Visitor) -> None:
    with serving(settings) as base:
        page, desk = visitor.open(base, size=PHONE), visitor.open(size=DESKTOP)
        page.get_by_role("heading", name="Sign in").wait_for()
        visitor.look(page, "sign_in")
        for window in (page, desk):
            sign_in(window, settings, base)
        for name, (path, title) in COLLEAGUES.items():
            page.goto(base + path)
            assert title in page.title()
            visitor.look(page, name)
        for name in ("overview", "step", "send"):
            desk.goto(base + COLLEAGUES[name][0])
            accessible(desk)
        page.goto(f"{base}{STEP}/html")
        accessible(page)  # a mail: html for mail programs, which no validator likes
        unsubscribe(page, visitor, base + urlsplit(links(settings).unsubscribe(KEY)).path)
        page.goto(f"{base}/u/none")
        visitor.look(page, "bad_link")
    assert_valid(visitor.html)


def unsubscribe(page: Page, visitor: Visitor, link: str) -> None:
    page.goto(link)
    visitor.look(page, "unsubscribe")
    page.get_by_role("button", name="Afmelden").click()
    page.get_by_role("heading", name="U bent afgemeld").wait_for()
    visitor.look(page, "unsubscribed")


def test_the_pages_of_the_inbox_are_for_everybody(tmp_path: Path, visitor: Visitor) -> None:
    with Catcher(tmp_path / "mail box") as catcher:
        page = visitor.open(catcher.http_url, size=PHONE)
        visitor.look(page, "empty_inbox")
        with smtplib.SMTP("127.0.0.1", catcher.smtp_port) as client:
            client.send_message(a_mail())
        page.get_by_role("link", name="Refresh").click()
        page.get_by_role("link", name="Uw bezoek").wait_for()
        visitor.look(page, "inbox")
        accessible(visitor.open(catcher.http_url))
        page.get_by_role("link", name="Uw bezoek").click()
        for tab in ("HTML", "Text", "Headers", "Source"):
            page.get_by_role("link", name=tab, exact=True).click()
            page.locator("nav [aria-current=page]", has_text=tab).wait_for()
            visitor.look(page, f"mail_{tab.lower()}")
        accessible(visitor.open(page.url))
        for name, path in {"no_mail": "/mail/99", "none_found": "/?query=nothing"}.items():
            page.goto(catcher.http_url + path)
            visitor.look(page, name)
    assert_valid(visitor.html)


def a_mail() -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "Schouwburg De Linde <service@linde.example>"
    mail["To"] = "Zoë de Vries-van den Achtergrond <zoe.de.vries.van.den.achtergrond@x.example>"
    mail["Subject"] = "Uw bezoek " + "aan een voorstelling met een lange titel " * 3
    mail["X-SMP-Step"] = "servicemails/servicemail"
    mail["X-Long"] = "a" * 300
    mail.set_content("Tot ziens op https://linde.example/" + "visit" * 40 + "\n")
    mail.add_alternative("<!doctype html><html lang=nl><title>Bezoek</title><p>Tot ziens", subtype="html")
    return mail
