"""The pages for colleagues: the overview, steps with their previews, and sends. Nothing here changes anything.

Addresses hold keys only: campaign, step, send, person id and record id. Html that a template made is shown in a
sandboxed frame, under a policy that allows no script, no form and no outside resource.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starlette.exceptions import HTTPException
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
from smp_pipelines.site.colleagues.ids import read_id
from smp_pipelines.site.colleagues.overview import make_overview
from smp_pipelines.site.colleagues.page_preview import PagePreview
from smp_pipelines.site.colleagues.preview import Preview
from smp_pipelines.site.colleagues.send import LATEST, PURPOSES, UnknownSendError, latest_sends, read_send_page
from smp_pipelines.site.colleagues.step import Asked, make_panel, read_step
from smp_pipelines.site.colleagues.urls import StepUrls, step_urls
from smp_pipelines.site.colleagues.wording import date_words, moment_words, sentence
from smp_pipelines.site.doors import HEALTH
from smp_pipelines.site.security import HEADERS, mail_policy, page_policy
from smp_pipelines.site.source import Source
from smp_pipelines.site.visitors.theme import Theme
from smp_pipelines.stores.clock import Clock

VIEWS = {"desktop": "Desktop", "phone": "Phone", "text": "Text"}
"""The ways to look at a mail."""
PAGE_VIEWS = {name: VIEWS[name] for name in ("desktop", "phone")}
"""The ways to look at a form or page."""

_HERE = Path(__file__).parent.parent


class Pages:
    """The endpoints. They are plain functions, which Starlette runs in threads."""

    def __init__(self, source: Source, clock: Clock, theme: Theme) -> None:
        self.source = source
        self.clock = clock
        self.theme = theme
        self.templates = Jinja2Templates(_HERE / "templates")
        self.templates.env.filters.update(
            explain=explain, place=self._place, moment=moment_words, sentence=sentence, date=date_words
        )

    def routes(self) -> list[Route | Mount]:
        """Give every address the site answers."""
        return [
            Route("/", self.overview),
            Route("/steps/{campaign}/{step}", self.step),
            Route("/steps/{campaign}/{step}/html", self.html),
            Route("/sends", self.sends),
            Route("/sends/{send}", self.send),
            Route(HEALTH, self.health),
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
            page = read_step(connection, deployment, self.theme, ref, asked, self.clock.now())
        view, views = request.query_params.get("view", ""), VIEWS if ref.step.is_mail else PAGE_VIEWS
        preview = page.panel.preview
        context = {
            "project": deployment.project.settings,
            "campaign": deployment.project.campaigns[ref.campaign],
            "page": page,
            "ref": ref,
            "asked": asked,
            "who": _who(preview),
            "urls": None if ref.step.is_mail else self._urls(deployment, ref, preview),
            "form": deployment.project.form(ref),
            "views": views,
            "view": view if view in views else "desktop",
            "images": request.query_params.get("images") == "1",
            "has_images": ref.step.is_mail and preview is not None and Mail(preview.html).has_remote_images,
        }
        # Without a person or record in the address the page itself is what was asked for, and that is there.
        status = 200 if asked.anyone else page.panel.status
        return self.templates.TemplateResponse(request, "step.html", context, status)

    def html(self, request: Request) -> Response:
        """Give the html of a preview for the frame in the step's page, under a policy that takes away all power."""
        deployment = self.source.deployment()
        ref = _find(deployment, request)
        with self.source.connection() as connection:
            panel = make_panel(connection, deployment, self.theme, ref, _asked(request), self.clock.now())
        if panel.preview is None:
            raise HTTPException(panel.status, panel.message)
        images = request.query_params.get("images") == "1"
        policy = mail_policy(images) if ref.step.is_mail else page_policy()
        return HTMLResponse(open_links_in_new_tab(panel.preview.html), headers=policy)

    def _urls(self, deployment: Deployment, ref: StepRef, preview: Preview | PagePreview | None) -> StepUrls:
        """The URLs of a form or page, the personal one for whom the preview is (F10)."""
        person, record = (preview.person_id, preview.record_id) if preview else (None, None)
        source = self.source
        return step_urls(
            deployment.project, ref, source.settings.site_url, source.signer, self.clock.now(), person, record
        )

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
        send_id = read_id(request.path_params["send"], "send")
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
        if request.url.path == HEALTH:
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


def _who(preview: Preview | PagePreview | None) -> str:
    """For whom a preview is, as the query of its address."""
    if preview is None or preview.person_id is None:
        return "visitor=unknown"
    return f"person={preview.person_id}" + (f"&record={preview.record_id}" if preview.record_id is not None else "")


def _find(deployment: Deployment, request: Request) -> StepRef:
    """Give the step that the address names; 404 with the nearest name when there is none."""
    try:
        return deployment.project.step(f"{request.path_params['campaign']}/{request.path_params['step']}")
    except SmpError as error:
        raise HTTPException(404, sentence(str(error))) from error


def _asked(request: Request) -> Asked:
    """Read the ids in the address; 400 for one that is no id. An empty field of the form counts as none."""
    person, record = (read_id(request.query_params.get(name, "").strip(), name) for name in ("person", "record"))
    return Asked(person, record, unknown=person is None and request.query_params.get("visitor") == "unknown")
