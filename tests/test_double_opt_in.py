"""Double opt-in from end to end: the form, the mail with its link, the page that asks, and the yes that counts then."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from urllib.parse import urlsplit

import pytest

from smp_pipelines.deployment import Deployment
from smp_pipelines.sending.transports.memory import outbox
from smp_pipelines.stores.clock import StartedAt
from tests.support.visits import (
    ANNA,
    NOW,
    SIGNUP,
    Answer,
    VisitedSite,
    new_address,
    signup,
    visited,
)

CONSENTS = (
    "select topic, granted, source, wording, changed_at from crm.consent join crm.person using (person_id)"
    " where email = %s order by topic"
)
WORDING = "Ja, stuur mij een paar keer per jaar de nieuwsbrief van De Linde"


@pytest.fixture(name="site", scope="module")
def visited_site(
    embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VisitedSite]:
    folder = tmp_path_factory.mktemp("double opt in")
    with visited(embedded_url, migrated_template, folder, mail_url="memory://double-opt-in") as site:
        yield site


def mails(site: VisitedSite) -> dict[str, str]:
    """Send all that waits; the html of every mail that left, by its recipient."""
    deployment = Deployment.load(site.settings)
    box = outbox("double-opt-in")
    box.clear()
    for send in deployment.take_events(NOW):
        planned = deployment.plan_events(deployment.project.step(send.step), send, NOW, None)
        deployment.deliver(planned, StartedAt(NOW), processes=1)
    found = {}
    for mail in box.mails:
        html = message_from_bytes(mail.content, policy=policy.default).get_body(("html",))
        assert html is not None
        found[mail.recipient] = html.get_content()
    return found


def confirm_path(html: str) -> str:
    """Where the link that confirms leads."""
    found = re.search(r'href="(https://[^"]+/y/[^"]+)"', html)
    assert found, html
    return urlsplit(found[1]).path


def pressed(site: VisitedSite, path: str) -> Answer:
    return site.send(path, {})


def test_nothing_is_granted_until_the_button_is_pressed_and_then_the_flow_goes_on(site: VisitedSite) -> None:
    address = new_address()
    sent = site.send(SIGNUP, signup(email=address, first_name="Fenna"))
    assert "Nog één stap, Fenna" in site.ask(sent.location).body
    assert site.sql(CONSENTS, address) == []
    path = confirm_path(mails(site)[address])
    asked = site.ask(path)
    assert asked.status == 200
    assert WORDING in asked.body
    assert "aanbiedingen" not in asked.body
    assert site.sql(CONSENTS, address) == []
    done = site.post(path, {"_ticket": asked.ticket})
    assert done.status == 303
    assert "U staat op de lijst" in site.ask(done.location).body
    ((topic, granted, source, wording, changed_at),) = site.sql(CONSENTS, address)
    assert (topic, granted, source, wording) == ("newsletter", True, "double_opt_in", WORDING)
    assert (changed_at - NOW).total_seconds() < 600
    assert "Welkom, Fenna" in mails(site)[address]


def test_confirming_again_changes_nothing_and_sends_nothing(site: VisitedSite) -> None:
    address = new_address()
    site.send(SIGNUP, signup(email=address))
    path = confirm_path(mails(site)[address])
    first = pressed(site, path)
    before = site.everything()
    second = pressed(site, path)
    assert (first.status, first.location) == (second.status, second.location)
    assert site.everything() == before
    events = (
        "select cause, count(*) from smp.trigger_event join crm.person using (person_id) where email = %s group by 1"
    )
    assert sorted(site.sql(events, address)) == [("confirmed", 1), ("submitted", 1)]


def test_a_scanner_that_opens_every_link_confirms_nothing(site: VisitedSite) -> None:
    address = new_address()
    site.send(SIGNUP, signup(email=address))
    html = mails(site)[address]
    before = site.everything()
    for url in re.findall(r'href="(https://links[^"]+)"', html):
        for method in ("GET", "HEAD", "GET"):
            assert site.ask(url.removeprefix("https://links.theatre.example"), method=method).status in (200, 302, 303)
    assert site.everything() == before


@pytest.mark.parametrize("fields", [{}, {"_ticket": "x"}, {"confirm": "yes"}])
def test_a_post_without_the_pages_own_field_confirms_nothing(site: VisitedSite, fields: dict[str, str]) -> None:
    address = new_address()
    site.send(SIGNUP, signup(email=address))
    path = confirm_path(mails(site)[address])
    before = site.everything()
    assert site.post(path, fields).status == 400
    assert site.post(path, {"_ticket": site.ask(path).ticket}, Sec_Fetch_Site="cross-site").status == 403
    assert site.post(path, {"_ticket": site.ticket("welcome/signup")}).status == 400
    assert site.everything() == before


def test_a_yes_of_somebody_known_waits_as_well_and_keeps_what_was_said_before(site: VisitedSite) -> None:
    site.send(SIGNUP, signup(email="anna@x.example", offers="y", last_name="Anders"))
    before = "select topic, granted, source from crm.consent where person_id = %s order by 1"
    assert site.sql(before, ANNA) == [("newsletter", True, "kassa"), ("offers", False, "kassa")]
    pressed(site, confirm_path(mails(site)["anna@x.example"]))
    assert site.sql(before, ANNA) == [("newsletter", True, "kassa"), ("offers", True, "double_opt_in")]
    assert site.one("select last_name from crm.person where person_id = %s", ANNA) == "Adema"


def test_the_words_are_those_that_were_asked_then(site: VisitedSite) -> None:
    address = new_address()
    site.send(SIGNUP, signup(email=address))
    path = confirm_path(mails(site)[address])
    file = site.settings.project / "forms" / "newsletter_signup.yaml"
    written = file.read_text(encoding="utf-8")
    file.write_text(written.replace("nl: Ja, stuur mij een paar keer", "nl: Ja, stuur mij heel vaak"), encoding="utf-8")
    try:
        pressed(site, path)
    finally:
        file.write_text(written, encoding="utf-8")
    assert [row[3] for row in site.sql(CONSENTS, address)] == [WORDING]


def test_markup_and_templates_in_a_name_are_text_in_the_mail(site: VisitedSite) -> None:
    address = new_address()
    name = "<b onclick=x>{{7*7}}$bevestigen</b>"
    assert site.send(SIGNUP, signup(email=address, first_name=name)).status == 303
    html = mails(site)[address]
    assert "&lt;b onclick=x&gt;{{7*7}}$bevestigen&lt;/b&gt;" in html
    assert "<b onclick" not in html


def test_a_submission_that_is_gone_has_nothing_to_confirm(site: VisitedSite) -> None:
    address = new_address()
    site.send(SIGNUP, signup(email=address))
    path = confirm_path(mails(site)[address])
    ticket = site.ask(path).ticket
    site.sql("delete from crm.person where email = %s", address)
    for answer in (site.ask(path), site.post(path, {"_ticket": ticket})):
        assert answer.status == 410
        assert "Er is niets te bevestigen" in answer.body
