"""What is wrong in blocks is told with file, line and remedy, before anybody is mailed or served (F07, F13, F14)."""

from __future__ import annotations

from pathlib import Path

import pytest

from smp_pipelines.campaign.content.links import NoLinks
from smp_pipelines.campaign.content.mail import ContentError
from tests.support.written import PNG, Written, context

TITLE = '- {type: text, text: "# Dag"}\n'


@pytest.fixture
def project(tmp_path: Path) -> Written:
    return Written.make(tmp_path / "my project").file("foyer.png", PNG)


def test_the_sample_of_these_tests_has_nothing_wrong(project: Written) -> None:
    assert project.all_problems() == []
    assert [project.problems(step) for step in ("page", "mail")] == [[], []]


@pytest.mark.parametrize(
    ("step", "blocks", "mark", "message"),
    [
        ("form", "- {type: text, text: '# A'}", "blocks:", "there is no place for the form"),
        (
            "form",
            "- {type: text, text: '# A'}\n- {type: form}\n- type: form",
            "- type: form",
            "the form is there twice",
        ),
        ("page", f"{TITLE}- type: form", "- type: form", "a page has no form"),
        ("mail", f"{TITLE}- type: form", "- type: form", "a mail has no form"),
        (
            "page",
            f"{TITLE}- {{type: image, alt: x, file: fojer.png}}",
            "fojer",
            "there is no file fojer.png in this folder",
        ),
        ("page", f"{TITLE}- {{type: html, file: note.html}}", "note.html", "there is no file note.html in this folder"),
        ("page", f"{TITLE}- {{type: image, file: foyer.png, alt: '', url: 'https://x.nl'}}", "foyer", "needs words"),
        ("page", f"{TITLE}- {{type: product, record: perfomance}}", "perfomance", "there is no record perfomance"),
        ("mail", f"{TITLE}- {{type: product, record: performance}}", "product", "this step is not about a performance"),
        ("page", f"{TITLE}- type: product\n  record: performance\n  show: [hal]", "[hal]", "no column hal"),
        ("page", f"{TITLE}- {{type: product, record: performance, text: Koop}}", "Koop", "has a `text` and no `url`"),
        (
            "page",
            f"{TITLE}- {{type: product, record: performance, url: 'https://x.nl'}}",
            "x.nl",
            "a `url` and no `text`",
        ),
        ("page", f"{TITLE}- {{type: button, text: x, url: 'javascript:x'}}", "javascript", "is no address to lead to"),
        ("page", f"{TITLE}- {{type: button, text: x, url: www.x.nl}}", "www.x.nl", "is no address to lead to"),
        ("page", f"{TITLE}- {{type: text, text: '[x](javascript:x)'}}", "x](java", "javascript:x is no address to"),
        ("page", f"{TITLE}- {{type: text, text: '[x](pagina)'}}", "(pagina)", "pagina is no address to lead to"),
        ("page", f"{TITLE}- {{type: text, text: '![x](https://x.nl/a.png)'}}", "![x]", "a text holds no pictures"),
        ("page", f"{TITLE}- {{type: text, text: x, when: person.cty}}", "cty", "person has no `cty`"),
        ("page", f"{TITLE}- {{type: text, text: x, when: '{{{{ known }}}}'}}", "known", "a condition has no tags"),
        (
            "page",
            f"{TITLE}- {{type: text, text: x, when: 'known %}}x{{% if known'}}",
            "known",
            "a condition has no tags",
        ),
        ("page", f"{TITLE}- {{type: text, text: x, when: known and}}", "known and", "this template does not parse"),
        ("page", f"{TITLE}- {{type: button, text: '{{{{ person.x }}}}', url: '#a'}}", "person.x", "person has no `x`"),
    ],
)
def test_a_mistake_has_its_line(project: Written, step: str, blocks: str, mark: str, message: str) -> None:
    found = [problem for problem in project.blocks(step, blocks).problems(step) if not problem.warning]
    assert len(found) == 1, found
    assert message in found[0].message
    assert (found[0].file, found[0].line) == (project.campaign / "campaign.yaml", project.line(mark))
    assert found[0].remedy or "parse" in message


def test_a_file_that_is_misspelt_has_the_nearest_one(project: Written) -> None:
    (problem,) = project.blocks("page", f"{TITLE}- {{type: image, alt: x, file: fojer.png}}").problems("page")
    assert problem.remedy == "did you mean foyer.png?"


def test_the_line_of_a_text_of_many_lines_is_the_line_of_the_mistake(project: Written) -> None:
    project.blocks(
        "page", "- type: text\n  text: |\n    # Dag\n\n    {{ person.first_name or 'u' }}\n    {{ person.frist_name }}"
    )
    (problem,) = project.problems("page")
    assert (problem.line, problem.remedy) == (project.line("frist_name"), "did you mean first_name?")


def test_what_may_be_empty_is_told_unless_the_condition_of_the_block_says_it_is_there(project: Written) -> None:
    project.blocks("page", f'{TITLE}- {{type: text, text: "{{{{ person.city }}}}"}}')
    assert [problem.warning for problem in project.problems("page")] == [True]
    project.blocks("page", f'{TITLE}- {{type: text, when: person.city, text: "{{{{ person.city }}}}"}}')
    assert project.problems("page") == []


