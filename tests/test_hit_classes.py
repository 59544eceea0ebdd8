"""Which hits are people's: programs by their name, scanners by what they do, and a person after all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.conftest import fresh_database
from tests.support.reacting import BROWSER, Reactions

MOMENT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def house(embedded_url: str, migrated_template: str) -> Iterator[Reactions]:
    with fresh_database(embedded_url, migrated_template) as url:
        yield Reactions(url, MOMENT)


@pytest.fixture
def person() -> int:
    """Somebody new in every test."""
    return next(_numbers)


@pytest.mark.parametrize(
    ("agent", "is_whose", "sign"),
    [
        (BROWSER, "person", None),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)",
            "person",
            None,
        ),
        ("Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.5266; Pro)", "person", None),
        (
            "Mozilla/5.0 (Linux; Android 10; CUBOT NOTE 20) AppleWebKit/537.36 Chrome/124.0 Mobile Safari/537.36",
            "person",
            None,
        ),
        (
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            "person",
            "image_proxy",
        ),
        ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", "person", "image_proxy"),
        ("Mozilla/5.0", "proxy", "privacy_proxy"),
        (None, "bot", "no_agent"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "bot", "bot_agent"),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "bot", "bot_agent"),
        ("python-requests/2.32.3", "bot", "bot_agent"),
        ("curl/8.14.1", "bot", "bot_agent"),
        ("WhatsApp/2.23.20.0", "bot", "bot_agent"),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/140.0.0.0 Safari/537.36",
            "bot",
            "bot_agent",
        ),
        ("BarracudaCentral/1.0 link checker", "scanner", "scanner_agent"),
        ("Microsoft Office Existence Discovery", "scanner", "scanner_agent"),
        ("Mozilla/5.0 (compatible; Proofpoint URL Defense)", "scanner", "scanner_agent"),
    ],
)
def test_what_a_program_calls_itself_tells_whose_hit_it_is(
    house: Reactions, person: int, agent: str | None, is_whose: str, sign: str | None
) -> None:
    send = house.mail([person])
    house.hit("open", person, 3600, send, agent=agent)
    assert house.classes(person) == [(is_whose, sign)]
    assert house.kinds(person) == ({"opened": 1} if is_whose == "person" else {})


def test_looking_without_reading_and_reading_ahead_is_no_person(house: Reactions, person: int) -> None:
    send = house.mail([person])
    house.hit("click", person, 60, send, link="https://a.example/", method="HEAD")
    house.hit("click", person, 120, send, link="https://a.example/", prefetch=True)
    house.hit("page", person, 180, step="news/page", prefetch=True)
    assert house.classes(person) == [("scanner", "head"), ("scanner", "prefetch"), ("scanner", "prefetch")]
    assert house.kinds(person) == {}


@pytest.mark.parametrize(
    ("after", "is_whose"), [(-5, "scanner"), (0, "scanner"), (2, "scanner"), (2.5, "person"), (9, "person")]
)
def test_nobody_reads_a_mail_in_the_two_seconds_after_it_was_accepted(
    house: Reactions, person: int, after: float, is_whose: str
) -> None:
    send = house.mail([person])
    house.hit("click", person, after, send, link="https://a.example/")
    assert house.classes(person) == [(is_whose, None if is_whose == "person" else "too_soon")]


def test_a_mail_of_which_the_answer_is_still_to_come_was_read_by_nobody(house: Reactions, person: int) -> None:
    send = house.mail([person], state="claimed")
    house.hit("click", person, 0, send, link="https://a.example/")
    assert house.classes(person) == [("scanner", "too_soon")]


def test_a_click_is_proof_for_a_mail_of_which_nobody_knew_what_became_of_it(house: Reactions, person: int) -> None:
    send = house.mail([person], state="unknown")
    house.hit("click", person, 1, send, link="https://a.example/")
    assert house.classes(person) == [("person", None)]


def test_a_scanner_that_opens_every_link_at_once_is_nobody_and_a_later_click_is_somebody(
    house: Reactions, person: int
) -> None:
    send = house.mail([person])
    for place, link in enumerate(("https://a.example/", "https://b.example/", "feedback/survey")):
        house.hit("click", person, 30 + place / 2, send, link=link)
    assert house.classes(person) == [("scanner", "many_links")] * 3
    assert house.kinds(person) == {}
    house.hit("click", person, 600, send, link="https://a.example/")
    assert house.classes(person)[3] == ("person", None)
    assert house.kinds(person) == {"clicked": 1}


def test_two_clicks_on_one_link_or_in_two_mails_or_by_two_people_are_people_s(house: Reactions, person: int) -> None:
    other = next(_numbers)
    one, two = house.mail([person, other]), house.mail([person])
    house.hit("click", person, 30, one, link="https://a.example/")
    house.hit("click", person, 30.2, one, link="https://a.example/")
    house.hit("click", person, 30.4, two, link="https://b.example/")
    house.hit("click", other, 30.4, one, link="https://b.example/")
    assert set(house.classes(person) + house.classes(other)) == {("person", None)}


def test_a_form_that_a_scanner_s_click_led_to_was_opened_by_nobody(house: Reactions, person: int) -> None:
    send = house.mail([person])
    house.hit("click", person, 1, send, link="feedback/survey")
    house.hit("form", person, 1.4, send, step="feedback/survey")
    house.hit("form", person, 1.5, send, step="feedback/survey", network="203.0.113.0/24")
    house.hit("form", person, 4, send, step="feedback/survey")
    assert house.classes(person) == [
        ("scanner", "too_soon"),
        ("scanner", "after_scanner"),
        ("person", None),
        ("person", None),
    ]


def test_a_form_that_a_person_s_click_led_to_was_opened_by_that_person(house: Reactions, person: int) -> None:
    send = house.mail([person])
    house.hit("click", person, 60, send, link="feedback/survey")
    house.hit("form", person, 60.3, send, step="feedback/survey")
    assert house.kinds(person) == {"clicked": 1, "form_opened": 1}


def test_raw_hits_are_kept_whatever_they_are_called(house: Reactions, person: int) -> None:
    send = house.mail([person])
    for agent in (None, "curl/8", BROWSER):
        house.hit("open", person, 60, send, agent=agent)
    assert house.sql("select count(*) from smp.hit where person_id = %s", person) == [(3,)]
    assert house.sql("select count(*) from smp.hit_class_1 where person_id = %s", person) == [(3,)]


@pytest.mark.parametrize("view", ["hit_class_1", "reaction"])
def test_what_one_person_did_is_found_without_reading_everybody_s_hits(
    house: Reactions, person: int, view: str
) -> None:
    house.sql(
        "insert into smp.hit (kind, happened_at, step, person_id, method)"
        " select 'page', %s, 'a/b', 1000000 + n, 'GET' from generate_series(1, 3000) as n",
        MOMENT,
    )
    house.sql("analyze smp.hit")
    plan = "\n".join(line for (line,) in house.sql(f"explain select * from smp.{view} where person_id = {person}"))
    assert "hit_person" in plan
    assert "Seq Scan on hit" not in plan
