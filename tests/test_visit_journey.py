"""Whole visits in a real browser, against everything that `smp up` starts: forms, mails, links in them, what is kept.

One start serves all. The visitor has a phone without JavaScript, and reads mail in the inbox of the deployment. With
SMP_SCREENSHOTS the pages that are passed are saved as pictures in that folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from smp_pipelines.sending.status import change_status
from smp_pipelines.stores.postgres import Connection, connect
from smp_pipelines.stores.server import EmbeddedServer
from tests.support.browser import PHONE, Visitor, assert_valid
from tests.support.inbox import recipients
from tests.support.processes import start_smp
from tests.support.up import Up, surroundings
from tests.support.waiting import PATIENCE, until

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
"""A person's browser: one that says it is headless is counted as a program."""
SANNE, ANNA, BRAM = "sanne@example.org", "anna@example.org", "bram@example.org"
ANNAS_ID, BRAMS_ID, HAMLET = 1, 2, 7
STEPS = (
    *("welcome/signup", "welcome/check_your_mail", "welcome/confirm", "welcome/confirmed", "welcome/welcome"),
    *("preferences/centre", "preferences/saved"),
    *("feedback/aftermail", "feedback/survey", "feedback/thanks", "feedback/reminder"),
)
PEOPLE = """
insert into crm.person (person_id, first_name, last_name, email, salutation, created_at) values
  (1, 'Anna', 'Adema', 'anna@example.org', 'Beste Anna', now()),
  (2, 'Bram', 'Bos', 'bram@example.org', 'Beste Bram', now())
"""
SHOW = """
insert into crm.performance (performance_id, title, genre, hall, starts_at, duration_minutes)
values (7, 'Hamlet', 'toneel', 'Grote zaal', %s, 120)
"""
TICKETS = """
insert into crm.ticket (ticket_id, person_id, performance_id, price, bought_at)
select person_id, person_id, 7, 20, now() - interval '9 days' from crm.person
"""
MAILED = (
    "select count(*) from smp.message as m join smp.send as s using (send_id) where m.person_id = %s and s.step = %s"
)
READ = f"{MAILED} and m.state = 'accepted' and m.settled_at < clock_timestamp() - interval '3 seconds'"
"""Mails that somebody had the time to open: who clicks within two seconds is a program that looks for viruses."""


@dataclass(frozen=True)
class House:
    """What runs, and a connection to its database."""

    up: Up
    books: Connection

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self.books.execute(statement, values).fetchall()  # type: ignore[call-overload]

    def smp(self, *arguments: str) -> str:
        """An `smp` command on what runs; what it told."""
        command = start_smp(self.up.environment, *arguments)
        told, _ = command.communicate(PATIENCE)
        assert command.returncode == 0, told
        return told

    def place(self, name: str, path: str) -> str:
        return f"http://127.0.0.1:{self.up.environment[name]}{path}"

    def moments(self, person: int) -> set[tuple[str, str]]:
        return set(self.sql("select step, kind from smp.reaction where person_id = %s", person))

    def got(self, address: str) -> int:
        """How many mails are in the inbox for somebody."""
        return recipients(self.up.home).count(address)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Everything runs, the steps are live, and yesterday two people saw Hamlet."""
    with surroundings(tmp_path_factory.mktemp("visit")) as around:
        up = around.start()
        up.tells("running, after")
        now = datetime.now(UTC)
        with connect(EmbeddedServer(up.home).url()) as connection:
            for statement, *values in ((PEOPLE,), (SHOW, now - timedelta(days=1)), (TICKETS,)):
                connection.execute(statement, values)  # type: ignore[call-overload]
            for step in STEPS:
                change_status(connection, step, "live", now - timedelta(days=1), "joost")
            connection.commit()
            connection.autocommit = True
            yield House(up, connection)


def phone(visitor: Visitor) -> Page:
    """A window on a phone; the theatre's own website is a page that says so."""
    page = visitor.open(size=PHONE, javascript=False, user_agent=AGENT)
    website = "<!doctype html><html lang=nl><title>De Linde</title><h1>De website van De Linde</h1>"
    page.context.route("https://www.schouwburg.example/**", lambda route: route.fulfill(body=website))
    return page


