"""Addresses: where a link or button may lead: the web, a mail program, a telephone, a place on the site or page.

Whatever else an address might be (javascript:, data:, …) is refused: in the files by `address_problem`, and in
what a value of a person makes of it by the filter `web_address`.
"""

from __future__ import annotations

import html
import re

from markupsafe import Markup

from smp_pipelines.campaign.content.markup import JINJA_TAG

NOWHERE = "#"
"""Where a link leads whose address is not one of these."""
_ADDRESS = re.compile(r"https?://[^\s/]|mailto:|tel:|/(?![/\\])|#|\?", re.IGNORECASE)
_LINK_ONLY = re.compile(r"\s*\{\{\s*links\.[^{}|]*\}\}\s*")


def web_address(value: object) -> str:
    """The address as it is, or `#` when it does not lead to the web, a mail program, a telephone or the site."""
    text = str(value)
    leads = _ADDRESS.match(html.unescape(text).strip())
    if not leads:
        return NOWHERE
    return value.strip() if isinstance(value, Markup) else text.strip()


def safe_address(template: str) -> str:
    """A template of an address, guarded where a value could make something else of it."""
    static = JINJA_TAG.split(template, maxsplit=1)[0]
    if _LINK_ONLY.fullmatch(template) or _ADDRESS.match(static.strip()):
        return template
    return "{% filter web_address %}" + template + "{% endfilter %}"


def address_problem(template: str) -> tuple[str, str] | None:
    """What is wrong with an address as it is written, and the remedy; tags and parameters are judged elsewhere."""
    static = JINJA_TAG.split(template, maxsplit=1)[0].strip()
    if _ADDRESS.match(static) or static.startswith("$") or (not static and JINJA_TAG.search(template)):
        return None
    example = f"https://{static}" if re.match(r"[\w-]+(\.[\w-]+)+", static) else "https://…"
    return f"{template} is no address to lead to", f"write e.g. {example}, mailto:…, or a parameter"