def test_on_a_page_everything_may_be_empty_since_nobody_may_know_the_visitor(project: Written) -> None:
    text = f'{TITLE}- {{type: text, text: "{{{{ person.last_name }}}}"}}'
    assert project.blocks("mail", text).problems("mail") == []
    (problem,) = project.blocks("page", text).problems("page")
    assert "person.last_name is empty for some" in problem.message
    project.blocks("page", text.replace('type: text, text: "{{', 'type: text, when: known, text: "{{'))
    assert project.problems("page") == []


def test_what_only_a_stranger_would_meet_is_found_by_a_trial(project: Written) -> None:
    project.blocks("page", f'{TITLE}- {{type: text, text: "{{{{ (person.last_name or none) | length }}}}"}}')
    (problem,) = [problem for problem in project.problems("page") if not problem.warning]
    assert "with a visitor whom nobody knows" in problem.message


def test_an_html_file_is_a_template_too_with_lines_of_its_own(project: Written) -> None:
    project.file(
        "note.html",
        "<!-- {{ nothing }}\n--><p>\n{{ person.frist_name }}</p>\n<script>x</script>\n<p style='color:red'>x</p>",
    )
    problems = project.blocks("page", "- {type: html, file: note.html}").problems("page")
    assert [(problem.file, problem.line, problem.warning) for problem in problems] == [
        (project.campaign / "note.html", line, warning) for line, warning in ((3, False), (4, False), (5, True))
    ]


def test_an_html_file_that_mjml_cannot_read_is_told_with_its_line(project: Written) -> None:
    project.file("note.html", '<p title="{{ person["city"] or 1 < 2 }}">a<br></p>\n<p>b')
    (problem,) = project.blocks("mail", "- {type: html, file: note.html}").problems("mail")
    assert (problem.file, problem.line) == (project.campaign / "note.html", 2)
    assert "<p> has no end of its own" in problem.message
    project.file("note.html", (project.campaign / "note.html").read_text() + "</p>")
    assert project.problems("mail") == []
    assert '<p title="Lindenstad">' in project.mail().render(context()).html


def test_a_page_without_a_title_is_told(project: Written) -> None:
    (problem,) = project.blocks("page", "- {type: text, text: Dag}").problems("page")
    assert problem.warning
    assert "this has no title" in problem.message


def test_a_page_needs_blocks_and_a_mail_has_them_or_a_file(project: Written) -> None:
    project.file("mail.html", "<p>x</p>").step("    topic: service\n", "    topic: service\n    content: mail.html\n")
    (problem,) = project.problems("mail")
    assert "a mail has `content` or `blocks`, not both" in problem.message
    project.step('    blocks:\n      - type: text\n        text: "# Bedankt"\n', "")
    (problem,) = project.problems("page")
    assert "this page is empty" in problem.message


@pytest.mark.parametrize("url", ["https://x.nl/{{ person.city }}", "https://x.nl/$voornaam"])
def test_a_redirect_leads_to_one_address(project: Written, url: str) -> None:
    project.step("    next: mail\n", f'    next: mail\n    redirect: {{url: "{url}", after_seconds: 5}}\n')
    (problem,) = project.problems("page")
    assert (problem.line, "one address for everybody" in problem.message) == (project.line(url), True)


# ---------------------------------------------------------------- links


@pytest.mark.parametrize(
    ("written", "message", "remedy"),
    [
        ("links.to('trial/from')", "there is no step trial/from", "did you mean trial/form?"),
        ("links.to('pagina')", "there is no step pagina", "did you mean page?"),
        ("links.to('trial/mail')", "trial/mail is a mail, not a form or page", None),
        ("links.to()", "`links.to` takes the name of one step", 'write links.to("campaign/step")'),
        ("links.too('page')", "links has no `too`", "did you mean to?"),
        ("links.site_url", "links has no `site_url`", None),
        ("links._links", "`_links` is not safe in a template", None),
        ("known.x", "known has no `x`", None),
    ],
)
def test_a_link_to_what_is_not_there_is_told(project: Written, written: str, message: str, remedy: str | None) -> None:
    project.blocks("mail", f'- type: text\n  text: "# Dag {{{{ {written} }}}}"')
    problem = next(problem for problem in project.problems("mail") if not problem.warning)
    assert message in problem.message
    assert remedy in (None, problem.remedy)


@pytest.mark.parametrize("written", ["links.to('page')", "links.to('trial/form')", "known and 'ja'"])
def test_a_link_to_a_form_or_page_is_fine(project: Written, written: str) -> None:
    project.blocks("mail", f'- type: text\n  text: "# Dag {{{{ {written} }}}}"')
    assert project.problems("mail") == []


def test_the_link_to_the_next_step_is_there_when_a_form_or_page_follows(project: Written) -> None:
    blocks = '- {type: text, text: "# [Door]({{ links.next }})"}'
    (problem,) = project.blocks("mail", blocks).problems("mail")
    assert "links has no `next`" in problem.message
    assert project.step("    topic: service\n", "    topic: service\n    next: page\n").problems("mail") == []


class Telling(NoLinks):
    """Links with things that no template may see."""

    secret = "the signing key"

    @property
    def site_url(self) -> str:
        return "https://secret.example"


@pytest.mark.parametrize(
    "written", ["links.secret", "links.site_url", "links['secret']", "links.to.__func__", "links.__class__"]
)
def test_the_sandbox_gives_a_template_the_links_and_nothing_behind_them(project: Written, written: str) -> None:
    project.blocks("page", f'- {{type: text, text: "# Dag {{{{ {written} }}}}"}}')
    with pytest.raises(ContentError):
        project.page().render(context() | {"links": Telling()})
