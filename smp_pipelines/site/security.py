"""Security: the headers that every answer carries unless it brings stricter ones, and where a post comes from."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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

WRITTEN = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in HEADERS.items()]
"""HEADERS as they are sent: answers have names in small letters."""

_OWN = ("same-origin", "none")
"""What a browser says of a request that one of our pages, or the user, began."""


def mail_policy(images: bool) -> dict[str, str]:
    """The policy for the html of a mail: no script, no form; pictures from elsewhere only when asked for."""
    sources = "'self' data: http: https:" if images else "'self' data:"
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src 'none'; style-src 'unsafe-inline'; img-src {sources}; font-src data:; "
            "form-action 'none'; base-uri 'none'; frame-ancestors 'self'; "
            "sandbox allow-popups allow-popups-to-escape-sandbox"
        )
    }


def page_policy() -> dict[str, str]:
    """The policy for the preview of a form or page: it looks as it does to visitors, and can send nothing."""
    return {
        "Content-Security-Policy": (
            "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; form-action 'none'; "
            "base-uri 'none'; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
        )
    }


def is_from_elsewhere(request: Request) -> bool:
    """Whether a browser says that another site's page made this request (CSRF).

    Browsers say it in Sec-Fetch-Site, to https and to this machine; older ones name the page in Origin, which is
    `null` for our own pages too, since they send no referrer: then the form's own token is what counts.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in _OWN
    origin = request.headers.get("origin", "null")
    return origin != "null" and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()


class SecurityHeaders:
    """Middleware that completes the headers of every answer, errors and static files included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, with complete headers."""

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                missing = (header for header in WRITTEN if header[0] not in there)
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        await self.app(scope, receive, complete)
