"""The person card: every contact moment, newest first, with the record and how it ended (F15)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.card import Card, read_card
from smp_pipelines.stores.postgres import connect
from tests.conftest import fresh_database
from tests.support.reacting import Reactions

MOMENT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
HAMLET = 7


@pytest.fixture(scope="module")
def house(embedded_url: str, migrated_template: str) -> Iterator[Reactions]:
    with fresh_database(embedded_url, migrated_template) as url:
        made = Reactions(url, MOMENT)
        made.sql(
            "insert into crm.person (person_id, first_name, infix, last_name, email, created_at)"
            " select n, 'Anna', 'de', 'Vries', 'anna' || n || '@example.org', now() from generate_series(1, 9) as n"
        )
        yield made


def card(house: Reactions, person: int) -> Card:
    with connect(house.url) as connection:
        return read_card(connection, person)


def test_the_card_shows_all_that_happened_newest_first_with_record_and_outcome(house: Reactions) -> None:
    send = house.mail([1], step="feedback/aftermail", record=HAMLET)
    house.hit("open", 1, 60, send, step="feedback/aftermail", record=HAMLET)
    house.hit("click", 1, 70, send, step="feedback/aftermail", record=HAMLET, link="feedback/survey")
    house.hit("form", 1, 71, send, step="feedback/survey", record=HAMLET)
    number = house.submit(1, 120, step="feedback/survey", send_id=send, record_id=HAMLET)
    house.hit("page", 1, 121, step="feedback/thanks", record=HAMLET, submission=number)
    found = card(house, 1)
    assert (found.name, found.email) == ("Anna de Vries", "anna1@example.org")
    assert [(each.step, each.kind, each.record_id, each.outcome, each.why) for each in found.moments] == [
        ("feedback/thanks", "page_seen", HAMLET, "happened", ""),
        ("feedback/survey", "form_submitted", HAMLET, "happened", ""),
        ("feedback/survey", "form_opened", HAMLET, "happened", ""),
        ("feedback/aftermail", "clicked", HAMLET, "happened", "feedback/survey"),
        ("feedback/aftermail", "opened", HAMLET, "happened", ""),
        ("feedback/aftermail", "sent", HAMLET, "accepted", ""),
    ]
    assert found.moments[0].moment == MOMENT + timedelta(seconds=121)


def test_the_card_says_why_a_mail_did_not_arrive_and_that_a_sign_up_waits(house: Reactions) -> None:
    send = house.mail([2], state="skipped")
    house.sql("update smp.message set reason = 'opted_out' where send_id = %s", send)
    house.submit(2, 60, step="welcome/signup", awaits_confirmation=True)
    waits, skipped = card(house, 2).moments
    assert (skipped.kind, skipped.outcome, skipped.why) == ("sent", "skipped", "said no to this topic")
    assert (waits.outcome, waits.why) == ("unconfirmed", "the link in the mail that asks for it was not followed yet")


def test_scanners_and_test_mails_are_not_on_the_card(house: Reactions) -> None:
    house.hit("click", 3, 60, house.mail([3], purpose="test"), link="https://a.example/")
    house.hit("page", 3, 60, step="news/page", agent="curl/8")
    assert card(house, 3).moments == []


def test_the_card_shows_the_latest_two_hundred_only(house: Reactions) -> None:
    house.sql(
        "insert into smp.hit (kind, happened_at, step, person_id, method, user_agent)"
        " select 'page', %s + n * interval '1 second', 'news/page_' || n, 4, 'GET', 'Firefox'"
        " from generate_series(0, 204) as n",
        MOMENT,
    )
    found = card(house, 4).moments
    assert len(found) == 200
    assert found[0].step == "news/page_204"


def test_there_is_no_card_of_nobody(house: Reactions) -> None:
    with pytest.raises(SmpError, match="no person 99"):
        card(house, 99)
