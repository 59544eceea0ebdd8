"""Pages: the body of a form or page step, made from its blocks, compiled once (F07, F13)."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import Template, TemplateError
from markupsafe import Markup

from smp_pipelines.campaign.content.block_page import FORM, page_template
from smp_pipelines.campaign.content.environment import make_environment
from smp_pipelines.campaign.content.mail import FAULTS, ContentError, fill
from smp_pipelines.campaign.content.readable import empty_rows, step_names
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import Problem, ProjectError

_HEADING = re.compile(r"<h1\b[^>]*>(.*?)</h1>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


class RenderedPage(NamedTuple):
    """A page's title, as plain text, and what is in its <main>."""

    title: str
    body: Markup


@dataclass(frozen=True, slots=True)
class PageContent:
    """The compiled template of one form or page; `render` may be called from any thread."""

    key: str
    language: str
    _body: Template
    _names: Mapping[str, Any]
    _untitled: str

    @classmethod
    def compile(cls, ref: StepRef, project: LoadedProject) -> PageContent:
        """Compile a step's blocks, once per step; ProjectError when they cannot be."""
        environment = make_environment(project.language(ref), project.settings.zone, html=True)
        try:
            body = environment.from_string(page_template(ref, project))
        except TemplateError as error:
            file, line = project.line(ref.key, "blocks")
            message = f"step {ref.key}: these blocks do not compile: {error}"
            raise ProjectError([Problem(file, line, message, "run the check: it names the line")]) from error
        names = {**environment.globals, **step_names(ref, project)}
        return cls(ref.key, project.language(ref).partition("_")[0], body, names, project.settings.name)

    def render(self, context: Mapping[str, Any], form: Markup | None = None) -> RenderedPage:
        """Make the page of one visitor, with the form's html at its place; ContentError when a value does not fit.

        The title is the first heading of the highest level; without one, the project's name.
        """
        values = {**self._names, **context, FORM: form or Markup("")}
        try:
            body = fill(self._body, values)
        except FAULTS as error:
            raise ContentError(f"step {self.key}: this page cannot be made: {error}") from error
        heading = _HEADING.search(body)
        # a value cannot hold a tag here: every value is escaped
        title = " ".join(html.unescape(_TAG.sub("", heading[1])).split()) if heading else ""
        return RenderedPage(title or self._untitled, Markup(body))  # noqa: S704 - the environment escapes


def empty_context(ref: StepRef, project: LoadedProject) -> dict[str, Any]:
    """What a visitor whom nobody knows is given: every row with all its columns empty, and `known` false.

    Who makes the page adds `links`, and `read_products` when the blocks name products.
    """
    return empty_rows(ref, project)
