"""Block checks: what is wrong in the blocks of a step (F07, F13, F14), each with its file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from smp_pipelines.campaign.blocks import Block, ButtonBlock, FormBlock, HtmlBlock, ImageBlock, ProductBlock, TextBlock
from smp_pipelines.campaign.content.addresses import address_problem
from smp_pipelines.campaign.content.markdown import has_picture, link_targets
from smp_pipelines.campaign.content.markup import JINJA_TAG, line_of, unclosed_problem, without_comments
from smp_pipelines.campaign.content.template_checks import TemplateChecker
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.problems import Problem

_SCRIPT = re.compile(r"<script\b", re.IGNORECASE)
_STYLE = re.compile(r"<style\b|<[a-z][^>]*\sstyle\s*=", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"\]\(\s*<?\s*((?:javascript|vbscript|data|file):[^)\s]*)", re.IGNORECASE)
"""Addresses that Markdown makes no link of; they would stand there as text."""
_PICTURES = ("*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp")


def block_problems(ref: StepRef, project: LoadedProject, checker: TemplateChecker) -> Iterator[Problem]:
    """Check a step's blocks, and where its page leads by itself."""
    check = _BlockCheck(ref, project, checker)
    yield from check.arrangement()
    for position, block in enumerate(ref.step.blocks):
        yield from check.block(position, block)


