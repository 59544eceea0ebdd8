"""What the pages of flows show: flows from files and database put together, their people's names, their content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smp_pipelines.campaign.flow.models import Flow
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.deployment import Deployment
from smp_pipelines.flow.seeing import (
    FlowCounts,
    MailCounts,
    Overview,
    Participant,
    StepCounts,
    VersionCounts,
    read_counts,
)
from smp_pipelines.flow.version import FlowVersion, draft
from smp_pipelines.problems import Problem, ProjectError
from smp_pipelines.sending.context import full_name, read_contexts
from smp_pipelines.sending.status import StepStatus
from smp_pipelines.stores.postgres import Connection

TABS = {"summary": "Summary", "reports": "Reports", "participants": "Participants", "content": "Content"}
"""The pages of a flow, by the end of their address; the summary has none."""
RUNNING = ("live", "paused", "ending")
_PILLS = {"live": "live", "paused": "testing", "ending": "testing", "ended": "stopped", "concept": "concept"}


@dataclass(frozen=True)
class FlowCard:
    """A flow as the overview has it. `figures`: None for one that nobody touched yet."""

    key: str
    name: str
    description: str
    state: str
    pill: str
    figures: Overview | None

    @property
    def goal_rate(self) -> float | None:
        """Of who enrolled, the share that left with a goal met (F34)."""
        figures = self.figures
        return figures.succeeded / figures.enrolled if figures and figures.enrolled else None


def list_flows(project: LoadedProject, known: Mapping[str, Overview], which: str, search: str) -> list[FlowCard]:
    """Flows of the files, and those that are in the database only; `which`: all, recent (latest first) or running."""
    cards = []
    for key in sorted({*project.flows, *known}):
        model, figures = project.flows.get(key), known.get(key)
        name, description = (model.name, model.description) if model else (key, "In no file any more.")
        state = figures.state if figures else "concept"
        if search.lower() in f"{key} {name} {description}".lower():
            cards.append(FlowCard(key, name, description, state, _PILLS[state], figures))
    if which == "running":
        return [card for card in cards if card.state in RUNNING]
    if which == "recent":
        return sorted(cards, key=lambda card: -(card.figures.since.timestamp() if card.figures else 0.0))
    return cards


@dataclass(frozen=True)
class Shown:
    """A flow with the version that its page shows. counts: None before it was live; version is then that of the file.

    problems: why the file gives no version, when nothing else is there to show.
    """

    key: str
    model: Flow | None
    counts: FlowCounts | None
    version: VersionCounts | None
    problems: Sequence[Problem] = ()

    @property
    def name(self) -> str:
        """What colleagues call it."""
        return self.model.name if self.model else self.version.version.model.name if self.version else self.key

    @property
    def state(self) -> str:
        """Whether it runs."""
        return self.counts.state.state if self.counts else "concept"

    @property
    def pill(self) -> str:
        """The look of its state."""
        return _PILLS[self.state]


def show(connection: Connection, deployment: Deployment, flow: str, number: int | None) -> Shown | None:
    """A flow with one of its versions, the latest when none is named; None when there is no such flow."""
    model = deployment.project.flows.get(flow)
    counts = read_counts(connection, flow)
    if counts is not None and counts.versions:
        version = next((each for each in counts.versions if each.version.number == number), counts.versions[0])
        return Shown(flow, model, counts, version)
    if model is None:
        return None
    try:
        return Shown(flow, model, None, _as_written(deployment, flow))
    except ProjectError as error:
        return Shown(flow, model, None, None, error.problems)


def _as_written(deployment: Deployment, flow: str) -> VersionCounts:
    """The version that the file would become, in which nobody is."""
    made = draft(deployment.project, deployment.library, flow)
    zone = deployment.project.settings.zone
    version = FlowVersion(0, 0, flow, 0, made.model, made.nodes, made.conditions, zone)
    steps = [StepCounts(node, 0, {}, {}, {}, 0, MailCounts() if node.kind == "mail" else None) for node in made.nodes]
    return VersionCounts(version, 0, 0, {}, 0, tuple(steps))


@dataclass(frozen=True)
class Person:
    """Who a participant is, for a page: never for a log."""

    name: str
    email: str | None
    organisation: str | None


def people_of(connection: Connection, participants: Sequence[Participant]) -> dict[int, Person]:
    """The people behind participants, by key, in two statements; who is no longer in the CRM is left out."""
    contexts = read_contexts(connection, [(each.person_id, None) for each in participants], None, None)
    found = {}
    for (person_id, _), context in contexts.items():
        person, organisation = context["person"], context["organisation"] or {}
        found[person_id] = Person(full_name(person), person.get("email"), organisation.get("name"))
    return found


@dataclass(frozen=True)
class Content:
    """A mail, form or page that a flow uses. ref: None when no file has it."""

    key: str
    kind: str
    ref: StepRef | None
    status: StepStatus | None
    counts: StepCounts


def content_of(
    project: LoadedProject, version: VersionCounts | None, statuses: Mapping[str, StepStatus]
) -> list[Content]:
    """The steps of campaigns that the steps of a version use, in their order."""
    refs = {ref.key: ref for ref in project.steps()}
    found = []
    for each in version.steps if version else ():
        key = each.node.options.get("step")
        if key is not None:
            found.append(Content(key, each.node.kind, refs.get(key), statuses.get(key), each))
    return found
