"""Previews of forms and pages: as a visitor sees them, for anybody, and without a trace (F09, F10)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner, Result

from smp_pipelines.cli import app
from smp_pipelines.commands import colleague as colleague_commands
from smp_pipelines.commands import step as step_commands
from smp_pipelines.deployment import Deployment
from smp_pipelines.sending.links import LinkSigner
from smp_pipelines.sending.personal import read_personal
from smp_pipelines.stores.settings import Settings
from tests.site_pages import NOW, PEOPLE, Ask, a_house, page, serving
from tests.support.theatre import deployment

SIGN_UP = "/steps/welcome/signup"
CENTRE = "/steps/preferences/centre"
SURVEY = "/steps/feedback/survey"


@pytest.fixture(name="settings", scope="module")
def house(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with a_house(embedded_url, migrated_template, tmp_path_factory.mktemp("previews")) as settings:
        yield settings


@pytest.fixture(name="ask", scope="module")
def asking(settings: Settings) -> Iterator[Ask]:
    with serving(settings) as ask:
        yield ask


def frame_of(ask: Ask, body: str) -> str:
    """What is in the frame of a step's page."""
    (source,) = re.findall(r'<iframe [^>]*src="([^"]+)"', body, re.DOTALL)
    return page(ask, html.unescape(source))


def traces(settings: Settings) -> list[object]:
    with psycopg.connect(str(settings.postgres_url)) as connection:
        tables = ("smp.hit", "smp.submission", "smp.trigger_event", "crm.person", "crm.consent")
        return [connection.execute(f"select count(*), max(t::text) from {name} t").fetchone() for name in tables]


def test_a_form_is_shown_filled_in_for_a_person_and_cannot_be_sent(settings: Settings, ask: Ask) -> None:
    before = traces(settings)
    body = page(ask, f"{CENTRE}?person=3")
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in body
    shown = frame_of(ask, body)
    assert "Wat mogen wij u sturen, Anna?" in shown
    assert 'value="Adema"' in shown
    assert 'name="_ticket" value=""' in shown
    _, headers, _ = ask(f"{CENTRE}/html?person=3")
    policy = headers["content-security-policy"]
    for part in ("form-action 'none'", "frame-ancestors 'self'", "sandbox allow-popups", "style-src 'self'"):
        assert part in policy
    assert "allow-forms" not in policy
    assert "allow-scripts" not in policy
    assert "script-src" not in policy
    assert traces(settings) == before


def test_a_form_for_somebody_unknown_is_empty_and_says_nobodys_name(ask: Ask) -> None:
    body = page(ask, f"{SIGN_UP}?visitor=unknown&view=phone")
    assert "somebody whom nobody knows" in body
    assert 'class="sheet phone"' in body
    shown = frame_of(ask, body)
    assert "Post waar u blij van wordt" in shown
    for known in ("Anna", "Adema", "Wim", "@linde.example"):
        assert known not in shown
    assert "Anna" in frame_of(ask, page(ask, f"{SIGN_UP}?person=3"))


def test_nobody_unknown_sees_a_closed_form(ask: Ask) -> None:
    assert "opens by a personal URL only" in page(ask, f"{CENTRE}?visitor=unknown", 404)
    assert "visitor=unknown" not in page(ask, CENTRE)


def test_a_page_about_a_record_shows_the_one_that_is_asked_for_and_the_next_by_itself(ask: Ask) -> None:
    assert "Hoe was Morgen?" in page(ask, SURVEY)
    assert "Hoe was Hamlet &amp; co?" in page(ask, f"{SURVEY}?person=3&record=2")
    assert "There is no performance 999." in page(ask, f"{SURVEY}?person=3&record=999", 404)
    assert "There is no person 999." in page(ask, f"{SURVEY}/html?person=999", 404)


def test_a_page_that_leads_on_says_so_and_stays_in_its_frame(ask: Ask) -> None:
    shown = frame_of(ask, page(ask, "/steps/feedback/thanks?person=3"))
    assert "www.schouwburg.example" in shown
    assert "sandbox" in ask("/steps/feedback/thanks/html?person=3")[1]["content-security-policy"]


def test_links_in_previews_lead_to_previews_for_the_same_person(ask: Ask) -> None:
    mail = page(ask, "/steps/feedback/aftermail/html?person=3&record=2")
    assert "/steps/feedback/survey?person=3&amp;record=2#preview" in mail
    assert "/p/" not in mail
    text = page(ask, "/steps/welcome/welcome?person=3&view=text")
    assert "/steps/preferences/centre?person=3#preview" in text
    for shown in (mail, text):
        assert "/c/" not in shown
        assert "/o/" not in shown


