"""URLs of a form or page: the one to share, and the one for one person (F10: 'URL' and 'URL gepersonaliseerd')."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.links import LinkSigner
from smp_pipelines.sending.personal import PersonalLink, personal_path, shared_path
from smp_pipelines.site.visitors.visitor import last_day


@dataclass(frozen=True)
class StepUrls:
    """Where visitors find a form or page. shareable: None for a closed form (F12); personal: None without a person."""

    shareable: str | None
    personal: str | None
    last_day: date


def step_urls(
    project: LoadedProject,
    ref: StepRef,
    site_url: str,
    signer: LinkSigner,
    now: datetime,
    person_id: int | None = None,
    record_id: int | None = None,
) -> StepUrls:
    """The URLs of a form or page; the personal one works up to and with `last_day`. Raises SmpError for a mail."""
    if ref.step.is_mail:
        raise SmpError(f"{ref.key} is a mail: only a form or a page has a URL")
    form, until = project.form(ref), last_day(project, now)
    shareable = None if form is not None and form.access == "closed" else site_url + shared_path(ref.key)
    if person_id is None:
        return StepUrls(shareable, None, until)
    link = PersonalLink(ref.key, person_id, record_id, None, until)
    return StepUrls(shareable, site_url + personal_path(signer, link), until)
