"""The preview: the mail of a step for one person and linked record, made as a send makes it, and not sent (F09)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from smp_pipelines.campaign.content.links import CampaignLinks
from smp_pipelines.campaign.content.mail import Content, Rendered, content_ref
from smp_pipelines.campaign.content.readable import named_products
from smp_pipelines.campaign.models import Record
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.context import full_name, read_contexts
from smp_pipelines.sending.personal import is_about_the_same
from smp_pipelines.site.colleagues.recipients import default_person, default_record
from smp_pipelines.stores.postgres import Connection


class UnknownRecipientError(SmpError):
    """There is no such person, or no such linked record."""


class PreviewLinks(CampaignLinks):
    """The links of a preview: to the previews of other steps, for the same person; a visit would leave traces.

    base: before each address. A link that needs a mail that was sent leads nowhere.
    """

    def __init__(
        self, base: str, project: LoadedProject, ref: StepRef, person_id: int | None, record_id: int | None
    ) -> None:
        super().__init__(project, ref)
        self._base = base
        self._person_id = person_id
        self._record_id = record_id

    @property
    def site_url(self) -> str:
        """What stands before the pictures of a mail."""
        return self._base

    def _address(self, ref: StepRef) -> str:
        who = "visitor=unknown" if self._person_id is None else f"person={self._person_id}"
        same = self._record_id is not None and is_about_the_same(ref, self._ref)
        return f"{self._base}/steps/{ref.key}?{who}{f'&record={self._record_id}' if same else ''}#preview"

    @property
    def unsubscribe(self) -> str:
        """Nowhere: a preview has no row in the ledger."""
        return "#"

    @property
    def view(self) -> str:
        """Nowhere, for the same reason."""
        return "#"

    @property
    def confirm(self) -> str:
        """The preview of the page that a confirmation leads to."""
        return self.next or "#"


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

    @property
    def html(self) -> str:
        """What is shown in the frame."""
        return self.rendered.html


def render_preview(
    connection: Connection,
    project: LoadedProject,
    ref: StepRef,
    person_id: int | None = None,
    record_id: int | None = None,
    *,
    now: datetime | None = None,
    base: str = "",
) -> Preview:
    """Make the mail of a step for a person and a linked record; reads only, sends nothing.

    The default person is the first internal test person, else the first person; the default record
    the next one after `now` (aware; None: the database's own clock). base: before the addresses of the previews
    that its links lead to, and of its pictures. Raises UnknownRecipientError,
    SmpError when there is nobody to choose from, ContentError when this mail cannot be made, and
    ProjectError when the step's templates cannot be used.
    """
    record = linked_record(project, ref, record_id)
    content = Content.compile(ref, project)
    if person_id is None:
        person_id = default_person(connection)
    if record is not None and record_id is None:
        record_id = default_record(connection, project, record, now)
    shown = content_ref(ref, project)
    found = read_contexts(connection, [(person_id, record_id)], ref.step.record, record, named_products(shown, project))
    context = found.get((person_id, record_id))
    if context is None:
        raise UnknownRecipientError(missing_recipient(connection, ref, person_id, record_id))
    links = PreviewLinks(base, project, shown, person_id, record_id)
    person = context["person"]
    return Preview(
        rendered=content.render({**context, "links": links}),
        sender=ref.step.sender,
        reply_to=ref.step.reply_to,
        person_id=person_id,
        person=full_name(person),
        address=person["email"],
        record_id=record_id,
        title=str(context[ref.step.record][record.title]) if record and ref.step.record else None,
    )


def linked_record(project: LoadedProject, ref: StepRef, record_id: int | None) -> Record | None:
    """The table of a step's linked record, None when it has none.

    Raises SmpError when smp.yaml does not know it, and UnknownRecipientError for a record that the step has none of.
    """
    record = project.record(ref)
    if ref.step.record is not None and record is None:
        raise SmpError(f"step {ref.key} is about a {ref.step.record}, which is not among the records in smp.yaml")
    if record is None and record_id is not None:
        raise UnknownRecipientError(f"step {ref.key} has no linked record: leave the record out")
    return record


def missing_recipient(connection: Connection, ref: StepRef, person_id: int, record_id: int | None) -> str:
    """Whether it is the person or the record that is not there, in words."""
    found = connection.execute("select 1 from crm.person where person_id = %s", (person_id,)).fetchone()
    return f"there is no {ref.step.record} {record_id}" if found else f"there is no person {person_id}"
