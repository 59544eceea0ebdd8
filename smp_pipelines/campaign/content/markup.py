"""Markup: the files of a content template, as one HTML template and one text template.

MJML becomes HTML once per step, with the Jinja tags still in it. The text part is made from the
same source, by walking its text, buttons and control blocks in the order of the file, so that one
template serves everybody and nothing is parsed per person.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import lxml.html
import mjml
from inscriptis.css_profiles import CSS_PROFILES
from inscriptis.html_engine import Inscriptis
from inscriptis.model.config import ParserConfig

from smp_pipelines.campaign.content.parameters import Parameters
from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.problems import Problem, ProjectError

JINJA_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_COMMENT = re.compile(r"<!--(?!\[if).*?-->|\{#.*?#\}", re.DOTALL)
_ATTRIBUTES = r"""(?:[^>"']|"[^"]*"|'[^']*')*?"""
_INCLUDE = re.compile(rf"<mj-include\b{_ATTRIBUTES}\bpath=[\"']([^\"']*)[\"']{_ATTRIBUTES}/?>(?:\s*</mj-include>)?")
_TEXT_TAGS = "mj-text|mj-button|mj-raw|mj-table|mj-navbar-link|mj-social-element|mj-accordion-title|mj-accordion-text"
_PIECE = re.compile(
    r"<mj-head\b.*?</mj-head>"
    rf"|<(?P<tag>{_TEXT_TAGS})\b(?P<attributes>{_ATTRIBUTES})(?<!/)>(?P<inner>.*?)</(?P=tag)>|(?P<control>\{{%.*?%\}})",
    re.DOTALL,
)
_OPENING = re.compile(r"<(mj[\w-]*)")
_ANY_TAG = re.compile(rf"<(?P<end>/?)(?P<name>[a-zA-Z][\w-]*){_ATTRIBUTES}(?P<whole>/?)>")
_ANY_COMPONENT = re.compile(rf"<(?P<end>/?)(?P<name>mj[\w-]*){_ATTRIBUTES}(?P<whole>/?)>")
_WITHOUT_END = ("br", "hr", "img", "wbr")
# fmt: off
_COMPONENTS = (
    "accordion", "accordion-element", "accordion-text", "accordion-title", "all", "attributes", "body", "breakpoint",
    "button", "carousel", "carousel-image", "class", "column", "divider", "font", "group", "head", "hero",
    "html-attributes", "html-attribute", "image", "include", "navbar", "navbar-link", "preview", "raw", "section",
    "selector", "social", "social-element", "spacer", "style", "table", "text", "title", "wrapper",
)
# fmt: on
_TAGS = frozenset(("mjml", *(f"mj-{name}" for name in _COMPONENTS)))


@dataclass(frozen=True)
class Source:
    """A content template and the files that it includes, without comments.

    `parts` holds each file with its own line numbers and as it is written; `text` is the template with its includes
    and parameters filled in.
    """

    file: Path
    text: str = field(repr=False)
    parts: Mapping[Path, str] = field(repr=False)

    @property
    def is_mjml(self) -> bool:
        """Whether this is MJML; otherwise it is HTML whose styles are inline already."""
        return self.file.suffix == ".mjml"


def read_source(file: Path, campaigns_folder: Path, parameters: Parameters) -> Source:
    """Read a template with all that it includes; ProjectError for a file that is not there, lies elsewhere or loops."""
    parts: dict[Path, str] = {}
    text = _read(file, file, campaigns_folder.resolve(), parts, ())
    return Source(file, parameters.fill_in_markup(text), parts)


def _read(path: Path, root: Path, campaigns_folder: Path, parts: dict[Path, str], chain: tuple[Path, ...]) -> str:
    """Read one file into `parts` and give its text with the includes filled in.

    The MJML library could include by itself, but it forgets the width of the mail inside an include.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(
            [Problem(path, None, f"this file cannot be read: {error}", "save it as UTF-8 text")]
        ) from error
    parts[path] = without_comments(text)
    if root.suffix != ".mjml":
        return parts[path]

    def fill_in(match: re.Match[str]) -> str:
        # As MJML does: a path is seen from the folder of the outermost template.
        included = (root.parent / match[1]).resolve()
        trouble = None
        if not included.is_relative_to(campaigns_folder):
            trouble = f"{match[1]} lies outside the folder campaigns", "move it there"
        elif not included.is_file():
            remedy = "a path is seen from the folder of the campaign, e.g. ../_layout/header.mjml"
            trouble = f"there is no file {match[1]}", remedy
        elif included in (*chain, path.resolve()):
            trouble = f"{match[1]} includes itself", "leave one of the includes out"
        if trouble:
            raise ProjectError([Problem(path, line_of(parts[path], match.start()), *trouble)])
        return _read(included, root, campaigns_folder, parts, (*chain, path.resolve()))

    return _INCLUDE.sub(fill_in, parts[path])


def without_comments(text: str) -> str:
    """A template without its comments, every line where it was."""
    return _COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)


def source_problems(source: Source) -> list[Problem]:
    """Find what the MJML library would drop or refuse without saying where."""
    problems = []
    for path, text in source.parts.items() if source.is_mjml else ():
        for match in JINJA_TAG.finditer(text):
            if "<" in match[0]:
                remedy = "write `is lt` instead, e.g. {% if amount is lt 3 %}"
                problems.append(Problem(path, line_of(text, match.start()), "MJML does not accept < in a tag", remedy))
        for match in _OPENING.finditer(text):
            if match[1] not in _TAGS:
                line = line_of(text, match.start())
                problems.append(Problem(path, line, f"there is no <{match[1]}> in MJML", did_you_mean(match[1], _TAGS)))
        # The library takes any end for the end of a component, and the text part would miss what is in it.
        unclosed = _unclosed(path, text, _ANY_COMPONENT)
        problems += [unclosed] if unclosed else []
    return problems


def html_template(source: Source) -> str:
    """Make the Jinja template of the HTML part; ProjectError when the MJML does not parse."""
    text = source.text
    if source.is_mjml:
        try:
            # No fonts: the library would link to a font server, which tells that server who reads the mail.
            text = mjml.mjml2html(text, fonts={})
        except ValueError as error:
            raise ProjectError([_mjml_problem(source, error)]) from error
        _nothing_lost(source, text)
    return jinja_text(text)


def text_template(source: Source) -> str:
    """Make the Jinja template of the text part, from the same source."""
    if source.is_mjml:
        pieces = _pieces(source.text)
    else:
        pieces = iter([_plain(re.sub(r"<head\b.*?</head>", "", source.text, flags=re.DOTALL))])
    return "\n\n".join(piece for piece in pieces if piece)


def jinja_text(text: str) -> str:
    """Undo entities inside Jinja tags: what is HTML around them is an expression in them."""
    return JINJA_TAG.sub(lambda match: html.unescape(match[0]), text)


def line_of(text: str, position: int) -> int:
    """Give the line, from 1, of a position in a text."""
    return text.count("\n", 0, position) + 1


def _mjml_problem(source: Source, error: ValueError) -> Problem:
    """Say where MJML does not parse: the library itself seldom does."""
    for path, text in source.parts.items():
        problem = _unclosed(path, text, _ANY_TAG)
        if problem:
            return problem
    remedy = "put attributes in double quotes, write &amp; and &lt;"
    return Problem(source.file, None, f"this MJML does not parse: {error}", remedy)


def unclosed_problem(path: Path, text: str) -> Problem | None:
    """Find the first tag of a piece of HTML without an end, which MJML would not parse."""
    return _unclosed(path, JINJA_TAG.sub(lambda match: "\n" * match[0].count("\n"), text), _ANY_TAG)


def _unclosed(path: Path, text: str, tags: re.Pattern[str]) -> Problem | None:
    """Find the first tag whose end is missing or stands at the wrong place."""
    open_tags: list[re.Match[str]] = []
    wrong = None
    for match in tags.finditer(text):
        if match["end"] and open_tags and open_tags[-1]["name"] == match["name"]:
            open_tags.pop()
        elif match["end"]:
            wrong = open_tags[-1] if open_tags else match
            break
        elif not match["whole"] and match["name"] not in _WITHOUT_END:
            open_tags.append(match)
    wrong = wrong or next(iter(open_tags[-1:]), None)
    if wrong is None:
        return None
    message = f"<{wrong['name']}> has no begin" if wrong["end"] else f"<{wrong['name']}> has no end of its own"
    return Problem(path, line_of(text, wrong.start()), message, "let every tag begin and end inside the same one")


def _nothing_lost(source: Source, compiled: str) -> None:
    """Refuse Jinja tags that MJML dropped: half an {% if %} would show the block to everybody."""
    lost = Counter(JINJA_TAG.findall(source.text)) - Counter(JINJA_TAG.findall(compiled))
    for path, text in source.parts.items():
        for match in JINJA_TAG.finditer(text):
            if match[0] in lost:
                remedy = "put it inside <mj-text>, or a control block of its own inside <mj-raw>"
                line = line_of(text, match.start())
                raise ProjectError([Problem(path, line, f"MJML drops {match[0]} at this place", remedy)])
    if lost:
        tag = html.unescape(next(iter(lost)))
        remedy = "put the parameter or block that holds it inside <mj-text>"
        raise ProjectError([Problem(source.file, None, f"MJML drops {tag}", remedy)])


def _pieces(text: str) -> Iterator[str]:
    """Walk an MJML text and give its texts and control blocks as plain text, in document order."""
    for match in _PIECE.finditer(text):
        if match["control"]:
            yield match["control"]
        elif match["tag"]:
            inner = f"<table>{match['inner']}</table>" if match["tag"] == "mj-table" else match["inner"]
            target = re.search(r"""\bhref=(?:"([^"]*)"|'([^']*)')""", match["attributes"])
            if target:
                address = (target[1] or target[2] or "").replace('"', "&quot;")
                inner = f'<a href="{address}">{inner}</a>'
            yield _plain(inner)


def _plain(fragment: str) -> str:
    """Make plain text of a piece of HTML, with the address behind every link that does not show it."""
    tree = lxml.html.fragment_fromstring(f"<div>{fragment}</div>")
    for link in tree.iter("a"):
        target = (link.get("href") or "").removeprefix("mailto:").removeprefix("tel:")
        shown = " ".join(link.text_content().split())
        if target and not target.startswith("#") and target != shown.replace(" ", "") and target != shown:
            link.append(lxml.html.fragment_fromstring(f"<span>: {html.escape(target)}</span>"))
    text = Inscriptis(tree, ParserConfig(css=CSS_PROFILES["strict"])).get_text()
    return "\n".join(line.strip() for line in str(text).strip().splitlines())
