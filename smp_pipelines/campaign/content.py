"""Content: what one person gets of a step, made from templates that are compiled once.

A template sees `person`, `organisation` (or nothing), the linked record under its own name, and
the names of `step`, `campaign` and `project`. An empty value becomes nothing; a name that does not
exist is an error, found by `check_content` before anybody is mailed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Template, TemplateError
from jinja2.runtime import new_context

from smp_pipelines.campaign.environment import make_environment
from smp_pipelines.campaign.inspection import Names, inspect_template
from smp_pipelines.campaign.markup import Source, html_template, jinja_text, read_source, source_problems, text_template
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.crm.catalog import Table
from smp_pipelines.problems import Problem, ProjectError, SmpError

_BODY = re.compile(r"<body[^>]*>", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
# Inboxes show this after the subject; the spaces keep the first words of the body from following it.
_PREHEADER = (
    '<div style="display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;font-size:1px;line-height:1px">'
    "{{ preheader }}" + "&#847;&zwnj;&nbsp;" * 40 + "</div>"
)
_SAMPLES: tuple[tuple[str, Any], ...] = (
    ("timestamp", datetime(2026, 1, 2, 19, 15, tzinfo=UTC)),
    ("date", date(2000, 2, 29)),
    ("bool", False),
    ("numeric", Decimal("12.50")),
    ("decimal", Decimal("12.50")),
    ("double", 12.5),
    ("real", 12.5),
    ("bigint", 7),
    ("int", 7),
    ("smallint", 7),
)
"""What a column holds in a trial, by the beginning of its type; anything else is text."""


class ContentError(SmpError):
    """The mail of one person cannot be made from these templates."""


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
    def compile(cls, ref: StepRef, project: LoadedProject) -> Content:
        """Compile a step's templates, once per step; ProjectError when they cannot be.

        An internal step has the templates of the step that it shows, word for word: a template that
        names its step or campaign names the other one (F26).
        """
        ref = content_ref(ref, project)
        if not ref.step.content:
            file, line = project.line(ref.key, "content")
            raise ProjectError([Problem(file, line, f"step {ref.key}: the content is missing", "add `content: …`")])
        source = _source(ref, project)
        settings = project.settings
        markup = make_environment(settings.language, settings.zone, html=True)
        plain = make_environment(settings.language, settings.zone, html=False)
        html = html_template(source)
        if ref.step.preheader:
            html = _with_preheader(html)
        try:
            return cls(
                key=ref.key,
                _subject=plain.from_string(ref.step.subject),
                _preheader=plain.from_string(ref.step.preheader) if ref.step.preheader else None,
                _html=markup.from_string(html),
                _text=plain.from_string(text_template(source)),
                _names={
                    **plain.globals,
                    "organisation": None,
                    "step": {"name": ref.step.name},
                    "campaign": {"name": project.campaigns[ref.campaign].name},
                    "project": {"name": settings.name},
                },
            )
        except TemplateError as error:
            remedy = "run the check: it names the line" if not source_problems(source) else None
            raise ProjectError(
                [Problem(source.file, None, f"this template does not compile: {error}", remedy)]
            ) from error

    def render(self, context: Mapping[str, Any]) -> Rendered:
        """Make one person's mail; rows are plain dicts. ContentError when a value is missing or does not fit."""
        values = {**self._names, **context}
        try:
            values["preheader"] = _one_line(_fill(self._preheader, values)) if self._preheader else ""
            return Rendered(
                subject=_one_line(_fill(self._subject, values)),
                html=_fill(self._html, values),
                text=_BLANK_LINES.sub("\n\n", _fill(self._text, values)).strip() + "\n",
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise ContentError(f"step {self.key}: this mail cannot be made: {error}") from error


def _fill(template: Template, values: dict[str, Any]) -> str:
    """What `Template.render` does, without copying the values and globals for each of a mail's four templates."""
    context = new_context(template.environment, template.name, template.blocks, values, shared=True, globals=None)
    return "".join(template.root_render_func(context))


def check_content(ref: StepRef, project: LoadedProject) -> list[Problem]:
    """Find what is wrong in a step's subject, preheader and template files, each with file and line.

    A content that is missing altogether is for `check_project` to tell. An internal step has the
    problems of the step that it shows, and those of what it says itself.
    """
    if ref.content_key is not None:
        return _internal_problems(ref, project)
    names = _names(ref, project)
    problems = list(_field_problems(ref, project, names))
    if not ref.step.content or not (ref.folder / ref.step.content).is_file():
        return problems
    try:
        source = _source(ref, project)
        problems += source_problems(source)
        for path, text in source.parts.items():
            problems += _template_problems(path, text, names, project)
        if all(problem.warning for problem in problems):
            problems += _trial_problems(ref, project, Content.compile(ref, project))
    except ProjectError as error:
        problems += error.problems
    return problems


def _internal_problems(ref: StepRef, project: LoadedProject) -> list[Problem]:
    try:
        sent = content_ref(ref, project)
    except ProjectError:
        return []  # `check_project` tells it
    shown = project.step(sent.key)
    problems = check_content(shown, project)
    own = [name for name in ("subject", "preheader") if getattr(sent.step, name) != getattr(shown.step, name)]
    if own:
        problems += _field_problems(ref, project, _names(shown, project), own)
        if all(problem.warning for problem in problems) and (sent.folder / sent.step.content).is_file():
            problems += _trial_problems(sent, project, Content.compile(sent, project))
    return problems


def _source(ref: StepRef, project: LoadedProject) -> Source:
    return read_source(ref.folder / ref.step.content, project.campaigns_folder)


def _with_preheader(html: str) -> str:
    body = _BODY.search(html)
    position = body.end() if body else 0
    return html[:position] + _PREHEADER + html[position:]


def _one_line(text: str) -> str:
    # A line break in a header would begin a new header; a person's name must not be able to do that.
    return " ".join(text.split())


def _tables(ref: StepRef, project: LoadedProject) -> dict[str, Table]:
    """Give the tables whose rows a template sees, by the name that it sees."""
    wanted = {"person": "crm.person", "organisation": "crm.organisation"}
    record = project.record(ref)
    if record is not None and ref.step.record is not None:
        wanted[ref.step.record] = record.table
    return {name: project.catalog.tables[table] for name, table in wanted.items() if table in project.catalog.tables}


def _names(ref: StepRef, project: LoadedProject) -> Names:
    tables = _tables(ref, project)
    attributes = {name: frozenset(table.columns) for name, table in tables.items()}
    attributes |= dict.fromkeys(("step", "campaign", "project"), frozenset(("name",)))
    empty = {
        f"{name}.{column.name}"
        for name, table in tables.items()
        for column in table.columns.values()
        if column.nullable
    }
    return Names(attributes, frozenset(empty | {"organisation"}))


def _field_problems(
    ref: StepRef, project: LoadedProject, names: Names, places: Sequence[str] = ("subject", "preheader")
) -> Iterator[Problem]:
    """Check the templates that stand in campaign.yaml itself."""
    environment = make_environment(project.settings.language, project.settings.zone, html=False)
    for place in places:
        text = getattr(ref.step, place) or ""
        file, line = project.line(ref.key, place)
        for finding in inspect_template(text, names, environment):
            message = f"step {ref.key}, {place}: {finding.message}"
            yield Problem(file, line + finding.line - 1, message, finding.remedy, finding.warning)


def _template_problems(path: Path, text: str, names: Names, project: LoadedProject) -> list[Problem]:
    environment = make_environment(project.settings.language, project.settings.zone, html=True)
    findings = inspect_template(jinja_text(text), names, environment)
    return [Problem(path, finding.line, finding.message, finding.remedy, finding.warning) for finding in findings]


def _trial_problems(ref: StepRef, project: LoadedProject, content: Content) -> list[Problem]:
    """Make the mail of someone with everything filled in, and of someone with nothing that may be empty."""
    tables = _tables(ref, project)
    full: dict[str, Any] = {name: _sample(table, full=True) for name, table in tables.items()}
    sparse: dict[str, Any] = {name: _sample(table, full=False) for name, table in tables.items()} | {
        "organisation": None
    }
    for rows, who in ((full, "everything filled in"), (sparse, "the fields empty that may be empty")):
        try:
            content.render(rows)
        except ContentError as error:
            return [Problem(ref.folder / ref.step.content, None, f"with {who}: {error}")]
    return []


def _sample(table: Table, full: bool) -> dict[str, Any]:
    row = {}
    for column in table.columns.values():
        fitting = (value for kind, value in _SAMPLES if column.type.startswith(kind))
        row[column.name] = next(fitting, column.name) if full or not column.nullable else None
    return row
