"""Personal links: addresses on the site that are made for one person: pages and forms, clicks, confirmations.

A token is bound to its purpose and, where it leads to a step, to that step. It holds keys only, and an end date
where it opens something. What stands in a mail is made by `RecipientLinks`, which templates know as `links`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache, partial
from uuid import UUID

from smp_pipelines.campaign.content.links import CampaignLinks
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.links import BadLinkError, LinkSigner, MailLinks

_DAY_ONE = date(1970, 1, 1)
_HEX = re.compile("[0-9a-f]{32}")


class ExpiredLinkError(SmpError):
    """A link that was good, but is too old."""

    def __init__(self) -> None:
        super().__init__("this link is too old to be used; ask for a new one")


def refuse_expired(project: LoadedProject, send: Send, now: datetime) -> None:
    """Raise ExpiredLinkError for what was in a mail that is older than personal links last (personal_links_days)."""
    if now - send.moment > timedelta(days=project.settings.personal_links_days):
        raise ExpiredLinkError


def is_about_the_same(step: StepRef, other: StepRef) -> bool:
    """Whether two steps are about the same kind of record: only then is the id of one that of the other."""
    return step.step.record is not None and step.step.record == other.step.record


@dataclass(frozen=True)
class PersonalLink:
    """What a personal URL of a form or a page says (F10). `send_id`: the send whose mail it was in, if it was."""

    step: str
    person_id: int
    record_id: int | None
    send_id: int | None
    last_day: date


@dataclass(frozen=True)
class AfterLink:
    """What the address of the page after a form says: the submission it follows. It shows nothing of the CRM."""

    step: str
    submission_id: int


@dataclass(frozen=True)
class MailLink:
    """Which recipient's mail a link or picture was in."""

    send_id: int
    recipient_key: UUID


@dataclass(frozen=True)
class ClickLink:
    """A link that was in a recipient's mail.

    url: where it leads; a path for a page of the site itself. label: that address as it stands in the template,
    where the two differ.
    """

    mail: MailLink
    url: str
    label: str = ""


def personal_path(signer: LinkSigner, link: PersonalLink) -> str:
    """The path of a personal URL: /p/…"""
    days = (link.last_day - _DAY_ONE).days
    return f"/p/{signer.sign('personal', link.step, link.person_id, link.record_id or 0, link.send_id or 0, days)}"


def read_personal(signer: LinkSigner, token: str, now: datetime) -> PersonalLink:
    """What a personal URL says. Raises BadLinkError, and ExpiredLinkError after its last day (UTC)."""
    match signer.read("personal", token):
        case (str(step), int(person_id), int(record_id), int(send_id), int(days)) if 0 <= days < 100_000:
            link = PersonalLink(step, person_id, record_id or None, send_id or None, _DAY_ONE + timedelta(days=days))
            if now.astimezone(UTC).date() > link.last_day:
                raise ExpiredLinkError
            return link
    raise BadLinkError


def after_path(signer: LinkSigner, link: AfterLink) -> str:
    """The path of a page after a form: /t/…"""
    return f"/t/{signer.sign('after', link.step, link.submission_id)}"


def read_after(signer: LinkSigner, token: str) -> AfterLink:
    """What the address of a page after a form says. Raises BadLinkError."""
    match signer.read("after", token):
        case (str(step), int(submission_id)):
            return AfterLink(step, submission_id)
    raise BadLinkError


def shared_path(step: str) -> str:
    """The path of the shareable URL of a form or page (F10): /s/campaign/step."""
    return f"/s/{step}"


def mail_path(signer: LinkSigner, purpose: str, link: MailLink) -> str:
    """The path of what a mail holds for its recipient; `purpose`: open, view, confirm, or click (its beginning)."""
    return f"/{_PREFIXES[purpose]}/{signer.sign(purpose, link.send_id, link.recipient_key.hex)}"


def read_mail_link(signer: LinkSigner, purpose: str, token: str) -> MailLink:
    """What such a link says. Raises BadLinkError."""
    match signer.read(purpose, token):
        case (int(send_id), str(key)) if _HEX.fullmatch(key):
            return MailLink(send_id, UUID(key))
    raise BadLinkError


def click_target(signer: LinkSigner, send_id: int, url: str, label: str = "") -> str:
    """The end of a click's path: an address that was in the mails of a send, for all its recipients the same."""
    return signer.sign("target", send_id, url, label)


def read_click(signer: LinkSigner, token: str, target: str) -> ClickLink:
    """What a click's path says: who got which mail, and a link of that send. Raises BadLinkError."""
    mail = read_mail_link(signer, "click", token)
    match signer.read("target", target):
        case (int(send_id), str(url), str(label)) if send_id == mail.send_id:
            return ClickLink(mail, url, label)
    raise BadLinkError


