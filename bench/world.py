"""The world of the benchmark: where its state lies, and the project that is measured."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.sizes import LAPS, SIZES_FILE, Sizes
from smp_pipelines.deployment import Deployment
from smp_pipelines.stores.settings import REPOSITORY, Settings

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
"""The moment at which everything takes place: the clock is an input, so every run sees the same data."""

REACHABLE, RECIPIENTS, FEWER, MAILED = "reachable", "everybody", "every_tenth", "first_people"
"""The selections: with exclusion and de-duplication; the people to plan, and a tenth of them; those to deliver to."""
_CAMPAIGN = "bench"
DELIVERED = f"{_CAMPAIGN}/planned_{LAPS}"
"""The step that is delivered."""

_SELECTIONS = {
    REACHABLE: """-- Whoever has an address and got no "we miss you" in the past year; of a shared address one person.
select min(person_id) as person_id
from crm.person
where email_key is not null
  and not blocked
  and {{ not_received("we_miss_you/we_miss_you", within="365 days") }}
group by email_key
""",
    RECIPIENTS: """-- All people.
select person_id
from crm.person
where person_id <= %(recipients)d
""",
    FEWER: """-- A tenth of the people.
select person_id
from crm.person
where person_id <= %(recipients)d / 10
""",
    MAILED: """-- Enough people for the mails that are delivered.
select person_id
from crm.person
where person_id <= 2 * %(mails)d
""",
}
_STEP = """  planned_%d:
    name: Plannen
    description: Eenmalig, om het plannen en het afleveren te meten
    channel: email
    send: one_off
    sender: "Schouwburg De Linde <nieuws@schouwburg.example>"
    subject: "{{ person.first_name or 'Beste lezer' }}, uw stoel staat klaar"
    preheader: "Het is even geleden."
    content: %s
    selection: %s
    topic: %s
"""


@dataclass(frozen=True)
class World:
    """The folder of one run, with its sizes. Every case is a process that opens the same world."""

    folder: Path
    sizes: Sizes

    @classmethod
    def open(cls, folder: Path) -> World:
        """The world in a folder that `python -m bench` made."""
        return cls(folder, Sizes.load(folder / SIZES_FILE))

    @property
    def project(self) -> Path:
        """The project folder: the sample project with the benchmark's campaign and selections."""
        return self.folder / "project"

    @property
    def home(self) -> Path:
        """The state folder (SMP_HOME)."""
        return self.folder / "home"

    @property
    def bare_file(self) -> Path:
        """The local DuckDB file with the same tables as the lake."""
        return self.folder / "bare.duckdb"

    def deployment(self, mail_url: str | None = None) -> Deployment:
        """The deployment, read from its files; its Postgres server runs as long as `python -m bench` does."""
        return Deployment.load(Settings(project=self.project, home=self.home, mail_url=mail_url))

    def write_project(self) -> None:
        """Copy the sample project and add the benchmark's own files."""
        copy_sample(self.project)
        for name, text in _SELECTIONS.items():
            selection = self.project / "sql" / "selections" / f"{name}.sql"
            numbers = {"recipients": self.sizes.recipients, "mails": self.sizes.mails}
            for what, count in numbers.items():
                text = text.replace(f"%({what})d", str(count))
            selection.write_text(text, encoding="utf-8")
        folder = self.project / "campaigns" / _CAMPAIGN
        folder.mkdir(exist_ok=True)
        shutil.copy(self.project / "campaigns" / "we_miss_you" / "we_miss_you.mjml", folder)
        shutil.copy(Path(__file__).with_name("delivery.html"), folder)
        # the steps that are planned ask for a yes (newsletter); the last one, for delivery, reaches nearly everybody
        steps = [_STEP % (number, "we_miss_you.mjml", RECIPIENTS, "newsletter") for number in range(LAPS)]
        steps.append(_STEP % (LAPS, "delivery.html", MAILED, "service"))
        head = "name: Meten\ndescription: Stappen waarmee snelheid gemeten wordt\nsteps:\n"
        (folder / "campaign.yaml").write_text(head + "".join(steps), encoding="utf-8")


def planned_step(number: int) -> str:
    """The key of one of the steps that are planned."""
    return f"{_CAMPAIGN}/planned_{number}"


def copy_sample(folder: Path) -> Path:
    """Copy the sample project's files to a folder, which is given back."""
    for name in ("campaigns", "forms", "sql"):
        shutil.copytree(REPOSITORY / name, folder / name, dirs_exist_ok=True)
    shutil.copy(REPOSITORY / "smp.yaml", folder)
    return folder
