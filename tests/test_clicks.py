"""Links in mails that tell who followed them: how they are made, and that they lead to what was in the mail only."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from html import unescape
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smp_pipelines.campaign.content.environment import make_environment
from smp_pipelines.campaign.content.tracked import Tracking, is_web_address
from smp_pipelines.campaign.project import LoadedProject, load_project
from smp_pipelines.sending.ledger import Claimed, Purpose, Send
from smp_pipelines.sending.links import BadLinkError, LinkSigner
from smp_pipelines.sending.personal import (
    Addressee,
    MailLink,
    RecipientLinks,
    StepLinks,
    click_target,
    link_label,
    mail_path,
    read_click,
    read_mail_link,
    read_personal,
)
from smp_pipelines.sending.postroom import SendPostroom
from smp_pipelines.stores.settings import Settings
from tests.conftest import REPOSITORY

SITE = "https://links.theatre.example"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
KEY = UUID("0123456789abcdef0123456789abcdef")
SIGNER = LinkSigner(["a secret of the tests that is long enough"])
AFTERMAIL = "feedback/aftermail"


@pytest.fixture(scope="module")
def project() -> LoadedProject:
    return load_project(REPOSITORY)


@pytest.fixture(scope="module")
def links(project: LoadedProject) -> RecipientLinks:
    return links_of(project, SIGNER)


def links_of(project: LoadedProject, signer: LinkSigner, send_id: int = 7) -> RecipientLinks:
    send = Send(send_id, "k", AFTERMAIL, "live", NOW, "open", 1)
    return StepLinks(SITE, signer, project, project.step(AFTERMAIL), send).of(Addressee(KEY, 3, 2))


def rendered(
    project: LoadedProject, links: object, template: str, tracking: Tracking | None = None, **names: object
) -> str:
    """The html of a template whose links are tracked."""
    environment = make_environment("nl", project.settings.zone, html=True)
    text = (tracking or Tracking(clicks=True, opens=False)).apply(template, environment)
    return environment.from_string(text).render(links=links, **names)


def target(address: str) -> tuple[str, str]:
    """Where a click's address leads, and what it is called where clicks are counted."""
    assert address.startswith(f"{SITE}/c/"), address
    token, end = address.removeprefix(f"{SITE}/c/").split("/")
    link = read_click(SIGNER, token, end)
    assert link.mail == MailLink(7, KEY)
    return link.url, link_label(SIGNER, link)


def hrefs(html: str) -> list[str]:
    return [unescape(found[1]) for found in re.findall(r"""\shref=("|')(.*?)\1""", html, re.IGNORECASE)]


# ---------------------------------------------------------------- in the mail


@pytest.mark.parametrize(
    ("written", "leads_to"),
    [
        ('<a href="https://www.theatre.example/agenda">', "https://www.theatre.example/agenda"),
        ("<A class='x' HREF='http://theatre.example/'>", "http://theatre.example/"),
        ('<area shape="rect" href=" https://theatre.example/?a=1&amp;b=2#c ">', "https://theatre.example/?a=1&b=2#c"),
        ('<a\n  title="a > b" href="https://theatre.example/x">', "https://theatre.example/x"),
        ('<a href="{{ person.site }}">', "https://anna.example/?q=1&r='2'"),
        (
            '<a href="{% if person %}https://one.example/{% else %}https://two.example/{% endif %}">',
            "https://one.example/",
        ),
        (
            '<a title="{{ "a" if 2 > 1 else "b" }}" href="https://theatre.example/{{ "x" }}">',
            "https://theatre.example/x",
        ),
        ('<!--[if mso]><a href="https://theatre.example/mso"><![endif]-->', "https://theatre.example/mso"),
    ],
)
def test_every_web_link_of_the_html_leads_over_the_site(
    project: LoadedProject, links: RecipientLinks, written: str, leads_to: str
) -> None:
    html = rendered(project, links, written, person={"site": "https://anna.example/?q=1&r='2'"})
    (address,) = hrefs(html)
    assert target(address)[0] == leads_to


