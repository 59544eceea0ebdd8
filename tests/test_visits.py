"""Forms and pages as visitors get them, over real HTTP: open and closed, shareable and personal, and what follows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from tests.site_pages import edit
from tests.support.visits import (
    ANNA,
    HAMLET,
    REGISTRATION,
    SIGNUP,
    WIM,
    VisitedSite,
    new_address,
    preferences,
    registration,
    signup,
    visited,
)
from tests.support.waiting import until


@pytest.fixture(name="site", scope="module")
def visited_site(
    embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VisitedSite]:
    with visited(embedded_url, migrated_template, tmp_path_factory.mktemp("visits")) as site:
        yield site


def hits(site: VisitedSite, kind: str) -> int:
    return int(site.one("select count(*) from smp.hit where kind = %s", kind))


def test_a_form_has_the_blocks_around_it_in_their_order_and_its_own_language(site: VisitedSite) -> None:
    answer = site.ask(SIGNUP)
    assert answer.status == 200
    assert '<html lang="nl">' in answer.body
    order = ["Post waar u blij van wordt", "<form", 'name="email"', 'name="newsletter"', "</form>", "weer afmeldt"]
    places = [answer.body.index(each) for each in order]
    assert places == sorted(places)
    assert "<script" not in answer.body


def test_every_field_has_a_label_and_required_is_said_in_words(site: VisitedSite) -> None:
    body = site.ask(REGISTRATION).body
    for name in ("first_name", "last_name", "email", "guests", "remark"):
        assert f'<label for="field-{name}">' in body
    assert "<legend>Rondleiding achter de schermen" in body
    assert body.count("(verplicht)") == 5
    assert 'autocomplete="given-name"' in body
    assert 'inputmode="numeric"' in body


def test_a_form_that_was_sent_leads_to_its_page_and_is_stored_typed(site: VisitedSite) -> None:
    address = new_address()
    sent = site.send(REGISTRATION, registration(email=address, guests="3", remark="Een rolstoel\r\ngraag"))
    assert sent.status == 303
    assert sent.location.startswith("/t/")
    page = site.ask(sent.location)
    assert page.status == 200
    assert "Tot zaterdag 16 januari, Piet" in page.body
    assert 'http-equiv="refresh" content="15; url=https://www.schouwburg.example/open-huis"' in page.body
    (row,) = site.sql(
        "select p.first_name, p.language, r.guests, r.remark, r.tour, s.identified, s.form, s.step"
        " from crm.person p join crm.registration r using (person_id) join smp.submission s using (submission_id)"
        " where p.email = %s",
        address,
    )
    assert row == (
        *("Piet", "nl", 3, "Een rolstoel\ngraag", "none"),
        *("new", "registration", "open_house/registration"),
    )


def test_wrong_answers_are_told_above_the_form_and_at_the_field_and_what_was_typed_stays(site: VisitedSite) -> None:
    before = site.everything()
    answer = site.send(REGISTRATION, registration(email="geen adres", guests="negen", tour=None))
    assert answer.status == 422
    assert "<title>Nog niet goed: Kom kijken hoe het werkt" in answer.body
    assert "Er zijn 3 antwoorden die nog niet kloppen" in answer.body
    assert '<a href="#field-email">' in answer.body
    assert '<a href="#field-tour-1">' in answer.body
    assert 'aria-describedby="field-email-help field-email-error" aria-invalid="true"' in answer.body
    assert answer.value("email") == "geen adres"
    assert answer.value("first_name") == "Piet"
    assert site.everything() == before


def test_the_same_form_sent_twice_is_one_submission_with_the_same_answer(site: VisitedSite) -> None:
    answers = registration() | {"_ticket": site.ask(REGISTRATION).ticket}
    first, second = (site.post(REGISTRATION, answers) for _ in range(2))
    assert first.status == second.status == 303
    assert first.location == second.location
    assert site.one("select count(*) from crm.person where email = %s", answers["email"]) == 1
    assert (
        site.one(
            "select count(*) from crm.registration r join crm.person using (person_id) where email = %s",
            answers["email"],
        )
        == 1
    )


def test_a_form_that_was_corrected_is_stored_with_the_same_ticket(site: VisitedSite) -> None:
    answers = registration(guests="x") | {"_ticket": site.ask(REGISTRATION).ticket}
    wrong = site.post(REGISTRATION, answers)
    assert wrong.ticket == answers["_ticket"]
    assert site.post(REGISTRATION, answers | {"guests": "1"}).status == 303


def test_a_closed_form_opens_only_by_a_personal_link(site: VisitedSite) -> None:
    for path in ("/s/preferences/centre", "/s/feedback/survey"):
        answer = site.ask(path)
        assert answer.status == 403
        assert "Gebruik de link uit de mail" in answer.body
        assert "<form" not in answer.body
        posted = site.post(path, preferences(_ticket=site.ticket(path.removeprefix("/s/"))))
        assert posted.status == 403
    assert site.ask(site.personal("preferences/centre", ANNA)).status == 200


def test_a_personal_link_fills_in_what_is_known_and_answers_go_to_that_person(site: VisitedSite) -> None:
    path = site.personal("preferences/centre", ANNA)
    form = site.ask(path)
    assert form.value("first_name") == "Anna"
    assert form.value("phone") == "+31201234567"
    ticked = [name for name in ("newsletter", "offers", "service") if f'<input checked id="field-{name}"' in form.body]
    assert ticked == ["newsletter", "service"]
    sent = site.send(
        path, preferences(first_name="", phone="06 1234 5678", postal_code="1234ab", offers="y", service="y")
    )
    assert sent.status == 303
    (row,) = site.sql("select first_name, phone, postal_code, email from crm.person where person_id = %s", ANNA)
    assert row == (None, "+31612345678", "1234 AB", "anna@x.example")
    consents = site.sql("select topic, granted, source from crm.consent where person_id = %s order by 1", ANNA)
    assert consents == [
        ("newsletter", False, "form preferences"),
        ("offers", True, "form preferences"),
    ]


def test_the_page_after_a_personal_form_is_that_persons(site: VisitedSite) -> None:
    site.sql("update crm.person set city = 'Lindenstad' where person_id = %s", WIM)
    sent = site.send(site.personal("preferences/centre", WIM), preferences(last_name="Test"))
    assert "U woont om de hoek" in site.ask(sent.location).body


def test_a_survey_is_stored_with_the_performance_of_the_link(site: VisitedSite) -> None:
    path = site.personal("feedback/survey", WIM, HAMLET)
    assert "Hoe was Hamlet &amp; co?" in site.ask(path).body
    sent = site.send(path, {"rating": "5", "recommend": "y", "remark": ""})
    assert sent.status == 303
    rows = site.sql("select person_id, performance_id, rating, recommend, remark from crm.survey_answer")
    assert rows == [(WIM, HAMLET, 5, True, None)]


def test_a_page_of_a_record_works_for_somebody_unknown(site: VisitedSite) -> None:
    answer = site.ask("/s/feedback/thanks")
    assert answer.status == 200
    assert "Dank u wel" in answer.body


@pytest.mark.parametrize(("status", "code", "words"), [("stopped", 410, "gesloten"), ("testing", 404, "nog niet open")])
def test_a_step_that_is_not_live_is_told_in_words_and_stores_nothing(
    site: VisitedSite, status: str, code: int, words: str
) -> None:
    ticket = site.ask(REGISTRATION).ticket
    site.sql("update smp.step_status set status = %s::smp.status where step = 'open_house/registration'", status)
    try:
        before = site.everything()
        for answer in (site.ask(REGISTRATION), site.post(REGISTRATION, registration(_ticket=ticket))):
            assert answer.status == code
            assert words in answer.body
        assert site.everything() == before
    finally:
        site.sql("update smp.step_status set status = 'live' where step = 'open_house/registration'")


def test_what_is_no_form_or_page_is_not_found(site: VisitedSite) -> None:
    for path in ("/s/welcome/nothing", "/s/welcome/welcome", "/s/nothing/at_all"):
        assert site.ask(path).status == 404


def test_somebody_who_left_the_crm_gets_a_friendly_page(site: VisitedSite) -> None:
    path = site.personal("preferences/centre", 123456)
    assert site.ask(path).status == 410
    posted = site.post(path, preferences(_ticket=site.ticket("preferences/centre", 123456)))
    assert posted.status == 410
    assert "Bij deze link hoort niemand meer" in posted.body


def test_an_expired_link_is_told(site: VisitedSite) -> None:
    answer = site.ask(site.personal("preferences/centre", ANNA, last_day=date(2026, 11, 20)))
    assert answer.status == 410
    assert "verlopen" in answer.body


def test_who_looks_at_forms_and_pages_is_noted(site: VisitedSite) -> None:
    forms, pages = hits(site, "form"), hits(site, "page")
    site.ask(site.personal("preferences/centre", ANNA))
    sent = site.send(SIGNUP, signup())
    site.ask(sent.location)
    until(lambda: hits(site, "form") == forms + 2 and hits(site, "page") == pages + 1)
    newest = "select step, person_id is not null, submission_id is not null from smp.hit order by hit_id desc limit 1"
    assert site.sql(newest) == [("welcome/check_your_mail", True, True)]


def test_a_trigger_mail_waits_for_every_submission_that_one_follows(site: VisitedSite) -> None:
    address = new_address()
    site.send(REGISTRATION, registration(email=address))
    events = site.sql(
        "select step, cause, missed from smp.trigger_event join crm.person using (person_id) where email = %s", address
    )
    assert events == [("open_house/confirmation", "submitted", None)]


def test_an_edited_form_is_shown_without_a_restart(site: VisitedSite, tmp_path: Path) -> None:
    file = site.settings.project / "forms" / "newsletter_signup.yaml"
    edit(file, "nl: Voornaam", "nl: Roepnaam")
    try:
        until(lambda: "Roepnaam" in site.ask(SIGNUP).body)
    finally:
        edit(file, "nl: Roepnaam", "nl: Voornaam")
        until(lambda: "Voornaam" in site.ask(SIGNUP).body)


def test_a_form_in_english_speaks_english(site: VisitedSite) -> None:
    file = site.settings.project / "campaigns" / "welcome" / "campaign.yaml"
    edit(file, "    form: newsletter_signup\n", "    form: newsletter_signup\n    language: en\n")
    try:
        until(lambda: '<html lang="en">' in site.ask(SIGNUP).body)
        answer = site.send(SIGNUP, signup(email="no address"))
        assert "One answer is not right yet" in answer.body
        assert "This is not an e-mail address" in answer.body
        assert "(required)" in answer.body
    finally:
        edit(file, "    language: en\n", "")
        until(lambda: '<html lang="nl">' in site.ask(SIGNUP).body)
