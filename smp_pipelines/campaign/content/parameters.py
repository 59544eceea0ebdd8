"""Parameters: short names for pieces of template, such as $voorkeurencentrum, which smp.yaml explains (F11).

They are put in place before anything is compiled, in mails, pages, subjects, texts and addresses. Prices ($5), $$,
shell and script variables (${x}, $x.y, $x = 1), addresses such as ?$top=5, styles and scripts are left alone.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from smp_pipelines.campaign.wording import did_you_mean

_SPARED = r"<(?P<tag>mj-style|style|script)\b.*?</(?P=tag)>|\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|<!--.*?-->"
_NAME = r"(?<![\w$\\])\$(?P<name>[a-z][a-z0-9]*(?:_[a-z0-9]+)*)"
_PLACE = re.compile(rf"(?P<spared>{_SPARED})|{_NAME}", re.DOTALL | re.IGNORECASE)
_IN_TAG = re.compile(rf"{_NAME}(?=(?:[^\"']|\"[^\"]*\"|'[^']*')*\Z)")
_IN_CODE = re.compile(r"\s*[=\[(]|\.\w")
_IN_QUERY = ("?", "&")
_SHORTEST = 3
"""Letters of a name that is taken for a misspelt parameter; $x and $nr are something else."""


@dataclass(frozen=True)
class Use:
    """One $name in a text: its line from 1, and what is wrong with it, if anything."""

    name: str
    line: int
    message: str | None = None
    remedy: str | None = None


class Parameters:
    """The parameters of a project. Names are written in small letters, as manuals do."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def fill_in(self, text: str) -> str:
        """The text with every known $name replaced by its template text."""
        return self._replaced(text, lambda name: self._texts[name])

    def fill_in_markup(self, text: str) -> str:
        """The same in HTML or MJML: what is put in place is text there, also inside an attribute."""
        return self._replaced(text, lambda name: html.escape(self._texts[name]))

    def left_out(self, text: str) -> str:
        """The text without its parameters, line by line, for looking at what is around them."""
        return self._replaced(text, lambda _name: "")

    def _replaced(self, text: str, wanted: Callable[[str], str]) -> str:
        if "$" not in text:
            return text

        def put(match: re.Match[str]) -> str:
            name = match["name"]
            return wanted(name) if name is not None and name in self._texts else match[0]

        return _PLACE.sub(put, text)

    def uses(self, text: str) -> Iterator[Use]:
        """Every $name in a text, known ones and those that look like a parameter and are none."""
        for match in _PLACE.finditer(text) if "$" in text else ():
            line = text.count("\n", 0, match.start()) + 1
            if match["name"] is None:
                yield from self._in_tag(match["spared"], line)
            elif match["name"] in self._texts:
                yield Use(match["name"], line)
            elif not self._is_other(text, match):
                remedy = did_you_mean(match["name"], self._texts) or "explain it in smp.yaml, under `parameters`"
                yield Use(match["name"], line, f"there is no parameter ${match['name']}", remedy)

    def _is_other(self, text: str, match: re.Match[str]) -> bool:
        """Whether an unknown $name is a piece of code or of an address, or too short to be one of ours."""
        before = text[: match.start()][-1:] or " "
        return len(match["name"]) < _SHORTEST or before in _IN_QUERY or bool(_IN_CODE.match(text, match.end()))

    def _in_tag(self, spared: str, line: int) -> Iterator[Use]:
        if not spared.startswith(("{{", "{%")):
            return
        for match in _IN_TAG.finditer(spared[2:-2]):
            message = f"${match['name']} stands inside {spared[:2]} … {spared[-2:]}"
            remedy = "a parameter stands by itself: write it without the braces"
            yield Use(match["name"], line + spared.count("\n", 0, match.start() + 2), message, remedy)
