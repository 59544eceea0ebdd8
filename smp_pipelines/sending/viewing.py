"""Viewing: a mail again, in a browser, for whoever got it, made from what the CRM and the files say now."""

from __future__ import annotations

from datetime import datetime

from smp_pipelines.campaign.content.mail import Content, ContentError, content_ref
from smp_pipelines.campaign.content.readable import named_products
from smp_pipelines.campaign.content.tracked import Tracking
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.sending import ledger
from smp_pipelines.sending.context import read_contexts
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.links import LinkSigner
from smp_pipelines.sending.personal import Addressee, MailLink, StepLinks, refuse_expired
from smp_pipelines.sending.unsubscribing import UnknownMailError
from smp_pipelines.stores.postgres import Connection

_GONE = "this mail, or its reader, is no longer known here"


class MailViewer:
    """Makes mails again; the templates of a step are compiled once, until the project's files change."""

    def __init__(self, site_url: str, signer: LinkSigner) -> None:
        self._site_url = site_url
        self._signer = signer
        self._compiled: tuple[LoadedProject | None, dict[tuple[str, bool], Content]] = (None, {})

    def html(self, connection: Connection, project: LoadedProject, link: MailLink, now: datetime) -> str:
        """The html of a mail for its reader, with links that work and without the picture that tells of opening.

        Raises UnknownMailError when the ledger, the files or the CRM know the mail, its step or its reader no
        more, ExpiredLinkError for a mail of long ago, and ProjectError when the step's templates cannot be used.
        """
        row = connection.execute(
            "select person_id, record_id from smp.message where send_id = %s and recipient_key = %s",
            (link.send_id, link.recipient_key),
        ).fetchone()
        if row is None:
            raise UnknownMailError(_GONE)
        addressee = Addressee(link.recipient_key, *row)
        send = ledger.read_send(connection, link.send_id)
        refuse_expired(project, send, now)
        ref = next((ref for ref in project.steps() if ref.key == send.step), None)
        if ref is None:
            raise UnknownMailError(_GONE)
        recipient = (addressee.person_id, addressee.record_id)
        shown = content_ref(ref, project)
        products = named_products(shown, project)
        found = read_contexts(connection, [recipient], ref.step.record, project.record(ref), products)
        if recipient not in found:
            raise UnknownMailError(_GONE)
        links = StepLinks(self._site_url, self._signer, project, shown, send).of(addressee)
        try:
            return self._content(project, ref, send).render({**found[recipient], "links": links}).html
        except ContentError as error:
            raise UnknownMailError(_GONE) from error

    def _content(self, project: LoadedProject, ref: StepRef, send: Send) -> Content:
        if self._compiled[0] is not project:
            self._compiled = (project, {})
        clicks = project.settings.tracking.clicks and send.purpose != "internal"
        kept = self._compiled[1]
        if (ref.key, clicks) not in kept:
            kept[ref.key, clicks] = Content.compile(ref, project, Tracking(clicks=clicks, opens=False))
        return kept[ref.key, clicks]