@pytest.mark.parametrize(
    "written",
    [
        '<a href="mailto:kassa@theatre.example">',
        '<a href="tel:+31201234567">',
        '<a href="#top">',
        '<a href="{{ links.unsubscribe }}">',
        '<a href="{{ links.view }}">',
        '<a href="{{ links.confirm }}">',
        '<a href="{{ person.site }}">',
        '<a href="">',
        '<a name="https://theatre.example">',
        '<img src="https://theatre.example/a.png">',
        '<link href="https://theatre.example/a.css">',
        f'<a href="https://theatre.example/{"x" * 1500}">',
    ],
)
@pytest.mark.parametrize("site", ["javascript:alert(1)", "data:text/html,x", "/agenda", "https://a.example/\r\nX: y"])
def test_other_links_stay_as_they_are(project: LoadedProject, links: RecipientLinks, written: str, site: str) -> None:
    environment = make_environment("nl", project.settings.zone, html=True)
    untouched = environment.from_string(written).render(links=links, person={"site": site})
    assert rendered(project, links, written, person={"site": site}) == untouched


def test_a_personal_link_keeps_its_step_where_clicks_are_counted_and_not_its_token(
    project: LoadedProject, links: RecipientLinks
) -> None:
    (address,) = hrefs(rendered(project, links, '<a href="{{ links.to("survey") }}">'))
    url, label = target(address)
    assert label == "feedback/survey"
    assert read_personal(SIGNER, url.removeprefix("/p/"), NOW).person_id == 3


def test_what_a_template_fills_in_is_not_what_a_link_is_called(project: LoadedProject, links: RecipientLinks) -> None:
    written = '<a href="https://shop.example/?mail={{ person.email | urlencode }}&amp;x=1">'
    (address,) = hrefs(rendered(project, links, written, person={"email": "anna@example.org"}))
    assert target(address) == (
        "https://shop.example/?mail=anna%40example.org&x=1",
        "https://shop.example/?mail={{ person.email | urlencode }}&x=1",
    )


def test_the_picture_stands_at_the_end_of_the_body_and_a_template_cannot_ask_for_its_address(
    project: LoadedProject, links: RecipientLinks
) -> None:
    html = rendered(project, links, "<body><p>Dag</p></body></html>", Tracking(clicks=False, opens=True))
    found = re.fullmatch(rf'<body><p>Dag</p><img src="{SITE}/o/([^"]+)\.gif" [^>]*alt=""[^>]*></body></html>', html)
    assert found
    assert read_mail_link(SIGNER, "open", found[1]) == MailLink(7, KEY)
    with pytest.raises(Exception, match="pixel"):
        make_environment("nl", project.settings.zone, html=True).from_string("{{ links.pixel }}").render(links=links)


class Mailed(NamedTuple):
    headers: Message
    html: str
    text: str


def mailed(project: LoadedProject, tmp_path: Path, purpose: Purpose = "live", **tracking: bool) -> Mailed:
    """The mail of the survey's step for Anna about Hamlet, read back."""
    settings = Settings(REPOSITORY, tmp_path, public_url=SITE, link_secret="a secret of the tests that is long enough")
    told = project.settings.tracking.model_copy(update=tracking)
    project = replace(project, settings=project.settings.model_copy(update={"tracking": told}))
    room = SendPostroom(settings, project, Send(7, "k", AFTERMAIL, purpose, NOW, "open", 1))
    person = sample_row(project, "crm.person") | {"first_name": "Anna", "last_name": "Jansen"}
    performance = sample_row(project, "crm.performance") | {"title": "Hamlet", "starts_at": NOW}
    context = {"person": person, "organisation": None, "performance": performance}
    claimed = Claimed(KEY, 1, 3, 2, 1, "anna@example.org")
    read = message_from_bytes(room.make(claimed, context, NOW, eight_bit=True).content)
    parts = [part.get_payload(decode=True) for part in read.walk() if not part.is_multipart()]
    text, html = (part.decode() for part in parts if isinstance(part, bytes))
    return Mailed(read, html, text)


def sample_row(project: LoadedProject, table: str) -> dict[str, object]:
    return dict.fromkeys(project.catalog.tables[table].columns, None)