def read_mail(house: House, page: Page, to: str, subject: str) -> None:
    """Open the mail with this subject in the inbox."""
    page.goto(house.place("SMP_INBOX_PORT", f"/?query={to}"))
    page.get_by_role("link", name=subject).click()
    page.get_by_role("heading", name=subject).wait_for()
    page.wait_for_load_state()  # with its frame


def follow(page: Page, link: str) -> Page:
    """Follow a link in the mail that is open, by the keyboard; the window in which it opens."""
    with page.context.expect_page() as opened:
        page.frame_locator("iframe").get_by_role("link", name=link).first.press("Enter")
    return opened.value


def test_somebody_signs_up_confirms_is_welcomed_and_chooses_what_to_get(house: House, visitor: Visitor) -> None:
    page = phone(visitor)
    page.goto(house.place("SMP_PREVIEW_PORT", "/s/welcome/signup"))
    visitor.look(page, "sign_up")
    visitor.look(visitor.open(page.url, user_agent=AGENT), "sign_up_at_a_desk")
    page.get_by_label("Uw e-mailadres").fill(SANNE)
    page.get_by_label("Voornaam").fill("Sanne")
    page.get_by_label("Achternaam").fill("Smit")
    page.get_by_role("button", name="Aanmelden").click()
    page.get_by_role("alert").wait_for()
    visitor.look(page, "sign_up_refused")
    expect(page.get_by_label("Voornaam")).to_have_value("Sanne")
    page.get_by_label("nieuwsbrief van De Linde").check()
    page.get_by_role("button", name="Aanmelden").click()
    page.get_by_role("heading", name="Nog één stap, Sanne").wait_for()
    visitor.look(page, "check_your_mail")

    until(lambda: house.got(SANNE), "the mail that asks to confirm")
    read_mail(house, page, SANNE, "Bevestig uw aanmelding voor de nieuwsbrief")
    visitor.look(page, "mail_to_confirm")
    asked = follow(page, "Ja, meld mij aan")
    button = asked.get_by_role("button")
    button.wait_for()
    visitor.look(asked, "confirm")
    assert granted(house) == [], "a link that was opened confirms nothing"
    button.click()
    asked.get_by_role("heading", name="U staat op de lijst").wait_for()
    visitor.look(asked, "confirmed")
    assert granted(house) == [("newsletter", "double_opt_in")]
    asked.wait_for_url("https://www.schouwburg.example/")

    ((sanne,),) = house.sql("select person_id from crm.person where email = %s", SANNE)
    until(lambda: house.sql(READ, sanne, "welcome/welcome") == [(1,)], "the welcome mail")
    read_mail(house, page, SANNE, "Welkom bij De Linde, Sanne")
    visitor.look(page, "welcome_mail")
    centre = follow(page, "uw voorkeurencentrum")
    expect(centre.get_by_label("Voornaam")).to_have_value("Sanne")
    expect(centre.get_by_label("nieuwsbrief")).to_be_checked()
    expect(centre.get_by_label("aanbiedingen")).not_to_be_checked()
    visitor.look(centre, "preferences")
    visitor.look(visitor.open(centre.url, user_agent=AGENT), "preferences_at_a_desk")
    centre.get_by_label("aanbiedingen").check()
    centre.get_by_label("Telefoonnummer").fill("06 12345678")
    centre.get_by_role("button", name="Bewaren").click()
    centre.get_by_role("heading", name="Bewaard").wait_for()
    visitor.look(centre, "preferences_saved")
    assert granted(house) == [("newsletter", "double_opt_in"), ("offers", "form preferences")]
    kept(house, visitor, sanne)
    assert_valid(visitor.html)


