"""A theatre whose project also has trigger steps, and a mail server that its mails go to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import copy_project
from tests.support.mailserver import MailServer
from tests.support.theatre import Theatre, theatre

THANKS = "after_form/thanks"
"""Sent after a form: no linked record, one mail per address, a topic that needs no yes."""
SEAT = "after_form/seat"
"""About a performance, one mail per person and performance; the performance can be blocked."""
OFFER = "after_form/offer"
"""A topic that needs a yes and counts for the frequency cap."""

_CAMPAIGN = """\
name: Welkom
description: Na een formulier
flow: true
steps:
  form:
    name: Voorkeuren
    description: Een keer, met een formulier
    send: one_off
    sender: "De Linde <nieuws@schouwburg.example>"
    subject: "Wat wilt u van ons horen?"
    content: mail.html
    selection: newsletter_readers
    topic: newsletter
    next: thanks
  thanks:
    name: Bedankt
    description: Direct na het formulier
    send: trigger
    sender: "De Linde <nieuws@schouwburg.example>"
    subject: "Bedankt, {{ person.first_name }}"
    content: mail.html
    deduplicate: true
    topic: service
    next: seat
  seat:
    name: Uw stoel
    description: Na een reservering
    send: trigger
    sender: "De Linde <nieuws@schouwburg.example>"
    subject: "Uw stoel bij {{ performance.title }}"
    content: mail.html
    topic: service
    record: performance
    block: block_service_mail
    deduplicate: false
    next: offer
  offer:
    name: Aanbod
    description: Na een reservering
    send: trigger
    sender: "De Linde <nieuws@schouwburg.example>"
    subject: "Een glas erbij?"
    content: mail.html
    deduplicate: true
    topic: offers
"""
_MAIL = "<html><body><p>{{ person.salutation }}, bedankt en tot ziens.</p></body></html>\n"


def project_with_triggers(folder: Path) -> Path:
    """A copy of the sample project with these steps as well."""
    project = copy_project(folder)
    add_triggers(project)
    return project


def add_triggers(project: Path) -> None:
    """Give a project these steps as well."""
    campaign = project / "campaigns" / "after_form"
    campaign.mkdir()
    (campaign / "campaign.yaml").write_text(_CAMPAIGN)
    (campaign / "mail.html").write_text(_MAIL)


@contextmanager
def triggered(embedded_url: str, migrated_template: str, folder: Path) -> Iterator[tuple[Theatre, MailServer]]:
    """A theatre with these steps, and the mail server that its mails go to."""
    project = project_with_triggers(folder / "my project")
    with (
        MailServer() as server,
        theatre(
            embedded_url,
            migrated_template,
            folder / "state",
            project=project,
            mail_url=f"smtp://127.0.0.1:{server.port}",
        ) as house,
    ):
        yield house, server


@pytest.fixture(name="house_and_server")
def all_live(embedded_url: str, migrated_template: str, tmp_path: Path) -> Iterator[tuple[Theatre, MailServer]]:
    """A theatre of one test whose trigger steps are all live, and its mail server."""
    with triggered(embedded_url, migrated_template, tmp_path) as (house, server):
        for step in (THANKS, SEAT, OFFER):
            house.live(step)
        house.step = THANKS
        yield house, server


@pytest.fixture(name="house")
def its_house(house_and_server: tuple[Theatre, MailServer]) -> Theatre:
    """The theatre of `house_and_server`: the module's own fixture, or `all_live`."""
    return house_and_server[0]


@pytest.fixture(name="server")
def its_server(house_and_server: tuple[Theatre, MailServer]) -> MailServer:
    """Its mail server."""
    return house_and_server[1]
