"""The banner: what stands above the mail of an internal send, for the colleague who checks it (F26, F27)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from babel import Locale
from jinja2 import Environment, StrictUndefined, Template

from smp_pipelines.campaign.content.mail import Rendered

_BODY = re.compile(r"<body[^>]*>", re.IGNORECASE)

_BUTTON = (
    "display:inline-block;margin:0 12px 8px 0;padding:12px 22px;border-radius:6px;"
    "font-weight:600;text-decoration:none;border:2px solid {border};background:{ground};color:{ink}"
)
_APPROVE = _BUTTON.format(border="#1c6b3c", ground="#1c6b3c", ink="#ffffff")
_BLOCK = _BUTTON.format(border="#a3261b", ground="#ffffff", ink="#a3261b")

_HTML = (
    '<div role="region" aria-label="{{ words.label }}" lang="{{ lang }}" style="padding:20px 24px 12px;'
    "background:#fff4c2;border-bottom:3px solid #d9a400;color:#2b2b2b;font-family:'Helvetica Neue',Helvetica,Arial,"
    'sans-serif;font-size:16px;line-height:1.5;text-align:left">'
    '<p style="margin:0 0 6px;font-size:19px;font-weight:700">{{ words.label }}: {{ title }}</p>'
    '<p style="margin:0 0 14px">{{ explanation }}</p>'
    '<p style="margin:0"><a href="{{ approve_url }}" style="' + _APPROVE + '">{{ words.approve }}</a>'
    '{% if block_url %}<a href="{{ block_url }}" style="' + _BLOCK + '">{{ words.block }}</a>{% endif %}'
    "</p></div>"
)


@dataclass(frozen=True)
class _Words:
    """The words of the banner in one language; `{step}` stands for the name of the step that is checked."""

    label: str
    with_block: str
    without_block: str
    approve: str
    block: str


_WORDS = {
    "nl": _Words(
        label="Ter controle",
        with_block="Zo gaat de mail ‘{step}’ straks naar de ontvangers. Klopt er iets niet? Blokkeer hem: dan wordt "
        "hij niet verstuurd. Zonder blokkade gaat hij vanzelf weg.",
        without_block="Zo gaat de mail ‘{step}’ straks naar de ontvangers. Klopt er iets niet? Pas het aan voordat "
        "hij vanzelf weggaat.",
        approve="Goedkeuren",
        block="Blokkeren",
    ),
    "en": _Words(
        label="For checking",
        with_block="This is how the mail ‘{step}’ will go to its recipients. Is anything wrong? Block it: then it is "
        "not sent. Unless it is blocked, it leaves by itself.",
        without_block="This is how the mail ‘{step}’ will go to its recipients. Is anything wrong? Mend it before it "
        "leaves by itself.",
        approve="Approve",
        block="Block",
    ),
}


def with_banner(
    rendered: Rendered,
    approve_url: str,
    block_url: str,
    block_is_possible: bool,
    language: str,
    *,
    step: str,
    title: str,
) -> Rendered:
    """Put the banner above the html and the text of a mail.

    `step` is the name of the step whose mail is checked, `title` that of the record which the mail is about.
    The block link is left out for a step that names no column to block with. Languages other than Dutch get English.
    """
    lang = Locale.parse(language).language
    lang = lang if lang in _WORDS else "en"
    words = _WORDS[lang]
    title = " ".join(title.split())
    explanation = (words.with_block if block_is_possible else words.without_block).format(step=" ".join(step.split()))
    links = [f"{words.approve}: {approve_url}", *([f"{words.block}: {block_url}"] if block_is_possible else [])]
    banner = _template().render(
        words=words,
        lang=lang,
        title=title,
        explanation=explanation,
        approve_url=approve_url,
        block_url=block_url if block_is_possible else None,
    )
    body = _BODY.search(rendered.html)
    place = body.end() if body else 0
    ruler = "-" * 72
    return Rendered(
        subject=rendered.subject,
        html=rendered.html[:place] + banner + rendered.html[place:],
        text="\n".join([f"{words.label}: {title}", "", explanation, "", *links, ruler, "", rendered.text]),
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    # titles come from the CRM: whatever they hold is shown, not obeyed
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(_HTML)
