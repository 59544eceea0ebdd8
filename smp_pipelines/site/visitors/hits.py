"""Hits of requests: what is noted of a request, and the addresses in mails that note one: clicks, opens, the view.

They write nothing but the hit itself, so that whatever opens links changes nothing (invariant 6).
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from functools import cached_property
from ipaddress import IPv6Address, ip_address, ip_network
from uuid import UUID

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from smp_pipelines.campaign.content.tracked import is_web_address
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.links import BadLinkError
from smp_pipelines.sending.personal import MailLink, link_label, read_click, read_mail_link
from smp_pipelines.sending.viewing import MailViewer
from smp_pipelines.site.security import mail_policy
from smp_pipelines.site.source import Source
from smp_pipelines.stores.clock import Clock
from smp_pipelines.tracking.hits import Hit, HitRecorder, Kind

_PIXEL = a2b_base64("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""A transparent gif of one pixel."""
_HEADERS = {"X-Robots-Tag": "noindex, nofollow", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}

_LONGEST_AGENT = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_METHODS = ("GET", "HEAD", "POST")
_AHEAD = {
    "sec-purpose": ("prefetch", "prerender"),
    "purpose": ("prefetch", "preview"),
    "x-purpose": ("prefetch", "preview"),
    "x-moz": ("prefetch",),
}
"""Headers in which a browser says that nobody asked for this yet, and the words that it says so with."""


class HitPages:
    """The endpoints of what mails hold besides their own words: links, the picture, the mail in a browser (F48).

    Those that wait for nothing need no thread.
    """

    def __init__(self, source: Source, clock: Clock, hits: HitRecorder) -> None:
        self.source = source
        self.clock = clock
        self.hits = hits

    @cached_property
    def _viewer(self) -> MailViewer:
        return MailViewer(self.source.settings.site_url, self.source.signer)

    def routes(self) -> list[Route]:
        """Give every address."""
        return [
            Route("/c/{token}/{target}", self.click),
            Route("/o/{token}", self.open),
            Route("/v/{token}", self.view),
        ]

    async def click(self, request: Request) -> Response:
        """Note a click and lead on: only to an address that was in the mail, so never where a stranger wants.

        It needs no database: while that is away, the hit waits for it and the reader does not.
        """
        signer = self.source.signer
        link = read_click(signer, _token(request), str(request.path_params["target"]))
        of_the_site = link.url.startswith("/") and not link.url.startswith("//")
        url = self.source.settings.site_url + link.url if of_the_site else link.url
        if not is_web_address(url):
            raise BadLinkError
        self._note(request, "click", link.mail, link_label(signer, link))
        return RedirectResponse(url, 302, headers=_HEADERS)

    async def open(self, request: Request) -> Response:
        """Give the picture, whatever was asked for: a mail program has no use for a friendly page."""
        try:
            token = _token(request).removesuffix(".gif")
            self._note(request, "open", read_mail_link(self.source.signer, "open", token))
        except SmpError:
            pass  # no link of ours: nobody opened anything
        return Response(_PIXEL, media_type="image/gif", headers=_HEADERS)

    def view(self, request: Request) -> Response:
        """Show the mail as it is for its reader at this moment, without the picture.

        Raises UnknownMailError for a mail or reader that is gone.
        """
        link = read_mail_link(self.source.signer, "view", _token(request))
        with self.source.connection() as connection:
            html = self._viewer.html(connection, self.source.working().project, link, self.clock.now())
        self._note(request, "view", link)
        return HTMLResponse(html, headers=_HEADERS | mail_policy(images=True))

    def _note(self, request: Request, kind: Kind, mail: MailLink, link: str | None = None) -> None:
        hit = hit_of(request, self.clock, kind, send_id=mail.send_id, recipient_key=mail.recipient_key, link=link)
        self.hits.note(hit)


def _token(request: Request) -> str:
    return str(request.path_params["token"])


def hit_of(
    request: Request,
    clock: Clock,
    kind: Kind,
    *,
    step: str | None = None,
    person_id: int | None = None,
    record_id: int | None = None,
    send_id: int | None = None,
    recipient_key: UUID | None = None,
    submission_id: int | None = None,
    link: str | None = None,
) -> Hit:
    """What is kept of a request: no address, only its network, and of the program what it calls itself.

    A hit of a mail needs its send and recipient key only.
    """
    headers = request.headers
    agent = _CONTROL.sub(" ", headers.get("user-agent", "")).strip()[:_LONGEST_AGENT]
    return Hit(
        kind=kind,
        happened_at=clock.now(),
        step=step,
        person_id=person_id,
        record_id=record_id,
        send_id=send_id,
        recipient_key=recipient_key,
        submission_id=submission_id,
        link=link,
        method=request.method if request.method in _METHODS else "other",
        prefetch=any(word in headers.get(name, "").lower() for name, words in _AHEAD.items() for word in words),
        user_agent=agent or None,
        network=network_of(request.client.host) if request.client else None,
    )


def network_of(address: str) -> str | None:
    """The network that an address is in: /24, or /48 of IPv6; None for what is no address (a test, a socket)."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return str(ip_network((found, 24 if found.version == 4 else 48), strict=False))
