"""Doors: who may reach which page. Nothing but the public pages and the way in answers somebody unknown."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from smp_pipelines.site.colleagues.accounts import Session

HOSTS = ("127.0.0.1", "localhost")
"""Names of this machine, under which it asks itself: a page elsewhere must not reach it by another (DNS rebinding)."""
SIGN_IN = "/sign-in"
HEALTH = "/health"
_HOST = re.compile(r"([a-z0-9.-]+)(?::\d{1,5})?")
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


class Keeper(Protocol):
    """Who knows the colleagues; the methods run in threads."""

    def find(self, request: Request) -> Session | None:
        """The session that a request belongs to; None when there is none. Raises SmpError without a database."""
        ...

    def turn_away(self, request: Request) -> Response:
        """What somebody gets who is not signed in and asks for what is no public page."""
        ...

    def unavailable(self, request: Request, error: Exception) -> Response:
        """What anybody gets while it cannot be known who is signed in."""
        ...


class Doors:
    """Middleware: the public pages for everybody, the others for colleagues who have signed in.

    hosts: the names under which the site answers.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], is_public: Callable[[str], bool], keeper: Keeper) -> None:
        self.app = app
        self.hosts = hosts
        self.is_public = is_public
        self.keeper = keeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may be asked, with `request.state.colleague` filled in; 400 for a host that is none of ours."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request, path = Request(scope, receive), scope["path"]
        if host_of(request) not in self.hosts:
            await PlainTextResponse("Invalid host header", 400)(scope, receive, send)
            return
        if self.is_public(path) or path == SIGN_IN or path.startswith(f"{SIGN_IN}/"):
            await self.app(scope, receive, send)
            return
        if path == HEALTH and is_from_here(request):
            await self.app(scope, receive, send)
            return
        await (await run_in_threadpool(self._let_in, request))(scope, receive, send)

    def _let_in(self, request: Request) -> ASGIApp:
        """The app, for whoever is signed in; else a page that says where to do that, or that there is nothing."""
        try:
            session = self.keeper.find(request)
        except Exception as error:
            return self.keeper.unavailable(request, error)
        if session is None or request.url.path == HEALTH:
            return self.keeper.turn_away(request)
        request.state.colleague = session
        return self.app


def host_of(request: Request) -> str:
    """The name under which a request asks, in small letters, without its port."""
    return _name(request.headers.get("host", ""))


@lru_cache(maxsize=64)
def _name(host: str) -> str:
    # nothing but a name and a port: `localhost:@elsewhere.example` is a user's name before another host
    found = _HOST.fullmatch(host.lower())
    return found[1] if found else ""


def is_from_here(request: Request) -> bool:
    """Whether a request was made on this machine: by its name, over loopback, and not passed on by a proxy.

    What a proxy passed on is from elsewhere whatever host it names: many proxies put the name of this machine there.
    """
    headers = request.headers
    if host_of(request) not in HOSTS or any(name in headers for name in _FORWARDED):
        return False
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
