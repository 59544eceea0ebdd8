"""What strangers try on forms and pages: tokens, foreign posts, floods, traps, injections, and asking who is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from smp_pipelines.sending.links import LinkSigner
from smp_pipelines.sending.personal import AfterLink, PersonalLink, after_path, personal_path
from tests.support.visits import (
    ANNA,
    LAST_DAY,
    NOW,
    REGISTRATION,
    SECRET,
    SIGNUP,
    WIM,
    VisitedSite,
    new_address,
    preferences,
    registration,
    running,
    signup,
    visited,
)

CENTRE = "preferences/centre"
XSS = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


@pytest.fixture(name="site", scope="module")
def visited_site(
    embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VisitedSite]:
    with visited(embedded_url, migrated_template, tmp_path_factory.mktemp("security")) as site:
        yield site


def stored(site: VisitedSite, address: str) -> int:
    return int(site.one("select count(*) from smp.submission where answers ->> 'email' = %s", address))


# ---------------------------------------------------------------- tokens


def test_a_tampered_token_shows_a_friendly_page_and_no_data(site: VisitedSite) -> None:
    path = site.personal(CENTRE, ANNA)
    other = site.personal(CENTRE, WIM)
    signature, _, values = path.removeprefix("/p/").partition(".")
    swapped = f"/p/{other.removeprefix('/p/').partition('.')[0]}.{values}"
    before = site.everything()
    for bad in (
        path[:-1],
        path + "0",
        path.replace(f".{ANNA}.", f".{WIM}."),
        swapped,
        f"/p/{signature}",
        "/p/x",
        "/p/%00",
    ):
        for answer in (site.ask(bad), site.post(bad, preferences())):
            assert answer.status == 400, bad
            assert "Deze link werkt niet" in answer.body
            assert "anna" not in answer.body.lower()
    assert site.everything() == before


def test_a_token_for_another_purpose_or_by_another_secret_opens_nothing(site: VisitedSite) -> None:
    personal = site.personal(CENTRE, ANNA).removeprefix("/p/")
    after = after_path(site.signer, AfterLink("preferences/saved", 1)).removeprefix("/t/")
    link = PersonalLink(CENTRE, ANNA, None, None, LAST_DAY)
    foreign = personal_path(LinkSigner(["another secret of the tests"]), link)
    for path in (f"/t/{personal}", f"/y/{personal}", f"/p/{after}", f"/y/{after}", foreign):
        assert site.ask(path).status == 400, path


def test_a_token_of_one_step_does_not_open_another(site: VisitedSite) -> None:
    values = site.personal(CENTRE, ANNA).removeprefix("/p/")
    assert "cHJlZmVyZW5jZXMvY2VudHJl" in values
    assert site.ask(f"/p/{values.replace('cHJlZmVyZW5jZXMvY2VudHJl', 'ZmVlZGJhY2svc3VydmV5')}").status == 400


def test_an_expired_token_opens_nothing(site: VisitedSite) -> None:
    yesterday = (NOW - timedelta(days=1)).date()
    answer = site.ask(site.personal(CENTRE, ANNA, last_day=yesterday))
    assert answer.status == 410
    assert "Adema" not in answer.body


def test_links_work_while_a_key_is_replaced_and_no_longer_after_that(site: VisitedSite) -> None:
    old = site.personal(CENTRE, ANNA)
    for secrets, status in ((f"a brand new secret,{SECRET}", 200), ("a brand new secret", 400)):
        with running(dataclasses.replace(site.settings, link_secret=secrets)) as other:
            assert other.ask(old).status == status


def test_no_personal_data_is_in_an_address(site: VisitedSite) -> None:
    address = new_address()
    sent = site.send(REGISTRATION, registration(email=address, first_name="Zonderling"))
    for path in (sent.location, site.personal(CENTRE, ANNA)):
        for word in (address, address.split("@", maxsplit=1)[0], "Zonderling", "Anna", "anna"):
            assert word not in path


# ---------------------------------------------------------------- foreign posts (CSRF)


@pytest.mark.parametrize(
    "ticket", [None, "", "forged", "x.~~b3Blbl9ob3VzZS9yZWdpc3RyYXRpb24.0.1795262400.~" + "a" * 32]
)
def test_a_form_without_a_good_ticket_is_shown_again_and_not_stored(site: VisitedSite, ticket: str | None) -> None:
    before = site.everything()
    answers = registration() | ({} if ticket is None else {"_ticket": ticket})
    answer = site.post(REGISTRATION, answers)
    assert answer.status == 400
    assert "niet zien dat dit formulier van ons komt" in answer.body
    assert answer.value("email") == answers["email"]
    assert site.everything() == before
    assert site.post(REGISTRATION, answers | {"_ticket": answer.ticket}).status == 303


def test_a_ticket_of_another_step_or_person_is_not_taken(site: VisitedSite) -> None:
    before = site.everything()
    personal = site.personal(CENTRE, ANNA)
    for path, ticket in (
        (REGISTRATION, site.ticket("welcome/signup")),
        (REGISTRATION, site.ticket("open_house/registration", ANNA)),
        (personal, site.ticket(CENTRE)),
        (personal, site.ticket(CENTRE, WIM)),
    ):
        assert site.post(path, registration(_ticket=ticket)).status == 400
    assert site.everything() == before


def test_a_form_that_was_open_for_a_day_is_asked_for_again_with_its_answers(site: VisitedSite) -> None:
    answers = registration(_ticket=site.ticket("open_house/registration", made_at=NOW - timedelta(hours=25)))
    answer = site.post(REGISTRATION, answers)
    assert answer.status == 400
    assert "stond lang open" in answer.body
    assert answer.value("email") == answers["email"]
    assert stored(site, answers["email"]) == 0
    assert site.post(REGISTRATION, answers | {"_ticket": answer.ticket}).status == 303


@pytest.mark.parametrize(
    "headers",
    [{"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "https://evil.example"}],
)
def test_a_post_from_another_site_is_refused(site: VisitedSite, headers: dict[str, str]) -> None:
    before = site.everything()
    answer = site.send(REGISTRATION, registration(), **headers)
    assert answer.status == 403
    assert site.everything() == before


@pytest.mark.parametrize("headers", [{"Sec_Fetch_Site": "same-origin", "Origin": "null"}, {"Origin": "null"}, {}])
def test_a_post_from_our_own_page_is_taken(site: VisitedSite, headers: dict[str, str]) -> None:
    assert site.send(REGISTRATION, registration(), **headers).status == 303


# ---------------------------------------------------------------- floods, traps, sizes


def test_one_connection_that_sends_a_form_too_often_has_to_wait_and_keeps_its_answers(site: VisitedSite) -> None:
    answers = [registration() for _ in range(11)]
    sent = [site.send(REGISTRATION, each, X_Forwarded_For="198.51.100.7") for each in answers]
    assert [each.status for each in sent] == [303] * 10 + [429]
    assert 0 < int(sent[10].headers["retry-after"]) <= 60
    assert sent[10].value("email") == answers[10]["email"]
    assert stored(site, answers[10]["email"]) == 0
    assert site.send(SIGNUP, signup(), X_Forwarded_For="198.51.100.7").status == 303
    assert site.send(REGISTRATION, answers[10], X_Forwarded_For="198.51.100.8").status == 303


def test_one_address_gets_five_mails_an_hour_at_most_and_every_form_is_stored(site: VisitedSite) -> None:
    address = new_address()
    for _ in range(7):
        assert site.send(REGISTRATION, registration(email=address)).status == 303
    events = site.sql(
        "select missed from smp.trigger_event join crm.person using (person_id) where email = %s", address
    )
    assert sorted(str(missed) for (missed,) in events) == ["None"] * 5 + ["too_many"] * 2
    assert stored(site, address) == 7


def test_a_program_that_fills_in_the_hidden_field_is_thanked_and_nothing_is_stored(site: VisitedSite) -> None:
    form = site.ask(REGISTRATION).body
    trap = form[form.index('<div class="form-trap" hidden>') : form.index("</div>", form.index("form-trap"))]
    assert 'name="website" tabindex="-1" autocomplete="off"' in trap
    before = site.everything()
    sent = site.send(REGISTRATION, registration(website="https://spam.example"))
    assert sent.status == 303
    assert "Uw inschrijving is binnen" in site.ask(sent.location).body
    assert site.everything() == before


def test_a_body_that_is_too_long_is_refused(site: VisitedSite) -> None:
    before = site.everything()
    answer = site.post(REGISTRATION, registration(remark="x" * 70_000))
    assert answer.status == 413
    assert "Dat was te veel" in answer.body
    assert site.everything() == before


def test_too_many_fields_and_too_long_answers_are_not_taken(site: VisitedSite) -> None:
    ticket = site.ask(REGISTRATION).ticket
    assert site.post(REGISTRATION, registration(_ticket=ticket) | {f"f{n}": "x" for n in range(300)}).status == 400
    answer = site.post(REGISTRATION, registration(_ticket=ticket, remark="x" * 501))
    assert answer.status == 422
    assert "ten hoogste 500 tekens" in answer.body


@pytest.mark.parametrize(
    "body", [b"\xff\xfe\x00", b"email=%FF%FE%00&last_name=%00", b"&" * 500, b"%" * 500, b'{"a": 1}']
)
def test_what_is_no_form_is_answered_kindly(site: VisitedSite, body: bytes) -> None:
    answer = site.ask(REGISTRATION, body, Content_Type="application/x-www-form-urlencoded")
    assert answer.status == 400
    assert "<form" in answer.body


def test_characters_that_nobody_sees_are_not_stored(site: VisitedSite) -> None:
    address = new_address()
    sent = site.send(REGISTRATION, registration(email=address, first_name="P\x00i\x1bet\r\n", remark="a\x00b"))
    assert sent.status == 303
    assert site.sql(
        "select first_name, remark from crm.person join crm.registration using (person_id) where email = %s", address
    ) == [("Piet", "ab")]


# ---------------------------------------------------------------- injections


def test_a_header_cannot_be_injected_by_an_address_or_a_name(site: VisitedSite) -> None:
    for address in ("a@x.example\r\nBcc: b@x.example", "a@x.example,b@x.example", "a@x.example\nX: y", "<a@x.example>"):
        assert site.send(REGISTRATION, registration(email=address)).status == 422
    address = new_address()
    site.send(REGISTRATION, registration(email=address, last_name="Jansen\r\nBcc: b@x.example"))
    assert site.one("select last_name from crm.person where email = %s", address) == "Jansen Bcc: b@x.example"
    answer = site.ask("/s/open_house/registration%0d%0aX-Evil:%20yes")
    assert answer.status == 404
    assert "x-evil" not in answer.headers


def test_a_template_in_an_answer_stays_text(site: VisitedSite) -> None:
    sent = site.send(REGISTRATION, registration(first_name="{{7*7}}{% raw %}$voornaam"))
    body = site.ask(sent.location).body
    assert "{{7*7}}{% raw %}$voornaam" in body
    assert "49" not in body.partition("<main>")[2].partition("</h1>")[0]


def test_sql_in_an_answer_is_text(site: VisitedSite) -> None:
    people = site.one("select count(*) from crm.person")
    nasty = "'); drop table crm.registration; --"
    address = f"o'brien.{new_address()}"
    sent = site.send(REGISTRATION, registration(email=address, last_name=nasty, remark="%s %(x)s \\ ' \" ;"))
    assert sent.status == 303
    assert site.send(REGISTRATION, registration(tour="none' or '1'='1")).status == 422
    rows = site.sql(
        "select last_name, remark from crm.person join crm.registration using (person_id) where email = %s", address
    )
    assert rows == [(nasty, "%s %(x)s \\ ' \" ;")]
    assert site.one("select count(*) from crm.person") == people + 1


def test_markup_in_an_answer_is_shown_as_text_on_every_page(site: VisitedSite) -> None:
    sent = site.send(REGISTRATION, registration(first_name=XSS[:60]))
    wrong = site.send(REGISTRATION, registration(first_name=XSS[:60], remark=f"</textarea>{XSS}", guests=XSS))
    assert wrong.status == 422
    for page in (site.ask(sent.location).body, wrong.body):
        assert "<script" not in page
        assert "<img" not in page
        assert "&lt;script&gt;" in page
    assert "</textarea><" not in wrong.body.replace("</textarea>\n", "")


def test_the_address_of_a_page_is_not_written_into_it(site: VisitedSite) -> None:
    for path in (f"/s/welcome/{quote(XSS)}", f"/p/{quote(XSS)}", f"{SIGNUP}?x={quote(XSS)}"):
        assert "<script" not in site.ask(path).body


# ---------------------------------------------------------------- who is known


def test_the_answer_is_the_same_whether_an_address_is_known_or_not(site: VisitedSite) -> None:
    known, unknown = (
        site.send(SIGNUP, signup(email=address, first_name="Kees", last_name="Kan"))
        for address in ("anna@x.example", new_address())
    )
    pages = [site.ask(sent.location) for sent in (known, unknown)]
    assert known.status == unknown.status == 303
    assert len(known.location.rsplit(".", 1)[0]) == len(unknown.location.rsplit(".", 1)[0])
    for one, other in ((known, unknown), (pages[0], pages[1])):
        varying = ("location", "date")
        assert {k: v for k, v in one.headers.items() if k not in varying} == {
            k: v for k, v in other.headers.items() if k not in varying
        }
    assert pages[0].body == pages[1].body
    assert "Kees" in pages[0].body
    assert "Anna" not in pages[0].body


def test_what_is_known_of_somebody_is_not_overwritten_by_who_types_their_address(site: VisitedSite) -> None:
    before = site.sql("select * from crm.person where person_id = %s", ANNA)
    sent = site.send(SIGNUP, signup(email=" ANNA@X.example ", first_name="Iemand", last_name="Anders"))
    assert "Lindenstad" not in site.ask(sent.location).body
    assert site.sql("select * from crm.person where person_id = %s", ANNA) == before
    assert site.one("select count(*) from crm.person where email_key = 'anna@x.example'") == 1


def test_only_what_was_empty_is_filled_in_for_somebody_known(site: VisitedSite) -> None:
    assert (
        site.send(
            REGISTRATION, registration(email="wim@linde.example", last_name="van Test", first_name="Willem")
        ).status
        == 303
    )
    rows = site.sql("select first_name, infix, last_name from crm.person where email_key = 'wim@linde.example'")
    assert rows == [("Willem", "van", "Test")]


def test_an_empty_tick_on_an_open_form_is_no_no(site: VisitedSite) -> None:
    before = site.sql("select * from crm.consent where person_id = %s order by topic", ANNA)
    site.send(SIGNUP, signup(email="anna@x.example"))
    assert site.sql("select * from crm.consent where person_id = %s order by topic", ANNA) == before


def test_the_page_after_a_form_tells_nothing_of_the_crm_later(site: VisitedSite) -> None:
    sent = site.send(site.personal(CENTRE, ANNA), preferences(first_name="Anna"))
    assert "U woont om de hoek" in site.ask(sent.location).body
    site.sql("update smp.submission set submitted_at = %s where person_id = %s", NOW - timedelta(hours=2), ANNA)
    assert "U woont om de hoek" not in site.ask(sent.location).body


def test_looking_changes_nothing_but_that_somebody_was_there(site: VisitedSite) -> None:
    paths = [SIGNUP, REGISTRATION, site.personal(CENTRE, ANNA), "/s/welcome/confirmed", "/s/feedback/thanks"]
    before = site.everything()
    for path in paths:
        for method in ("GET", "HEAD"):
            answer = site.ask(path, method=method)
            assert answer.status == 200
            assert not answer.body or method == "GET"
    assert site.everything() == before


def test_pages_carry_strict_headers_and_set_no_cookie(site: VisitedSite) -> None:
    sent = site.send(REGISTRATION, registration())
    for answer in (site.ask(SIGNUP), sent, site.ask(sent.location), site.ask("/p/x"), site.ask("/s/a/b")):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in answer.headers


def test_other_methods_are_refused(site: VisitedSite) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        assert site.ask(SIGNUP, b"", method).status == 405


def test_a_database_that_is_away_is_told_and_nothing_is_lost_silently(site: VisitedSite, tmp_path: Path) -> None:
    away = dataclasses.replace(site.settings, postgres_url="postgresql://smp:secret@127.0.0.1:1/smp")
    with running(away) as other:
        for answer in (other.ask(SIGNUP), other.post(SIGNUP, signup(_ticket=other.ticket("welcome/signup")))):
            assert answer.status == 503
            assert "secret" not in answer.body


def test_a_personal_link_lasts_as_long_as_its_last_day(site: VisitedSite) -> None:
    assert site.ask(site.personal(CENTRE, ANNA, last_day=NOW.date())).status == 200
    assert site.ask(site.personal(CENTRE, ANNA, last_day=date(1970, 1, 1))).status == 410
