"""The catcher's pages: the inbox, a mail in four views, and the same as JSON.

The mails are not trusted: html is shown in a sandboxed frame under a policy that allows no script, no form and no
outside resource.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from smp_pipelines.catcher.mailbox import Mail, Mailbox
from smp_pipelines.catcher.message import open_links_in_new_tab, read_content, read_headers, short_address

PAGE_SIZE = 50
API_LIMIT = 1000
SOURCE_LIMIT = 512 * 1024
"""Bytes of a mail's source that its page shows; the rest is in the download."""

TABS = {"html": "HTML", "text": "Text", "source": "Source", "headers": "Headers"}

_HERE = Path(__file__).parent
_COMMON = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_PAGE_HEADERS = _COMMON | {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; frame-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    # Not no-referrer: browsers would then send `Origin: null` with the form that deletes all.
    "Referrer-Policy": "same-origin",
}


def _mail_headers(images: str) -> dict[str, str]:
    """Headers for html that a stranger wrote: no script, no forms, pictures only from the given sources."""
    return _COMMON | {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src 'none'; style-src 'unsafe-inline'; img-src {images}; font-src data:; "
            "form-action 'none'; base-uri 'none'; frame-ancestors 'self'; "
            "sandbox allow-popups allow-popups-to-escape-sandbox"
        ),
        "Referrer-Policy": "no-referrer",
    }


@dataclass
class Day:
    """The mails of one local day under its heading."""

    label: str
    mails: list[Mail] = field(default_factory=list)


def by_day(mails: Sequence[Mail], today: date) -> list[Day]:
    """Group mails (newest first) by the day they came in, in the machine's time zone."""
    days: list[Day] = []
    for mail in mails:
        label = day_label(mail.received_at.astimezone().date(), today)
        if not days or days[-1].label != label:
            days.append(Day(label))
        days[-1].mails.append(mail)
    return days


def day_label(day: date, today: date) -> str:
    """Give "Today", "Yesterday", or the day written out."""
    if day == today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    return f"{day:%A} {day.day} {day:%B %Y}"


def file_size(size: int) -> str:
    """Give a number of bytes as people say it: 840 bytes, 12.3 kB, 1.4 MB."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def local_time(moment: datetime, pattern: str) -> str:
    """Format a moment in the machine's time zone."""
    return moment.astimezone().strftime(pattern)


