"""The preview: the mail of a step for one person and linked record, made as a send makes it, and not sent (F09)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from smp_pipelines.campaign.content import Content, Rendered
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.context import full_name, read_contexts
from smp_pipelines.site.recipients import default_person, default_record
from smp_pipelines.stores.postgres import Connection


class UnknownRecipientError(SmpError):
    """There is no such person, or no such linked record."""


@dataclass(frozen=True)
class Preview:
    """A mail that is not sent: its contents, from whom, to whom, and what it is about.

    `person` is the name, `address` None for somebody without one; `record_id` and `title` (the
    record's own) are None for a step without a linked record.
    """

    rendered: Rendered
    sender: str
    reply_to: str | None
    person_id: int
    person: str
    address: str | None
    record_id: int | None
    title: str | None


def render_preview(
    connection: Connection,
    project: LoadedProject,
    ref: StepRef,
    person_id: int | None = None,
    record_id: int | None = None,
    *,
    now: datetime | None = None,
) -> Preview:
    """Make the mail of a step for a person and a linked record; reads only, sends nothing.

    The default person is the first internal test person, else the first person; the default record
    the next one after `now` (aware; None: the database's own clock). Raises UnknownRecipientError,
    SmpError when there is nobody to choose from, ContentError when this mail cannot be made, and
    ProjectError when the step's templates cannot be used.
    """
    record = project.record(ref)
    if ref.step.record is not None and record is None:
        raise SmpError(f"step {ref.key} is about a {ref.step.record}, which is not among the records in smp.yaml")
    if record is None and record_id is not None:
        raise UnknownRecipientError(f"step {ref.key} has no linked record: leave the record out")
    content = Content.compile(ref, project)
    if person_id is None:
        person_id = default_person(connection)
    if record is not None and record_id is None:
        record_id = default_record(connection, project, record, now)
    context = read_contexts(connection, [(person_id, record_id)], ref.step.record, record).get((person_id, record_id))
    if context is None:
        raise UnknownRecipientError(_who_is_missing(connection, ref, person_id, record_id))
    person = context["person"]
    return Preview(
        rendered=content.render(context),
        sender=ref.step.sender,
        reply_to=ref.step.reply_to,
        person_id=person_id,
        person=full_name(person),
        address=person["email"],
        record_id=record_id,
        title=str(context[ref.step.record][record.title]) if record and ref.step.record else None,
    )


def _who_is_missing(connection: Connection, ref: StepRef, person_id: int, record_id: int | None) -> str:
    found = connection.execute("select 1 from crm.person where person_id = %s", (person_id,)).fetchone()
    return f"there is no {ref.step.record} {record_id}" if found else f"there is no person {person_id}"
