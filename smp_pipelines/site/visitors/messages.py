"""Messages: pages of a few words: what a visitor is told when there is no form or page to show."""

from __future__ import annotations

from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from smp_pipelines.campaign.models import Project
from smp_pipelines.problems import SmpError
from smp_pipelines.site.source import Source
from smp_pipelines.site.visitors.phrases import phrases_in
from smp_pipelines.site.visitors.theme import Theme


class ToldError(Exception):
    """A visitor is told something instead of what was asked for. phrase: a key of the phrases, with `…_words`.

    language: of the step, where there is one; else the project's.
    """

    def __init__(self, status: int, phrase: str, language: str | None = None) -> None:
        super().__init__(phrase)
        self.status = status
        self.phrase = phrase
        self.language = language


class Messages:
    """Makes those pages, in the theme."""

    def __init__(self, source: Source, theme: Theme) -> None:
        self._source = source
        self._theme = theme

    def page(self, told: ToldError) -> Response:
        """The page of a message."""
        settings = self._settings()
        language = told.language or (settings.language if settings else "nl")
        said = phrases_in(language)
        body = Markup("<h1>{}</h1>\n<p>{}</p>").format(said[told.phrase], said[f"{told.phrase}_words"])
        html = self._theme.page(project=settings, language=language, title=said[told.phrase], body=body, kind="message")
        return HTMLResponse(html, told.status, headers={"X-Robots-Tag": "noindex, nofollow"})

    def error_title(self, title: str, language: str) -> str:
        """The title of a form that is not right yet: who hears it, hears that first."""
        return phrases_in(language)["error_title"].format(title=title)

    def _settings(self) -> Project | None:
        try:
            return self._source.working().project.settings
        except SmpError:
            return None
