"""Signing in: the page that asks for an address, the links that are mailed or printed, and signing out.

There are no passwords. A GET never signs in, since mail scanners open links: the link's page has a button. Whoever
types an address gets the same answer, as quickly, whether it is a colleague's or not.
"""

from __future__ import annotations

import hmac
import re
import sys
from email.utils import formataddr, parseaddr
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.single import make_mail, send_one
from smp_pipelines.sending.transports import open_transport
from smp_pipelines.site.colleagues import accounts, machine
from smp_pipelines.site.colleagues.accounts import BadSignInError, Session
from smp_pipelines.site.doors import SIGN_IN, is_from_here
from smp_pipelines.site.endpoints import get_or_post
from smp_pipelines.site.security import is_from_elsewhere
from smp_pipelines.site.source import Source
from smp_pipelines.site.visitors.limiting import FormLimits
from smp_pipelines.stores.clock import Clock

_COOKIE = "smp_session"
_OWN_PATH = re.compile(r"/(?!/)[A-Za-z0-9/_.?=&%-]{0,500}")
_OFTEN = "10 per 10 minutes"
"""How often an address may be typed by one visitor."""


class SignInPages:
    """The endpoints around signing in, and who is signed in."""

    def __init__(self, source: Source, clock: Clock, templates: Jinja2Templates) -> None:
        self.source = source
        self.clock = clock
        self.templates = templates
        self._limits = FormLimits(_OFTEN)

    def routes(self) -> list[Route]:
        """Give every address, with its methods."""
        both = ["GET", "POST"]
        return [
            Route(SIGN_IN, get_or_post(self.ask_address, self.take_address), methods=both),
            Route(f"{SIGN_IN}/here/{{token}}", get_or_post(self.ask_here, self.take_here), methods=both),
            Route(f"{SIGN_IN}/{{token}}", get_or_post(self.ask_link, self.take_link), methods=both),
            Route("/sign-out", get_or_post(_no_page, self.sign_out), methods=["POST"]),
        ]

    def find(self, request: Request) -> Session | None:
        """The session that a request's cookie belongs to; one of this machine counts on this machine only."""
        token = request.cookies.get(self._cookie(request), "")
        if not accounts.is_token(token):
            return None
        with self.source.connection() as connection:
            session = accounts.read_session(connection, token, self.clock.now())
        return None if session and session.name is None and not is_from_here(request) else session

    def ask_address(self, request: Request) -> Response:
        """Ask for the address to mail a link to."""
        return self._page(request, here=is_from_here(request))

    def take_address(self, request: Request, form: dict[str, str]) -> Response:
        """Mail a link to a colleague; nothing to anybody else. The same answer either way."""
        _refuse_other_sites(request)
        visitor = request.client.host if request.client else ""
        if self._limits.wait(visitor, "sign-in"):
            raise HTTPException(429, "That was often. Wait ten minutes, then ask for a link again.")
        address, leads_to = form.get("address", ""), own_path(form.get("next", ""))
        # after the answer has left: neither the database nor the mail server makes it slower for a colleague's address
        task = BackgroundTask(self._mail_link, self._base(request), address, leads_to)
        return self._page(request, asked=True, background=task)

    def ask_link(self, request: Request) -> Response:
        """Ask whether to sign in with a link that was mailed; the link stays good."""
        with self.source.connection() as connection:
            try:
                name = accounts.read_link(connection, _token(request), self.clock.now())
            except BadSignInError:
                return self._page(request, bad=True, status=410)
        return self._page(request, name=name)

    def take_link(self, request: Request, form: dict[str, str]) -> Response:
        """Sign in with a link that was mailed, which is good once."""
        _refuse_other_sites(request)
        with self.source.writing() as connection:
            try:
                token = accounts.use_link(connection, _token(request), self.clock.now())
            except BadSignInError:
                return self._page(request, bad=True, status=410)
            return self._signed_in(request, token, form)

    def ask_here(self, request: Request) -> Response:
        """Ask whether to sign in with the link of `smp up`."""
        if not self._is_good_here(request):
            return self._page(request, bad=True, here=is_from_here(request), status=410)
        return self._page(request, name="")

    def take_here(self, request: Request, form: dict[str, str]) -> Response:
        """Sign in with the link of `smp up`, on this machine."""
        _refuse_other_sites(request)
        if not self._is_good_here(request):
            return self._page(request, bad=True, here=is_from_here(request), status=410)
        with self.source.writing() as connection:
            token = accounts.start_session(connection, None, self.clock.now())
        return self._signed_in(request, token, form)

    def sign_out(self, request: Request, form: dict[str, str]) -> Response:
        """End the session of this browser."""
        refuse_forged(request, form)
        with self.source.writing() as connection:
            accounts.end_session(connection, request.cookies.get(self._cookie(request), ""))
        answer = RedirectResponse(SIGN_IN, 303)
        answer.delete_cookie(self._cookie(request), **self._how(request))
        return answer

    def _signed_in(self, request: Request, token: str, form: dict[str, str]) -> Response:
        answer = RedirectResponse(own_path(form.get("next", "")), 303)
        lasts = int(accounts.SESSION_LASTS.total_seconds())
        answer.set_cookie(self._cookie(request), token, max_age=lasts, **self._how(request))
        return answer

    def _mail_link(self, base: str, address: str, leads_to: str) -> None:
        """Mail a link, if the address is a colleague's who did not get many already. What fails goes to the log."""
        try:
            now = self.clock.now()
            with self.source.writing() as connection:
                token = accounts.make_link(connection, address, now, limited=True)
            if token is None:
                return
            project = self.source.working().project
            after = "" if leads_to == "/" else f"?next={quote(leads_to, safe='/')}"
            paragraphs = [
                "Somebody, you probably, asked to sign in to the campaign pages with this address. Open this link "
                "within an hour and press the button there:",
                f"{base}{SIGN_IN}/{token}{after}",
                "The link works once. If it was not you, you need not do anything.",
            ]
            subject = f"Sign in to {project.settings.name}"
            mail = make_mail(_sender(project), ("", accounts.compared(address)), subject, paragraphs, now)
            answer = send_one(open_transport(self.source.settings.transport_url), mail)
            if answer.kind != "accepted":
                print(f"a link to sign in was not accepted: {answer.kind}", file=sys.stderr, flush=True)
        except SmpError as error:
            print(f"a link to sign in could not be mailed: {error}", file=sys.stderr, flush=True)

    def _is_good_here(self, request: Request) -> bool:
        return is_from_here(request) and machine.is_good(self.source.settings.home, _token(request), self.clock.now())

    def _base(self, request: Request) -> str:
        """Where the pages are for whoever asks; the host that a request names was checked at the door."""
        if is_from_here(request):
            return f"http://{request.headers['host']}"
        return self.source.settings.site_url

    def _is_secure(self, request: Request) -> bool:
        return self.source.settings.site_url.startswith("https:") and not is_from_here(request)

    def _cookie(self, request: Request) -> str:
        """The cookie's name. With __Host- a browser takes it from this very host only, and over https."""
        return f"__Host-{_COOKIE}" if self._is_secure(request) else _COOKIE

    def _how(self, request: Request) -> dict[str, Any]:
        return {"path": "/", "httponly": True, "samesite": "lax", "secure": self._is_secure(request)}

    def _page(
        self, request: Request, *, status: int = 200, background: BackgroundTask | None = None, **shown: Any
    ) -> Response:
        try:
            project = self.source.working().project.settings
        except SmpError:
            project = None
        context = {"project": project, "next": own_path(request.query_params.get("next", ""))} | shown
        return self.templates.TemplateResponse(request, "sign_in.html", context, status, background=background)


