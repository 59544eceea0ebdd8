"""What `smp check` says of forms: where answers go, whether they fit, and what a form leads to; with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from smp_pipelines.campaign.checks import check_project
from smp_pipelines.campaign.project import load_project
from smp_pipelines.problems import Problem
from tests.conftest import REPOSITORY
from tests.site_pages import edit

REGISTRATION, SIGNUP, CENTRE = "forms/registration.yaml", "forms/newsletter_signup.yaml", "forms/preferences.yaml"
OPEN_HOUSE, WELCOME = "campaigns/open_house/campaign.yaml", "campaigns/welcome/campaign.yaml"


def schema_file() -> str:
    """The project's schema file with the tables of forms."""
    (found,) = [
        file for file in (REPOSITORY / "sql" / "schema").glob("*.sql") if "crm.registration" in file.read_text()
    ]
    return f"sql/schema/{found.name}"


def problems(folder: Path) -> list[Problem]:
    return check_project(load_project(folder))


def test_the_sample_has_no_problems() -> None:
    assert problems(REPOSITORY) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "line_of", "words"),
    [
        (REGISTRATION, "to: crm.registration.guests", "to: crm.registration.gests", "gests", "did you mean guests?"),
        (
            REGISTRATION,
            "to: crm.registration.guests",
            "to: crm.ticket.price",
            "crm.ticket",
            "answers go to crm.person or",
        ),
        (REGISTRATION, "to: crm.registration.guests", "to: crm.registration.tour", "tour\n    minimum", "same column"),
        (
            REGISTRATION,
            "to: crm.registration.guests",
            "to: crm.person.last_name",
            "last_name\n    min",
            "not take an answer",
        ),
        (REGISTRATION, "to: crm.registration.guests", "to: crm.person.blocked", "blocked", "no visitor may fill in"),
        (REGISTRATION, "to: crm.registration.guests", "to: crm.person.internal_test", "internal", "no visitor may"),
        (REGISTRATION, "to: crm.registration.guests", "to: crm.person.person_id", "person_id", "it is the key"),
        (REGISTRATION, "to: crm.registration.remark", "to: crm.person.email_key", "email_key", "it is computed"),
        (
            REGISTRATION,
            "to: crm.registration.guests",
            "to: crm.person.organisation_id",
            "organisation",
            "no visitor may",
        ),
        (
            REGISTRATION,
            "to: crm.registration.guests",
            "to: crm.registration.person_id",
            "n.person_id",
            "filled by itself",
        ),
        (
            REGISTRATION,
            "table: crm.registration",
            "table: crm.registratoin",
            "crm.registratoin",
            "did you mean crm.reg",
        ),
        (REGISTRATION, "table: crm.registration", "table: crm.donation", "crm.donation", "not submission_id"),
        (REGISTRATION, "    minimum: 0\n", "    minimum: 2020-01-01\n", "minimum", "write a number"),
        (REGISTRATION, "max_length: 60", "minimum: 60", "minimum: 60", "is no number and no date"),
        (
            REGISTRATION,
            "    required: true\n    to: crm.registration.tour",
            "    to: crm.registration.tour",
            "tour:",
            "may not be",
        ),
        (
            REGISTRATION,
            "    required: true\n    to: crm.person.email",
            "    to: crm.person.email",
            "match",
            "needs crm.person.em",
        ),
        (
            SIGNUP,
            "    required: true\n    to: crm.person.last_name",
            "    to: crm.person.last_name",
            "access",
            "without last",
        ),
        (SIGNUP, "topic: offers", "topic: ofers", "topic: ofers", "did you mean offers?"),
        (
            SIGNUP,
            "topic: offers",
            "topic: newsletter",
            "topic: newsletter\n    label:\n      nl: Ja, stuur mij ook",
            "ask it once",
        ),
        (CENTRE, "    required: true\n", "", "last_name:", "may not be empty, and last_name may be left empty"),
        (CENTRE, "type: date", "type: text", "to: crm.person.birth_date", "write `type: date`"),
    ],
)
def test_a_form_that_does_not_fit_is_told_with_its_line_and_what_to_do(
    project_folder: Path, file: str, old: str, new: str, line_of: str, words: str
) -> None:
    edit(project_folder / file, old, new)
    text = (project_folder / file).read_text(encoding="utf-8")
    line = text[: text.index(line_of)].count("\n") + 1
    found = [each for each in problems(project_folder) if words in str(each)]
    assert found, [str(each) for each in problems(project_folder)]
    assert any(each.line == line for each in found), (line, [str(each) for each in found])
    for each in found:
        assert each.file == project_folder / file
        assert each.remedy
        assert not each.warning


