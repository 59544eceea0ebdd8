"""Confirmations: /y/…, the link in the mail of a double opt-in. GET asks with a button, POST confirms."""

from __future__ import annotations

from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from smp_pipelines.campaign.chain import what_follows
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.ledger import read_send
from smp_pipelines.sending.links import BadLinkError
from smp_pipelines.sending.personal import (
    AfterLink,
    ExpiredLinkError,
    MailLink,
    after_path,
    read_mail_link,
    refuse_expired,
)
from smp_pipelines.site.bodies import read_form
from smp_pipelines.site.security import is_from_elsewhere
from smp_pipelines.site.source import Source
from smp_pipelines.site.visitors.messages import Messages, ToldError
from smp_pipelines.site.visitors.phrases import phrases_in
from smp_pipelines.site.visitors.theme import Theme
from smp_pipelines.stores.clock import Clock
from smp_pipelines.stores.postgres import Connection
from smp_pipelines.submission.confirming import Confirmable, NothingToConfirmError, confirm, read_confirmable
from smp_pipelines.submission.ticket import FIELD, BadTicketError, OldTicketError, Ticket, read_key


class Confirmations:
    """The endpoint of the links that confirm a submission."""

    def __init__(self, source: Source, clock: Clock, theme: Theme, messages: Messages) -> None:
        self._source = source
        self._clock = clock
        self._theme = theme
        self._messages = messages

    async def answer(self, request: Request) -> Response:
        """Ask, or confirm. A program that opens every link confirms nothing."""
        try:
            link = read_mail_link(self._source.signer, "confirm", request.path_params["token"])
        except BadLinkError as error:
            raise ToldError(400, "bad_link") from error
        if request.method != "POST":
            return await run_in_threadpool(self._ask, link)
        if is_from_elsewhere(request):
            raise ToldError(403, "from_elsewhere")
        posted = await read_form(request)
        try:
            read_key(self._source.signer, posted.get(FIELD, ""), _name(link), None, self._clock.now())
        except (BadTicketError, OldTicketError):
            return await run_in_threadpool(self._ask, link, again=True)
        return await run_in_threadpool(self._confirm, link)

    def _ask(self, link: MailLink, *, again: bool = False) -> Response:
        project = self._source.working().project
        with self._source.connection() as connection:
            try:
                self._refuse_expired(connection, project, link)
                found = read_confirmable(connection, project, link)
            except NothingToConfirmError as error:
                raise ToldError(410, "nothing_to_confirm") from error
        language = self._language(project, found)
        said = phrases_in(language)
        words = said["ask_confirm_words" if found.wordings else "ask_confirm_plain"]
        title = said["ask_confirm"]
        ticket = Ticket(_name(link), None, self._clock.now(), uuid4()).sign(self._source.signer)
        values = {
            "title": title,
            "words": words.format(sender=project.settings.name),
            "wordings": found.wordings,
            "message": said["ask_again"] if again else "",
            "hidden": FIELD,
            "ticket": ticket,
            "button": said["confirm"],
        }
        page = self._theme.page(
            project=project.settings,
            language=language,
            title=title,
            body=self._theme.fill("confirm.html", values),
            kind="ask",
        )
        return HTMLResponse(page, 400 if again else 200, headers={"X-Robots-Tag": "noindex, nofollow"})

    def _confirm(self, link: MailLink) -> Response:
        project = self._source.working().project
        with self._source.writing() as connection:
            try:
                self._refuse_expired(connection, project, link)
                found = confirm(connection, project, link, self._clock.now())
            except NothingToConfirmError as error:
                raise ToldError(410, "nothing_to_confirm") from error
        page = what_follows(project, found.mail).page if found.mail else None
        if page is None:
            raise ToldError(200, "confirmed", self._language(project, found))
        after = AfterLink(page.key, found.submissions[0].submission_id)
        return RedirectResponse(after_path(self._source.signer, after), 303)

    def _refuse_expired(self, connection: Connection, project: LoadedProject, link: MailLink) -> None:
        try:
            refuse_expired(project, read_send(connection, link.send_id), self._clock.now())
        except ExpiredLinkError as error:
            raise ToldError(410, "expired_link") from error
        except SmpError as error:  # no such send
            raise ToldError(410, "nothing_to_confirm") from error

    def _language(self, project: LoadedProject, found: Confirmable) -> str:
        return project.language(found.mail) if found.mail else found.submissions[0].language


def _name(link: MailLink) -> str:
    """What the hidden field of the page of a link is bound to."""
    return f"confirm {link.send_id} {link.recipient_key.hex}"
