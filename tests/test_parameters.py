"""Parameters: $name stands for a piece of template, in every content; what only looks like one is left alone (F11)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smp_pipelines.campaign.content.parameters import Parameters
from tests.support.written import Written, context

PARAMETERS = Parameters({"voornaam": "{{ person.first_name }}", "centrum": '{{ links.to("a/b") }}', "wij": "M&M's <3"})


@pytest.fixture
def project(tmp_path: Path) -> Written:
    return Written.make(tmp_path / "my project")


def test_a_parameter_is_filled_in_in_a_subject_a_preheader_a_text_and_an_address(project: Written) -> None:
    project.step("subject: Hallo", "subject: Dag $voornaam\n    preheader: Voor $voornaam.")
    project.blocks("mail", '- type: text\n  text: "# $voornaam, [kies]($voorkeuren)!"')
    mail = project.mail().render(context())
    assert mail.subject == "Dag Anna"
    assert "Voor Anna." in mail.html
    assert '<a href="#">kies</a>' in mail.html
    assert "Anna, kies: #!" in mail.text
    assert project.problems("mail") == []


def test_a_parameter_is_filled_in_in_a_template_file_too(project: Written) -> None:
    body = '<mj-text>Dag $voornaam, <a href="$voorkeuren">kies</a></mj-text><mj-button href="$voorkeuren">x</mj-button>'
    project.file("mail.mjml", f"<mjml><mj-body><mj-section><mj-column>{body}</mj-column></mj-section></mj-body></mjml>")
    project.step('    blocks:\n      - type: text\n        text: "# Dag"\n', "    content: mail.mjml\n")
    assert project.problems("mail") == []
    mail = project.mail().render(context(first_name="Jan & co"))
    assert 'Dag Jan &amp; co, <a href="#">kies</a>' in mail.html
    assert mail.text == "Dag Jan & co, kies: #\n\nx: #\n"


def test_what_a_parameter_stands_for_is_text_in_html_and_never_markup() -> None:
    filled = PARAMETERS.fill_in_markup('<a title="$wij" href="$centrum">$wij</a>')
    assert filled == ('<a title="M&amp;M&#x27;s &lt;3" href="{{ links.to(&quot;a/b&quot;) }}">M&amp;M&#x27;s &lt;3</a>')


@pytest.mark.parametrize(
    "text",
    [
        *("$5 en $ 12,50", "US$20", "$$", "$$voornaam", r"\$voornaam", "a$voornaam", "${voornaam}", "$_voornaam"),
        *("<style>b { color: $kleur }</style>", "<script>let $naam = 1</script>", "<mj-style>$kleur</mj-style>"),
        *("{{ '$voornaam' }}", '{{ "$voornaam" }}', "{# $vornaam #}", "<!-- $vornaam -->", "$scope.name", "$naam = 1"),
        *("https://x.example/?$top=5&$filter=a", "$('.x')", "$x en $nr"),
    ],
)
def test_what_is_no_parameter_is_left_alone_and_annoys_nobody(text: str) -> None:
    assert PARAMETERS.fill_in(text) == text
    assert [use for use in PARAMETERS.uses(text) if use.message] == []


@settings(deadline=None)
@given(st.text().filter(lambda text: "$voornaam" not in text and "$centrum" not in text and "$wij" not in text))
def test_a_text_without_a_known_name_stays_as_it_is(text: str) -> None:
    assert PARAMETERS.fill_in(text) == PARAMETERS.fill_in_markup(text) == PARAMETERS.left_out(text) == text


@settings(deadline=None)
@given(st.text("abc {}%<>\"'\n$", max_size=40), st.text("abc {}%<>\"'\n$", max_size=40))
def test_looking_at_a_text_finds_lines_that_are_there(before: str, after: str) -> None:
    text = f"{before} $vornaam {after}"
    assert all(1 <= use.line <= text.count("\n") + 1 for use in PARAMETERS.uses(text))


@pytest.mark.parametrize(("end", "shown"), [(".", "Anna."), (",x", "Anna,x"), (")", "Anna)"), ("-x", "Anna-x")])
def test_a_name_ends_where_its_letters_end(end: str, shown: str) -> None:
    assert PARAMETERS.fill_in(f"$voornaam{end}") == shown.replace("Anna", "{{ person.first_name }}")


def test_an_unknown_name_is_told_with_its_line_and_the_nearest_one(project: Written) -> None:
    project.step("subject: Hallo", "subject: Dag $vornaam")
    project.blocks(
        "mail", "- type: text\n  text: |\n    # Dag\n\n    Beste $Voornaam,\n- {type: button, text: x, url: $voorkeur}"
    )
    subject, text, url = project.problems("mail")
    assert (subject.line, subject.remedy) == (project.line("$vornaam"), "did you mean voornaam?")
    assert subject.message == "step trial/mail, subject: there is no parameter $vornaam"
    assert (text.line, text.remedy) == (project.line("$Voornaam"), "did you mean voornaam?")
    assert (url.line, url.remedy) == (project.line("$voorkeur}"), "did you mean voorkeuren?")


def test_an_unknown_name_in_a_template_file_has_the_line_of_that_file(project: Written) -> None:
    project.file("note.html", "<p>\n  een\n  $vornaam\n</p>").blocks("page", "- {type: html, file: note.html}")
    (problem,) = project.problems("page")
    assert (problem.file, problem.line) == (project.campaign / "note.html", 3)


def test_a_parameter_between_braces_is_told_how_to_be_written(project: Written) -> None:
    project.blocks("mail", '- type: text\n  text: "# Dag {{ $voornaam }}"')
    messages = [problem.message for problem in project.problems("mail")]
    assert "step trial/mail, block 1, text: $voornaam stands inside {{ … }}" in messages


def test_the_text_of_a_parameter_is_checked_on_its_own_line(project: Written) -> None:
    project.settings("person.first_name or", "person.frist_name or").settings("trial/form", "trial/from")
    found = [problem for problem in project.all_problems() if problem.file == project.folder / "smp.yaml"]
    assert [(problem.line, problem.remedy) for problem in found] == [
        (project.line("voornaam:", "smp.yaml"), "did you mean first_name?"),
        (project.line("voorkeuren:", "smp.yaml"), "did you mean trial/form?"),
    ]


def test_a_wrong_parameter_is_told_where_it_is_used_as_well(project: Written) -> None:
    project.settings("person.first_name or", "person.frist_name or").step("subject: Hallo", "subject: $voornaam")
    (problem,) = project.problems("mail")
    assert "$voornaam cannot be used here: person has no `frist_name`" in problem.message
    assert problem.line == project.line("subject: $voornaam")


def test_a_parameter_that_reads_what_a_step_has_not_is_told_there_only(project: Written) -> None:
    project.settings("parameters:\n", 'parameters:\n  zaal: "{{ performance.hall }}"\n')
    project.blocks("form", '- type: text\n  text: "# In $zaal"\n- {type: form}')
    assert project.all_problems() == []
    assert any("there is no `performance` here" in problem.message for problem in project.problems("form"))


def test_the_links_of_a_mail_are_not_there_on_a_page(project: Written) -> None:
    project.settings("parameters:\n", 'parameters:\n  afmelden: "{{ links.unsubscribe }}"\n')
    text = '- type: text\n  text: "# Dag [weg]($afmelden)"'
    assert project.blocks("mail", text).problems("mail") == []
    (problem,) = project.blocks("page", text).problems("page")
    assert "links has no `unsubscribe`" in problem.message


def test_a_parameter_does_not_hold_another(project: Written) -> None:
    project.settings("parameters:\n", 'parameters:\n  groet: "Dag $voornaam"\n')
    (problem,) = project.all_problems()
    assert problem.line == project.line("groet:", "smp.yaml")
    assert "$voornaam is not filled in inside another parameter" in problem.message
