"""A project with campaigns whose steps have target groups of all kinds, for twelve people."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

from smp_pipelines.campaign.project import StepRef
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.planning import plan
from tests.conftest import copy_project
from tests.support.theatre import Theatre

EVERYBODY = list(range(1, 13))
AMSTERDAM = [1, 2, 3, 4]
BIG = [3, 4, 5, 6]

_SELECTIONS = {
    "amsterdam": "-- Amsterdam.\nselect person_id from crm.person where person_id between 1 and 4 or person_id = 60",
    "big_companies": "-- Of big companies.\nselect person_id from crm.person where person_id between 3 and 6",
    "everybody": "-- Everybody.\nselect person_id from crm.person",
}
_STEP = """
  {name}:
    name: "Actie {name}"
    description: Een actie
    sender: "De Linde <nieuws@schouwburg.example>"
    reply_to: "De Linde <nieuws@schouwburg.example>"
    subject: "Een actie"
    content: december.mjml
    topic: service
    {more}
"""


def write_campaign(project: Path, campaign: str, steps: dict[str, str]) -> Path:
    """A campaign of steps with the sample newsletter's content; of each step what is its own, as one flow of YAML."""
    folder = project / "campaigns" / campaign
    if not folder.is_dir():
        shutil.copytree(project / "campaigns" / "newsletter", folder)
    written = (_STEP.format(name=name, more="\n    ".join(more.split("; "))) for name, more in steps.items())
    file = folder / "campaign.yaml"
    file.write_text(f"name: Campagne {campaign}\nsteps:" + "".join(written), encoding="utf-8")
    return file


def grouped_project(folder: Path) -> Path:
    """The sample project without frequency cap, with these selections."""
    project = copy_project(folder)
    settings = project / "smp.yaml"
    lines = settings.read_text().splitlines(keepends=True)
    settings.write_text("".join(line for line in lines if not line.startswith("frequency_cap")))
    for name, sql in _SELECTIONS.items():
        (project / "sql" / "selections" / f"{name}.sql").write_text(sql + "\n")
    return project


def ref_of(house: Theatre, key: str) -> StepRef:
    """A step of the theatre's project."""
    return house.deployment.project.step(key)


def plan_step(house: Theatre, key: str, send_key: str | None = None, moment: datetime | None = None) -> Send:
    """A planned send of a step, from its target group as it is now over the mirror as it was left: quick."""
    deployment, ref = house.deployment, ref_of(house, key)
    send = deployment.open_send(ref, send_key or f"{key}@once", moment or house.now, house.now, None)
    deployment.mirror_moments()
    names = () if ref.step.is_frozen else ref.step.people
    runs = [deployment.audiences.materialise(name, house.now, None).run for name in names]
    run = deployment.groups.evaluate(ref, house.now, None, runs).run if ref.step.own_group else runs[0]
    with deployment.connection() as postgres, deployment.lake.open() as lake:
        return plan(postgres, lake, deployment.project, ref, send, run, house.now)


def planned(house: Theatre, send: Send) -> list[int]:
    """Who gets the mails of a send."""
    rows = house.sql("select person_id from smp.message where send_id = %s and state = 'planned'", send.send_id)
    return sorted(person for (person,) in rows)


def in_group(house: Theatre, key: str, *, linked: bool = True) -> list[int]:
    """Who is linked in a frozen group, or kept out of it."""
    rows = house.sql("select person_id from smp.target_member where step = %s and linked = %s", key, linked)
    return sorted(person for (person,) in rows)
