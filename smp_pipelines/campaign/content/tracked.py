"""Tracked mails: how a template is changed, once, so that its links and a picture tell that somebody was there (F48).

What a link is made into differs per recipient, so the template gets a filter around the address of every link:
nothing is looked for in the mails themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import unescape
from typing import Protocol
from urllib.parse import urlsplit

from jinja2 import pass_context
from jinja2.runtime import Context

from smp_pipelines.campaign.content.environment import MailEnvironment

_TAG = r"\{\{.*?\}\}|\{%.*?%\}"
_LINK = re.compile(
    rf"""(<(?:a|area)\b(?:{_TAG}|"(?:{_TAG}|[^"])*"|'(?:{_TAG}|[^'])*'|[^>"'])*?\shref=)("|')((?:{_TAG}|(?!\2).)*?)\2""",
    re.DOTALL | re.IGNORECASE,
)
_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)
_CLICK, _OPEN = "tracked_link", "tracked_open"
_OTHER_SCHEME = re.compile(r"\s*(?:#|(?!https?:)[a-z][a-z0-9+.-]*:)", re.IGNORECASE)
_PIXEL = (
    '<img src="{% filter tracked_open %}{% endfilter %}" width="1" height="1" alt=""'
    ' style="display:block;border:0;width:1px;height:1px">'
)
LONGEST_ADDRESS = 1500
"""Characters of an address that is led over the site; a longer one stays as it is."""


class Tracker(Protocol):
    """What `links` of a mail that is tracked has besides; templates cannot ask for it."""

    @property
    def pixel(self) -> str:
        """The address of the picture that tells that the mail was opened."""
        ...

    def click(self, address: str, label: str) -> str:
        """The address that leads to another by way of the site; `label`: as it stands in the template, if different."""
        ...


@dataclass(frozen=True)
class Tracking:
    """What the html part of a mail tells about its reader; `links` of its context, a Tracker, makes the addresses."""

    clicks: bool
    opens: bool

    def apply(self, html: str, environment: MailEnvironment) -> str:
        """The html template with the address of each web link in a filter, and the picture at the end of the body."""
        if self.clicks:
            labels: list[str] = []
            html = _LINK.sub(lambda match: _filtered(match, labels), html)
            environment.filters[_CLICK] = _make_filter(labels)
        if self.opens:
            environment.filters[_OPEN] = _opened
            end = max((match.start() for match in _BODY_END.finditer(html)), default=len(html))
            html = f"{html[:end]}{_PIXEL}{html[end:]}"
        return html


def is_web_address(text: str) -> bool:
    """Whether a text is an address that a click may lead to: http or https, a host, nothing that breaks a line."""
    if len(text) > LONGEST_ADDRESS or not text.lower().startswith(("http://", "https://")):
        return False
    try:
        return bool(urlsplit(text).hostname) and text.isprintable() and " " not in text and "\\" not in text
    except ValueError:
        return False


def _filtered(match: re.Match[str], labels: list[str]) -> str:
    start, quote, address = match.groups()
    if _OTHER_SCHEME.match(address):
        return match[0]
    labels.append(unescape(address.strip()) if "{" in address else "")
    return f"{start}{quote}{{% filter {_CLICK}({len(labels) - 1}) %}}{address}{{% endfilter %}}{quote}"


def _make_filter(labels: Sequence[str]) -> Callable[[Context, str, int], str]:
    """The filter of one template; a number tells which of its links it is for."""

    @pass_context
    def tracked_link(context: Context, written: str, place: int) -> str:
        address = _read(str(written))
        if address is None:
            return written
        links: Tracker = context.resolve("links")
        return links.click(address, labels[place])

    return tracked_link


@pass_context
def _opened(context: Context, _nothing: str) -> str:
    links: Tracker = context.resolve("links")
    return links.pixel


@lru_cache(maxsize=4096)
def _read(written: str) -> str | None:
    """The address that stands in an attribute, or None for one that is not led over the site."""
    address = unescape(written).strip()
    return address if is_web_address(address) else None