class Pages:
    """The endpoints. They are plain functions, which Starlette runs in threads: a slow search does not hold up SMTP."""

    def __init__(self, mailbox: Mailbox, clock: Callable[[], datetime], smtp_address: str) -> None:
        self.mailbox = mailbox
        self.clock = clock
        self.templates = Jinja2Templates(_HERE / "templates")
        self.templates.env.globals["smtp_address"] = smtp_address
        self.templates.env.filters.update(file_size=file_size, local_time=local_time, short_address=short_address)

    def routes(self) -> list[Route | Mount]:
        """Give every address the catcher answers."""
        return [
            Route("/", self.inbox),
            Route("/clear", self.clear, methods=["POST"]),
            Route("/mail/{id}", self.mail),
            Route("/mail/{id}/html", self.html),
            Route("/mail/{id}/raw", self.raw),
            Route("/api/mails", self.api_mails),
            Route("/api/mails/{id}", self.api_mail),
            Route("/health", self.health),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ]

    def _page(self, request: Request, name: str, context: dict[str, object], status: int = 200) -> Response:
        return self.templates.TemplateResponse(request, name, context, status, headers=_PAGE_HEADERS)

    def _find(self, request: Request) -> tuple[Mail, bytes]:
        """Give the mail that the address names, and its bytes; 404 when there is none."""
        mail = self.mailbox.get(request.path_params["id"])
        data = self.mailbox.raw(mail.id) if mail else None
        if mail is None or data is None:
            raise HTTPException(404, "This mail is not here. It may have been deleted.")
        return mail, data

    def inbox(self, request: Request) -> Response:
        """Show the mails, newest first: `?query=` searches, `?page=` turns the page."""
        query = request.query_params.get("query", "").strip()
        asked = request.query_params.get("page", "1")
        page = max(1, int(asked)) if asked.isdecimal() and len(asked) < 10 else 1
        found = self.mailbox.search(query, limit=PAGE_SIZE, offset=(page - 1) * PAGE_SIZE)
        context = {
            "query": query,
            "page": page,
            "pages": max(1, -(-found.total // PAGE_SIZE)),
            "found": found.total,
            "count": self.mailbox.count(),
            "days": by_day(found.mails, self.clock().astimezone().date()),
        }
        return self._page(request, "inbox.html", context)

    def mail(self, request: Request) -> Response:
        """Show one mail: `?tab=` html, text, source or headers; `?images=1` also loads pictures from elsewhere."""
        mail, data = self._find(request)
        content = read_content(data)
        there = {"html": content.html is not None, "text": content.text is not None, "source": True, "headers": True}
        tab = request.query_params.get("tab", "")
        if not there.get(tab):
            tab = next(name for name in TABS if there[name])
        context = {
            "mail": mail,
            "content": content,
            "tab": tab,
            "tabs": {name: label for name, label in TABS.items() if there[name]},
            "images": request.query_params.get("images") == "1",
            "headers": list(read_headers(data)) if tab == "headers" else [],
            "source": data[:SOURCE_LIMIT].decode("utf-8", "replace") if tab == "source" else "",
            "source_is_cut": len(data) > SOURCE_LIMIT,
        }
        return self._page(request, "mail.html", context)

    def html(self, request: Request) -> Response:
        """Give the html of a mail for the frame in its page, under a policy that takes away all power."""
        content = read_content(self._find(request)[1])
        if content.html is None:
            raise HTTPException(404, "This mail has no html.")
        images = "data: http: https:" if request.query_params.get("images") == "1" else "data:"
        return HTMLResponse(open_links_in_new_tab(content.html), headers=_mail_headers(images))

    def raw(self, request: Request) -> Response:
        """Give the mail as it came in, as a download."""
        mail, data = self._find(request)
        headers = _COMMON | {"Content-Disposition": f'attachment; filename="{mail.id}.eml"'}
        return Response(data, media_type="message/rfc822", headers=headers)

    def api_mails(self, request: Request) -> Response:
        """List mails as JSON, newest first: `?query=` searches, `?limit=` (1 to 1000, default 50)."""
        limit = request.query_params.get("limit", str(PAGE_SIZE))
        if not limit.isdecimal() or len(limit) > 4 or not 1 <= int(limit) <= API_LIMIT:
            raise HTTPException(400, f"limit is a number from 1 to {API_LIMIT}")
        found = self.mailbox.search(request.query_params.get("query", ""), limit=int(limit))
        return JSONResponse({"total": found.total, "mails": [mail.as_json() for mail in found.mails]}, headers=_COMMON)

    def api_mail(self, request: Request) -> Response:
        """Give one mail as JSON: what the index knows, all headers, html, text and the attachments' names."""
        mail, data = self._find(request)
        extra = {"headers": list(read_headers(data)), **asdict(read_content(data))}
        return JSONResponse(mail.as_json() | extra, headers=_COMMON)

    def clear(self, request: Request) -> Response:
        """Delete all mails, when asked from the inbox itself (Origin): no other site may do that with one's browser."""
        own = f"{request.url.scheme}://{request.headers.get('host', '')}"
        if request.headers.get("origin") != own:
            raise HTTPException(403, f"Deleting is done from the inbox itself (Origin: {own}).")
        self.mailbox.clear()
        return RedirectResponse("/", status_code=303)

    def health(self, _request: Request) -> Response:
        """Tell that the catcher runs and how many mails it has."""
        return JSONResponse({"status": "ok", "count": self.mailbox.count()}, headers=_COMMON)

    def error(self, request: Request, error: Exception) -> Response:
        """Tell a refusal as JSON under /api, as a page elsewhere."""
        status, text = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "Server error")
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": text}, status, headers=_COMMON)
        return self._page(request, "error.html", {"status": status, "text": text}, status)


def make_app(
    mailbox: Mailbox, clock: Callable[[], datetime], smtp_address: str, hosts: Sequence[str] | None = None
) -> Starlette:
    """Make the web application. With `hosts`, requests under any other Host are refused (DNS rebinding)."""
    pages = Pages(mailbox, clock, smtp_address)
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)] if hosts else []
    return Starlette(routes=pages.routes(), middleware=middleware, exception_handlers={HTTPException: pages.error})
