"""The judges of the tests in a browser can say no: what axe-core, the html checker and the console tell is heard."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.support.browser import DESKTOP, PHONE, Visitor, accessible, html_errors, visiting

PLACE = "http://127.0.0.1:9/page"
GOOD = (
    '<!doctype html><html lang="en"><head><title>A page</title><meta name="viewport" content="width=device-width">'
    "<style>:root {{ color-scheme: light dark }} {style}</style></head>"
    "<body><main><h1>Hello</h1>{body}</main></body></html>"
)
DARK = "@media (prefers-color-scheme: dark)"


def show(page: Page, body: str, style: str = "", policy: str = "style-src 'unsafe-inline'") -> None:
    def answer(route: Route) -> None:
        headers = {"Content-Security-Policy": f"default-src 'none'; {policy}"}
        route.fulfill(body=GOOD.format(body=body, style=style), content_type="text/html", headers=headers)

    page.unroute("**/page")
    page.route("**/page", answer)
    page.goto(PLACE)


@pytest.mark.parametrize("javascript", [True, False])
def test_a_page_that_everybody_can_use_passes_and_another_does_not(visitor: Visitor, javascript: bool) -> None:
    page = visitor.open(javascript=javascript)
    show(page, "<label>Name <input name=name autocomplete=name></label>")
    accessible(page)
    show(page, "<input name=name>")
    with pytest.raises(AssertionError, match="label \\(critical\\)"):
        accessible(page)


@pytest.mark.parametrize(
    ("body", "style", "words"),
    [
        ("<p>Faint</p>", "p { background: #fff; color: #aaa }", "light: color-contrast (serious)"),
        (
            "<p>Faint",
            "@media (prefers-color-scheme: dark) { p { background: #000; color: #222 } }",
            "dark: color-contrast",
        ),
        ("<p>Wide", "p { width: 900px }", "the page is 9"),
    ],
)
def test_a_page_that_shuts_people_out_is_refused_with_the_rule_and_the_place(
    visitor: Visitor, body: str, style: str, words: str
) -> None:
    page = visitor.open(size=PHONE)
    show(page, body, style)
    with pytest.raises(AssertionError, match=re.escape(words)):
        accessible(page)


def test_a_page_that_breaks_its_own_policy_is_heard(browser: Browser) -> None:
    with pytest.raises(AssertionError, match="Content Security Policy"), visiting(browser) as visitor:
        show(visitor.open(), '<p style="color: red">Red', policy="")


def test_a_page_that_asks_somebody_elsewhere_is_heard(browser: Browser) -> None:
    picture = '<img alt="" src="http://tracker.example/o.gif">'
    with pytest.raises(AssertionError, match="ERR_NAME_NOT_RESOLVED"), visiting(browser) as visitor:
        show(visitor.open(size=DESKTOP), picture, policy="img-src *; style-src 'unsafe-inline'")


def test_the_html_checker_tells_the_page_and_the_line() -> None:
    good = GOOD.format(body="<p>Fine</p>", style="")
    errors = html_errors({"good": good, "bad": good.replace("<p>", "\n<p><div>")})
    assert {name for name, _ in errors} == {"bad"}
    assert any(words.startswith("line 2: No “p” element in scope") for _, words in errors)
