"""Blocks: the same ones make pages and mails, and nothing of a person gets out of its place (F07, F13)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from smp_pipelines.campaign.content.addresses import web_address
from smp_pipelines.campaign.content.mail import Content
from smp_pipelines.campaign.content.page import PageContent, empty_context
from smp_pipelines.campaign.content.pictures import picture_size
from tests.support.written import PNG, Written, context

EVERYTHING = """\
- type: text
  text: |
    # Dag {{ person.first_name }}

    Lees **{{ person.last_name }}** en [ga]({{ person.city }}) of [ga](https://x.example/?n={{ person.city }}) nu.

    - {{ person.first_name }}
- {type: image, file: foyer.png, alt: "Foyer met {{ person.first_name }}", url: "{{ person.city }}"}
- type: product
  record: performance
  show: [starts_at, hall, company]
  text: "Kies {{ person.city }}"
  url: "{{ person.city }}"
- {type: html, file: note.html}
"""
NOTE = '<p title="{{ person.first_name }}">{{ person.last_name }}</p>'
RECORD = ("    topic: service\n", "    topic: service\n    record: performance\n")


@pytest.fixture
def project(tmp_path: Path) -> Written:
    return Written.make(tmp_path / "my project").file("foyer.png", PNG).file("note.html", NOTE)


@pytest.fixture(name="everything", scope="module")
def page_of_everything(tmp_path_factory: pytest.TempPathFactory) -> PageContent:
    written = Written.make(tmp_path_factory.mktemp("blocks") / "p").file("foyer.png", PNG).file("note.html", NOTE)
    written.blocks("page", EVERYTHING)
    assert [problem for problem in written.problems("page") if not problem.warning] == []
    return written.page()


def tree(html: str) -> Any:
    return lxml.html.fragment_fromstring(html, create_parent="main")


def shape(html: str) -> list[tuple[str, tuple[str, ...]]]:
    """The elements of a page with the names of their attributes."""
    return [(each.tag, tuple(each.attrib)) for each in tree(html).iter()]


# ---------------------------------------------------------------- pages


def test_what_is_above_the_form_and_below_it_stays_there(project: Written) -> None:
    project.blocks("form", "- {type: text, text: '# Boven'}\n- {type: form}\n- {type: text, text: Onder}")
    body = project.page("form").render(context(), Markup("<form></form>")).body
    assert [each.tag for each in tree(body).iter("h1", "form", "p")] == ["h1", "form", "p"]


def test_a_text_is_markdown_with_its_tags_kept(project: Written) -> None:
    project.blocks(
        "page", "- type: text\n  text: |\n    Dag **{{ person.first_name | upper }}**, <b>x</b> & `{{ person.city }}`"
    )
    body = project.page().render(context(first_name="a*b_c")).body
    assert "<p>Dag <strong>A*B_C</strong>, &lt;b&gt;x&lt;/b&gt; &amp; <code>Lindenstad</code></p>" in body


def test_tags_of_control_stand_between_paragraphs_and_around_lines_of_a_list(project: Written) -> None:
    text = "een\n{% if person.city %}\ntwee\n{% endif %}\n\n{% for n in range(2) %}\n- nr {{ n }}\n{% endfor %}\ndrie"
    project.blocks("page", "- type: text\n  text: |\n" + "".join(f"    {line}\n" for line in text.splitlines()))
    filled, empty = (project.page().render(context(city=city)).body for city in ("x", None))
    assert [each.text_content() for each in tree(filled).iter("p", "li")] == ["een", "twee", "nr 0", "nr 1", "drie"]
    assert [each.text_content() for each in tree(empty).iter("p")] == ["een", "drie"]


def test_a_block_with_a_condition_is_shown_when_it_holds(project: Written) -> None:
    project.blocks(
        "page",
        "- {type: text, when: person.city == 'Lindenstad', text: Om de hoek}\n"
        "- {type: text, when: known, text: Wij kennen u}",
    )
    page = project.page()
    assert "Om de hoek" in page.render(context()).body
    assert "Om de hoek" not in page.render(context(city="Elders")).body
    assert "kennen" not in page.render(context() | {"known": False}).body


def test_a_picture_has_its_size_and_the_address_of_its_campaign(project: Written) -> None:
    project.blocks("page", "- {type: image, file: foyer.png, alt: De foyer}")
    body = project.page().render(context()).body
    assert '<img src="/media/trial/foyer.png" alt="De foyer" width="640" height="360">' in body


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"GIF89a\x07\x00\x05\x00", (7, 5)),
        (b"\xff\xd8\xff\xe0\x00\x04JF\xff\xc2\x00\x11\x08\x01\x00\x02\x00", (512, 256)),
        (b"RIFF\0\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0\x1f\x03\0\x57\x02\0", (800, 600)),
        (b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\xff\xc0\x3f\0", (256, 256)),
        (b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x40\x01\xf0\0", (320, 240)),
        *((data, None) for data in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"hello", b"GIF89a\0\0\0\0")),
    ],
)
def test_the_size_of_a_picture_is_read_from_its_first_bytes(tmp_path: Path, data: bytes, size: object) -> None:
    (tmp_path / "x").write_bytes(data)
    assert picture_size(tmp_path / "x") == size


def test_a_product_shows_its_title_and_columns_each_as_its_type_asks(project: Written) -> None:
    project.blocks("page", "- {type: product, record: performance, show: [starts_at, duration_minutes, company]}")
    body = project.page().render(context()).body
    assert [each.text for each in tree(body).iter("h2", "p")] == [
        "De Kersentuin",
        "vrijdag 4 december 2026, 20:15",
        "105",
    ]
    body = project.page().render(empty_context(project.load().step("trial/page"), project.load())).body
    assert body == ""


def test_amounts_and_days_are_written_in_the_language_of_the_step(project: Written) -> None:
    project.settings("records:\n", "records:\n  gift: {table: crm.donation, key: donation_id, title: fund}\n")
    project.step("record: performance", "record: gift\n    language: en")
    project.blocks("page", "- {type: product, record: gift, show: [amount, donated_at]}")
    assert [problem for problem in project.problems("page") if not problem.warning] == []
    gift = {"fund": "Trees", "amount": 12.5, "donated_at": context()["performance"]["starts_at"]}
    page = project.page()
    body = page.render(context() | {"gift": gift}).body
    assert "€12.50" in body
    assert "Friday December 4, 2026, 8:15" in body
    assert page.language == "en"


# ---------------------------------------------------------------- nothing gets out of its place


@settings(deadline=None)
@given(st.text(), st.text(), st.text())
def test_no_text_of_a_person_changes_the_shape_of_a_page(
    everything: PageContent, one: str, two: str, three: str
) -> None:
    usual = shape(everything.render(context(first_name="x", last_name="x", city="x")).body)
    odd = everything.render(context(first_name=one or "y", last_name=two or "y", city=three or "y")).body
    assert shape(odd.replace("\x00", "").replace("\x1f", "")) == usual


@pytest.mark.parametrize(
    "text", ['"><script>x</script>', "[a](https://b.example)", "**x**", "{{ 7 * 7 }}", "{% if 1 %}", "&lt;"]
)
def test_a_value_is_never_read_as_html_markdown_or_a_template(everything: PageContent, text: str) -> None:
    page = everything.render(context(first_name=text, last_name=text))
    (heading,) = tree(page.body).iter("h1")
    assert heading.text_content() == f"Dag {text}"
    assert page.title == f"Dag {text}"
    (strong,) = tree(page.body).iter("strong")
    assert strong.text_content() == text


BAD = [
    "javascript:alert(1)",
    " JaVaScRiPt:x",
    "java\tscript:x",
    "data:text/html,x",
    "vbscript:x",
    "//evil.example",
    "/\\evil.example",
    "evil",
    "",
]


@pytest.mark.parametrize("address", BAD)
def test_a_value_cannot_make_a_script_or_another_site_of_an_address(everything: PageContent, address: str) -> None:
    links = [each.get("href") for each in tree(everything.render(context(city=address)).body).iter("a")]
    guarded = [link for link in links if not link.startswith("https://x.example/?n=")]
    assert guarded == ["#"] * 3


@settings(deadline=None)
@given(st.text())
def test_an_address_is_kept_or_leads_nowhere(text: str) -> None:
    assert web_address(text) in (text.strip(), "#")
    assert re.match(r"(https?://|mailto:|tel:|/(?![/\\])|#|\?)", web_address(text), re.IGNORECASE)


@pytest.mark.parametrize(
    "address", ["https://x.example/a?b=1&c", "mailto:a@b.example", "tel:+31101234567", "/s/a/b", "#x"]
)
def test_a_value_may_be_an_address_of_the_web(everything: PageContent, address: str) -> None:
    links = [each.get("href") for each in tree(everything.render(context(city=address)).body).iter("a")]
    assert links.count(address) == 3


# ---------------------------------------------------------------- mails


def test_a_mail_of_blocks_has_an_html_and_a_text_part_in_the_order_of_the_blocks(project: Written) -> None:
    project.step(*RECORD).blocks("mail", EVERYTHING)
    assert [problem for problem in project.problems("mail") if not problem.warning] == []
    mail = project.mail().render(context(city="https://x.example/") | {"site_url": "https://site.example"})
    assert 'src="https://site.example/media/trial/foyer.png"' in mail.html
    assert "width:536px" in mail.html
    order = [
        "Dag Anna",
        "Lees Bakker",
        "* Anna",
        "De Kersentuin",
        "vrijdag 4 december 2026, 20:15",
        "Grote Zaal",
        "Kies https",
    ]
    places = [mail.text.index(each) for each in order]
    assert places == sorted(places)
    assert "{" not in mail.text


def test_a_condition_holds_in_both_parts_of_a_mail(project: Written) -> None:
    project.blocks(
        "mail",
        '- {type: text, text: "# Dag"}\n- {type: button, when: person.city == "Lindenstad", text: Kom, url: "https://x.example"}',
    )
    here, elsewhere = (project.mail().render(context(city=city)) for city in ("Lindenstad", "Elders"))
    assert ("Kom" in here.html, "Kom" in here.text) == (True, True)
    assert ("Kom" in elsewhere.html, "Kom" in elsewhere.text) == (False, False)


def test_a_condition_may_compare(project: Written) -> None:
    project.step(*RECORD).blocks("mail", '- {type: text, when: performance.duration_minutes < 106, text: "# Kort"}')
    assert project.problems("mail") == []
    assert project.mail().render(context()).text.startswith("De Linde\n\nKort\n")


def test_the_pictures_of_a_mail_come_from_the_site_that_its_links_lead_to(project: Written) -> None:
    class OnSite(type(context()["links"])):  # type: ignore[misc]
        site_url = "https://links.example"

    project.blocks("mail", "- {type: image, file: foyer.png, alt: Foyer}")
    html = project.mail().render(context() | {"links": OnSite()}).html
    assert 'src="https://links.example/media/trial/foyer.png"' in html


def test_a_mail_without_a_layout_of_its_own_can_be_viewed_and_unsubscribed_from(project: Written) -> None:
    assert "Bekijk hem in uw browser: # of meld u af: #." in project.mail().render(context()).text
    english = project.step("send: trigger", "send: trigger\n    language: en").mail().render(context())
    assert "View it in your browser: # or unsubscribe: #." in english.text
    assert '<html lang="en"' in english.html


def test_the_projects_own_layout_is_used(project: Written) -> None:
    own = "<mj-section><mj-column><mj-text>Eigen, $voornaam</mj-text></mj-column></mj-section>"
    layout = f"<mjml><mj-body><smp-blocks />{own}</mj-body></mjml>"
    project.file("../_layout/mail.mjml", layout)
    assert project.mail().render(context()).text == "Dag\n\nEigen, Anna\n"
    project.file("../_layout/mail.mjml", layout.replace("<smp-blocks />", ""))
    (problem,) = project.problems("mail")
    assert "this layout has not one place for the blocks" in problem.message
    project.file("../_layout/mail.mjml", layout.replace("$voornaam", "\n{{ person.frist_name }}"))
    (problem,) = project.problems("mail")
    assert (problem.file, problem.line) == (project.folder / "campaigns" / "_layout" / "mail.mjml", 2)


@pytest.fixture(name="greeting", scope="module")
def mail_with_a_name(tmp_path_factory: pytest.TempPathFactory) -> Content:
    written = Written.make(tmp_path_factory.mktemp("mail") / "p")
    return written.blocks("mail", '- {type: text, text: "# Dag {{ person.first_name }}"}').mail()


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_a_mail_shows_a_name_as_it_is(greeting: Content, name: str) -> None:
    (heading,) = lxml.html.fromstring(greeting.render(context(first_name=name)).html).iter("h1")
    assert heading.text_content() == f"Dag {name}"
