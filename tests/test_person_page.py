"""The person card as a page: found without personal data in an address, and nothing in it is ever markup."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import psycopg
import pytest

from smp_pipelines.stores.settings import Settings
from tests.site_pages import NOW, Ask, page
from tests.site_pages import asking as _asking  # noqa: F401  (fixtures)
from tests.site_pages import site_settings as _settings  # noqa: F401

EVIL = "<script>alert('Anna')</script>"


@pytest.fixture(name="filled")
def a_card_with_everything(settings: Settings) -> Settings:
    """Anna's card, with what a visitor could have typed into a form wherever that can be shown."""
    with psycopg.connect(str(settings.postgres_url)) as connection:
        connection.execute(
            "update crm.person set last_name = %s, city = %s, phone = '+31612345678', birth_date = '1990-12-31'"
            " where person_id = 3",
            (EVIL, EVIL),
        )
        connection.execute(
            "insert into crm.consent values (3, 'email', 'newsletter', true, %s, 'form', %s),"
            " (3, 'email', 'offers', false, %s, 'unsubscribe_page', 'Nee')",
            (NOW, EVIL, NOW),
        )
        connection.execute("insert into crm.suppression values (' ANNA@x.example', 'hard_bounce', %s)", (NOW,))
        connection.execute(
            "insert into smp.send (send_key, step, purpose, moment, opened_at, state, planned)"
            " values ('k', 'servicemails/servicemail', 'live', %s, %s, 'finished', 1)",
            (NOW, NOW),
        )
        connection.execute(
            "insert into smp.message (send_id, recipient_key, seq, person_id, record_id, state, settled_at)"
            " select send_id, gen_random_uuid(), 1, 3, 2, 'accepted', %s from smp.send",
            (NOW,),
        )
        connection.execute(
            "insert into smp.hit (kind, happened_at, step, person_id, method, user_agent, link)"
            " values ('form', %s, 'preferences/centre', 3, 'GET', 'Mozilla/5.0 Firefox/140.0', null)",
            (NOW,),
        )
    return settings


def test_the_card_shows_who_it_is_what_they_allow_and_every_contact_moment(filled: Settings, ask: Ask) -> None:
    assert filled
    body = page(ask, "/people/3")
    for words in (
        *("anna@x.example", "Never mailed: hard bounce", "+31612345678", "31 December 1990"),
        *("newsletter", "offers", "unsubscribe page: <q>Nee</q>", "Sat 21 Nov 2026, 13:00"),
        *("Mail sent", "Servicemail vooraf", "Form opened", "Voorkeurencentrum"),
    ):
        assert words in body, words
    assert 'href="/steps/servicemails/servicemail?person=3&amp;record=2#preview"' in body
    assert 'href="/steps/preferences/centre?person=3#preview"' in body
    assert "Changed tx" not in body


def test_what_a_visitor_typed_is_never_markup_on_the_card_or_in_the_search(filled: Settings, ask: Ask) -> None:
    with psycopg.connect(str(filled.postgres_url)) as connection:
        connection.execute("update crm.person set email = 'anna@x.example' where person_id = 7")
    for body in (
        page(ask, "/people/3"),
        search(ask, "Anna@x.example")[2],
        page(ask, "/steps/preferences/centre?person=3"),
    ):
        assert "<script" not in body
        assert "&lt;script&gt;" in body


def test_somebody_without_anything_has_a_card_too(ask: Ask) -> None:
    body = page(ask, "/people/9")
    assert "No e-mail address" in body
    assert "Nothing yet" in body
    assert "neither yes nor no" in body


@pytest.mark.parametrize(("number", "status"), [("999", 404), ("x", 400), ("-1", 400), ("9" * 30, 400)])
def test_a_person_who_is_not_there_is_told(ask: Ask, number: str, status: int) -> None:
    assert "person" in page(ask, f"/people/{number}", status)


def search(ask: Ask, who: str) -> tuple[int, dict[str, str], str]:
    csrf = re.findall(r'name="csrf" value="([0-9a-f]+)"', page(ask, "/people"))[0]
    return ask(
        "/people", urlencode({"who": who, "csrf": csrf}).encode(), Content_Type="application/x-www-form-urlencoded"
    )


def test_somebody_is_found_by_id_or_by_the_whole_address_which_is_in_no_url(settings: Settings, ask: Ask) -> None:
    form = page(ask, "/people")
    assert '<form class="choose" method="post" action="/people">' in form
    for who in ("3", " ANNA@x.example ", "anna@x.example"):
        status, headers, _ = search(ask, who)
        assert (status, headers["location"]) == (303, "/people/3")
    for who in ("anna", "%@%", "999", "", "' or '1'='1", "x" * 3000):
        assert search(ask, who)[0] == 404
    with psycopg.connect(str(settings.postgres_url)) as connection:
        connection.execute("update crm.person set email = 'Anna@X.example' where person_id = 7")
    status, _, body = search(ask, "anna@x.example")
    assert status == 200
    assert re.findall(r'href="(/people/\d)"', body) == ["/people/3", "/people/7"]


def test_a_search_without_the_pages_own_token_is_refused(ask: Ask) -> None:
    assert ask("/people", b"who=3", Content_Type="application/x-www-form-urlencoded")[0] == 403