@pytest.mark.parametrize("purpose", ["live", "test"])
def test_a_mail_leads_over_the_site_in_its_html_and_straight_in_its_text(
    project: LoadedProject, tmp_path: Path, purpose: Purpose
) -> None:
    mail = mailed(project, tmp_path, purpose)
    labels = [target(address)[1] for address in hrefs(mail.html) if address.startswith(f"{SITE}/c/")]
    assert "feedback/survey" in labels
    straight = [each for each in hrefs(mail.html) if each.startswith("http") and "/c/" not in each]
    assert all(each.startswith((f"{SITE}/u/", f"{SITE}/v/")) for each in straight), straight
    assert mail.html.count(f"{SITE}/o/") == 1
    assert f"{SITE}/p/" in mail.text
    assert f"{SITE}/c/" not in mail.text
    assert f"{SITE}/o/" not in mail.text


def test_the_mail_of_a_live_send_can_still_be_unsubscribed_from_with_one_click(
    project: LoadedProject, tmp_path: Path
) -> None:
    headers = mailed(project, tmp_path).headers
    assert f"<{SITE}/u/" in str(headers["List-Unsubscribe"])
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_what_a_colleague_checks_is_not_tracked_and_asks_by_its_own_links(
    project: LoadedProject, tmp_path: Path
) -> None:
    mail = mailed(project, tmp_path, "internal")
    assert f"{SITE}/r/" in mail.html
    assert f"{SITE}/p/" in mail.html
    assert not re.search(f"{SITE}/[co]/", mail.html)


def test_nothing_is_tracked_where_the_project_does_not_want_it(project: LoadedProject, tmp_path: Path) -> None:
    mail = mailed(project, tmp_path, clicks=False, opens=False)
    assert f"{SITE}/p/" in mail.html
    assert not re.search(f"{SITE}/[co]/", mail.html)


# ---------------------------------------------------------------- the tokens


def test_a_link_of_one_send_does_not_fit_the_mail_of_another(project: LoadedProject) -> None:
    mine = mail_path(SIGNER, "click", MailLink(7, KEY)).removeprefix("/c/")
    other = click_target(SIGNER, 8, "https://elsewhere.example/")
    with pytest.raises(BadLinkError):
        read_click(SIGNER, mine, other)


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_click_link_that_was_changed_anywhere_leads_nowhere(place: int, change: int) -> None:
    mine = mail_path(SIGNER, "click", MailLink(7, KEY)).removeprefix("/c/")
    end = click_target(SIGNER, 7, "https://theatre.example/agenda", "")
    text = f"{mine}/{end}"
    place %= len(text)
    changed = text[:place] + chr((ord(text[place]) + change) % 256) + text[place + 1 :]
    token, _, rest = changed.partition("/")
    with pytest.raises(BadLinkError):
        read_click(SIGNER, token, rest)


def test_links_that_an_older_key_signed_work_until_that_key_is_taken_away(project: LoadedProject) -> None:
    old, new = "an older secret of the tests", "a newer secret of the tests"
    (address,) = hrefs(rendered(project, links_of(project, LinkSigner([old])), '<a href="https://theatre.example/">'))
    token, end = address.removeprefix(f"{SITE}/c/").split("/")
    assert read_click(LinkSigner([new, old]), token, end).url == "https://theatre.example/"
    with pytest.raises(BadLinkError):
        read_click(LinkSigner([new]), token, end)


def test_no_purpose_s_token_opens_another(project: LoadedProject) -> None:
    for made in ("click", "open", "view", "confirm"):
        token = mail_path(SIGNER, made, MailLink(7, KEY)).split("/")[2]
        for asked in {"click", "open", "view", "confirm"} - {made}:
            with pytest.raises(BadLinkError):
                read_mail_link(SIGNER, asked, token)


@given(st.text(max_size=60))
def test_only_an_address_of_the_web_is_one_to_lead_to(text: str) -> None:
    for scheme in ("javascript:", "data:", "file://", "vbscript:", "//", "", "https:", "https://", "http:/"):
        if is_web_address(scheme + text):
            assert scheme + text == (scheme + text).strip()
            assert (scheme + text).lower().startswith(("http://", "https://"))
            assert not re.search(r"[\s\x00-\x1f\x7f\\]", scheme + text)
