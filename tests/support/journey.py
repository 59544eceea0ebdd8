"""A theatre with a flow: a welcome mail, three days of rest, an if, and an offer or a list; and people who enter it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from smp_pipelines.deployment import Deployment
from smp_pipelines.flow import status
from smp_pipelines.flow.judging import LakeJudge
from smp_pipelines.flow.sources import enrol_people
from smp_pipelines.flow.tables import use
from smp_pipelines.flow.version import read_state, read_version
from tests.conftest import copy_project
from tests.support.mailserver import MailServer
from tests.support.theatre import Theatre, theatre

FLOW = "journey"
ODD = '<b>Tickets?</b> "ja" | `nee`; [1]'
"""The name of a step, with every sign that means something to HTML, Markdown or Mermaid."""

_FLOW = f"""\
name: Welkomstreis
description: Wie nieuw is, leert het theater kennen
triggers:
  - type: manual
exclude: {{field: city, in: [Elders]}}
goals:
  - type: person
    where: {{has: membership}}
steps:
  welcome: {{name: Welkom, mail: hello}}
  rest: {{name: Even rust, wait: 3 days}}
  tickets:
    name: {ODD!r}
    if: {{has: ticket}}
    then:
      offer: {{name: Aanbod, mail: offer, refused: leave}}
    else:
      invite:
        name: Loting
        split:
          - percent: 30
            steps:
              night: {{name: Rustig moment, window: {{days: [tue, wed], from: "10:00", until: "12:00"}}}}
          - percent: 70
      list: {{name: Op de lijst, add_to_list: Nog nooit geweest}}
  thanked: {{name: Klaar, end: thanked}}
"""


_CAMPAIGN = """\
name: Kennismaken
description: Voor wie nieuw is
steps:
  hello:
    name: Welkom
    description: Meteen
    send: trigger
    sender: "De Linde <nieuws@schouwburg.example>"
    subject: "Welkom, {{ person.first_name }}"
    content: mail.html
    deduplicate: true
    topic: service
  offer:
    name: Aanbod
    description: Voor wie al kaarten heeft
    send: trigger
    sender: "De Linde <nieuws@schouwburg.example>"
    subject: "Een glas erbij?"
    content: mail.html
    deduplicate: true
    topic: offers
"""
_MAIL = "<html><body><p>{{ person.salutation }}, welkom en tot ziens.</p></body></html>\n"


def project_with_flow(folder: Path) -> Path:
    """A copy of the sample project with this campaign and its flow."""
    project = copy_project(folder)
    campaign = project / "campaigns" / FLOW
    campaign.mkdir()
    for name, text in {"campaign.yaml": _CAMPAIGN, "mail.html": _MAIL, "flow.yaml": _FLOW}.items():
        (campaign / name).write_text(text, encoding="utf-8")
    return project


@contextmanager
def journey(embedded_url: str, migrated_template: str, folder: Path) -> Iterator[tuple[Theatre, MailServer]]:
    """A theatre with this flow, live, and the mail server that its mails go to."""
    project = project_with_flow(folder / "my project")
    with (
        MailServer() as server,
        theatre(
            embedded_url,
            migrated_template,
            folder / "state",
            project=project,
            mail_url=f"smtp://127.0.0.1:{server.port}",
        ) as house,
        house.deployment.running(),
    ):
        live(house)
        yield house, server


def live(house: Theatre) -> None:
    """Let the flow run as its file has it."""
    made, steps = house.deployment.complete_flow(FLOW)
    with house.deployment.connection() as postgres:
        status.run(postgres, made, steps, house.now, "anna", "het seizoen begint")


def enrol(deployment: Deployment, people: list[int], now: datetime, key: str = "1") -> int:
    """Let these people enter by hand; how many did."""
    with deployment.connection() as postgres:
        use(postgres)
        state = read_state(postgres, FLOW)
        assert state is not None
        assert state.version_id is not None
        version = read_version(postgres, state.version_id)
        judge = LakeJudge(deployment.lake, deployment.project.settings.zone, deployment.refresh)
        return enrol_people(postgres, version, state, judge, people, key, now).enrolled
