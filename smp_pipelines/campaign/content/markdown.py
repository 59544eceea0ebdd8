"""Markdown: a text block as HTML with its template tags kept whole, each to be filled in, escaped, for every reader.

The tags stand outside the Markdown: what they will hold is never read as Markdown or HTML. A line that holds
only tags of control ({% if … %}) stands between paragraphs and not in one.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token

from smp_pipelines.campaign.content.addresses import safe_address
from smp_pipelines.campaign.content.markup import JINJA_TAG

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
_CONTROL_LINE = re.compile(r"^[ \t]*(?:\{%.*?%\}[ \t]*)+$", re.MULTILINE)
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_PICTURE = re.compile(r"!\[[^\]]*\]\(")


@dataclass(frozen=True)
class Piece:
    """A part of a text from top to bottom: a tag of control, or one element of HTML (`h1`, `p`, `ul`, …).

    `html` may hold tags with entities in them, as HTML has them; `jinja_text` makes a template of it. `inner` is
    what is in the element, where that is plain running text.
    """

    tag: str
    html: str
    inner: str


def pieces(text: str) -> Iterator[Piece]:
    """Walk a text, its parameters filled in, and give its pieces."""
    kept = _Tags(text)
    tokens = _MARKDOWN.parse(kept.text)
    kept.guard_links(tokens)
    for group in _groups(tokens):
        tag = group[0].tag or group[0].type
        inner = kept.put_back(_rendered(group[1:-1])) if group[0].type in ("paragraph_open", "heading_open") else ""
        if group[0].type == "paragraph_open" and (control := kept.control(group)):
            yield Piece("control", control, control)
        else:
            yield Piece(tag, kept.put_back(_rendered(group)).strip(), inner.strip())


def to_html(text: str) -> str:
    """The pieces of a text as one piece of HTML."""
    return "\n".join(piece.html for piece in pieces(text))


def link_targets(text: str) -> list[str]:
    """Where the links of a text lead, as templates."""
    kept = _Tags(text)
    links = [token for token in _every(_MARKDOWN.parse(kept.text)) if token.type == "link_open"]
    return [kept.target(token) for token in links]


def has_picture(text: str) -> bool:
    """Whether a text holds Markdown for a picture, which a block of its own is for."""
    return bool(_PICTURE.search(text))


class _Tags:
    """The tags of a text, out of Markdown's reach: each has a mark that cannot be in the text."""

    def __init__(self, text: str) -> None:
        text = _CONTROL_LINE.sub(lambda match: f"\n{match[0]}\n", _COMMENT.sub("", text))
        self._mark = "j" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
        self._kept: list[str] = []
        self.text = JINJA_TAG.sub(lambda match: self._keep(match[0]), text)
        self._marked = re.compile(rf"{self._mark}n(\d+)e")

    def _keep(self, tag: str) -> str:
        self._kept.append(tag)
        return f"{self._mark}n{len(self._kept) - 1}e"

    def put_back(self, rendered: str) -> str:
        """HTML with the tags where their marks were."""
        return self._marked.sub(lambda match: html.escape(self._kept[int(match[1])]), rendered)

    def target(self, link: Token) -> str:
        """Where a link leads, as a template."""
        return html.unescape(self.put_back(str(link.attrGet("href") or "")))

    def guard_links(self, tokens: Sequence[Token]) -> None:
        """Let no value make another kind of address of a link."""
        for token in _every(tokens):
            if token.type == "link_open":
                target = self.target(token)
                if JINJA_TAG.search(target):
                    token.attrSet("href", self._keep(safe_address(target)))

    def control(self, paragraph: Sequence[Token]) -> str:
        """The tags of a paragraph that holds nothing but tags of control; else nothing."""
        content = "".join(token.content for token in paragraph if token.type == "inline")
        tags = [self._kept[int(match[1])] for match in self._marked.finditer(content)]
        only = not self._marked.sub("", content).strip() and all(tag.startswith("{%") for tag in tags)
        return "".join(html.escape(tag) for tag in tags) if only else ""


def _groups(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Cut a text's tokens into its outermost elements."""
    start, depth = 0, 0
    for position, token in enumerate(tokens):
        depth += token.nesting
        if depth == 0:
            yield tokens[start : position + 1]
            start = position + 1


def _every(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _every(token.children or ())


def _rendered(tokens: Sequence[Token]) -> str:
    return str(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))
