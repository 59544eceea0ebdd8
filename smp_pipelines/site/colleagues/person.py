"""The person card as a page: who somebody is, what they allow, and every contact moment (F15).

An address is looked up by a POST, so that none stands in a URL, a log or a browser's history.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row, dict_row
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.card import Card, read_card
from smp_pipelines.site.colleagues.accounts import compared
from smp_pipelines.site.colleagues.ids import MOST_DIGITS, read_id
from smp_pipelines.site.colleagues.recipients import Choice
from smp_pipelines.site.colleagues.signin import refuse_forged
from smp_pipelines.site.colleagues.wording import date_words, moment_words, sentence
from smp_pipelines.site.endpoints import get_or_post
from smp_pipelines.site.source import Source
from smp_pipelines.stores.postgres import Connection, engine_sql

KINDS = {
    "sent": "Mail sent",
    "opened": "Mail opened",
    "clicked": "Link clicked",
    "form_opened": "Form opened",
    "form_submitted": "Form submitted",
    "page_seen": "Page seen",
    "confirmed": "Confirmed",
    "unsubscribed": "Unsubscribed",
}
"""What colleagues call the kinds of contact moments."""
_MOST_FOUND = 50
_SHOWN_ELSEWHERE = {"person_id", "first_name", "infix", "last_name", "email", "email_key"}


@dataclass(frozen=True)
class Consent:
    """What somebody allows, or not: since when, said where, and in which words."""

    channel: str
    topic: str
    granted: bool
    changed_at: datetime
    source: str
    wording: str | None


@dataclass(frozen=True)
class PersonPage:
    """Everything that the page of a person shows. `facts`: the filled columns of the CRM, in words."""

    card: Card
    facts: list[tuple[str, str]]
    suppressed: str | None
    consents: list[Consent]
    steps: Mapping[str, list[StepRef]]


def read_person(connection: Connection, project: LoadedProject, person_id: int) -> PersonPage:
    """Read what the page shows. Raises SmpError when there is nobody with this id."""
    card = read_card(connection, person_id)
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute("select * from crm.person where person_id = %s", (person_id,)).fetchone() or {}
    with connection.cursor(row_factory=class_row(Consent)) as cursor:
        consents = cursor.execute(
            "select channel, topic, granted, changed_at, source, wording from crm.consent where person_id = %s"
            " order by channel, topic",
            (person_id,),
        ).fetchall()
    suppressed = connection.execute(
        "select reason from crm.suppression where lower(btrim(email_key)) = %s", (compared(card.email or ""),)
    ).fetchone()
    steps: dict[str, list[StepRef]] = {}
    for ref in project.steps():
        steps.setdefault(project.campaigns[ref.campaign].name, []).append(ref)
    return PersonPage(card, _facts(row, project), suppressed[0] if suppressed else None, consents, steps)


def find_people(connection: Connection, text: str) -> list[Choice]:
    """The people with this id or address, by id; nobody for anything else."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS else None
    values = {"person_id": number, "address": compared(text), "limit": _MOST_FOUND}
    return [Choice(*row) for row in connection.execute(engine_sql("colleagues/people.sql"), values)]


class PeoplePages:
    """The endpoints: finding somebody, and their card."""

    def __init__(self, source: Source, templates: Jinja2Templates) -> None:
        self.source = source
        self.templates = templates

    def routes(self) -> list[Route]:
        """Give every address, with its methods."""
        return [
            Route("/people", get_or_post(self.search, self.found), methods=["GET", "POST"]),
            Route("/people/{person}", self.person),
        ]

    def search(self, request: Request) -> Response:
        """Ask whom to look up."""
        context = {"project": self.source.deployment().project.settings, "people": None}
        return self.templates.TemplateResponse(request, "people.html", context)

    def found(self, request: Request, form: dict[str, str]) -> Response:
        """Lead to whoever has the id or address that was typed; a list when they are several."""
        refuse_forged(request, form)
        project = self.source.deployment().project
        with self.source.connection() as connection:
            people = find_people(connection, form.get("who", "").strip())
        if len(people) == 1:
            return RedirectResponse(f"/people/{people[0].key}", 303)
        context = {"project": project.settings, "people": people}
        return self.templates.TemplateResponse(request, "people.html", context, 200 if people else 404)

    def person(self, request: Request) -> Response:
        """Show one person's card (F15)."""
        person_id = read_id(request.path_params["person"], "person")
        project = self.source.deployment().project
        with self.source.connection() as connection:
            try:
                page = read_person(connection, project, person_id or 0)
            except SmpError as error:
                raise HTTPException(404, sentence(str(error))) from error
        names = {ref.key: ref.step.name for ref in project.steps()}
        context = {"project": project.settings, "page": page, "names": names, "kinds": KINDS}
        return self.templates.TemplateResponse(request, "person.html", context)


def _facts(row: Mapping[str, Any], project: LoadedProject) -> list[tuple[str, str]]:
    """What the CRM says of somebody, besides name and address: the columns that are filled, and ticks that are set."""
    table = project.catalog.tables.get("crm.person")
    names = [name for name in (table.columns if table else row) if name not in _SHOWN_ELSEWHERE]
    filled = [(name, row.get(name)) for name in names if row.get(name) not in (None, "", False)]
    return [(name.replace("_", " ").capitalize(), _words(value, project)) for name, value in filled]


def _words(value: Any, project: LoadedProject) -> str:
    match value:
        case True:
            return "yes"
        case datetime():
            return moment_words(value, project.settings.zone)
        case date():
            return date_words(value)
    return str(value)
