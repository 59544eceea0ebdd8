"""The overview: campaigns and their steps in order, with what each is, when it is sent and whether it runs (F02)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.sending.status import StepStatus
from smp_pipelines.site.colleagues.wording import kind_words, moment_words, schedule_words


@dataclass(frozen=True)
class StepCard:
    """A step as the overview shows it. `next` is the step after it; `leads_on` tells that it is the next card."""

    ref: StepRef
    status: StepStatus
    since: str
    kind: str
    schedule: str
    next: StepRef | None
    leads_on: bool


@dataclass(frozen=True)
class CampaignCard:
    """A campaign with its steps, in the order of its file."""

    name: str
    description: str
    steps: list[StepCard]


def make_overview(project: LoadedProject, statuses: Mapping[str, StepStatus]) -> list[CampaignCard]:
    """Put the project's campaigns and the statuses of all its steps together."""
    steps = project.steps()
    return [
        CampaignCard(
            campaign.name,
            campaign.description,
            [make_card(project, ref, statuses[ref.key]) for ref in steps if ref.campaign == folder],
        )
        for folder, campaign in project.campaigns.items()
    ]


def make_card(project: LoadedProject, ref: StepRef, status: StepStatus) -> StepCard:
    """Tell of one step what colleagues want to see first."""
    steps = {each.key: each for each in project.steps()}
    # A next step that does not exist is told by `smp check`; here it is only left out.
    following = steps.get(ref.next_key) if ref.next_key else None
    neighbours = list(project.campaigns[ref.campaign].steps)
    after = neighbours[neighbours.index(ref.name) + 1 :][:1]
    return StepCard(
        ref=ref,
        status=status,
        since=since_words(project, status),
        kind=kind_words(ref.step),
        schedule=schedule_words(ref.step),
        next=following,
        leads_on=following is not None and following.campaign == ref.campaign and [following.name] == after,
    )


def since_words(project: LoadedProject, status: StepStatus) -> str:
    """Since when a step has its status, in local time."""
    if status.since is None:
        return "since it was written"
    return f"since {moment_words(status.since, project.settings.zone)}"
