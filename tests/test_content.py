"""Content: templates are compiled once and made per person; mistakes are found before anybody is mailed."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smp_pipelines.campaign.content.checks import check_content
from smp_pipelines.campaign.content.links import NoLinks
from smp_pipelines.campaign.content.mail import Content, ContentError
from smp_pipelines.campaign.project import LoadedProject, StepRef, load_project
from smp_pipelines.problems import Problem, ProjectError

ROOT = Path(__file__).parents[1]
SETTINGS = """\
name: De Linde
time_zone: Europe/Amsterdam
topics: {service: opt_out}
records:
  performance: {table: crm.performance, key: performance_id, title: title}
"""
CAMPAIGN = """\
name: Proef
steps:
  mail:
    name: Een mail
    send: trigger
    sender: kassa@schouwburg.example
    subject: "Hallo"
    content: mail.mjml
    record: performance
    topic: service
"""
MJML = "<mjml>\n<mj-body>\n<mj-section><mj-column>\n{body}\n</mj-column></mj-section>\n</mj-body>\n</mjml>\n"
BODY_LINE = 4
PERSON: dict[str, Any] = {"person_id": 1, "first_name": "Anna", "last_name": "Bakker", "birth_date": date(2000, 2, 29)}
PERFORMANCE: dict[str, Any] = {
    "title": "De Kersentuin",
    "hall": "Grote Zaal",
    "starts_at": datetime(2026, 12, 4, 19, 15, tzinfo=UTC),
    "duration_minutes": 105,
    "company": None,
}
CONTEXT = {"person": PERSON, "organisation": None, "performance": PERFORMANCE, "links": NoLinks()}


@dataclass
class Trial:
    """A project with one step, whose template a test writes."""

    folder: Path

    @property
    def template(self) -> Path:
        return self.folder / "campaigns" / "trial" / "mail.mjml"

    def load(self) -> tuple[StepRef, LoadedProject]:
        project = load_project(self.folder)
        return project.step("trial/mail"), project

    def body(self, body: str) -> Trial:
        """Write the template around a piece of MJML, which begins on BODY_LINE."""
        self.template.write_text(MJML.replace("{body}", body))
        return self

    def text(self, text: str) -> Trial:
        return self.body(f"<mj-text>{text}</mj-text>")

    def field(self, name: str, value: str) -> Trial:
        file = self.folder / "campaigns" / "trial" / "campaign.yaml"
        lines = [line for line in file.read_text().splitlines() if not line.startswith(f"    {name}:")]
        file.write_text("\n".join([*lines, f"    {name}: {value}"]) + "\n")
        return self

    def content(self) -> Content:
        return Content.compile(*self.load())

    def problems(self) -> list[Problem]:
        return check_content(*self.load())


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    folder = tmp_path / "my project"
    shutil.copytree(ROOT / "sql" / "schema", folder / "sql" / "schema")
    (folder / "campaigns" / "trial").mkdir(parents=True)
    (folder / "campaigns" / "trial" / "campaign.yaml").write_text(CAMPAIGN)
    (folder / "smp.yaml").write_text(SETTINGS)
    return Trial(folder).text("Hallo")


def test_a_mail_is_made_in_html_and_in_text(trial: Trial) -> None:
    trial.text("Dag <b>{{ person.first_name }}</b>,<br />tot in de {{ performance.hall }}!")
    trial.field("subject", '"Tot {{ performance.starts_at | weekday }}, {{ person.first_name }}"')
    mail = trial.content().render(CONTEXT)
    assert mail.subject == "Tot vrijdag, Anna"
    assert "Dag <b>Anna</b>,<br />tot in de Grote Zaal!" in mail.html
    assert mail.text == "Dag Anna,\ntot in de Grote Zaal!\n"


def test_what_a_person_is_called_is_escaped_in_html_and_not_in_text(trial: Trial) -> None:
    mail = (
        trial.text("Dag {{ person.first_name }}").content().render({**CONTEXT, "person": {"first_name": "<Jan & Co>"}})
    )
    assert "Dag &lt;Jan &amp; Co&gt;" in mail.html
    assert mail.text == "Dag <Jan & Co>\n"


@settings(deadline=None)
@given(st.text())
def test_a_subject_stays_one_line_whatever_a_person_is_called(name: str) -> None:
    # Compiled once for all examples: the sample project's own subject greets by first name.
    mail = _we_miss_you().render({**CONTEXT, "person": {"first_name": name, "salutation": None}})
    assert not re.search(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", mail.subject)


def _we_miss_you(found: dict[str, Content] = {}) -> Content:  # noqa: B006 - kept on purpose: one compile for all examples
    if not found:
        project = load_project(ROOT)
        found["content"] = Content.compile(project.step("we_miss_you/we_miss_you"), project)
    return found["content"]


def test_dates_times_and_amounts_are_dutch_and_local(trial: Trial) -> None:
    trial.text(
        "{{ performance.starts_at | weekday }} {{ performance.starts_at | date }} {{ performance.starts_at | time }}"
        ' {{ performance.starts_at | date("d MMM") }} {{ person.birth_date | date }} {{ 12.5 | euro }}'
    )
    text = trial.content().render(CONTEXT).text
    assert text == "vrijdag 4 december 2026 20:15 4 dec 29 februari 2000 €\xa012,50\n"


def test_a_moment_just_after_midnight_is_on_the_local_day(trial: Trial) -> None:
    late = {**PERFORMANCE, "starts_at": datetime(2026, 6, 30, 22, 30, tzinfo=UTC)}
    mail = trial.text("{{ performance.starts_at | date }}").content().render({**CONTEXT, "performance": late})
    assert mail.text == "1 juli 2026\n"


def test_an_empty_value_becomes_nothing_and_never_the_word_none(trial: Trial) -> None:
    trial.text("[{{ performance.company }}{{ performance.company | date }}{{ performance.company | euro }}]")
    mail = trial.content().render(CONTEXT)
    assert mail.text == "[]\n"
    assert "None" not in mail.html


def test_amounts_may_be_decimals(trial: Trial) -> None:
    row = {**PERFORMANCE, "company": Decimal("1234.5")}
    mail = trial.text("{{ performance.company | euro }}").content().render({**CONTEXT, "performance": row})
    assert mail.text == "€\xa01.234,50\n"


def test_a_condition_counts_in_both_parts(trial: Trial) -> None:
    trial.body(
        "<mj-text>Een</mj-text><mj-raw>{% if organisation %}</mj-raw><mj-text>Voor {{ organisation.name }}</mj-text>"
        "<mj-raw>{% endif %}</mj-raw><mj-text>Twee</mj-text>"
    )
    content = trial.content()
    without = content.render(CONTEXT)
    belonging = content.render({**CONTEXT, "organisation": {"name": "Bakker & Zn"}})
    assert without.text == "Een\n\nTwee\n"
    assert "Voor" not in without.html
    assert belonging.text == "Een\n\nVoor Bakker & Zn\n\nTwee\n"
    assert "Voor Bakker &amp; Zn" in belonging.html


def test_a_condition_between_components_counts_in_both_parts_without_raw(trial: Trial) -> None:
    trial.body("{% if organisation %}<mj-text>Voor u</mj-text>{% endif %}<mj-text>Slot</mj-text>")
    mail = trial.content().render(CONTEXT)
    assert mail.text == "Slot\n"
    assert "Voor u" not in mail.html


def test_links_and_buttons_show_their_address_in_the_text(trial: Trial) -> None:
    trial.body(
        '<mj-text>Zie <a href="https://a.example/x?a=1&amp;b=2">de agenda</a> of '
        '<a href="mailto:k@a.example">k@a.example</a></mj-text>'
        '<mj-button href="https://a.example/{{ performance.title | urlencode }}">Bestel</mj-button>'
    )
    assert trial.content().render(CONTEXT).text == (
        "Zie de agenda: https://a.example/x?a=1&b=2 of k@a.example\n\nBestel: https://a.example/De%20Kersentuin\n"
    )


def test_html_content_needs_no_mjml(trial: Trial) -> None:
    (trial.folder / "campaigns" / "trial" / "mail.html").write_text(
        "<html><head><title>x</title></head><body><p>Dag {{ person.first_name }}</p></body></html>"
    )
    trial.field("content", "mail.html").field("preheader", '"Kijk, {{ person.first_name }}"')
    mail = trial.content().render(CONTEXT)
    assert mail.text == "Dag Anna\n"
    assert re.search(r"<body><div style=\"display:none[^>]*>Kijk, Anna", mail.html)
    assert trial.problems() == [p for p in trial.problems() if p.warning]


def test_included_files_are_in_both_parts(trial: Trial) -> None:
    layout = trial.folder / "campaigns" / "_layout"
    layout.mkdir()
    (layout / "footer.mjml").write_text("<mj-text>Groet van {{ project.name }}</mj-text>")
    trial.body('<mj-text>Dag</mj-text><mj-include path="../_layout/footer.mjml" />')
    mail = trial.content().render(CONTEXT)
    assert mail.text == "Dag\n\nGroet van De Linde\n"
    assert "Groet van De Linde" in mail.html


def test_an_included_section_is_as_wide_as_the_mail(trial: Trial) -> None:
    layout = trial.folder / "campaigns" / "_layout"
    layout.mkdir()
    section = "<mj-section><mj-column><mj-text>Dag</mj-text></mj-column></mj-section>"
    (layout / "header.mjml").write_text(section)
    trial.template.write_text(f'<mjml><mj-body><mj-include path="../_layout/header.mjml" />{section}</mj-body></mjml>')
    assert trial.content().render(CONTEXT).html.count("max-width:600px") == 2


def test_comments_go_to_nobody(trial: Trial) -> None:
    mail = trial.text("Dag<!-- geheim {% if x %} --> {# ook geheim #}Anna").content().render(CONTEXT)
    assert mail.text == "Dag Anna\n"
    assert "geheim" not in mail.html


def test_a_column_called_like_a_method_is_still_a_column(trial: Trial) -> None:
    row = {**PERFORMANCE, "items": "drie stukken"}
    mail = trial.text("{{ performance.items }}").content().render({**CONTEXT, "performance": row})
    assert mail.text == "drie stukken\n"


@pytest.mark.parametrize(
    "text",
    [
        "{{ person.nothing }}",
        "{{ ''.__class__ }}",
        "{{ organisation.name }}",
        "{{ person.first_name | euro }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 1 // 0 }}",
    ],
)
def test_a_mail_that_cannot_be_made_is_an_error_with_the_step_and_not_half_a_mail(trial: Trial, text: str) -> None:
    content = trial.text(text).content()
    with pytest.raises(ContentError, match="step trial/mail: this mail cannot be made"):
        content.render(CONTEXT)


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("{{ person.frist_name }}", "person has no `frist_name`", "did you mean first_name?"),
        ("{{ person['frist_name'] }}", "person has no `frist_name`", "did you mean first_name?"),
        ("{{ performance.titel }}", "performance has no `titel`", "did you mean title?"),
        ("{{ persn.last_name }}", "there is no `persn` here", "did you mean person?"),
        ("{% if foo %}x{% endif %}", "there is no `foo` here", ""),
        ("{{ step.key }}", "step has no `key`", "name"),
        ("{{ ''.__class__ }}", "`__class__` is not safe", "start with _"),
        ("{{ person['__class__'] }}", "`__class__` is not safe", "start with _"),
        ("{{ person.last_name | safe }}", "there is no filter `safe`", ""),
        ("{{ person.last_name | attr('x') }}", "there is no filter `attr`", ""),
        ("{{ performance.starts_at | dat }}", "there is no filter `dat`", "did you mean date?"),
        ("{{ person.last_name is strnig }}", "there is no test `strnig`", "did you mean string?"),
        ("{% include 'x' %}", "cannot read other templates", "mj-include"),
        ("{% autoescape false %}x{% endautoescape %}", "escaping cannot be switched off", ""),
        ("{% if person.last_name %}x", "does not parse", ""),
        ("{{ person.last_name", "does not parse", ""),
        ("{{ organisation.name }}", "not everybody has an organisation", "{% if organisation %}"),
        ("{% if organisation.name %}x{% endif %}", "not everybody has an organisation", "{% if organisation %}"),
        ("{% if person.person_id < 3 %}x{% endif %}", "MJML does not accept <", "is lt"),
    ],
)
def test_a_mistake_in_a_template_is_told_with_file_line_and_remedy(
    trial: Trial, text: str, message: str, remedy: str
) -> None:
    trial.body(f"<mj-text>Eerst\n{text}</mj-text>")
    problems = [problem for problem in trial.problems() if not problem.warning]
    assert [(problem.file, problem.line) for problem in problems[:1]] == [(trial.template, BODY_LINE + 1)], problems
    assert message in problems[0].message
    assert remedy in (problems[0].remedy or "")


@pytest.mark.parametrize(
    "text",
    [
        "{% if organisation %}{{ organisation.name }}{% endif %}",
        "{{ organisation.name if organisation else 'u' }}",
        "{% if organisation and organisation.city %}{{ organisation.city }}{% endif %}",
        "{% if organisation is not none %}{{ organisation.name }}{% endif %}",
        "{{ person.first_name or person.last_name }}",
        "{{ person.first_name ~ '!' if person.first_name else '' }}",
        "{% set uren = performance.duration_minutes // 60 %}{{ uren }}",
        "{% for number in range(3) %}{{ loop.index }} {{ number }}{% endfor %}",
        "{{ performance.duration_minutes * 2 }}",
        "{% if person.person_id &lt; 3 %}{{ person.last_name or &quot;x&quot; }}{% endif %}",
    ],
)
def test_what_is_right_has_no_problems(trial: Trial, text: str) -> None:
    assert trial.text(text).problems() == []


@pytest.mark.parametrize(
    "text", ["{{ person.first_name }}", "{{ person.birth_date | date }}", "{{ 'Dag ' ~ person.first_name }}"]
)
def test_a_value_that_may_be_empty_is_only_a_warning(trial: Trial, text: str) -> None:
    assert [(problem.warning, problem.line) for problem in trial.text(text).problems()] == [(True, BODY_LINE)]


def test_a_mistake_in_the_subject_is_told_on_its_line_in_the_campaign(trial: Trial) -> None:
    trial.field("preheader", '"{{ person.frist_name }}"').field("subject", '"{{ performance.titel }}"')
    found = [(problem.file.name, problem.line) for problem in trial.problems() if problem.file]
    assert found == [("campaign.yaml", 11), ("campaign.yaml", 10)]


@pytest.mark.parametrize(
    ("body", "message", "line"),
    [
        ("<mj-txet>Dag</mj-txet>", "there is no <mj-txet> in MJML", BODY_LINE),
        ("\n<mj-text>Dag<p>Anna</mj-text>", "<p> has no end of its own", BODY_LINE + 1),
        ("<mj-text>Dag</mj-column>", "<mj-text> has no end of its own", BODY_LINE),
        ('\n<mj-include path="../_layout/nee.mjml" />', "there is no file ../_layout/nee.mjml", BODY_LINE + 1),
        ('<mj-include path="../../../../etc/passwd" />', "lies outside the folder campaigns", BODY_LINE),
        ('\n<mj-text colour="{{ person.last_name }}">x</mj-text>', "MJML drops {{ person.last_name }}", BODY_LINE + 1),
        ('<mj-include path="mail.mjml" />', "mail.mjml includes itself", BODY_LINE),
    ],
)
def test_mjml_that_does_not_hold_is_told(trial: Trial, body: str, message: str, line: int) -> None:
    problems = trial.body(body).problems()
    assert message in problems[0].message
    assert (problems[0].file, problems[0].line) == (trial.template, line)


def test_a_mistake_in_an_included_file_is_told_in_that_file(trial: Trial) -> None:
    layout = trial.folder / "campaigns" / "_layout"
    layout.mkdir()
    (layout / "footer.mjml").write_text("<mj-text>\n\nGroet {{ person.frist_name }}</mj-text>")
    trial.body('<mj-include path="../_layout/footer.mjml" />')
    assert [(problem.file, problem.line) for problem in trial.problems()] == [((layout / "footer.mjml").resolve(), 3)]


def test_a_value_that_does_not_fit_its_filter_is_found_by_a_trial(trial: Trial) -> None:
    problems = trial.text("{{ performance.starts_at | euro }}").problems()
    assert ["`euro` cannot be used" in problem.message for problem in problems] == [True]


def test_a_value_that_fails_only_when_it_is_empty_is_found_by_a_trial(trial: Trial) -> None:
    problems = [problem for problem in trial.text("{{ person.first_name.strip() }}").problems() if not problem.warning]
    assert ["with the fields empty that may be empty" in problem.message for problem in problems] == [True]


def test_a_step_without_content_cannot_be_compiled(trial: Trial) -> None:
    with pytest.raises(ProjectError, match="the content is missing"):
        trial.field("content", '""').content()


def test_a_template_with_a_mistake_cannot_be_compiled(trial: Trial) -> None:
    with pytest.raises(ProjectError, match="does not compile"):
        trial.text("{% if x %}").content()


@pytest.mark.parametrize("key", ["servicemails/servicemail", "we_miss_you/we_miss_you", "newsletter/december"])
def test_the_sample_mails_are_whole_dutch_and_fetch_nothing_from_elsewhere(key: str) -> None:
    project = load_project(ROOT)
    ref = project.step(key)
    assert check_content(ref, project) == []
    mail = Content.compile(ref, project).render({**CONTEXT, "person": {"first_name": None, "salutation": "Beste Anna"}})
    assert "Beste Anna," in mail.html
    assert "Beste Anna," in mail.text
    assert 'lang="nl"' in mail.html
    assert "meld u af" in mail.text.rsplit("Kies zelf", 1)[1]
    assert not re.search(r"<img|<link|@import|url\(|fonts\.", mail.html)
    assert not re.search(r"\{[{%#]|None|  ", mail.text)
    assert not re.search(r"\{\{|\{%", mail.html)
