"""Security: the headers that every answer carries unless it brings stricter ones of its own."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
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
