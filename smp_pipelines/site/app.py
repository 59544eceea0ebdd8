"""The app: the pages for colleagues (overview, steps, previews, sends) beside the public ones.

No page for colleagues changes anything. Addresses hold keys only: campaign, step, send, person id and record
id. Html that a template made is shown in a sandboxed frame, under a policy that allows no script, no form and no
outside resource.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from smp_pipelines.campaign.project import StepRef
from smp_pipelines.catcher.message import Content as Mail
from smp_pipelines.catcher.message import open_links_in_new_tab
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import Problem, ProjectError, SmpError
from smp_pipelines.sending.reasons import explain
from smp_pipelines.sending.status import read_statuses
from smp_pipelines.site.overview import make_overview
from smp_pipelines.site.public import PublicPages, is_public
from smp_pipelines.site.security import HEADERS, Doors, SecurityHeaders, mail_policy
from smp_pipelines.site.send import LATEST, PURPOSES, UnknownSendError, latest_sends, read_send_page
from smp_pipelines.site.source import Source
from smp_pipelines.site.step import Asked, make_panel, read_step
from smp_pipelines.site.wording import moment_words, sentence
from smp_pipelines.stores.clock import Clock
from smp_pipelines.stores.settings import Settings

VIEWS = {"desktop": "Desktop", "phone": "Phone", "text": "Text"}
"""The ways to look at a mail."""

Handler = Callable[[Request, Exception], Response]
"""What makes the page that tells of an error."""

_HERE = Path(__file__).parent
_LONGEST_ID = 18
"""Digits: every key with more is out of bigint's range, or nearly."""


