"""The app: the site's parts put together: forms and pages, links in mails, the pages for colleagues, and the doors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote, urlsplit

import psycopg
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from smp_pipelines.problems import ProjectError, SmpError
from smp_pipelines.site.colleagues.accounts import Session
from smp_pipelines.site.colleagues.flow import FlowPages
from smp_pipelines.site.colleagues.pages import Pages
from smp_pipelines.site.colleagues.person import PeoplePages
from smp_pipelines.site.colleagues.signin import SignInPages, own_path
from smp_pipelines.site.connections import KeptConnections
from smp_pipelines.site.doors import HEALTH, HOSTS, SIGN_IN, Doors, is_from_here
from smp_pipelines.site.security import SecurityHeaders
from smp_pipelines.site.source import Source
from smp_pipelines.site.visitors.desk import SubmissionDesk
from smp_pipelines.site.visitors.hits import HitPages
from smp_pipelines.site.visitors.intake import Intake
from smp_pipelines.site.visitors.mail_links import PublicPages, is_public
from smp_pipelines.site.visitors.theme import Theme
from smp_pipelines.site.visitors.visited import Visited
from smp_pipelines.site.visitors.visits import VisitPages
from smp_pipelines.stores.clock import Clock
from smp_pipelines.stores.settings import Settings
from smp_pipelines.tracking.hits import HitRecorder

Handler = Callable[[Request, Exception], Response]
"""What makes the page that tells of an error."""

_FOR_COLLEAGUES = ("/steps/", "/flows", "/sends", "/people", "/sign-out")
"""Where the addresses begin that somebody unknown is asked to sign in for."""


def make_app(settings: Settings, clock: Clock) -> Intake:
    """Make the web application; it reads the project's files and the database anew as they change.

    It takes settings rather than a Deployment, so that it can also show a project whose files cannot be loaded. What
    waits to be written is written when the server ends it (its lifespan).
    """
    source, theme = Source(settings), Theme(settings.project)
    hosts = {*HOSTS, urlsplit(settings.site_url).hostname or ""}
    pages = Pages(source, clock, theme)
    public = PublicPages(source, clock, pages.templates, theme)
    sign_in = SignInPages(source, clock, pages.templates)
    hits = HitRecorder(source.writing)
    visited, reading, desk = Visited(source), KeptConnections(source.connection), SubmissionDesk(source.writing)
    visits = VisitPages(source, clock, theme, hits, visited, reading)
    for_colleagues = (PeoplePages(source, pages.templates), FlowPages(source, clock, pages.templates), pages)
    parts = (visits, HitPages(source, clock, hits), public, theme, sign_in, *for_colleagues)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await desk.close()
        await run_in_threadpool(reading.close)
        await run_in_threadpool(hits.close)

    def told(for_colleagues: Handler) -> Handler:
        def handle(request: Request, error: Exception) -> Response:
            return (public.failed if is_public(request.url.path) else for_colleagues)(request, error)

        return handle

    app = Starlette(
        routes=[route for part in parts for route in part.routes()],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(
                Doors,
                hosts=hosts,
                is_public=is_public,
                keeper=Keeper(pages, public, sign_in),
            ),
        ],
        exception_handlers={
            HTTPException: told(pages.refused),
            ProjectError: told(pages.broken_files),
            SmpError: told(pages.unavailable),
            psycopg.OperationalError: told(pages.unavailable),
            Exception: told(pages.failed),
        },
        lifespan=lifespan,
    )
    return Intake(app, source=source, hosts=hosts, clock=clock, visited=visited, desk=desk, reading=reading)


class Keeper:
    """Who knows the colleagues, and what everybody else gets at the door."""

    def __init__(self, pages: Pages, public: PublicPages, sign_in: SignInPages) -> None:
        self._pages = pages
        self._public = public
        self._sign_in = sign_in

    def find(self, request: Request) -> Session | None:
        """The session that a request belongs to; None when there is none."""
        return self._sign_in.find(request)

    def turn_away(self, request: Request) -> Response:
        """Lead to the sign-in page and back; of what is no page for colleagues a visitor learns nothing more."""
        path = request.url.path
        if path == HEALTH or not (path == "/" or path.startswith(_FOR_COLLEAGUES)):
            return self._public.elsewhere(request)
        if request.method not in ("GET", "HEAD"):
            return self._pages.refused(request, HTTPException(403, "Sign in first."))
        leads_to = own_path(f"{path}?{request.url.query}" if request.url.query else path)
        return RedirectResponse(f"{SIGN_IN}?next={quote(leads_to, safe='/')}" if leads_to != "/" else SIGN_IN, 303)

    def unavailable(self, request: Request, error: Exception) -> Response:
        """Tell that nobody can sign in now: to a stranger in few words."""
        if not isinstance(error, SmpError | psycopg.OperationalError):
            raise error
        return (self._pages.unavailable if is_from_here(request) else self._public.failed)(request, error)
