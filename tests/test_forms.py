"""Forms by themselves: how answers are read and judged, in words of the step's language, and how a form is shown."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from smp_pipelines.campaign.form.columns import Shape, shape
from smp_pipelines.campaign.form.models import Form
from smp_pipelines.crm.catalog import Catalog, Column, Table
from smp_pipelines.site.visitors.theme import Theme
from smp_pipelines.submission.form import FormType, Posted, make_form
from smp_pipelines.submission.rendering import render_form

COLUMNS = {
    "text": "text",
    "long_text": "text",
    "email": "text",
    "phone": "text",
    "postal_code": "varchar(7)",
    "date": "date",
    "number": "numeric(6, 2)",
    "whole": "smallint",
    "choice": "integer",
    "tick": "boolean",
}
CATALOG = Catalog(
    {"crm.person": Table("crm.person", {name: Column(name, kind) for name, kind in COLUMNS.items()}, ("person_id",))}
)


def one(kind: str, language: str = "nl", column: str | None = None, **more: Any) -> FormType:
    """A form with one field."""
    choices = (
        {"choices": {str(n): {"nl": f"keuze {n}", "en": f"choice {n}"} for n in range(3)}} if kind == "choice" else {}
    )
    field = (
        {"type": kind, "label": {"nl": "Vraag", "en": "Question"}, "to": f"crm.person.{column or kind}"}
        | choices
        | more
    )
    return make_form(Form.model_validate({"name": "x", "access": "open", "fields": {"it": field}}), language, CATALOG)


def read(form: FormType, text: str) -> Any:
    answers = form.read(Posted([("it", text)]))
    return None if answers is None else answers["it"]


def said(form: FormType, text: str) -> str:
    """What is said of a wrong answer."""
    posted = Posted([("it", text)])
    assert form.read(posted) is None
    return str(form.fill(posted)["it"].errors[0])


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", "  Jan   Pieter ", "Jan Pieter"),
        ("text", "regel\r\ntwee\x00", "regel twee"),
        ("long_text", " een\r\ntwee\n\n", "een\ntwee"),
        ("email", " Anna@Example.ORG ", "Anna@example.org"),
        ("email", "zoë@müller.example.org", "zoë@müller.example.org"),
        ("phone", "06-12 34 56 78", "+31612345678"),
        ("phone", "+32 470 12 34 56", "+32470123456"),
        ("postal_code", "1234ab", "1234 AB"),
        ("postal_code", " 9999   zz", "9999 ZZ"),
        ("date", "1990-12-31", date(1990, 12, 31)),
        ("date", "31-12-1990", date(1990, 12, 31)),
        ("date", "1/2/1990", date(1990, 2, 1)),
        ("number", "12,5", Decimal("12.5")),
        ("number", "-3.25", Decimal("-3.25")),
        ("choice", "2", 2),
        ("tick", "y", True),
        ("tick", "", False),
        ("text", "", None),
        ("date", "", None),
    ],
)
def test_answers_are_read_as_people_write_them(kind: str, text: str, value: Any) -> None:
    found = read(one(kind), text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "texts", "words"),
    [
        (
            "email",
            ("anna", "anna@", "a b@c.example", "a@b@c.example", "a@localhost", "a@x.example, b@x.example"),
            "geen e-mail",
        ),
        ("phone", ("12", "0612", "bel mij", "06123456789012"), "geen telefoonnummer"),
        ("postal_code", ("1234", "0234 AB", "1234 SS", "1234 SA", "1234 sd", "12345 AB"), "geen Nederlandse postcode"),
        ("date", ("31-02-2020", "gisteren", "2020-13-01", "0000-01-01", "1-1-20"), "geen datum"),
        ("number", ("x", "1e5", "1.2.3", "nan", "∞"), "geen getal"),
        ("number", ("1,234",), "ten hoogste 2"),
        ("number", ("10000",), "9.999 of minder"),
        ("choice", ("9", "x", "2 or 1=1"), "kan niet worden gekozen"),
        ("text", ("x" * 201,), "ten hoogste 200 tekens. Het zijn er nu 201"),
        ("long_text", ("x" * 2001,), "ten hoogste 2000"),
    ],
)
def test_what_is_wrong_is_told_in_friendly_words(kind: str, texts: tuple[str, ...], words: str) -> None:
    for text in texts:
        assert words in said(one(kind), text), text


def test_a_whole_number_takes_what_its_column_takes() -> None:
    form = one("number", column="whole")
    assert read(form, "32767") == 32767
    assert "32.767 of minder" in said(form, "32768")
    assert "-32.767 of meer" in said(form, "-40000")
    assert "geen heel getal" in said(form, "2,5")


def test_what_is_written_shorter_may_be_typed_longer_than_its_column() -> None:
    assert read(one("postal_code"), "  1234   ab  ") == "1234 AB"
    assert "ten hoogste 7 tekens" in said(one("email", column="postal_code"), "anna@example.org")


def test_limits_of_numbers_and_dates_are_told_in_the_words_of_the_language() -> None:
    number = one("number", minimum=1, maximum=8)
    assert said(number, "0") == "Dit is te weinig: 1 of meer"
    assert said(number, "9") == "Dit is te veel: 8 of minder"
    day = one("date", "en", minimum=date(1900, 1, 1), maximum=date(2020, 1, 1))
    assert said(day, "1899-12-31") == "This date is too early: January 1, 1900 or later"
    assert said(day, "2021-01-01") == "This date is too late: January 1, 2020 or earlier"


@given(
    local=st.from_regex(r"\A[a-z.+_-]{1,70}\Z"),
    domain=st.sampled_from(["x.example", "X.Example", "-x.nl", "x", "a..nl"]),
)
def test_an_address_is_judged_as_its_library_judges_it(local: str, domain: str) -> None:
    try:
        expected = validate_email(f"{local}@{domain}", check_deliverability=False).normalized
    except EmailNotValidError:
        expected = None
    assert read(FORMS["email", False], f"{local}@{domain}") == expected


@pytest.mark.parametrize(
    ("kind", "words"), [("text", "nog niet ingevuld"), ("choice", "Kies een"), ("tick", "Zet hier een vinkje")]
)
def test_an_answer_that_must_be_there_is_asked_for(kind: str, words: str) -> None:
    assert words in said(one(kind, required=True), "")
    if kind == "text":
        assert words in said(one(kind, required=True), "  ")


@given(kind=st.sampled_from(sorted(set(COLUMNS) - {"whole"})), text=st.text(max_size=60), required=st.booleans())
def test_what_is_taken_is_what_the_shown_form_takes(kind: str, text: str, required: bool) -> None:
    form = FORMS[kind, required]
    posted = Posted([("it", text)])
    filled = form.fill(posted)
    answers = form.read(posted)
    assert (answers is None) == bool(filled.errors)
    if answers is not None:
        assert answers["it"] == filled["it"].data


FORMS = {(kind, must): one(kind, required=must) for kind in set(COLUMNS) - {"whole"} for must in (True, False)}


@given(text=st.text(max_size=80))
def test_no_text_breaks_the_page_that_it_is_shown_on(text: str) -> None:
    form = FORMS["text", True]
    html = str(render_form(THEME, form, form.fill(Posted([("it", text)]))))
    assert html.count("<input") == HTML.count("<input")
    assert html.count("<form") == 1


THEME = Theme(Path("/nowhere"))
HTML = str(render_form(THEME, FORMS["text", True], FORMS["text", True].fill()))


def test_a_long_choice_is_a_list_and_a_short_one_radio_buttons() -> None:
    few = render_form(THEME, one("choice"), one("choice").fill(known={"it": 1}))
    assert few.count('type="radio"') == 4
    assert 'value="1" checked' in few
    assert "Geen antwoord" in few
    many = one("choice", choices={str(n): f"keuze {n}" for n in range(9)})
    html = render_form(THEME, many, many.fill(known={"it": 3}))
    assert '<option value="3" selected>' in html
    assert '<option value="">Kies …</option>' in html


def test_a_form_tells_programs_what_it_asks() -> None:
    email = render_form(THEME, one("email", required=True, help="Daar"), one("email", help="Daar").fill())
    assert 'type="email"' in email
    assert 'autocomplete="email"' in email
    assert 'aria-describedby="field-it-help"' in email
    assert 'type="tel"' in render_form(THEME, one("phone"), one("phone").fill())
    day = one("date", minimum=date(1900, 1, 1))
    assert 'min="1900-01-01"' in render_form(THEME, day, day.fill(known={"it": date(2000, 2, 29)}))
    assert 'inputmode="numeric"' in render_form(
        THEME, one("number", column="whole"), one("number", column="whole").fill()
    )


def test_a_form_can_be_looked_at_without_a_visitor() -> None:
    form = one("text", "en", required=True)
    html = render_form(THEME, form, form.fill())
    assert "Question" in html
    assert "(required)" in html
    assert "form-summary" not in html


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("text", Shape("text")),
        ("varchar(40)", Shape("text", 40)),
        ("char(2)", Shape("text", 2)),
        ("bigint", Shape("integer", 2**63 - 1, 0)),
        ("int", Shape("integer", 2**31 - 1, 0)),
        ("decimal(10, 2)", Shape("decimal", 10**8 - 1, 2)),
        ("numeric", Shape("decimal")),
        ("double precision", Shape("decimal")),
        ("timestamptz", Shape("other")),
    ],
)
def test_what_fits_into_a_column_is_known_from_its_type(written: str, found: Shape) -> None:
    assert shape(Column("x", written)) == found
