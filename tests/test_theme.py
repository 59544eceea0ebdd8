"""The theme: one look for all visitors, that a team replaces file by file; files and pictures without a way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.middleware import Middleware

from smp_pipelines.campaign.blocks import Redirect
from smp_pipelines.site.security import SecurityHeaders
from smp_pipelines.site.visitors.theme import OWN, Theme, theme_problems
from tests.support.written import PNG

Get = Callable[..., tuple[int, dict[str, str], bytes]]
BODY = Markup("<h1>Dag</h1>")
PLAIN = Theme(Path("/nowhere"))
SOON = Redirect(url="https://www.x.example/a?b=1&c=\"'", after_seconds=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "theme").mkdir()
    (tmp_path / "campaigns" / "welcome").mkdir(parents=True)
    (tmp_path / "campaigns" / "_layout").mkdir()
    (tmp_path / "campaigns" / "_layout" / "x.png").write_bytes(PNG)
    (tmp_path / "campaigns" / "welcome" / "foyer.png").write_bytes(PNG)
    (tmp_path / "campaigns" / "welcome" / "campaign.yaml").write_text("secret: true")
    (tmp_path / "smp.yaml").write_text("secret: true")
    return tmp_path


@pytest.fixture(name="get")
def getting(folder: Path) -> Get:
    """Asks the theme's files as a browser does, without a server."""
    app = Starlette(routes=[*Theme(folder).routes()], middleware=[Middleware(SecurityHeaders)])

    def get(path: str, query: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
        sent: list[dict[str, Any]] = []
        raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": raw}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
        answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], answered, b"".join(each.get("body", b"") for each in sent[1:])

    return get


def page(folder: Path, **values: Any) -> str:
    return Theme(folder).page(**{"project": None, "language": "nl", "title": "Dag", "body": BODY, **values})


# ---------------------------------------------------------------- pages


def test_a_page_has_what_a_browser_and_a_screen_reader_need(folder: Path) -> None:
    html = page(folder, language="nl_BE", title="<Dag> & zo", kind="form")
    found = lxml.html.document_fromstring(html)
    assert html.startswith("<!doctype html>\n")
    assert found.get("lang") == "nl"
    assert found.findtext(".//title") == "<Dag> & zo"
    assert [each.get("content") for each in found.iter("meta") if each.get("name") == "viewport"] == [
        "width=device-width, initial-scale=1"
    ]
    assert [each.tag for each in found.find(".//main")] == ["h1"]
    assert found.find(".//body").get("class") == "form"
    assert not list(found.iter("script", "style"))
    assert "http-equiv" not in html


@pytest.mark.parametrize(
    ("language", "seconds", "words"),
    [
        ("nl", 8, "Over 8 seconden gaat u vanzelf door naar www.x.example"),
        ("nl", 1, "Over één seconde gaat u vanzelf door naar www.x.example"),
        ("nl", 0, "U gaat nu door naar www.x.example"),
        ("en", 8, "In 8 seconds you are taken to www.x.example"),
        ("fr", 0, "You are on your way to www.x.example"),
    ],
)
def test_a_page_that_leads_on_says_where_and_when_and_has_a_link(
    folder: Path, language: str, seconds: int, words: str
) -> None:
    redirect = Redirect(url=SOON.url, after_seconds=seconds)
    found = lxml.html.document_fromstring(page(folder, language=language, redirect=redirect))
    (refresh,) = [each for each in found.iter("meta") if each.get("http-equiv") == "refresh"]
    assert refresh.get("content") == f"{seconds}; url={SOON.url}"
    (line,) = found.find_class("leads-on")
    assert " ".join(line.text_content().split()) == words
    assert [each.get("href") for each in line.iter("a")] == [SOON.url]


@settings(deadline=None)
@given(st.text(), st.text())
def test_no_title_and_no_project_changes_the_shape_of_a_page(title: str, name: str) -> None:
    values = {"project": name, "title": title, "language": "nl", "body": BODY, "redirect": None, "kind": "page"}
    usual = PLAIN.fill("page.html", {**values, "project": "x", "title": "y", "said": {}})
    odd = PLAIN.fill("page.html", {**values, "project": name or "x", "said": {}})
    tags = [
        [each.tag for each in lxml.html.document_fromstring(html).iter()] for html in (usual, odd.replace("\0", ""))
    ]
    assert tags[0] == tags[1]


def test_the_style_is_small_and_asks_nothing_of_others() -> None:
    style = (OWN / "style.css").read_text(encoding="utf-8")
    assert len(style) < 16_000
    assert "@import" not in style
    assert "url(" not in style
    assert "prefers-color-scheme: dark" in style
    assert ":focus-visible" in style
    assert "@media print" in style


