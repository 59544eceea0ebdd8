"""Content checks: what is wrong in a step's texts, templates and blocks, found before anybody is mailed or served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from smp_pipelines.campaign.content.block_checks import block_problems
from smp_pipelines.campaign.content.mail import Content, ContentError, content_ref, content_source
from smp_pipelines.campaign.content.markup import source_problems
from smp_pipelines.campaign.content.page import PageContent
from smp_pipelines.campaign.content.readable import trials
from smp_pipelines.campaign.content.template_checks import TemplateChecker
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import Problem, ProjectError


def check_content(ref: StepRef, project: LoadedProject) -> list[Problem]:
    """Find what is wrong in a step's subject, preheader, blocks and template files, each with file and line.

    A content that is missing altogether is for `check_project` to tell. An internal step has the
    problems of the step that it shows, and those of what it says itself.
    """
    if ref.content_key is not None:
        return _internal_problems(ref, project)
    checker = TemplateChecker(ref, project)
    problems = [*_field_problems(ref, project, checker), *block_problems(ref, project, checker)]
    try:
        problems += _source_problems(ref, project, checker)
        if all(problem.warning for problem in problems):
            problems += _trial_problems(ref, project)
    except ProjectError as error:
        problems += error.problems
    return list(dict.fromkeys(problems))


def _internal_problems(ref: StepRef, project: LoadedProject) -> list[Problem]:
    try:
        sent = content_ref(ref, project)
    except ProjectError:
        return []  # `check_project` tells it
    shown = project.step(sent.key)
    problems = check_content(shown, project)
    own = [name for name in ("subject", "preheader") if getattr(sent.step, name) != getattr(shown.step, name)]
    if own:
        problems += _field_problems(ref, project, TemplateChecker(shown, project), own)
        if all(problem.warning for problem in problems):
            problems += _trial_problems(sent, project)
    return problems


def _field_problems(
    ref: StepRef, project: LoadedProject, checker: TemplateChecker, places: Sequence[str] = ("subject", "preheader")
) -> Iterator[Problem]:
    """Check the templates that stand in campaign.yaml itself."""
    for place in places:
        file, line = project.text_line(ref.key, place)
        yield from checker.text(file, line, getattr(ref.step, place) or "", f"step {ref.key}, {place}: ")


def _source_problems(ref: StepRef, project: LoadedProject, checker: TemplateChecker) -> Iterator[Problem]:
    """Check a mail's template file, or the layout of its blocks, and what they include."""
    if not _can_be_made(ref) or not ref.step.is_mail:
        return
    source = content_source(ref, project)
    yield from source_problems(source)
    for path, text in source.parts.items():
        yield from checker.markup(path, text)


def _can_be_made(ref: StepRef) -> bool:
    """Whether there is something to make a mail or page of; `check_project` tells when there is not."""
    if ref.step.is_mail and ref.step.content:
        return (ref.folder / ref.step.content).is_file()
    return bool(ref.step.blocks)


def _trial_problems(ref: StepRef, project: LoadedProject) -> list[Problem]:
    """Make the mail or page of someone with everything filled in, with as little as may be, and of a stranger."""
    if not _can_be_made(ref):
        return []
    content = Content.compile(ref, project) if ref.step.is_mail else PageContent.compile(ref, project)
    for who, rows in trials(ref, project).items():
        try:
            content.render(rows)
        except ContentError as error:
            file, line = _place(ref, project)
            return [Problem(file, line, f"with {who}: {error}")]
    return []


def _place(ref: StepRef, project: LoadedProject) -> tuple[Path, int | None]:
    return (ref.folder / ref.step.content, None) if ref.step.content else project.line(ref.key, "blocks")
