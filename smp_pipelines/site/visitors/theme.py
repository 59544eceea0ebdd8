"""The theme: how the pages for visitors look. A project's own folder theme/ replaces it, file by file.

Templates run in Jinja's sandbox, with what they may show and nothing else. One of the project's own that cannot be
used is told by `smp check`, and the package's own stands in for it: visitors always see a page.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from jinja2 import FunctionLoader, StrictUndefined, TemplateError, TemplateNotFound
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup
from starlette.routing import Route

from smp_pipelines.campaign.blocks import Redirect
from smp_pipelines.campaign.models import Project
from smp_pipelines.problems import Problem
from smp_pipelines.site.visitors.files import PICTURES, file_mark, give_file
from smp_pipelines.site.visitors.phrases import phrases_in

FOLDER = "theme"
"""A project's folder with its own files of the theme."""
OWN = Path(__file__).parent / "theme"
PAGE = "page.html"
_KINDS = PICTURES | {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".ico": "image/x-icon"}
"""The kinds of files that /theme/ gives; templates are none of them."""
_FAULTS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, OSError)
_TEMPLATE = re.compile(r"[A-Za-z0-9_-]+\.html")
"""What a template may include: another one of the theme, and no file elsewhere."""
_log = logging.getLogger(__name__)


class Theme:
    """The pages of one project for visitors. Files are looked at anew for each page: an edit is seen at once."""

    def __init__(self, project_folder: Path) -> None:
        self._folder = project_folder / FOLDER
        self._campaigns = project_folder / "campaigns"
        self._theirs = _environment([self._folder, OWN])
        self._ours = _environment([OWN])

    def page(
        self,
        *,
        project: Project | None,
        language: str,
        title: str,
        body: Markup,
        redirect: Redirect | None = None,
        kind: str = "page",
    ) -> str:
        """A whole page for a visitor, by the template page.html.

        project: None while its settings cannot be read. language: of the words, e.g. nl or nl_BE. redirect: where the
        page leads by itself, shown and told (F14). kind: a class on <body>: page, form, ask or message.
        """
        values = {
            "project": project.name if project else "",
            "language": language.partition("_")[0],
            "title": title,
            "body": body,
            "redirect": _leading(redirect) if redirect else None,
            "kind": kind,
            "said": phrases_in(language),
        }
        return str(self.fill(PAGE, values))

    def form(self, **values: Any) -> Markup:
        """A form, by the template form.html."""
        return self.fill("form.html", values)

    def fill(self, name: str, values: Mapping[str, Any]) -> Markup:
        """A template of the theme with these values; the package's own when the project's fails."""
        values = {"address": self._address, **values}
        if (self._folder / name).is_file():
            try:
                return Markup(self._theirs.get_template(name).render(values))  # noqa: S704 - it escapes
            except _FAULTS as error:
                # no values: they are a visitor's
                _log.warning("theme/%s cannot be used, see smp check (%s)", name, type(error).__name__)
        return Markup(self._ours.get_template(name).render(values))  # noqa: S704 - it escapes

    def routes(self) -> list[Route]:
        """Give the theme's files, and the pictures of campaigns."""
        return [
            Route("/theme/{file}", give_file(self._theme_file, _KINDS)),
            Route("/media/{campaign}/{file}", give_file(self._picture, PICTURES)),
        ]

    def _address(self, file: str) -> str:
        """Where a browser gets a file of the theme: with its mark, so that it may keep it until it changes."""
        found = self._theme_file({"file": file})
        mark = f"?v={file_mark(found)}" if found else ""
        return f"/theme/{file}{mark}"

    def _theme_file(self, parts: Mapping[str, str]) -> Path | None:
        return _first([self._folder, OWN], parts["file"])

    def _picture(self, parts: Mapping[str, str]) -> Path | None:
        campaign = parts["campaign"]
        if campaign.startswith(("_", ".")):
            return None
        return self._campaigns / campaign / parts["file"]


@dataclass(frozen=True)
class Leading:
    """Where a page leads by itself, as page.html shows it: the address, its host, and when."""

    url: str
    host: str
    after_seconds: int


def _leading(redirect: Redirect) -> Leading:
    return Leading(redirect.url, urlsplit(redirect.url).hostname or redirect.url, redirect.after_seconds)


def theme_problems(project_folder: Path) -> list[Problem]:
    """What is wrong in the project's own templates, each with its line; those of the package stand in for them."""
    environment = _environment([project_folder / FOLDER, OWN])
    problems = []
    for file in sorted((project_folder / FOLDER).glob("*.html")):
        try:
            template = environment.get_template(file.name)
            if file.name == PAGE:
                for redirect in (None, Leading("https://www.example.org/", "www.example.org", 5)):
                    template.render({**_TRIAL, "redirect": redirect})
        except _FAULTS as error:
            remedy = "mend it, or take it away: until then visitors see the page of the package"
            words = f"this template cannot be used: {error}"
            problems.append(Problem(file, getattr(error, "lineno", None) or _line_in(error, file), words, remedy))
    return problems


def _line_in(error: BaseException, file: Path) -> int | None:
    """The line of a template on which it failed; Jinja gives templates places in the traceback."""
    lines = [each.tb_lineno for each in _frames(error) if each.tb_frame.f_code.co_filename == str(file)]
    return lines[-1] if lines else None


def _frames(error: BaseException) -> Iterator[TracebackType]:
    frame = error.__traceback__
    while frame is not None:
        yield frame
        frame = frame.tb_next


def _environment(folders: Sequence[Path]) -> ImmutableSandboxedEnvironment:
    """Jinja's sandbox over the templates of these folders; the first that has a file is meant."""

    def load(name: str) -> tuple[str, str, Callable[[], bool]]:
        file = _first(folders, name) if _TEMPLATE.fullmatch(name) else None
        if file is None:
            raise TemplateNotFound(name)
        changed = file.stat().st_mtime_ns

        def is_up_to_date() -> bool:
            return _first(folders, name) == file and file.stat().st_mtime_ns == changed

        return file.read_text(encoding="utf-8"), str(file), is_up_to_date

    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(load), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.clear()
    return environment


def _first(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


_TRIAL: Mapping[str, Any] = {
    "project": "A project",
    "language": "en",
    "title": "A title",
    "body": Markup("<h1>A title</h1>"),
    "kind": "page",
    "said": phrases_in("en"),
    "address": lambda file: f"/theme/{file}",
}
"""What page.html is tried with."""
