"""The preview of a form or page: as a visitor would see it, for any person and record, or for somebody unknown (F09).

It notes no hit, and its form cannot be sent: it has no ticket, and the frame that it is shown in sends no forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup

from smp_pipelines.campaign.content.page import PageContent
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.context import full_name
from smp_pipelines.site.colleagues.preview import PreviewLinks, UnknownRecipientError, linked_record, missing_recipient
from smp_pipelines.site.colleagues.recipients import default_person, default_record
from smp_pipelines.site.visitors.theme import Theme
from smp_pipelines.site.visitors.visitor import personal_context, prefilled, unknown_context
from smp_pipelines.stores.postgres import Connection
from smp_pipelines.submission.form import make_form
from smp_pipelines.submission.rendering import render_form


@dataclass(frozen=True)
class PagePreview:
    """A form or page that nobody visited: its heading and its whole html, for whom it is, and what it is about.

    person_id and person are None for somebody unknown; record_id and title (the record's own) without a record.
    """

    heading: str
    html: str
    person_id: int | None
    person: str | None
    record_id: int | None
    title: str | None


def render_page_preview(
    connection: Connection,
    project: LoadedProject,
    theme: Theme,
    ref: StepRef,
    person_id: int | None = None,
    record_id: int | None = None,
    *,
    unknown: bool = False,
    now: datetime | None = None,
    base: str = "",
) -> PagePreview:
    """Make a form or page for a person and a linked record, or for somebody `unknown`; reads only.

    The defaults are those of a mail's preview; an empty CRM gives somebody unknown, or no record. base: before
    the addresses of the previews that its links lead to. Raises UnknownRecipientError, SmpError for a closed form
    and somebody unknown, ContentError when it cannot be made, and ProjectError when its blocks cannot be used.
    """
    record = linked_record(project, ref, record_id)
    content = PageContent.compile(ref, project)
    form = project.form(ref)
    if not unknown and person_id is None:
        person_id = _default_person(connection)
    if person_id is None:
        if form is not None and form.access == "closed":
            raise SmpError("this form is closed: it opens by a personal URL only, so nobody unknown sees it")
        record_id, context = None, unknown_context(connection, project, ref)
    else:
        if record is not None and record_id is None:
            record_id = _default_record(connection, project, ref, now)
        found = personal_context(connection, project, ref, person_id, record_id)
        if found is None:
            raise UnknownRecipientError(missing_recipient(connection, ref, person_id, record_id))
        context = found
    context["links"] = PreviewLinks(base, project, ref, person_id, record_id)
    rendered = content.render(context, _form(connection, project, theme, ref, context, person_id))
    has_record = record is not None and record_id is not None and ref.step.record is not None
    return PagePreview(
        heading=rendered.title,
        html=theme.page(
            project=project.settings,
            language=project.language(ref),
            title=rendered.title,
            body=rendered.body,
            redirect=ref.step.redirect,
            kind=ref.step.channel,
        ),
        person_id=person_id,
        person=None if person_id is None else full_name(context["person"]),
        record_id=record_id,
        title=str(context[ref.step.record][record.title]) if has_record and record and ref.step.record else None,
    )


def _form(
    connection: Connection,
    project: LoadedProject,
    theme: Theme,
    ref: StepRef,
    context: dict[str, Any],
    person_id: int | None,
) -> Markup | None:
    """The form of a form step, filled in for the person."""
    form = project.form(ref)
    if form is None:
        return None
    made = make_form(form, project.language(ref), project.catalog)
    known = None if person_id is None else prefilled(connection, project, form, context, person_id)
    return render_form(theme, made, made.fill(known=known))


def _default_person(connection: Connection) -> int | None:
    try:
        return default_person(connection)
    except SmpError:
        return None  # an empty CRM: then it is somebody unknown


def _default_record(connection: Connection, project: LoadedProject, ref: StepRef, now: datetime | None) -> int | None:
    record = project.record(ref)
    try:
        return None if record is None else default_record(connection, project, record, now)
    except SmpError:
        return None  # a page that is about a record opens without one too
