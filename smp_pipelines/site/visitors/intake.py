"""Intake: takes the forms that visitors send, in front of the pages (F10, F12).

The path of a good POST does no work that could be done before: the project, its forms and its statements are kept,
what comes in at the same time is stored in one transaction, and the answer is a redirect whose headers are ready.
Whatever is not good goes on to the page that tells so, with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from smp_pipelines.crm.merging import survivor
from smp_pipelines.sending.links import BadLinkError, LinkSigner
from smp_pipelines.sending.personal import AfterLink, ExpiredLinkError, PersonalLink, after_path, read_personal
from smp_pipelines.site.bodies import read_pairs
from smp_pipelines.site.connections import KeptConnections
from smp_pipelines.site.doors import host_of
from smp_pipelines.site.security import WRITTEN, is_from_elsewhere
from smp_pipelines.site.source import Source
from smp_pipelines.site.visitors.desk import SubmissionDesk
from smp_pipelines.site.visitors.limiting import FormLimits
from smp_pipelines.site.visitors.messages import ToldError
from smp_pipelines.site.visitors.visited import Visited, VisitedStep
from smp_pipelines.stores.clock import Clock
from smp_pipelines.submission.form import FormType, Posted
from smp_pipelines.submission.storing import FormStep, Outcome, Submission, Visitor
from smp_pipelines.submission.ticket import FIELD, BadTicketError, OldTicketError, read_key
from smp_pipelines.submission.words import minutes, words

_REASON = "smp.reason"
"""Where a request that goes on to its page holds why its form was not taken."""
_EMPTY = (b"content-length", b"0")


class Sent(NamedTuple):
    """A form that somebody sent: of which step, by which personal link, and what stood in it."""

    step: VisitedStep
    link: PersonalLink | None
    posted: Posted


class AgainError(Exception):
    """The form is shown again. ticket: the hidden field, if it may be used again; message: about all of it."""

    sent: Sent
    """What was sent; the intake fills it in."""

    def __init__(
        self, status: int = 200, message: str = "", ticket: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.ticket = ticket
        self.headers = dict(headers or {})


def why_not_taken(request: Request) -> Exception:
    """Why the form of a POST was not taken: an AgainError, or what its visitor is to be told."""
    reason: Exception = request.scope[_REASON]
    return reason


def open_link(signer: LinkSigner, token: str, now: datetime) -> PersonalLink:
    """What a personal URL says. Raises ToldError for one that is too old, or none of ours."""
    try:
        return read_personal(signer, token, now)
    except ExpiredLinkError as error:
        raise ToldError(410, "expired_link") from error
    except BadLinkError as error:
        raise ToldError(400, "bad_link") from error


class Intake:
    """Middleware that answers the POSTs of forms by their shareable and personal URLs.

    hosts: the names under which the site answers. reading: connections on which nothing is written.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        source: Source,
        hosts: Collection[str],
        clock: Clock,
        visited: Visited,
        desk: SubmissionDesk,
        reading: KeptConnections,
        limits: FormLimits | None = None,
    ) -> None:
        self.app = app
        self._source = source
        self._hosts = hosts
        self._clock = clock
        self._visited = visited
        self._desk = desk
        self._reading = reading
        self._limits = limits or FormLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a form and lead to the page that follows; pass everything else on."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        parts = scope["path"].split("/")
        request = Request(scope, receive)
        if not _is_form(parts) or host_of(request) not in self._hosts:
            await self.app(scope, receive, send)
            return
        try:
            step, link = await self._found(parts)
            location = await self._taken(request, step, link)
        except Exception as reason:
            scope[_REASON] = reason
            await self.app(scope, receive, send)
            return
        headers = [(b"location", location.encode("ascii")), _EMPTY, *WRITTEN]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body"})

    async def _found(self, parts: list[str]) -> tuple[VisitedStep, PersonalLink | None]:
        """The step of an address, and its personal link. Raises ToldError."""
        link = open_link(self._source.signer, parts[2], self._clock.now()) if len(parts) == 3 else None
        project = await self._visited.current()
        step = project.step(link.step if link else f"{parts[2]}/{parts[3]}")
        if step is None:
            raise ToldError(410, "step_stopped") if link else ToldError(404, "nothing_here")
        return step, link

    async def _taken(self, request: Request, step: VisitedStep, link: PersonalLink | None) -> str:
        """Check where a form comes from and what it says, and store it; gives the path of the page that follows."""
        if step.form_type is None or step.form_step is None:
            raise HTTPException(405)
        if is_from_elsewhere(request):
            raise ToldError(403, "from_elsewhere", step.language)
        if step.is_closed and link is None:
            raise ToldError(403, "needs_link", step.language)
        sent = Sent(step, link, Posted(await self._pairs(request, step)))
        try:
            return self._next(step, await self._stored(request, sent, step.form_type, step.form_step))
        except AgainError as again:
            again.sent = sent
            raise

    async def _stored(self, request: Request, sent: Sent, form_type: FormType, form_step: FormStep) -> int:
        """The number of what was sent, once stored; 0 of what a program filled in. Raises AgainError, ToldError."""
        step, link, posted = sent
        form_key = self._accepted(request, sent)
        if form_key is None:
            return 0
        answers = form_type.read(posted)
        if answers is None:
            raise AgainError(422, "", posted.get(FIELD, ""))
        came_by = Visitor(link.person_id, link.record_id, link.send_id) if link else None
        key = _submission_key(form_key, answers)
        outcome = await self._put(Submission(key, form_step, answers, self._clock.now(), came_by))
        if outcome == "closed":
            raise AgainError
        if outcome == "gone":
            raise ToldError(410, "gone_person", step.language)
        return outcome

    def _accepted(self, request: Request, sent: Sent) -> bytes | None:
        """The key of a form whose answers may be stored; None of one that a program filled in. Raises AgainError."""
        step, link, posted = sent
        said = words(step.language)
        ticket = posted.get(FIELD, "")
        # a personal link is identity enough: a full hall answers over one Wi-Fi
        visitor = f"person {link.person_id}" if link else request.client.host if request.client else ""
        wait = self._limits.wait(visitor, step.ref.key)
        if wait:
            message = said["too_many"].format(minutes=minutes(said, wait))
            raise AgainError(429, message, ticket, {"Retry-After": str(wait)})
        if step.form_type is None or posted.get(step.form_type.trap):
            return None
        person_id = link.person_id if link else None
        try:
            return read_key(self._source.signer, ticket, step.ref.key, person_id, self._clock.now())
        except BadTicketError as error:
            raise AgainError(400, said["ticket_missing"]) from error
        except OldTicketError as error:
            raise AgainError(400, said["ticket_old"]) from error

    async def _pairs(self, request: Request, step: VisitedStep) -> list[tuple[str, str]]:
        try:
            return await read_pairs(request)
        except HTTPException as error:
            raise ToldError(error.status_code, "too_large", step.language) from error

    async def _put(self, submission: Submission) -> Outcome:
        """Store a submission; that of somebody who was merged meanwhile as the person that they are now (F50)."""
        outcome, visitor = await self._desk.put(submission), submission.visitor
        if outcome != "gone" or visitor is None:
            return outcome
        into = await run_in_threadpool(self._survivor, visitor.person_id)
        if into is None:
            return outcome
        return await self._desk.put(replace(submission, visitor=replace(visitor, person_id=into)))

    def _survivor(self, person_id: int) -> int | None:
        with self._reading.lend() as connection:
            return survivor(connection, person_id)

    def _next(self, step: VisitedStep, submission_id: int) -> str:
        page = step.form_step.following.page if step.form_step else None
        return after_path(self._source.signer, AfterLink(page.key if page else step.ref.key, submission_id))


def _submission_key(form_key: bytes, answers: Mapping[str, Any]) -> UUID:
    """The key of a submission: sent twice as it was, it is one; whoever corrects an answer sends another."""
    # it begins as the form's does: those of one time lie together in their index
    return UUID(bytes=form_key[:4] + blake2b(repr(answers).encode(), digest_size=12, key=form_key).digest())


def _is_form(parts: list[str]) -> bool:
    """Whether a path, split, is /s/campaign/step or /p/token."""
    return (len(parts) == 4 and parts[1] == "s") or (len(parts) == 3 and parts[1] == "p")