def own_path(text: str) -> str:
    """A path of this site to go on to; the front page for anything else (no open redirect)."""
    parts = urlsplit(text) if _OWN_PATH.fullmatch(text) else None
    if parts is None or parts.scheme or parts.netloc or parts.path.startswith(SIGN_IN):
        return "/"
    return text


def refuse_forged(request: Request, form: dict[str, str]) -> None:
    """Raise HTTPException 403 for a post that no page of ours made for this session (CSRF)."""
    _refuse_other_sites(request)
    session: Session = request.state.colleague
    if not hmac.compare_digest(form.get("csrf", "").encode(), session.csrf.encode()):
        raise HTTPException(403, "This page was open for too long. Go back, load it again and try once more.")


def _refuse_other_sites(request: Request) -> None:
    if is_from_elsewhere(request):
        raise HTTPException(403, "That was asked by a page of another site, so nothing was done.")


def _sender(project: LoadedProject) -> str:
    """From whom: the project's name, at the address that its first mails come from, for which the server is set up."""
    address = next((parseaddr(ref.step.sender)[1] for ref in project.steps() if ref.step.sender), "")
    if not address:
        raise SmpError("no step has a sender, so there is no address to mail from")
    return formataddr((project.settings.name, address))


def _token(request: Request) -> str:
    return str(request.path_params["token"])


def _no_page(_request: Request) -> Response:
    raise HTTPException(405)
