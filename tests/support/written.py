"""A small project that a test writes: one campaign with a mail, a form and a page, made of blocks."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import dropwhile
from pathlib import Path
from typing import Any

from smp_pipelines.campaign.checks import check_project
from smp_pipelines.campaign.content.checks import check_content
from smp_pipelines.campaign.content.links import NoLinks
from smp_pipelines.campaign.content.mail import Content
from smp_pipelines.campaign.content.page import PageContent
from smp_pipelines.campaign.project import LoadedProject, load_project
from smp_pipelines.problems import Problem

ROOT = Path(__file__).parents[2]
SETTINGS = """\
name: De Linde
time_zone: Europe/Amsterdam
topics: {service: opt_out}
records:
  performance: {table: crm.performance, key: performance_id, title: title}
parameters:
  voornaam: "{{ person.first_name or 'bezoeker' }}"
  voorkeuren: "{{ links.to('trial/form') }}"
"""
FORM = """\
name: Vragen
access: open
match: never
fields:
  name: {type: text, label: Naam, required: true, to: crm.person.last_name}
"""
CAMPAIGN = """\
name: Proef
flow: true
steps:
  form:
    name: Een formulier
    description: Voor wie wil
    channel: form
    form: questions
    next: page
    blocks:
      - {type: form}
  page:
    name: Een pagina
    description: Daarna
    channel: page
    record: performance
    next: mail
    blocks:
      - type: text
        text: "# Bedankt"
  mail:
    name: Een mail
    description: Als laatste
    send: trigger
    sender: kassa@schouwburg.example
    subject: Hallo
    topic: service
    blocks:
      - type: text
        text: "# Dag"
"""
PERSON: dict[str, Any] = {"person_id": 1, "first_name": "Anna", "last_name": "Bakker", "city": "Lindenstad"}
PERFORMANCE: dict[str, Any] = {
    "performance_id": 2,
    "title": "De Kersentuin",
    "hall": "Grote Zaal",
    "starts_at": datetime(2026, 12, 4, 19, 15, tzinfo=UTC),
    "duration_minutes": 105,
    "company": None,
}
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (640).to_bytes(4, "big") + (360).to_bytes(4, "big") + b"\x08\x02\0\0\0"


@dataclass
class Written:
    """The project; each method that writes gives the project back."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Written:
        """Write it into a folder that is not there yet."""
        shutil.copytree(ROOT / "sql" / "schema", folder / "sql" / "schema")
        for name, text in {
            "smp.yaml": SETTINGS,
            "forms/questions.yaml": FORM,
            "campaigns/trial/campaign.yaml": CAMPAIGN,
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        return cls(folder)

    @property
    def campaign(self) -> Path:
        return self.folder / "campaigns" / "trial"

    def file(self, name: str, content: str | bytes) -> Written:
        """Write a file into the campaign's folder."""
        (self.campaign / name).parent.mkdir(parents=True, exist_ok=True)
        (self.campaign / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return self

    def settings(self, old: str, new: str) -> Written:
        return self._edit(self.folder / "smp.yaml", old, new)

    def step(self, old: str, new: str) -> Written:
        return self._edit(self.campaign / "campaign.yaml", old, new)

    def blocks(self, step: str, blocks: str) -> Written:
        """Give a step other blocks, written as a YAML list without indentation."""
        text = (self.campaign / "campaign.yaml").read_text(encoding="utf-8")
        head, rest = text.split(f"  {step}:\n", 1)
        own, place, listed = rest.partition("    blocks:\n")
        lines = listed.splitlines(keepends=True)
        kept = "".join(dropwhile(lambda line: not re.match(r"  \w", line), lines))
        indented = "".join(f"      {line}\n" if line else "\n" for line in blocks.strip("\n").splitlines())
        text = f"{head}  {step}:\n{own}{place}{indented}{kept}"
        (self.campaign / "campaign.yaml").write_text(text, encoding="utf-8")
        return self

    def line(self, text: str, file: str = "campaigns/trial/campaign.yaml") -> int:
        """The line, from 1, of the first one that holds a text."""
        lines = (self.folder / file).read_text(encoding="utf-8").splitlines()
        return next(number for number, line in enumerate(lines, 1) if text in line)

    def load(self) -> LoadedProject:
        return load_project(self.folder)

    def problems(self, step: str) -> list[Problem]:
        """What the checks find in a step's content."""
        project = self.load()
        return check_content(project.step(f"trial/{step}"), project)

    def all_problems(self) -> list[Problem]:
        return check_project(self.load())

    def page(self, step: str = "page") -> PageContent:
        project = self.load()
        return PageContent.compile(project.step(f"trial/{step}"), project)

    def mail(self) -> Content:
        project = self.load()
        return Content.compile(project.step("trial/mail"), project)

    def _edit(self, file: Path, old: str, new: str) -> Written:
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")
        return self


def context(**person: Any) -> dict[str, Any]:
    """What the templates read of Anna, with what a test wants to be different about her."""
    row = {"birth_date": date(2000, 2, 29), "created_at": datetime(2026, 1, 2, tzinfo=UTC), **PERSON, **person}
    return {"person": row, "organisation": None, "performance": PERFORMANCE, "links": NoLinks()}