# ---------------------------------------------------------------- a theme of their own


def test_a_file_of_the_project_takes_the_place_of_the_packages_own(folder: Path, get: Get) -> None:
    theirs = folder / "theme" / "page.html"
    theme = Theme(folder)
    values: dict[str, Any] = {"project": None, "language": "nl", "title": "Dag", "body": BODY}
    assert "<header" not in theme.page(**values)
    theirs.write_text("<!doctype html><title>{{ title }}</title><b>eigen</b>{{ body }}{{ address('style.css') }}")
    assert theme.page(**values).startswith(
        "<!doctype html><title>Dag</title><b>eigen</b><h1>Dag</h1>/theme/style.css?v="
    )
    theirs.write_text("<b>anders</b>")
    assert theme.page(**values) == "<b>anders</b>"
    (folder / "theme" / "style.css").write_text("b { color: red }")
    assert get("/theme/style.css")[2] == b"b { color: red }"
    theirs.unlink()
    assert theme.page(**values).startswith("<!doctype html>\n<html")
    assert theme_problems(folder) == []


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("<p>\n{% if title %}", 2),
        ("\n\n{{ titel }}", 3),
        ("{{ ''.__class__.__mro__ }}", 1),
        ("\n{% include '../smp.yaml' %}", 2),
        ("\n{{ title.nothing() }}", 2),
        ("{{ title | nothing }}", 1),
    ],
)
def test_a_template_that_cannot_be_used_is_told_and_the_packages_own_is_shown(
    folder: Path, template: str, line: int
) -> None:
    (folder / "theme" / "page.html").write_text(template)
    (problem,) = theme_problems(folder)
    assert (problem.file, problem.line, problem.warning) == (folder / "theme" / "page.html", line, False)
    assert "until then visitors see the page of the package" in (problem.remedy or "")
    assert page(folder).startswith("<!doctype html>\n<html")
    assert "secret" not in page(folder)


def test_another_template_is_looked_at_too(folder: Path) -> None:
    (folder / "theme" / "form.html").write_text("{% for %}")
    assert [problem.file for problem in theme_problems(folder)] == [folder / "theme" / "form.html"]


# ---------------------------------------------------------------- files


def test_the_themes_files_and_pictures_of_campaigns_are_given_with_strict_headers(get: Get) -> None:
    for path, kind in (("/theme/style.css", "text/css; charset=utf-8"), ("/media/welcome/foyer.png", "image/png")):
        status, headers, body = get(path)
        assert (status, headers["content-type"]) == (200, kind)
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "public, max-age=300"
        assert body


def test_a_browser_that_has_the_file_gets_nothing_but_that_it_is_the_same(get: Get, folder: Path) -> None:
    _, headers, _ = get("/media/welcome/foyer.png")
    assert get("/media/welcome/foyer.png", If_None_Match=f'"x", W/{headers["etag"]}')[::2] == (304, b"")
    (folder / "campaigns" / "welcome" / "foyer.png").write_bytes(PNG + b"x")
    assert get("/media/welcome/foyer.png", If_None_Match=headers["etag"])[0] == 200


def test_an_address_with_the_mark_of_a_file_is_kept_until_the_file_changes(get: Get, folder: Path) -> None:
    address = lxml.html.document_fromstring(page(folder)).xpath("//link[@rel='stylesheet']/@href")[0]
    path, _, query = address.partition("?")
    assert get(path, query)[1]["cache-control"] == "public, max-age=31536000, immutable"
    assert get(path, "v=other")[1]["cache-control"] == "public, max-age=300"


@pytest.mark.parametrize(
    "path",
    [
        *("/media/welcome/campaign.yaml", "/media/welcome/nothing.png", "/media/_layout/x.png", "/media/../foyer.png"),
        *(
            "/media/welcome/../welcome/foyer.png",
            "/media/welcome/..",
            "/media/welcome/.hidden.png",
            "/media/x/foyer.png",
        ),
        *("/media/welcome/foyer.png\0", "/media/welcome/foyer.PNG", "/media/welcome/link.png", "/media//foyer.png"),
        *(
            "/theme/page.html",
            "/theme/form.html",
            "/theme/../theme.py",
            "/theme/%2e%2e",
            "/theme/style.css/",
            "/theme/",
        ),
    ],
)
def test_nothing_else_is_given(get: Get, folder: Path, path: str) -> None:
    (folder / "campaigns" / "welcome" / ".hidden.png").write_bytes(PNG)
    (folder / "secret.png").write_bytes(b"secret")
    (folder / "campaigns" / "welcome" / "link.png").symlink_to(folder / "secret.png")
    status, _, body = get(path)
    assert status in (404, 307)
    assert b"secret" not in body
