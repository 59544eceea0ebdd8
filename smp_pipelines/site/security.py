"""Security: who may reach which page, and the headers that every answer carries unless it brings stricter ones."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")
"""Names under which all pages answer: a page elsewhere must not reach them by another name (DNS rebinding)."""
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; frame-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Pages show people, and files change: nothing is kept.
    "Cache-Control": "no-store",
}
"""What every answer carries."""


def mail_policy(images: bool) -> dict[str, str]:
    """The policy for the html of a mail: no script, no form; pictures from elsewhere only when asked for."""
    sources = "data: http: https:" if images else "data:"
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src 'none'; style-src 'unsafe-inline'; img-src {sources}; font-src data:; "
            "form-action 'none'; base-uri 'none'; frame-ancestors 'self'; "
            "sandbox allow-popups allow-popups-to-escape-sandbox"
        )
    }


class SecurityHeaders:
    """Middleware that completes the headers of every answer, errors and static files included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, with complete headers."""

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, complete)


class Doors:
    """Middleware: the public pages for everybody, the others for this machine only.

    public_host: the name under which the public pages answer besides HOSTS. A request that a proxy passed on
    is from elsewhere whatever host it names: many proxies put the address of this machine there.
    elsewhere: makes the page that tells somebody from elsewhere that there is nothing here.
    """

    def __init__(
        self,
        app: ASGIApp,
        public_host: str,
        is_public: Callable[[str], bool],
        elsewhere: Callable[[Request], Response],
    ) -> None:
        self.app = app
        self.public_host = public_host
        self.is_public = is_public
        self.elsewhere = elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may be asked; 404 for what is not for everybody, 400 for a host that is none of ours."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "").rsplit(":", 1)[0].lower()
        from_here = host in HOSTS and not any(name in headers for name in _FORWARDED)
        if host not in (*HOSTS, self.public_host):
            await PlainTextResponse("Invalid host header", 400)(scope, receive, send)
        elif from_here or self.is_public(scope["path"]):
            await self.app(scope, receive, send)
        else:
            await self.elsewhere(Request(scope, receive))(scope, receive, send)
