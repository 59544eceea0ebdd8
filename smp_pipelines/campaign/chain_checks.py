"""Chain checks: whether a form leads to a page, and what follows it knows all that it needs (F01, F06, F08)."""

from __future__ import annotations

from collections.abc import Iterator

from smp_pipelines.campaign.chain import what_follows
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.problems import Problem


def chain_problems(project: LoadedProject) -> Iterator[Problem]:
    """What is wrong with the form steps of a project; `checks` tells of a next step that does not exist."""
    for ref in project.steps():
        if ref.step.channel == "form":
            yield from _form(project, ref)
            yield from _next(project, ref)
            yield from _record(project, ref)


def _form(project: LoadedProject, ref: StepRef) -> Iterator[Problem]:
    if project.form(ref) is None:
        name = str(ref.step.form)
        remedy = did_you_mean(name, project.forms) or f"write forms/{name}.yaml"
        yield _problem(project, ref, "form", f"there is no form {name}", remedy)


def _next(project: LoadedProject, ref: StepRef) -> Iterator[Problem]:
    """A form without a page after it would show nothing once it is sent (F08)."""
    key = ref.next_key
    if key is None:
        yield _problem(
            project, ref, "next", "nothing is shown after this form", "add `next: …`, a page that says thanks"
        )
        return
    following = next((each for each in project.steps() if each.key == key), None)
    if following is not None and following.step.channel != "page":
        kind = "mail" if following.step.is_mail else "form"
        remedy = "put a page that says thanks between them"
        yield _problem(project, ref, "next", f"after a form comes a page, and {key} is a {kind}", remedy)


def _record(project: LoadedProject, ref: StepRef) -> Iterator[Problem]:
    mail = what_follows(project, ref).mail
    if mail is not None and mail.step.record is not None and mail.step.record != ref.step.record:
        message = f"the mail {mail.key} that follows is about a {mail.step.record}, and nobody knows which"
        yield _problem(project, ref, "record", message, f"add `record: {mail.step.record}` here, or take it away there")


def _problem(project: LoadedProject, ref: StepRef, place: str, message: str, remedy: str) -> Problem:
    file, line = project.line(ref.key, place)
    return Problem(file, line, f"step {ref.key}: {message}", remedy)