class Pages:
    """The endpoints. They are plain functions, which Starlette runs in threads."""

    def __init__(self, source: Source, clock: Clock) -> None:
        self.source = source
        self.clock = clock
        self.templates = Jinja2Templates(_HERE / "templates")
        self.templates.env.filters.update(explain=explain, place=self._place, moment=moment_words, sentence=sentence)

    def routes(self) -> list[Route | Mount]:
        """Give every address the site answers."""
        return [
            Route("/", self.overview),
            Route("/steps/{campaign}/{step}", self.step),
            Route("/steps/{campaign}/{step}/html", self.html),
            Route("/sends", self.sends),
            Route("/sends/{send}", self.send),
            Route("/health", self.health),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ]

    def overview(self, request: Request) -> Response:
        """Show all campaigns with their steps and statuses (F02)."""
        project = self.source.deployment().project
        with self.source.connection() as connection:
            statuses = read_statuses(connection, [ref.key for ref in project.steps()])
        context = {"project": project.settings, "campaigns": make_overview(project, statuses)}
        return self.templates.TemplateResponse(request, "overview.html", context)

    def step(self, request: Request) -> Response:
        """Show one step with its preview (F09): `?person=`, `?record=`, `?view=` and `?images=1`."""
        deployment = self.source.deployment()
        ref = _find(deployment, request)
        asked = _asked(request)
        with self.source.connection() as connection:
            page = read_step(connection, deployment, ref, asked, self.clock.now())
        view = request.query_params.get("view", "")
        context = {
            "project": deployment.project.settings,
            "campaign": deployment.project.campaigns[ref.campaign],
            "page": page,
            "ref": ref,
            "asked": asked,
            "views": VIEWS,
            "view": view if view in VIEWS else "desktop",
            "images": request.query_params.get("images") == "1",
            "has_images": page.panel.preview is not None and Mail(page.panel.preview.rendered.html).has_remote_images,
        }
        # Without a person or record in the address the page itself is what was asked for, and that is there.
        status = 200 if asked.anyone else page.panel.status
        return self.templates.TemplateResponse(request, "step.html", context, status)

    def html(self, request: Request) -> Response:
        """Give the html of a preview for the frame in the step's page, under a policy that takes away all power."""
        deployment = self.source.deployment()
        ref = _find(deployment, request)
        with self.source.connection() as connection:
            panel = make_panel(connection, deployment, ref, _asked(request), self.clock.now())
        if panel.preview is None:
            raise HTTPException(panel.status, panel.message)
        page = open_links_in_new_tab(panel.preview.rendered.html)
        return HTMLResponse(page, headers=mail_policy(images=request.query_params.get("images") == "1"))

    def sends(self, request: Request) -> Response:
        """Show the latest sends of all steps."""
        project = self.source.deployment().project
        with self.source.connection() as connection:
            sends = latest_sends(connection)
        names = {ref.key: ref.step.name for ref in project.steps()}
        context = {"project": project.settings, "sends": sends, "names": names, "latest": LATEST}
        return self.templates.TemplateResponse(request, "sends.html", context)

    def send(self, request: Request) -> Response:
        """Show one send, as it is now (X3)."""
        send_id = _id(request.path_params["send"], "send")
        project = self.source.deployment().project
        with self.source.connection() as connection:
            try:
                page = read_send_page(connection, project, send_id or 0, self.clock.now())
            except UnknownSendError as error:
                raise HTTPException(404, sentence(str(error))) from error
        context = {"project": project.settings, "page": page, "purposes": PURPOSES}
        return self.templates.TemplateResponse(request, "send.html", context)

    def health(self, _request: Request) -> Response:
        """Tell that the site runs and reaches the database, and whether the project's files can be used."""
        with self.source.connection() as connection:
            connection.execute("select 1")
        try:
            return JSONResponse({"status": "ok", "steps": len(self.source.deployment().project.steps())})
        except ProjectError as error:
            return JSONResponse({"status": "ok", "problems": len(error.problems)})

    def refused(self, request: Request, error: Exception) -> Response:
        """Show what is not there or not allowed."""
        status, text = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
        headers = error.headers if isinstance(error, HTTPException) else None
        return self._error(request, status, text, headers)

    def broken_files(self, request: Request, error: Exception) -> Response:
        """Show what is wrong in the project's files."""
        context = {"problems": error.problems if isinstance(error, ProjectError) else []}
        return self.templates.TemplateResponse(request, "problems.html", context, 500)

    def unavailable(self, request: Request, error: Exception) -> Response:
        """Tell that the database does not answer."""
        text = sentence(str(error)) if isinstance(error, SmpError) else "The database does not answer."
        if request.url.path == "/health":
            return JSONResponse({"status": "unavailable", "error": text}, 503)
        return self._error(request, 503, text)

    def failed(self, request: Request, _error: Exception) -> Response:
        """Tell of a mistake of the site itself; the server's log has the details."""
        # This answer is made outside the middleware, so it brings its headers itself.
        return self._error(request, 500, "Something went wrong here. The log of the site tells what.", HEADERS)

    def _error(self, request: Request, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
        context = {"status": status, "text": text}
        return self.templates.TemplateResponse(request, "error.html", context, status, headers=headers)

    def _place(self, problem: Problem) -> str:
        """Where a problem is, seen from the project's folder: campaigns/servicemails/campaign.yaml:12."""
        if problem.file is None:
            return ""
        file = problem.file
        if file.is_relative_to(self.source.settings.project):
            file = file.relative_to(self.source.settings.project)
        return f"{file}:{problem.line}" if problem.line else str(file)


def _find(deployment: Deployment, request: Request) -> StepRef:
    """Give the step that the address names; 404 with the nearest name when there is none."""
    try:
        return deployment.project.step(f"{request.path_params['campaign']}/{request.path_params['step']}")
    except SmpError as error:
        raise HTTPException(404, sentence(str(error))) from error


def _asked(request: Request) -> Asked:
    """Read the ids in the address; 400 for one that is no id. An empty field of the form counts as none."""
    return Asked(*(_id(request.query_params.get(name, "").strip(), name) for name in ("person", "record")))


def _id(text: str, name: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > _LONGEST_ID:
        raise HTTPException(400, f"The {name} is chosen by its id, a whole number such as 1.")
    return int(text)


def make_app(settings: Settings, clock: Clock) -> Starlette:
    """Make the web application; it reads the project's files and the database anew as they change.

    It takes settings rather than a Deployment, so that it can also show a project whose files cannot be loaded.
    """
    pages = Pages(Source(settings), clock)
    public = PublicPages(pages.source, clock, pages.templates)
    host = urlsplit(settings.site_url).hostname or ""

    def told(for_colleagues: Handler) -> Handler:
        def handle(request: Request, error: Exception) -> Response:
            return (public.failed if is_public(request.url.path) else for_colleagues)(request, error)

        return handle

    return Starlette(
        routes=[*public.routes(), *pages.routes()],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(Doors, public_host=host, is_public=is_public, elsewhere=public.elsewhere),
        ],
        exception_handlers={
            HTTPException: told(pages.refused),
            ProjectError: told(pages.broken_files),
            SmpError: told(pages.unavailable),
            psycopg.OperationalError: told(pages.unavailable),
            Exception: told(pages.failed),
        },
    )
