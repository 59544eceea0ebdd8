"""The public pages: what links in mails lead to. A GET only asks; a POST, from the page's own button, changes.

They answer under the site's public host too (SMP_SITE_URL), which the pages for colleagues do not. The signed
token in the address is the permission: there is no cookie, no login, and so nothing that another site could
abuse. Nobody's address or name is in the address, and none is written to a log.
"""

from __future__ import annotations

from email.utils import parseaddr
from typing import Any

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from smp_pipelines.campaign.models import Project
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.problems import ProjectError, SmpError
from smp_pipelines.sending.decisions import Decidable, NotThereError, decidable, decide
from smp_pipelines.sending.links import (
    BadLinkError,
    DecisionLink,
    LinkSigner,
    decision_path,
    read_decision,
    read_unsubscribe,
)
from smp_pipelines.sending.personal import ExpiredLinkError
from smp_pipelines.sending.unsubscribing import Mailed, UnknownMailError, read_mailed, topic_names, unsubscribe
from smp_pipelines.site.endpoints import get_or_post
from smp_pipelines.site.security import HEADERS
from smp_pipelines.site.source import Source
from smp_pipelines.site.visitors.phrases import decision_words, moment_in_words, names_in_words, phrases
from smp_pipelines.site.visitors.theme import Theme
from smp_pipelines.stores.clock import Clock
from smp_pipelines.stores.postgres import PostgresGoneError

PREFIXES = ("/s/", "/p/", "/t/", "/y/", "/c/", "/o/", "/v/", "/u/", "/r/", "/media/", "/theme/", "/static/")
"""Where the paths begin that answer under the public host."""

_NOT_FOUND_BY_MACHINES = {"X-Robots-Tag": "noindex, nofollow"}


def is_public(path: str) -> bool:
    """Whether a path is for everybody, and not for colleagues on this machine only."""
    return path.startswith(PREFIXES)


