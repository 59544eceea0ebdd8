"""A step's page: what it is, its preview, its last sends, its status through time and its target group."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from smp_pipelines.campaign.calendar import moments
from smp_pipelines.campaign.content.mail import ContentError
from smp_pipelines.campaign.project import StepRef
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import Problem, ProjectError, SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.decisions import Decided, latest_decisions
from smp_pipelines.sending.ledger import Send, Totals
from smp_pipelines.sending.status import StatusChange, StepStatus, read_changes, read_status
from smp_pipelines.sending.target.group import describe
from smp_pipelines.site.colleagues.overview import StepCard, make_card
from smp_pipelines.site.colleagues.page_preview import PagePreview, render_page_preview
from smp_pipelines.site.colleagues.preview import Preview, UnknownRecipientError, render_preview
from smp_pipelines.site.colleagues.recipients import Choice, next_records, test_people
from smp_pipelines.site.colleagues.wording import sentence
from smp_pipelines.site.visitors.theme import Theme
from smp_pipelines.stores.postgres import Connection

LAST_SENDS = 5
"""Sends that the page shows; each is counted anew from its messages."""
LAST_DECISIONS = 10
"""Records that the page shows with what colleagues decided of them."""
CHOICES = 12
"""People and records that the form offers; any other id can be typed."""


@dataclass(frozen=True)
class Asked:
    """Whom a preview is asked for; None leaves it to the defaults. `unknown`: somebody whom nobody knows."""

    person_id: int | None = None
    record_id: int | None = None
    unknown: bool = False

    @property
    def anyone(self) -> bool:
        """Whether nobody and nothing in particular is asked for."""
        return self.person_id is None and self.record_id is None and not self.unknown


@dataclass(frozen=True)
class Panel:
    """The preview on the page, or why there is none, with the HTTP status that tells the same."""

    preview: Preview | PagePreview | None = None
    message: str = ""
    problems: list[Problem] = field(default_factory=list)
    status: int = 200


@dataclass(frozen=True)
class Target:
    """A selection of the people: its description, its file as written, and the SQL of this moment or what is wrong."""

    name: str
    description: str = ""
    written: str = ""
    sql: str = ""
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class StepPage:
    """Everything that the page of a step shows."""

    card: StepCard
    panel: Panel
    problems: list[Problem]
    sends: list[tuple[Send, Totals]]
    changes: list[StatusChange]
    decisions: list[Decided]
    targets: list[Target]
    group: str
    next_moment: datetime | None
    people: list[Choice]
    records: list[Choice]


def read_step(
    connection: Connection, deployment: Deployment, theme: Theme, ref: StepRef, asked: Asked, now: datetime
) -> StepPage:
    """Read what the page of a step shows. Only reads."""
    project = deployment.project
    status = read_status(connection, ref.key)
    return StepPage(
        card=make_card(project, ref, status),
        panel=make_panel(connection, deployment, theme, ref, asked, now),
        problems=_problems(deployment, ref),
        sends=[(send, ledger.totals(connection, send)) for send in ledger.step_sends(connection, ref.key, LAST_SENDS)],
        changes=read_changes(connection, ref.key),
        decisions=latest_decisions(connection, project, ref, LAST_DECISIONS),
        targets=[_target(deployment, name, now) for name in ref.step.people],
        group=describe(ref) if ref.step.has_group else "",
        next_moment=_next_moment(deployment, ref, status, now),
        people=test_people(connection, CHOICES),
        records=_records(connection, deployment, ref, now),
    )


def make_panel(
    connection: Connection, deployment: Deployment, theme: Theme, ref: StepRef, asked: Asked, now: datetime
) -> Panel:
    """Make the preview that is asked for, or tell why it cannot be made."""
    project, person_id, record_id = deployment.project, asked.person_id, asked.record_id
    try:
        if ref.step.is_mail:
            return Panel(render_preview(connection, project, ref, person_id, record_id, now=now))
        return Panel(
            render_page_preview(connection, project, theme, ref, person_id, record_id, unknown=asked.unknown, now=now)
        )
    except ProjectError as error:
        return Panel(message="The content of this step cannot be used yet.", problems=error.problems, status=500)
    except UnknownRecipientError as error:
        return Panel(message=sentence(str(error)), status=404)
    except ContentError as error:
        return Panel(message=sentence(str(error)), status=422)
    except SmpError as error:
        return Panel(message=sentence(str(error)), status=404)


def _problems(deployment: Deployment, ref: StepRef) -> list[Problem]:
    try:
        deployment.refuse_incomplete(ref)
    except ProjectError as error:
        return error.problems
    return []


def _target(deployment: Deployment, name: str, now: datetime) -> Target:
    file = deployment.library.file(name)
    written = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    try:
        description = deployment.library.get(name).description
        return Target(name, description, written, deployment.library.sql(name, now))
    except ProjectError as error:
        return Target(name, written=written, problems=error.problems)
    except SmpError as error:
        return Target(name, written=written, problems=[Problem(None, None, str(error))])


def _next_moment(deployment: Deployment, ref: StepRef, status: StepStatus, now: datetime) -> datetime | None:
    """The next moment of a live step, if it has one within a year."""
    if ref.step.schedule is None or status.status != "live":
        return None
    zone = deployment.project.settings.zone
    return next(iter(moments(ref.step.schedule, zone, now, now + timedelta(days=366))), None)


def _records(connection: Connection, deployment: Deployment, ref: StepRef, now: datetime) -> list[Choice]:
    record = deployment.project.record(ref)
    try:
        return next_records(connection, deployment.project, record, now, CHOICES) if record else []
    except SmpError:
        return []  # the panel tells what is wrong with the record
