"""Page content: the body of a form or page, compiled once, for known visitors and for strangers (F07, F13)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from smp_pipelines.campaign.content.links import NoLinks
from smp_pipelines.campaign.content.mail import ContentError
from smp_pipelines.campaign.content.page import PageContent, empty_context
from smp_pipelines.campaign.project import load_project
from smp_pipelines.problems import ProjectError
from tests.support.written import ROOT, Written, context


@pytest.fixture
def project(tmp_path: Path) -> Written:
    return Written.make(tmp_path / "my project")


@pytest.fixture(name="greeting", scope="module")
def page_with_a_name(tmp_path_factory: pytest.TempPathFactory) -> PageContent:
    written = Written.make(tmp_path_factory.mktemp("page") / "p")
    return written.blocks("page", '- {type: text, text: "# Dag *{{ person.first_name }}* & co"}').page()


def test_the_title_is_the_first_heading_as_plain_text(greeting: PageContent) -> None:
    page = greeting.render(context(first_name="Jan <& Co>"))
    assert page.title == "Dag Jan <& Co> & co"
    assert "<h1>Dag <em>Jan &lt;&amp; Co&gt;</em> &amp; co</h1>" in page.body


@settings(deadline=None)
@given(st.text())
def test_the_title_is_one_line_whatever_somebody_is_called(greeting: PageContent, name: str) -> None:
    title = greeting.render(context(first_name=name)).title
    assert title == " ".join(f"Dag {name} & co".split())


def test_a_page_without_a_heading_has_the_name_of_the_project(project: Written) -> None:
    assert project.blocks("page", "- {type: text, text: Dag}").page().render(context()).title == "De Linde"


def test_the_form_stands_where_its_block_is_and_is_not_escaped(project: Written) -> None:
    form = Markup('<form method="post"><input name="a"></form>')
    body = project.page("form").render(context(), form).body
    assert body == f'<div class="block form">{form}</div>'
    assert project.page("form").render(context()).body == '<div class="block form"></div>'


def test_html_that_is_no_markup_is_escaped_at_the_place_of_the_form(project: Written) -> None:
    assert "&lt;b&gt;" in project.page("form").render(context(), "<b>").body  # type: ignore[arg-type]


def test_a_stranger_has_every_row_and_nothing_in_them(project: Written) -> None:
    loaded = project.load()
    rows = empty_context(loaded.step("trial/page"), loaded)
    assert set(rows) == {"person", "organisation", "performance", "known"}
    assert (rows["known"], rows["organisation"]) == (False, None)
    assert {"first_name", "email", "created_at"} <= set(rows["person"])
    assert set(rows["person"].values()) | set(rows["performance"].values()) == {None}


def test_dates_are_in_the_language_of_the_step_and_the_rest_in_that_of_the_project(project: Written) -> None:
    text = '- {type: text, text: "# {{ performance.starts_at | weekday }} {{ step.language }}"}'
    assert project.blocks("page", text).page().render(context()).title == "vrijdag nl"
    assert project.page().language == "nl"
    project.step("    name: Een pagina\n", "    name: Een pagina\n    language: en_GB\n")
    assert project.page().render(context()).title == "Friday en"
    assert project.page().language == "en"


def test_a_mail_is_in_the_language_of_its_step_too(project: Written) -> None:
    project.blocks("mail", '- {type: text, text: "# {{ person.birth_date | date }}"}')
    assert "29 februari 2000" in project.mail().render(context()).text
    project.step("    name: Een mail\n", "    name: Een mail\n    language: en\n")
    assert "February 29, 2000" in project.mail().render(context()).text


def test_a_value_that_does_not_fit_is_told_without_the_value(project: Written) -> None:
    page = project.blocks("page", '- {type: text, text: "# {{ person.first_name | round }}"}').page()
    with pytest.raises(ContentError, match="step trial/page: this page cannot be made") as told:
        page.render(context(first_name="Wachtwoord"))
    assert "Wachtwoord" not in str(told.value)


def test_blocks_that_do_not_compile_are_told_with_the_step(project: Written) -> None:
    with pytest.raises(ProjectError, match="these blocks do not compile"):
        project.blocks("page", '- {type: text, text: "# {% if %}"}').page()


def test_every_form_and_page_of_the_sample_can_be_made_for_a_stranger(tmp_path: Path) -> None:
    for part in ("campaigns", "forms", "sql/schema"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "smp.yaml", tmp_path)
    loaded = load_project(tmp_path)
    on_site = [ref for ref in loaded.steps() if not ref.step.is_mail]
    assert len(on_site) >= 5
    for ref in on_site:
        page = PageContent.compile(ref, loaded).render(empty_context(ref, loaded) | {"links": NoLinks()})
        assert page.title
        assert "None" not in page.body
        assert ref.step.channel != "form" or page.body.count('<div class="block form">') == 1