class PublicPages:
    """The endpoints of the links in mails: approve and block (F26, F27), and unsubscribe (RFC 8058)."""

    def __init__(self, source: Source, clock: Clock, templates: Jinja2Templates, theme: Theme) -> None:
        self.source = source
        self.clock = clock
        self.templates = templates
        self.theme = theme

    def routes(self) -> list[Route]:
        """Give every public address."""
        both = ["GET", "POST"]
        return [
            Route("/r/{token}", get_or_post(self.ask_decision, self.take_decision), methods=both),
            Route("/u/{token}", get_or_post(self.ask_unsubscribe, self.take_unsubscribe), methods=both),
        ]

    def ask_decision(self, request: Request, status: int = 200) -> Response:
        """Show the record, how it stands and what the button will do; changes nothing."""
        link, project = read_decision(self._signer(), _token(request)), self.source.working().project
        with self.source.connection() as connection:
            found = decidable(connection, project, link.step, link.record_id)
        said = phrases(project.settings)
        outlook = said[_outlook(link, found)].format(title=found.title)
        possible = link.verdict == "approved" or found.can_block
        verb = "approve" if link.verdict == "approved" else "block"
        context = _record(project, link, found) | {"outlook": outlook, "possible": possible, "verb": verb, "done": None}
        return self._page("decision", project.settings, context | {"title": said[f"ask_{verb}"]}, status)

    def take_decision(self, request: Request, _form: dict[str, str]) -> Response:
        """Do what the link says, then show what is so now and the way back."""
        link, project = read_decision(self._signer(), _token(request)), self.source.working().project
        with self.source.writing() as connection:
            found = decidable(connection, project, link.step, link.record_id)
            if link.verdict == "blocked" and not found.can_block:
                return self.ask_decision(request, 409)
            decide(connection, project, link.step, link.record_id, link.verdict, link.person_id, self.clock.now())
            found = decidable(connection, project, link.step, link.record_id)
        kept = link.verdict == "approved" and found.blocked
        back = decision_path(self._signer(), link.other) if found.can_block and not kept else None
        done = "done_kept" if kept else f"done_{link.verdict}"
        context = _record(project, link, found) | {"done": done, "back": back}
        return self._page("decision", project.settings, context | {"title": phrases(project.settings)[done]})

    def ask_unsubscribe(self, request: Request) -> Response:
        """Show what the reader will get no more of; changes nothing, since mail scanners open links."""
        link, project = read_unsubscribe(self._signer(), _token(request)), self.source.working().project
        with self.source.connection() as connection:
            mailed = read_mailed(connection, project, *link)
        return self._unsubscribe_page(project, _topics(project, mailed), done=mailed.already)

    def take_unsubscribe(self, request: Request, form: dict[str, str]) -> Response:
        """Unsubscribe: by one click of the mail program (RFC 8058) or by the page's button. 200, no redirect."""
        one_click = form.get("list-unsubscribe", "").lower() == "one-click"
        if not one_click and form.get("confirm") != "yes":
            raise HTTPException(400)
        link, project = read_unsubscribe(self._signer(), _token(request)), self.source.working().project
        with self.source.writing() as connection:
            mailed = read_mailed(connection, project, *link)
            context = _topics(project, mailed)
            wording = phrases(project.settings)["wording"].format(names=context["names"])
            unsubscribe(connection, mailed, "one_click" if one_click else "unsubscribe_page", wording, self.clock.now())
        return self._unsubscribe_page(project, context, done=True)

    def _unsubscribe_page(self, project: LoadedProject, context: dict[str, Any], *, done: bool) -> Response:
        title = phrases(project.settings)["done_unsubscribed" if done else "ask_unsubscribe"]
        return self._page("unsubscribe", project.settings, context | {"done": done, "title": title})

    def failed(self, _request: Request, error: Exception) -> Response:
        """Tell in words why a page cannot be shown: a bad link, something that is gone, a fault of ours."""
        status, what = _fault(error)
        settings = self._settings()
        said = phrases(settings)
        context = {"title": said[what], "words": said[f"{what}_words"]}
        return self._page("message", settings, context, status)

    def elsewhere(self, request: Request) -> Response:
        """Tell somebody from outside that there is nothing at this address."""
        return self.failed(request, HTTPException(404))

    def _settings(self) -> Project | None:
        try:
            return self.source.working().project.settings
        except SmpError:
            return None

    def _signer(self) -> LinkSigner:
        return self.source.signer

    def _page(self, name: str, project: Project | None, context: dict[str, Any], status: int = 200) -> Response:
        said = phrases(project)
        template = self.templates.get_template(f"public_{name}.html")
        body = Markup(template.render({"said": said, "project": project} | context))  # noqa: S704 - it escapes
        page = self.theme.page(project=project, language=said["lang"], title=context["title"], body=body, kind="ask")
        # an answer to a fault of ours is made outside the middleware, so it brings all headers itself
        return HTMLResponse(page, status, headers=HEADERS | _NOT_FOUND_BY_MACHINES)


def _token(request: Request) -> str:
    return str(request.path_params["token"])


def _outlook(link: DecisionLink, found: Decidable) -> str:
    """The phrase for what the button will do."""
    if link.verdict == "blocked":
        return "no_block" if not found.can_block else "will_stay" if found.blocked else "will_block"
    return "will_keep" if found.keeps_block else "will_unblock" if found.blocked else "will_approve"


def _record(project: LoadedProject, link: DecisionLink, found: Decidable) -> dict[str, Any]:
    said = phrases(project.settings)
    latest = decision_words(said, found.latest, project.settings) if found.latest else None
    moment = moment_in_words(said, found.moment, project.settings) if found.moment else None
    return {"found": found, "link": link, "latest": latest, "moment": moment}


def _topics(project: LoadedProject, mailed: Mailed) -> dict[str, Any]:
    step = mailed.ref.step if mailed.ref else None
    return {
        "names": names_in_words(phrases(project.settings), topic_names(project, mailed.topics) if step else []),
        "contact": parseaddr(step.reply_to or step.sender)[1] if step else None,
    }


def _fault(error: Exception) -> tuple[int, str]:
    """The HTTP status of an error and the phrase that tells it."""
    match error:
        case BadLinkError():
            return 400, "bad_link"
        case ExpiredLinkError():
            return 410, "expired_link"
        case UnknownMailError():
            return 404, "gone_mail"
        case NotThereError():
            return 404, "gone_record"
        case HTTPException(status_code=404):
            return 404, "nothing_here"
        case HTTPException(status_code=status):
            return status, "bad_request"
        case ProjectError() | PostgresGoneError():
            return 503, "away"
        case SmpError():
            return 404, "gone_record"
    return 500, "away"
