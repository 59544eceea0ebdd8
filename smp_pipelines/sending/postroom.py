"""The post room: makes the mail of one recipient, from templates and headers that are made once per send."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from smp_pipelines.campaign.content.mail import Content, Rendered, content_ref
from smp_pipelines.campaign.content.tracked import Tracking
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.sending.banner import with_banner
from smp_pipelines.sending.context import full_name
from smp_pipelines.sending.dkim import DkimSigner
from smp_pipelines.sending.ledger import Claimed, Send
from smp_pipelines.sending.links import LinkSigner
from smp_pipelines.sending.message import MessageBuilder
from smp_pipelines.sending.personal import Addressee, StepLinks
from smp_pipelines.sending.smtp import with_ascii_domain
from smp_pipelines.sending.transport import Mail
from smp_pipelines.stores.settings import Settings


class Postroom(Protocol):
    """Whatever makes mails for a worker."""

    def make(self, claimed: Claimed, context: Mapping[str, Any], now: datetime, *, eight_bit: bool) -> Mail:
        """The mail of a claimed row. Raises ContentError, ValueError or TypeError when it cannot be made."""
        ...


class SendPostroom:
    """Makes the mails of one send.

    The mail of an internal send carries a banner with links to approve or block what it shows (F26,
    F27); the mail of a live send the link to unsubscribe with one click. Templates know the links of the recipient
    as `links`; but in an internal send they tell who opened the mail and who followed them (F48). Signed when the
    environment has a key.
    """

    def __init__(self, settings: Settings, project: LoadedProject, send: Send) -> None:
        ref = project.step(send.step)
        shown = content_ref(ref, project)
        self._is_internal = send.purpose == "internal"
        self._content = Content.compile(ref, project, None if self._is_internal else tracking_of(project))
        self._shown = shown
        self._record = project.record(ref)
        self._language = project.settings.language
        self._links = StepLinks(settings.site_url, LinkSigner(settings.link_secrets), project, shown, send)
        self._builder = MessageBuilder(
            sender=shown.step.sender,
            reply_to=shown.step.reply_to,
            step=send.step,
            send_key=send.send_key,
            purpose=send.purpose,
            unsubscribe=self._links.mail.unsubscribe if send.purpose == "live" else None,
            signer=DkimSigner.from_environment(os.environ),
        )
        self._sender = with_ascii_domain(self._builder.envelope_sender)

    def make(self, claimed: Claimed, context: Mapping[str, Any], now: datetime, *, eight_bit: bool) -> Mail:
        """The mail of a claimed row. Raises ContentError, ValueError or TypeError when it cannot be made."""
        addressee = Addressee(claimed.recipient_key, claimed.person_id, claimed.record_id)
        rendered = self._content.render({**context, "links": self._links.of(addressee)})
        if self._is_internal and claimed.record_id is not None:
            rendered = self._with_banner(rendered, claimed.person_id, claimed.record_id, context)
        message_id = self._builder.message_id(claimed.recipient_key)
        content = self._builder.build(
            rendered,
            name=full_name(context["person"]),
            address=claimed.address,
            recipient_key=claimed.recipient_key,
            date=now,
            eight_bit=eight_bit,
            message_id=message_id,
        )
        return Mail(message_id, self._sender, with_ascii_domain(claimed.address), content)

    def _with_banner(self, rendered: Rendered, person_id: int, record_id: int, context: Mapping[str, Any]) -> Rendered:
        step, record = self._shown.step, self._record
        title = context[step.record][record.title] if record and step.record else record_id
        return with_banner(
            rendered,
            self._links.mail.approve(person_id, record_id),
            self._links.mail.block(person_id, record_id),
            step.block is not None,
            self._language,
            step=step.name,
            title=str(title),
        )


def tracking_of(project: LoadedProject) -> Tracking:
    """What live and test mails of a project tell about their readers."""
    asked = project.settings.tracking
    return Tracking(clicks=asked.clicks, opens=asked.opens)
