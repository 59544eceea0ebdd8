"""Content: what one person gets of a step, made from templates that are compiled once.

A template sees `person`, `organisation` (or nothing), the linked record under its own name, `links`, `known`
and the names of `step`, `campaign` and `project`. An empty value becomes nothing; a name that does not
exist is an error, found by `content_checks` before anybody is mailed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from jinja2 import Template, TemplateError
from jinja2.runtime import new_context

from smp_pipelines.campaign.content.block_mail import mail_source
from smp_pipelines.campaign.content.environment import make_environment
from smp_pipelines.campaign.content.links import Links
from smp_pipelines.campaign.content.markup import Source, html_template, read_source, source_problems, text_template
from smp_pipelines.campaign.content.parameters import Parameters
from smp_pipelines.campaign.content.readable import step_names
from smp_pipelines.campaign.content.tracked import Tracking
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import Problem, ProjectError, SmpError

_BODY = re.compile(r"<body[^>]*>", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
# Inboxes show this after the subject; the spaces keep the first words of the body from following it.
_PREHEADER = (
    '<div style="display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;font-size:1px;line-height:1px">'
    "{{ preheader }}" + "&#847;&zwnj;&nbsp;" * 40 + "</div>"
)
NO_CONTENT = "add `blocks: …`, or `content: …`, a .mjml or .html file in this folder"
FAULTS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, SmpError)
"""What a template may raise when a value is missing or does not fit, or a link leads nowhere."""


class ContentError(SmpError):
    """The mail or page of one person cannot be made from these templates."""


class Rendered(NamedTuple):
    """A mail's subject (one line), its HTML part and its text part."""

    subject: str
    html: str
    text: str


def content_ref(ref: StepRef, project: LoadedProject) -> StepRef:
    """The step whose content is sent: of an internal step the step that it shows, else the step itself (F26).

    What the internal step says itself (sender, reply_to, subject, preheader) stands in place of what
    the other one says. Raises ProjectError when an internal step names no step with a mail of its own.
    """
    if ref.content_key is None:
        return ref
    shown = next((other for other in project.steps() if other.key == ref.content_key), None)
    if shown is None or shown.step.internal is not None:
        file, line = project.line(ref.key, "internal.content")
        message = f"step {ref.key}: {ref.content_key} is no step with a mail of its own"
        raise ProjectError([Problem(file, line, message, "name the step whose mail the colleagues check")])
    said = {name: getattr(ref.step, name) for name in ("sender", "reply_to", "subject", "preheader")}
    return replace(shown, step=shown.step.model_copy(update=said))


@dataclass(frozen=True, slots=True)
class Content:
    """The compiled templates of one step; `render` may be called from any thread."""

    key: str
    _subject: Template
    _preheader: Template | None
    _html: Template
    _text: Template
    _names: Mapping[str, Any]

    @classmethod
    def compile(cls, ref: StepRef, project: LoadedProject, tracking: Tracking | None = None) -> Content:
        """Compile a step's templates, once per step; ProjectError when they cannot be.

        With `tracking` the links of the html part tell who followed them; its context must have `links` then.

        An internal step has the templates of the step that it shows, word for word: a template that
        names its step or campaign names the other one (F26).
        """
        ref = content_ref(ref, project)
        source = content_source(ref, project)
        parameters = Parameters(project.settings.parameters)
        markup = make_environment(project.language(ref), project.settings.zone, html=True)
        plain = make_environment(project.language(ref), project.settings.zone, html=False)
        html = html_template(source)
        if ref.step.preheader:
            html = _with_preheader(html)
        if tracking is not None:
            html = tracking.apply(html, markup)
        try:
            return cls(
                key=ref.key,
                _subject=plain.from_string(parameters.fill_in(ref.step.subject)),
                _preheader=plain.from_string(parameters.fill_in(ref.step.preheader)) if ref.step.preheader else None,
                _html=markup.from_string(html),
                _text=plain.from_string(text_template(source)),
                _names={**plain.globals, **step_names(ref, project)},
            )
        except TemplateError as error:
            remedy = "run the check: it names the line" if not source_problems(source) else None
            raise ProjectError(
                [Problem(source.file, None, f"this template does not compile: {error}", remedy)]
            ) from error

    def render(self, context: Mapping[str, Any]) -> Rendered:
        """Make one person's mail; ContentError when a value is missing or does not fit.

        The context: rows as plain dicts, `links` where the templates read them (their site_url stands before the
        addresses of pictures), and what `read_products` gives for products that the blocks name.
        """
        links = context.get("links")
        site_url = links.site_url if isinstance(links, Links) else ""
        values = {**self._names, "site_url": site_url, **context}
        try:
            values["preheader"] = _one_line(fill(self._preheader, values)) if self._preheader else ""
            return Rendered(
                subject=_one_line(fill(self._subject, values)),
                html=fill(self._html, values),
                text=_BLANK_LINES.sub("\n\n", fill(self._text, values)).strip() + "\n",
            )
        except FAULTS as error:
            raise ContentError(f"step {self.key}: this mail cannot be made: {error}") from error


def fill(template: Template, values: dict[str, Any]) -> str:
    """What `Template.render` does, without copying the values and globals for each of a mail's four templates."""
    context = new_context(template.environment, template.name, template.blocks, values, shared=True, globals=None)
    return "".join(template.root_render_func(context))


def content_source(ref: StepRef, project: LoadedProject) -> Source:
    """The MJML or HTML of a mail, from its template file or its blocks; ProjectError for what cannot be used."""
    if ref.step.content:
        return read_source(
            ref.folder / ref.step.content, project.campaigns_folder, Parameters(project.settings.parameters)
        )
    if ref.step.blocks:
        return mail_source(ref, project)
    file, line = project.line(ref.key, "content")
    raise ProjectError([Problem(file, line, f"step {ref.key}: the content is missing", NO_CONTENT)])


def _with_preheader(html: str) -> str:
    body = _BODY.search(html)
    position = body.end() if body else 0
    return html[:position] + _PREHEADER + html[position:]


def _one_line(text: str) -> str:
    # A line break in a header would begin a new header; a person's name must not be able to do that.
    return " ".join(text.split())
