"""Writing: what blocks are made of, in pages and mails alike: texts, addresses and conditions as pieces of template.

Everything here gives HTML with template tags in it, their quotes and < as entities; `jinja_text` makes the template.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smp_pipelines.campaign.blocks import Block, HtmlBlock, ProductBlock
from smp_pipelines.campaign.content.addresses import safe_address
from smp_pipelines.campaign.content.markdown import Piece, pieces
from smp_pipelines.campaign.content.markup import JINJA_TAG, without_comments
from smp_pipelines.campaign.content.parameters import Parameters
from smp_pipelines.campaign.content.readable import product_key
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import Problem, ProjectError

LAYOUT = Path("_layout") / "mail.mjml"
"""The project's own layout of mails that are made of blocks, in the folder campaigns."""


@dataclass(frozen=True)
class Fact:
    """A column that a product block shows: the condition for having it, and the tags that write it."""

    test: str
    text: str


class Writer:
    """Writes the parts of a step's blocks. Made once per compilation."""

    def __init__(self, ref: StepRef, project: LoadedProject) -> None:
        self.ref = ref
        self.parameters = Parameters(project.settings.parameters)
        self._project = project

    def text(self, text: str) -> str:
        """A line of text, such as what is on a button."""
        return html.escape(self.parameters.fill_in(text))

    def markdown(self, text: str) -> Iterator[Piece]:
        """A text block's Markdown, piece by piece."""
        return pieces(self.parameters.fill_in(text))

    def address(self, url: str) -> str:
        """What stands in an href; a value of a person cannot make a script of it."""
        return html.escape(safe_address(self.parameters.fill_in(url).strip()))

    def file(self, block: HtmlBlock) -> str:
        """The contents of an html block's file. Raises ProjectError when it cannot be read."""
        file = self.ref.folder / block.file
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problem = Problem(file, None, f"this file cannot be read: {error}", "save it as UTF-8 text")
            raise ProjectError([problem]) from error
        filled = self.parameters.fill_in_markup(without_comments(text)).strip()
        # MJML reads the file too: quotes and < inside tags would be its own
        return JINJA_TAG.sub(lambda match: html.escape(html.unescape(match[0])), filled)

    def condition(self, block: Block) -> tuple[str, str]:
        """The tags before and after a block that is not for everybody (F13); empty for one that is."""
        tests = [f"({block.when})"] if block.when else []
        if isinstance(block, ProductBlock):
            row = self._row(block)
            tests.append(f"{row} is defined and {row} and {self._title(block)} is not none")
        return (tag(f"if {' and '.join(tests)}"), tag("endif")) if tests else ("", "")

    def title(self, block: ProductBlock) -> str:
        """The title of a product."""
        return html.escape("{{ " + self._title(block) + " }}")

    def facts(self, block: ProductBlock) -> list[Fact]:
        """The columns that a product block shows, each written as its type asks for."""
        record = self._project.settings.records[block.record]
        columns = self._project.catalog.tables[record.table].columns
        found = []
        for name in block.show:
            value = f"{self._row(block)}.{name}"
            found.append(Fact(f"{value} is not none", html.escape(_written(value, columns[name].type))))
        return found

    def _row(self, block: ProductBlock) -> str:
        if block.id is None:
            return block.record
        return f'products["{product_key(block.record, block.id)}"]'

    def _title(self, block: ProductBlock) -> str:
        return f"{self._row(block)}.{self._project.settings.records[block.record].title}"


def tag(inner: str) -> str:
    """A tag of control, as it stands in HTML."""
    return html.escape("{% " + inner + " %}")


def _written(value: str, kind: str) -> str:
    """The tags that write a value of a column's type: a moment, a day, a time, an amount, or as it is."""
    if kind.startswith("timestamp"):
        return f"{{{{ {value} | weekday }}}} {{{{ {value} | date }}}}, {{{{ {value} | time }}}}"
    for beginning, filtered in (("date", "date"), ("time", "time"), ("numeric", "euro"), ("decimal", "euro")):
        if kind.startswith(beginning):
            return f"{{{{ {value} | {filtered} }}}}"
    return f"{{{{ {value} }}}}"