class _BlockCheck:
    """The checks of one step's blocks."""

    def __init__(self, ref: StepRef, project: LoadedProject, checker: TemplateChecker) -> None:
        self.ref = ref
        self.project = project
        self.checker = checker

    def arrangement(self) -> Iterator[Problem]:
        """Check what there is and where: the form once and on a form step, blocks or a file, a page not empty (F07)."""
        step, blocks = self.ref.step, self.ref.step.blocks
        forms = [position for position, block in enumerate(blocks) if isinstance(block, FormBlock)]
        if step.is_mail and step.content and blocks:
            yield self._problem("blocks", "a mail has `content` or `blocks`, not both", "leave one of the two out")
        if step.channel == "form":
            if not forms:
                yield self._problem("blocks", "there is no place for the form", "add a block: `- type: form`")
            for position in forms[1:]:
                yield self._problem(f"blocks.{position}", "the form is there twice", "keep one block of type form")
        else:
            for position in forms:
                kind = "mail" if step.is_mail else "page"
                remedy = "write `channel: form` and `form: …`, or leave this block out"
                yield self._problem(f"blocks.{position}", f"a {kind} has no form", remedy)
        if step.channel == "page" and not blocks:
            yield self._problem("", "this page is empty", "add `blocks: …`")
        if step.redirect is not None and (JINJA_TAG.search(step.redirect.url) or self._has_parameter()):
            what = "a redirect leads to one address for everybody"
            yield self._problem("redirect.url", what, "write the whole address, without {{ … }} or parameters")
        yield from self._titled()

    def _has_parameter(self) -> bool:
        redirect = self.ref.step.redirect
        return redirect is not None and self.checker.parameters.left_out(redirect.url) != redirect.url

    def _titled(self) -> Iterator[Problem]:
        """Warn of a form or page without a heading: it names the page in tabs, to screen readers and to searchers."""
        texts = [block.text for block in self.ref.step.blocks if isinstance(block, TextBlock)]
        files = any(isinstance(block, HtmlBlock) for block in self.ref.step.blocks)
        heading = any(re.search(r"^ {0,3}#\s|^=+\s*$", text, re.MULTILINE) for text in texts)
        if not self.ref.step.is_mail and self.ref.step.blocks and not files and not heading:
            remedy = "begin a text with a line such as: # Bedankt"
            yield self._problem("blocks", "this has no title", remedy, warning=True)

    def block(self, position: int, block: Block) -> Iterator[Problem]:
        """Check one block: its condition, its texts and addresses, its files and its rows."""
        place = f"blocks.{position}"
        if block.when is not None:
            file, line = self.project.text_line(self.ref.key, f"{place}.when")
            yield from self.checker.condition(file, line, block.when, self._where(place))
        match block:
            case TextBlock():
                yield from self._markdown(place, block)
            case ImageBlock():
                yield from self._image(place, block)
            case ButtonBlock():
                yield from self._text(f"{place}.text", block.text, block.when)
                yield from self._address(f"{place}.url", block.url, block.when)
            case ProductBlock():
                yield from self._product(place, block)
            case HtmlBlock():
                yield from self._html(place, block)

    def _markdown(self, place: str, block: TextBlock) -> Iterator[Problem]:
        yield from self._text(f"{place}.text", block.text, block.when)
        if has_picture(block.text):
            remedy = "use a block of its own: `- type: image`"
            yield self._problem(f"{place}.text", "a text holds no pictures", remedy)
        if (other := _OTHER_SCHEME.search(block.text)) is not None:
            yield self._problem(f"{place}.text", f"{other[1]} is no address to lead to", "write https://…")
        for target in link_targets(self.checker.parameters.fill_in(block.text)):
            if (wrong := address_problem(target)) is not None:
                yield self._problem(f"{place}.text", *wrong)

    def _image(self, place: str, block: ImageBlock) -> Iterator[Problem]:
        yield from self._text(f"{place}.alt", block.alt, block.when)
        if not (self.ref.folder / block.file).is_file():
            yield self._missing(f"{place}.file", block.file, *_PICTURES)
        if block.url is not None:
            yield from self._address(f"{place}.url", block.url, block.when)
            if not block.alt.strip():
                what = "a picture that leads somewhere needs words for who cannot see it"
                yield self._problem(f"{place}.alt", what, "write in `alt` where it leads")

    def _html(self, place: str, block: HtmlBlock) -> Iterator[Problem]:
        file = self.ref.folder / block.file
        if not file.is_file():
            yield self._missing(f"{place}.file", block.file, "*.html")
            return
        text = without_comments(file.read_text(encoding="utf-8", errors="replace"))
        yield from self.checker.markup(file, text)
        if (script := _SCRIPT.search(text)) is not None:
            remedy = "leave it out: no script runs in mails, nor on the site"
            yield Problem(file, line_of(text, script.start()), "a script is not used here", remedy)
        if self.ref.step.is_mail and (unclosed := unclosed_problem(file, text)) is not None:
            yield unclosed
        if not self.ref.step.is_mail and (style := _STYLE.search(text)) is not None:
            what, remedy = "styles in a page are not used", "use a class, and write its style in theme/style.css"
            yield Problem(file, line_of(text, style.start()), what, remedy, warning=True)

    def _product(self, place: str, block: ProductBlock) -> Iterator[Problem]:
        if block.text is not None or block.url is not None:
            yield from self._product_button(place, block)
        record = self.project.settings.records.get(block.record)
        if record is None:
            remedy = did_you_mean(block.record, self.project.settings.records)
            yield self._problem(f"{place}.record", f"there is no record {block.record} in smp.yaml", remedy)
            return
        if block.id is None and self.ref.step.record != block.record:
            remedy = f"add `id: …`, or `record: {block.record}` to the step"
            yield self._problem(f"{place}.record", f"this step is not about a {block.record}", remedy)
        table = self.project.catalog.tables.get(record.table)
        for number, name in enumerate(block.show if table else ()):
            if table is not None and name not in table.columns:
                remedy = did_you_mean(name, table.columns)
                yield self._problem(f"{place}.show.{number}", f"{table.name} has no column {name}", remedy)

    def _product_button(self, place: str, block: ProductBlock) -> Iterator[Problem]:
        if block.text is None or block.url is None:
            given, missing = ("url", "text") if block.text is None else ("text", "url")
            what = f"the button has a `{given}` and no `{missing}`"
            yield self._problem(f"{place}.{given}", what, f"add `{missing}: …`, or leave `{given}` out")
        if block.text is not None:
            yield from self._text(f"{place}.text", block.text, block.when)
        if block.url is not None:
            yield from self._address(f"{place}.url", block.url, block.when)

    def _text(self, place: str, text: str, when: str | None) -> Iterator[Problem]:
        file, line = self.project.text_line(self.ref.key, place)
        # a condition that is wrong itself is told once, by itself
        wrong = when and list(self.checker.condition(file, line, when))
        yield from self.checker.text(file, line, text, self._where(place), None if wrong else when)

    def _address(self, place: str, url: str, when: str | None) -> Iterator[Problem]:
        yield from self._text(place, url, when)
        if (wrong := address_problem(self.checker.parameters.fill_in(url))) is not None:
            yield self._problem(place, *wrong)

    def _missing(self, place: str, name: str, *patterns: str) -> Problem:
        there = [file.name for pattern in patterns for file in self.ref.folder.glob(pattern)]
        remedy = did_you_mean(name, there) or f"put it in {Path('campaigns') / self.ref.campaign}"
        return self._problem(place, f"there is no file {name} in this folder", remedy)

    def _where(self, place: str) -> str:
        number, _, field = place.removeprefix("blocks.").partition(".")
        return f"step {self.ref.key}, block {int(number) + 1}{f', {field}' if field else ''}: "

    def _problem(self, place: str, message: str, remedy: str | None, warning: bool = False) -> Problem:
        file, line = self.project.line(self.ref.key, place)
        return Problem(file, line, f"step {self.ref.key}: {message}", remedy, warning)