def link_label(signer: LinkSigner, link: ClickLink) -> str:
    """What a link is called where clicks are counted: the address as the template has it, or the step it leads to.

    Never what is different for each reader, which may be a key to their page.
    """
    if not link.url.startswith("/p/"):
        return link.label or link.url
    match signer.read("personal", link.url.removeprefix("/p/")):
        case (str(step), *_rest):
            return step
    raise BadLinkError


_LED_STRAIGHT = tuple(f"/{prefix}/" for prefix in ("c", "o", "r", "u", "v", "y"))
_PREFIXES: Mapping[str, str] = {"click": "c", "open": "o", "view": "v", "confirm": "y"}
_DIFFERENT_TARGETS = 4096
"""Addresses of links that are signed and kept: those that many mails of a send have."""


@dataclass(frozen=True)
class Addressee:
    """For whom the links of one mail or page are: the recipient's row in the ledger, the person and the record."""

    recipient_key: UUID
    person_id: int
    record_id: int | None


class StepLinks:
    """The links of the mails of one send; `of` gives those of one recipient. Made once per send.

    ref: the step whose content the mails have.
    """

    def __init__(self, site_url: str, signer: LinkSigner, project: LoadedProject, ref: StepRef, send: Send) -> None:
        self.site_url = site_url
        self.signer = signer
        self.send_id = send.send_id
        self.mail = MailLinks(site_url, signer, ref.key, send)
        self.project = project
        self.ref = ref
        sign = partial(click_target, signer, send.send_id)
        self._target = lru_cache(_DIFFERENT_TARGETS)(sign)
        self._last_day = send.moment.astimezone(UTC).date() + timedelta(days=project.settings.personal_links_days)

    def of(self, addressee: Addressee) -> RecipientLinks:
        """What a template of this recipient's mail knows as `links`."""
        return RecipientLinks(self, addressee)

    def personal(self, ref: StepRef, addressee: Addressee) -> str:
        """The personal URL of a form or page. Raises SmpError for a mail."""
        if ref.step.is_mail:
            raise SmpError(f"{ref.key} is a mail: only a form or a page has a personal link")
        record_id = addressee.record_id if is_about_the_same(ref, self.ref) else None
        link = PersonalLink(ref.key, addressee.person_id, record_id, self.send_id, self._last_day)
        return self.site_url + personal_path(self.signer, link)

    def in_mail(self, purpose: str, addressee: Addressee) -> str:
        """The URL of what a mail holds for its recipient: open, view or confirm."""
        return self.site_url + mail_path(self.signer, purpose, MailLink(self.send_id, addressee.recipient_key))

    def target(self, address: str, label: str) -> str | None:
        """The end of the path of a click that leads to an address; None for a page that asks or confirms by itself."""
        path = address.removeprefix(self.site_url)
        if path == address or not path.startswith("/"):
            return self._target(address, label)
        if path.startswith(_LED_STRAIGHT):
            return None
        # another for everybody; what stands in the template is the step's name, and that is in the personal link
        return click_target(self.signer, self.send_id, path)


class RecipientLinks(CampaignLinks):
    """The links of one recipient's mail. Each is made when a template asks for it."""

    def __init__(self, links: StepLinks, addressee: Addressee) -> None:
        super().__init__(links.project, links.ref)
        self._links = links
        self._addressee = addressee

    @property
    def site_url(self) -> str:
        """The site's address, before the pictures of a mail."""
        return self._links.site_url

    def _address(self, ref: StepRef) -> str:
        return self._links.personal(ref, self._addressee)

    @property
    def unsubscribe(self) -> str:
        """The page to unsubscribe on."""
        return self._links.mail.unsubscribe(self._addressee.recipient_key)

    @property
    def view(self) -> str:
        """The mail in a browser."""
        return self._links.in_mail("view", self._addressee)

    @property
    def confirm(self) -> str:
        """The page on which the submission that this mail follows is confirmed (double opt-in)."""
        return self._links.in_mail("confirm", self._addressee)

    @property
    def pixel(self) -> str:
        """The picture that tells that the mail was opened; for the engine itself (F48)."""
        return f"{self._links.in_mail('open', self._addressee)}.gif"

    def click(self, address: str, label: str) -> str:
        """A web address by way of the site, which notes the click; for the engine itself (F48)."""
        target = self._links.target(address, label)
        return address if target is None else f"{self._clicks}/{target}"

    @cached_property
    def _clicks(self) -> str:
        return self._links.in_mail("click", self._addressee)