def test_the_page_of_a_form_shows_both_urls_and_whose_the_personal_one_is(settings: Settings, ask: Ask) -> None:
    body = page(ask, f"{SIGN_UP}?person=3")
    shareable, personal = re.findall(r'<code class="copy"[^>]*>([^<]+)</code>', body)
    assert shareable == f"{settings.site_url}/s/welcome/signup"
    path, token = personal.rsplit("/", 1)
    assert path == f"{settings.site_url}/p"
    link = read_personal(LinkSigner(settings.link_secrets), token, NOW)
    assert (link.step, link.person_id, link.record_id, link.send_id) == ("welcome/signup", 3, None, None)
    assert "For Anna Adema only" in body
    assert re.findall(r'<code class="copy"[^>]*>[^<]+/(\w)/', page(ask, f"{CENTRE}?person=3")) == ["p"]
    assert re.findall(r'<code class="copy"[^>]*>[^<]+/(\w)/', page(ask, f"{SIGN_UP}?visitor=unknown")) == ["s"]
    assert "Visitors see it once this step is live" in body


def test_an_empty_crm_shows_a_form_as_somebody_unknown_sees_it(settings: Settings, ask: Ask) -> None:
    with psycopg.connect(str(settings.postgres_url)) as connection:
        connection.execute("delete from crm.person")
    try:
        assert "Post waar u blij van wordt" in frame_of(ask, page(ask, SIGN_UP))
    finally:
        with psycopg.connect(str(settings.postgres_url)) as connection:
            connection.execute("delete from crm.performance")
            connection.execute(PEOPLE)


# ---------------------------------------------------------------- the commands


@pytest.fixture(name="run")
def typed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `smp` with these words."""
    loaded = deployment(str(settings.postgres_url), settings.home, public_url="https://links.theatre.example")

    @contextmanager
    def running() -> Iterator[Deployment]:
        yield loaded

    for module in (step_commands, colleague_commands):
        monkeypatch.setattr(module, "deployment", running)
    return lambda *words: CliRunner().invoke(app, words)


def test_smp_step_url_prints_the_url_to_share_and_that_of_a_person(run: Callable[..., Result]) -> None:
    assert run("step", "url", "welcome/signup").output == "https://links.theatre.example/s/welcome/signup\n"
    lines = run("step", "url", "feedback/survey", "--person", "3", "--record", "2").output.splitlines()
    assert lines[0].startswith("a closed form has no URL to share")
    assert lines[1].startswith("https://links.theatre.example/p/")
    assert "of person 3 only" in lines[2]
    for words in (("welcome/welcome",), ("welcome/signup", "--person", "99"), ("welcome/signup", "--record", "2")):
        assert run("step", "url", *words).exit_code == 1


def test_smp_step_preview_writes_a_form_as_a_page(run: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    done = run("step", "preview", "preferences/centre", "--person", "3", "--file", str(file))
    assert done.exit_code == 0, done.output
    assert "Wat mogen wij u sturen, Anna?" in done.output
    assert '<base href="http://127.0.0.1:8026/">' in file.read_text(encoding="utf-8")
    assert run("step", "preview", "welcome/signup", "--unknown", "--file", str(file)).exit_code == 0
    assert "Anna" not in file.read_text(encoding="utf-8")


def test_smp_colleague_adds_lists_links_and_removes(run: Callable[..., Result]) -> None:
    added = run("colleague", "add", "Joost@Theatre.example", "--name", "Joost de Vries", "--by", "tests")
    assert "https://links.theatre.example/sign-in" in added.output
    assert "nothing has changed" in run("colleague", "add", "joost@theatre.example", "--name", "Joost").output
    listed = run("colleague", "list").output
    assert "Joost de Vries" in listed
    assert "never" in listed
    link = run("colleague", "link", "joost@theatre.example").output
    assert re.fullmatch(r"https://links\.theatre\.example/sign-in/[\w-]{43}\n", link)
    assert "removed; 0 sessions ended" in run("colleague", "remove", "JOOST@theatre.example").output
    for words in (("link", "joost@theatre.example"), ("remove", "x@y.example"), ("add", "no address", "--name", "X")):
        assert run("colleague", *words).exit_code == 1