def granted(house: House) -> list[tuple[str, str]]:
    query = "select topic, source from crm.consent join crm.person using (person_id) where email = %s and granted"
    return sorted(house.sql(query, SANNE))


def kept(house: House, visitor: Visitor, person: int) -> None:
    """What colleagues then see of somebody: every contact moment, once."""
    told = {
        ("welcome/signup", "form_submitted"),
        ("welcome/check_your_mail", "page_seen"),
        ("welcome/signup", "confirmed"),
        ("welcome/confirmed", "page_seen"),
        ("welcome/welcome", "clicked"),
        ("preferences/centre", "form_opened"),
        ("preferences/centre", "form_submitted"),
        ("preferences/saved", "page_seen"),
    }
    until(lambda: told <= house.moments(person), "the contact moments")
    way_in = re.search(r"sign in +(http\S+)", house.up.told())
    assert way_in
    page = visitor.open(way_in[1])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="People").click()
    page.get_by_role("textbox").fill(SANNE)
    page.get_by_role("main").get_by_role("button").click()
    page.get_by_role("heading", name="Sanne Smit").wait_for()
    rows = page.get_by_role("table").first.get_by_role("row")
    for what in ("Form submitted", "Confirmed", "Link clicked", "Form opened"):
        rows.filter(has_text=what).first.wait_for()
    expect(rows.filter(has_text="Mail sent")).to_have_count(2)
    visitor.look(page, "person")
    shown = house.smp("person", "show", str(person))
    for step, kind in told:
        assert re.search(rf"{step} +{kind}", shown), shown


def test_who_fills_in_the_survey_is_thanked_and_who_stops_half_way_is_reminded(house: House, visitor: Visitor) -> None:
    today = datetime.now(house.up.zone)
    house.smp("tick", "--at", f"{today:%Y-%m-%d} 10:00")
    assert (house.got(ANNA), house.got(BRAM)) == (1, 1)
    page = phone(visitor)
    read_mail(house, page, ANNA, "Wat vond u van Hamlet?")
    page.get_by_role("link", name="Load them").click()
    until(lambda: ("feedback/aftermail", "opened") in house.moments(ANNAS_ID), "that the mail was opened")
    visitor.look(page, "after_mail")
    survey = follow(page, "Vertel het ons")
    survey.get_by_role("heading", name="Hoe was Hamlet?").wait_for()
    expect(survey.get_by_role("main")).to_contain_text("Drie vragen, Anna")
    visitor.look(survey, "survey")
    survey.get_by_label("Prachtig").check()
    survey.get_by_label("Wat wilt u de makers").fill("Wat een avond! <b>Dank</b>")
    survey.get_by_role("button", name="Versturen").click()
    survey.get_by_role("heading", name="Dank u wel").wait_for()
    visitor.look(survey, "survey_thanks")
    survey.wait_for_url("https://www.schouwburg.example/agenda")
    answers = house.sql("select person_id, performance_id, rating, remark from crm.survey_answer")
    assert answers == [(ANNAS_ID, HAMLET, 5, "Wat een avond! <b>Dank</b>")]

    brams = phone(visitor)
    read_mail(house, brams, BRAM, "Wat vond u van Hamlet?")
    follow(brams, "Vertel het ons").get_by_role("heading", name="Hoe was Hamlet?").wait_for()
    until(lambda: ("feedback/survey", "form_opened") in house.moments(BRAMS_ID), "that Bram opened the survey")
    until(lambda: ("feedback/thanks", "page_seen") in house.moments(ANNAS_ID), "that Anna was thanked")
    house.smp("tick", "--at", f"{today + timedelta(days=2):%Y-%m-%d} 11:00")
    query = "select person_id from smp.message join smp.send using (send_id) where step = 'feedback/reminder'"
    assert house.sql(query) == [(BRAMS_ID,)]
    read_mail(house, brams, BRAM, "U was bijna klaar")
    again = follow(brams, "Maak het af")
    again.get_by_role("heading", name="Hoe was Hamlet?").wait_for()
    assert_valid(visitor.html)