def test_a_choice_that_its_column_cannot_hold_is_told(project_folder: Path) -> None:
    edit(project_folder / "forms/survey.yaml", '"5": {nl: Prachtig', "heel_goed: {nl: Prachtig")
    (found,) = problems(project_folder)
    assert "'heel_goed' does not fit into crm.survey_answer.rating" in str(found)


def test_a_column_that_nothing_fills_is_told(project_folder: Path) -> None:
    file = project_folder / schema_file()
    edit(file, "    tour          text not null,\n", "    tour          text not null,\n    shoes text not null,\n")
    (found,) = problems(project_folder)
    assert "nothing fills crm.registration.shoes" in str(found)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            OPEN_HOUSE,
            "      - type: form\n    next: registered\n",
            "      - type: form\n",
            "nothing is shown after this form",
        ),
        (
            OPEN_HOUSE,
            "    next: registered\n",
            "    next: confirmation\n",
            "after a form comes a page, and open_house/confirmation is a mail",
        ),
        (
            OPEN_HOUSE,
            "    next: registered\n",
            "    next: welcome/signup\n",
            "after a form comes a page, and welcome/signup is a form",
        ),
        (OPEN_HOUSE, "form: registration", "form: registratie", "did you mean registration?"),
        (OPEN_HOUSE, "    send: trigger\n", "    send: trigger\n    record: performance\n", "nobody knows which"),
        (
            OPEN_HOUSE,
            "    next: confirmation\n",
            "    next: newsletter/december\n",
            "is sent by itself, not after this one",
        ),
        (WELCOME, "    next: confirm\n", "", "no trigger mail follows to confirm with"),
        (WELCOME, "    next: confirmed\n", "", "nothing says what is shown after the confirmation"),
        (SIGNUP, "access: open\n", "access: open\n", None),
    ],
)
def test_where_a_form_leads_is_checked(project_folder: Path, file: str, old: str, new: str, words: str | None) -> None:
    edit(project_folder / file, old, new)
    found = [each for each in problems(project_folder) if not each.warning]
    assert bool(found) == (words is not None), [str(each) for each in found]
    if words is not None:
        (told,) = [each for each in found if words in str(each)]
        assert told.line
        assert told.remedy


def test_a_page_may_lead_on_to_a_page_and_to_a_form(project_folder: Path) -> None:
    file = project_folder / OPEN_HOUSE
    for following in ("preferences/saved", "preferences/centre"):
        edit(file, "    next: confirmation\n", f"    next: {following}\n")
        assert [each for each in problems(project_folder) if not each.warning] == []
        edit(file, f"    next: {following}\n", "    next: confirmation\n")


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (SIGNUP, "double_opt_in: true\n", "", "anybody can say yes here for somebody else's address"),
        (
            WELCOME,
            "        url: $bevestigen\n",
            "        url: https://www.schouwburg.example/\n",
            "no link to confirm with is seen",
        ),
        (OPEN_HOUSE, "    form: registration\n", "    form: newsletter_signup\n", "no step shows this form"),
    ],
)
def test_what_is_doubtful_is_a_warning(project_folder: Path, file: str, old: str, new: str, words: str) -> None:
    edit(project_folder / file, old, new)
    (told,) = [each for each in problems(project_folder) if words in str(each)]
    assert told.warning
    assert told.line
    assert told.remedy


def test_double_opt_in_without_a_yes_is_told(project_folder: Path) -> None:
    edit(
        project_folder / REGISTRATION,
        "match: email_and_last_name\n",
        "match: email_and_last_name\ndouble_opt_in: true\n",
    )
    found = [str(each) for each in problems(project_folder)]
    assert any("there is no yes to confirm" in each for each in found)
