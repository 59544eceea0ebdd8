"""Visitor: what a page may know of whoever looks at it, and where its links lead (F10, F12, F13).

Somebody with a personal link is that person. Somebody who just submitted a form on a shareable URL is shown what they
typed, and nothing of the CRM: anybody can type an address. Everybody else is nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from smp_pipelines.campaign.content.links import CampaignLinks
from smp_pipelines.campaign.content.page import empty_context
from smp_pipelines.campaign.content.readable import named_products
from smp_pipelines.campaign.form.columns import PERSON, find, shape, split
from smp_pipelines.campaign.form.models import Form
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.crm.catalog import Catalog
from smp_pipelines.sending.context import read_contexts, read_products
from smp_pipelines.sending.links import LinkSigner
from smp_pipelines.sending.personal import PersonalLink, is_about_the_same, personal_path, shared_path
from smp_pipelines.stores.postgres import Connection

TOLD_FOR = timedelta(days=1)
"""How long the page after a form shows what the visitor typed."""
KNOWN_FOR = timedelta(hours=1)
"""How long the page after a form by a personal link still is that person's."""


class VisitorLinks(CampaignLinks):
    """The links of a page: personal ones for somebody with a personal link, shareable ones for everybody else."""

    def __init__(self, signer: LinkSigner, project: LoadedProject, ref: StepRef, link: PersonalLink | None) -> None:
        super().__init__(project, ref)
        self._signer = signer
        self._link = link

    def _address(self, ref: StepRef) -> str:
        if self._link is None:
            return shared_path(ref.key)
        record_id = self._link.record_id if is_about_the_same(ref, self._ref) else None
        return personal_path(self._signer, replace(self._link, step=ref.key, record_id=record_id))


@dataclass(frozen=True)
class After:
    """The submission that a page follows."""

    step: str
    form: str
    person_id: int
    record_id: int | None
    send_id: int | None
    identified: str
    answers: Mapping[str, Any]
    submitted_at: datetime


def read_submission(connection: Connection, submission_id: int) -> After | None:
    """A submission by its number; None when there is none."""
    row = connection.execute(
        "select step, form, person_id, record_id, send_id, identified, answers, submitted_at"
        " from smp.submission where submission_id = %s",
        (submission_id,),
    ).fetchone()
    return After(*row) if row else None


def unknown_context(connection: Connection, project: LoadedProject, ref: StepRef) -> dict[str, Any]:
    """What a page knows of somebody whom nobody knows: nothing; and the products that its blocks name."""
    return empty_context(ref, project) | read_products(connection, named_products(ref, project))


def personal_context(
    connection: Connection, project: LoadedProject, ref: StepRef, person_id: int, record_id: int | None
) -> dict[str, Any] | None:
    """What a page knows of a person; None when the person, or the linked record, is not in the CRM any more.

    A step that is about a record and is opened without one has its fields empty.
    """
    record = project.record(ref) if record_id is not None else None
    key = (person_id, record_id if record else None)
    name = ref.step.record if record else None
    found = read_contexts(connection, [key], name, record, named_products(ref, project)).get(key)
    return None if found is None else empty_context(ref, project) | found | {"known": True}


def typed_context(connection: Connection, project: LoadedProject, ref: StepRef, after: After | None) -> dict[str, Any]:
    """What a page after a form on a shareable URL knows: what the visitor typed of themselves."""
    context = unknown_context(connection, project, ref)
    form = project.forms.get(after.form) if after else None
    if after is not None and form is not None:
        context["person"] = context["person"] | typed_person(form, after.answers, project.catalog)
    return context


def record_of(after: After, project: LoadedProject, ref: StepRef) -> int | None:
    """The linked record of a page after a form: the form's, when both are about the same kind."""
    form_step = next((each for each in project.steps() if each.key == after.step), None)
    return after.record_id if form_step is not None and is_about_the_same(ref, form_step) else None


def is_still_told(after: After, now: datetime) -> bool:
    """Whether the page after a form still shows what was typed: an address may be opened again, by anybody."""
    return now - after.submitted_at < TOLD_FOR


def is_still_known(after: After, now: datetime) -> bool:
    """Whether the page after a form is the page of the person whose personal link led to the form."""
    return after.identified == "link" and now - after.submitted_at < KNOWN_FOR


def last_day(project: LoadedProject, now: datetime) -> date:
    """The last day (UTC) on which a personal link that is made now works."""
    return now.astimezone(UTC).date() + timedelta(days=project.settings.personal_links_days)


def typed_person(form: Form, answers: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
    """The columns of crm.person that answers, as they are kept, went to."""
    found: dict[str, Any] = {}
    for name, field in form.fields.items():
        table, column = split(field.to or "")
        if table == PERSON and answers.get(name) is not None:
            place = find(catalog, field.to)
            found[column] = _typed(answers[name], shape(place).kind if place else "text")
    return found


def _typed(value: Any, kind: str) -> Any:
    if kind == "date":
        return date.fromisoformat(str(value))
    return Decimal(str(value)) if kind == "decimal" else value


def prefilled(
    connection: Connection, project: LoadedProject, form: Form, context: Mapping[str, Any], person_id: int
) -> dict[str, Any]:
    """What a form by a personal link is filled in with: the person's columns, and what they have said yes to (F10)."""
    query = "select topic, granted from crm.consent where person_id = %s and channel = 'email'"
    said: dict[str, bool] = dict(connection.execute(query, (person_id,)).fetchall())
    known: dict[str, Any] = {}
    for name, field in form.fields.items():
        if field.topic is not None:
            known[name] = said.get(field.topic, project.settings.topics.get(field.topic) == "opt_out")
        elif (field.to or "").startswith(f"{PERSON}."):
            known[name] = context["person"].get(split(field.to or "")[1])
    return known
