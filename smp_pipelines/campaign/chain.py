"""Chain: what follows a step by itself: the page that is shown, and the mail that is sent (F01, F05)."""

from __future__ import annotations

from dataclasses import dataclass

from smp_pipelines.campaign.project import LoadedProject, StepRef


@dataclass(frozen=True)
class Following:
    """What follows: the first page, and the first trigger mail behind the pages."""

    page: StepRef | None
    mail: StepRef | None


def what_follows(project: LoadedProject, ref: StepRef) -> Following:
    """Walk `next` over pages up to the first mail. A form ends the walk: it has a chain of its own."""
    steps = {each.key: each for each in project.steps()}
    page: StepRef | None = None
    seen = {ref.key}
    step = steps.get(ref.next_key or "")
    while step is not None and step.key not in seen:
        seen.add(step.key)
        if step.step.is_mail:
            return Following(page, step if step.step.send == "trigger" else None)
        if step.step.channel == "form":
            break
        page = page or step
        step = steps.get(step.next_key or "")
    return Following(page, None)
