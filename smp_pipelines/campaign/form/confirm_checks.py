"""Confirm checks: whether a form with double opt-in leads to a mail that confirms, and that mail to a page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from smp_pipelines.campaign.chain import what_follows
from smp_pipelines.campaign.form.models import Form
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import Problem

_PARAMETER = re.compile(r"\$([a-z][a-z0-9_]*)")
_CONFIRM = re.compile(r"\blinks\s*\.\s*confirm\b")


def double_opt_in_problems(
    project: LoadedProject, name: str, form: Form, steps: Sequence[StepRef]
) -> Iterator[Problem]:
    """What keeps a yes from being confirmed."""
    if not form.double_opt_in:
        return
    if all(field.type != "consent" for field in form.fields.values()):
        file, line = project.form_line(name, "double_opt_in")
        message = f"form {name}: there is no yes to confirm"
        yield Problem(file, line, message, "add a field of type consent, or leave `double_opt_in` out")
    for ref in steps:
        yield from _mail_problems(project, name, ref)


def _mail_problems(project: LoadedProject, name: str, ref: StepRef) -> Iterator[Problem]:
    mail = what_follows(project, ref).mail
    if mail is None:
        file, line = project.line(ref.key, "next")
        message = f"step {ref.key}: form {name} has double opt-in, and no trigger mail follows to confirm with"
        yield Problem(file, line, message, "let the page after it have `next:` a trigger mail with {{ links.confirm }}")
        return
    if not _confirms(project, mail):
        file, line = project.line(mail.key, "blocks" if mail.step.blocks else "content")
        message = f"step {mail.key}: it is to confirm form {name}, and no link to confirm with is seen in it"
        yield Problem(file, line, message, "let a button have `url: {{ links.confirm }}`", warning=True)
    if what_follows(project, mail).page is None:
        file, line = project.line(mail.key, "next")
        message = f"step {mail.key}: nothing says what is shown after the confirmation of form {name}"
        yield Problem(file, line, message, "add `next: …`, a page")


def _confirms(project: LoadedProject, mail: StepRef) -> bool:
    """Whether a mail's texts have the link that confirms, by its name or by a parameter."""
    texts = [block.model_dump_json() for block in mail.step.blocks]
    files = [mail.step.content, *(getattr(block, "file", "") for block in mail.step.blocks)]
    templates = [mail.folder / file for file in files if file.endswith((".html", ".mjml"))]
    texts += [file.read_text(encoding="utf-8", errors="replace") for file in templates if file.is_file()]
    parameters = {name for text in texts for name in _PARAMETER.findall(text)}
    texts += [project.settings.parameters[name] for name in parameters if name in project.settings.parameters]
    return any(_CONFIRM.search(text) for text in texts)
