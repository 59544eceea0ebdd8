"""Visits: the forms and pages of campaigns: shareable and personal URLs, and what comes after (F10, F12).

A GET changes nothing but a row in smp.hit. The intake takes what is posted; what it does not take comes here, to be
told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import psycopg
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from wtforms import Form as WebForm

from smp_pipelines.campaign.blocks import Redirect
from smp_pipelines.crm.merging import survivor
from smp_pipelines.sending.links import BadLinkError
from smp_pipelines.sending.personal import (
    AfterLink,
    PersonalLink,
    personal_path,
    read_after,
)
from smp_pipelines.sending.status import read_status
from smp_pipelines.site.connections import KeptConnections
from smp_pipelines.site.source import Source
from smp_pipelines.site.visitors.confirmations import Confirmations
from smp_pipelines.site.visitors.hits import hit_of
from smp_pipelines.site.visitors.intake import AgainError, open_link, why_not_taken
from smp_pipelines.site.visitors.messages import Messages, ToldError
from smp_pipelines.site.visitors.theme import Theme
from smp_pipelines.site.visitors.visited import Visited, VisitedStep
from smp_pipelines.site.visitors.visitor import (
    VisitorLinks,
    is_still_known,
    is_still_told,
    last_day,
    personal_context,
    prefilled,
    read_submission,
    record_of,
    typed_context,
    unknown_context,
)
from smp_pipelines.stores.clock import Clock
from smp_pipelines.submission.rendering import render_form
from smp_pipelines.submission.ticket import Ticket
from smp_pipelines.tracking.hits import HitRecorder


class VisitPages:
    """The endpoints of forms and pages. reading: connections on which nothing is written."""

    def __init__(
        self, source: Source, clock: Clock, theme: Theme, hits: HitRecorder, visited: Visited, reading: KeptConnections
    ) -> None:
        self._source = source
        self._clock = clock
        self._theme = theme
        self._hits = hits
        self._visited = visited
        self._reading = reading
        self._messages = Messages(source, theme)
        self._confirmations = Confirmations(source, clock, theme, self._messages)

    def routes(self) -> list[Route]:
        """Give every address of forms and pages."""
        both = ["GET", "POST"]
        return [
            Route("/s/{campaign}/{step}", self._told(self._shared), methods=both),
            Route("/p/{token}", self._told(self._personal), methods=both),
            Route("/t/{token}", self._told(self._after), methods=["GET"]),
            Route("/y/{token}", self._told(self._confirmations.answer), methods=both),
        ]

    def _told(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint whose refusals are pages in words."""

        async def told(request: Request) -> Response:
            try:
                return await answer(request)
            except ToldError as refusal:
                return await run_in_threadpool(self._messages.page, refusal)

        return told

    async def _shared(self, request: Request) -> Response:
        """A form or page by its shareable URL: nobody is known (F10)."""
        if request.method == "POST":
            return await self._not_taken(request)
        parts = request.path_params
        step = (await self._visited.current()).step(f"{parts['campaign']}/{parts['step']}")
        if step is None:
            raise ToldError(404, "nothing_here")
        return await run_in_threadpool(self._show, request, step, None)

    async def _personal(self, request: Request) -> Response:
        """A form or page of one person, by a signed URL (F10)."""
        if request.method == "POST":
            return await self._not_taken(request)
        link = open_link(self._source.signer, request.path_params["token"], self._clock.now())
        step = (await self._visited.current()).step(link.step)
        if step is None:
            raise ToldError(410, "step_stopped")
        return await run_in_threadpool(self._show, request, step, link)

    async def _after(self, request: Request) -> Response:
        """The page after a form."""
        try:
            link = read_after(self._source.signer, request.path_params["token"])
        except BadLinkError as error:
            raise ToldError(400, "bad_link") from error
        step = (await self._visited.current()).step(link.step)
        if step is None or step.form_step is not None:
            raise ToldError(200, "stored")
        return await run_in_threadpool(self._show_after, request, step, link)

    async def _not_taken(self, request: Request) -> Response:
        """What the visitor gets whose form the intake did not take."""
        reason = why_not_taken(request)
        if isinstance(reason, AgainError):
            return await run_in_threadpool(self._again, request, reason)
        raise reason

    def _again(self, request: Request, again: AgainError) -> Response:
        """The form once more, with the answers kept and what is wrong with them."""
        step, link, posted = again.sent
        filled = step.form_type.fill(posted) if step.form_type else None
        answer = self._show(request, step, link, filled, again.ticket, again.message)
        answer.status_code = again.status
        answer.headers.update(again.headers)
        return answer

    def _show(
        self,
        request: Request,
        step: VisitedStep,
        link: PersonalLink | None,
        filled: WebForm | None = None,
        ticket: str = "",
        message: str = "",
    ) -> Response:
        """A form or page, for the person of a link or for somebody unknown; only while its step is live."""
        project, ref = step.project, step.ref
        with self._reading.lend() as connection:
            self._refuse_not_live(connection, step)
            if link is None:
                if step.is_closed:
                    raise ToldError(403, "needs_link", step.language)
                context = unknown_context(connection, project, ref)
            else:
                record_id = link.record_id if ref.step.record else None
                found = personal_context(connection, project, ref, link.person_id, record_id)
                if found is None:
                    return self._led_on(connection, step, link)
                context = found
            if step.form_type is not None and filled is None:
                form = step.form_type.form
                known = prefilled(connection, project, form, context, link.person_id) if link else None
                filled = step.form_type.fill(known=known)
        if request.method != "POST":
            self._note(request, step, link)
        markup = self._form(step, link, filled, ticket, message) if filled is not None else None
        context["links"] = VisitorLinks(self._source.signer, project, ref, link)
        return self._page(step, context, markup, wrong=bool(message) or bool(filled and filled.errors))

    def _led_on(self, connection: psycopg.Connection[Any], step: VisitedStep, link: PersonalLink) -> Response:
        """Lead whoever was merged to the page of the person that they are now (F50). Raises ToldError for the gone."""
        into = survivor(connection, link.person_id)
        if into is None:
            raise ToldError(410, "gone_person", step.language)
        return RedirectResponse(personal_path(self._source.signer, replace(link, person_id=into)), 303)

    def _show_after(self, request: Request, step: VisitedStep, link: AfterLink) -> Response:
        """The page after a form: of the person, shortly after a form by a personal link; else of what was typed."""
        project, ref = step.project, step.ref
        now = self._clock.now()
        with self._reading.lend() as connection:
            if read_status(connection, ref.key).status != "live":
                raise ToldError(200, "stored", step.language)
            after = read_submission(connection, link.submission_id)
            if after is not None and not is_still_told(after, now):
                after = None
            record_id = record_of(after, project, ref) if after is not None else None
            personal: PersonalLink | None = None
            if after is not None and is_still_known(after, now):
                found = personal_context(connection, project, ref, after.person_id, record_id)
                if found is None:
                    raise ToldError(410, "gone_person", step.language)
                context = found
                personal = PersonalLink(ref.key, after.person_id, record_id, after.send_id, last_day(project, now))
            else:
                context = typed_context(connection, project, ref, after)
        self._hits.note(
            hit_of(
                request,
                self._clock,
                "page",
                step=ref.key,
                person_id=after.person_id if after else None,
                record_id=record_id,
                send_id=after.send_id if after else None,
                submission_id=link.submission_id if after else None,
            )
        )
        context["links"] = VisitorLinks(self._source.signer, project, ref, personal)
        return self._page(step, context)

    def _refuse_not_live(self, connection: psycopg.Connection[Any], step: VisitedStep) -> None:
        status = read_status(connection, step.ref.key).status
        if status == "stopped":
            raise ToldError(410, "step_stopped", step.language)
        if status != "live":
            raise ToldError(404, "not_open", step.language)

    def _form(self, step: VisitedStep, link: PersonalLink | None, filled: WebForm, ticket: str, message: str) -> Markup:
        if step.form_type is None:
            return Markup("")
        person_id = link.person_id if link else None
        new = Ticket(step.ref.key, person_id, self._clock.now(), uuid4())
        return render_form(
            self._theme, step.form_type, filled, ticket=ticket or new.sign(self._source.signer), message=message
        )

    def _note(self, request: Request, step: VisitedStep, link: PersonalLink | None) -> None:
        self._hits.note(
            hit_of(
                request,
                self._clock,
                "form" if step.form_type is not None else "page",
                step=step.ref.key,
                person_id=link.person_id if link else None,
                record_id=link.record_id if link else None,
                send_id=link.send_id if link else None,
            )
        )

    def _page(
        self, step: VisitedStep, context: Mapping[str, Any], form: Markup | None = None, *, wrong: bool = False
    ) -> Response:
        rendered = step.content.render(context, form)
        redirect: Redirect | None = step.ref.step.redirect
        return HTMLResponse(
            self._theme.page(
                project=step.project.settings,
                language=step.language,
                title=self._messages.error_title(rendered.title, step.language) if wrong else rendered.title,
                body=rendered.body,
                redirect=redirect,
                kind="form" if step.form_type is not None else "page",
            ),
            headers={"X-Robots-Tag": "noindex, nofollow"},
        )
