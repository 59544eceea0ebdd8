"""Sizes: how much data a run of the benchmark has. Imports nothing heavy, so that the parent process stays small."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

SIZES_FILE = "sizes.json"
LAPS = 3
"""How often a measured thing is done; the middle lap counts."""
_MOMENTS_A_PERSON = 5
_QUICK_PEOPLE = 1_000
_CROWD = 10
"""The crowd is this many times the people of the other cases."""


@dataclass(frozen=True)
class Sizes:
    """How many people, contact moments, rows to plan, people to change, mails to deliver, continuous steps and
    selections; and of the crowd, the large CRM that is in the lake only: people, moments, tickets, a large audience.
    """

    people: int
    moments: int
    recipients: int
    changed: int
    mails: int
    steps: int
    selections: int
    crowd_people: int
    crowd_moments: int
    crowd_tickets: int
    crowd_audience: int
    laps: int = LAPS

    @classmethod
    def of(cls, people: int, steps: int) -> Sizes:
        """The sizes for a number of people, in the proportions of the targets: all are planned, 1 in 100 changes."""
        crowd = people * _CROWD
        return cls(
            people=people,
            moments=people * _MOMENTS_A_PERSON,
            recipients=people,
            changed=people // 100,
            mails=min(60_000, people // 25),
            steps=steps,
            selections=steps * 5 // 2,
            crowd_people=crowd,
            crowd_moments=crowd * _MOMENTS_A_PERSON,
            crowd_tickets=crowd * 2,
            crowd_audience=people,
        )

    @classmethod
    def quick(cls) -> Sizes:
        """The sizes of a smoke run, in which everything is done once."""
        return replace(cls.of(_QUICK_PEOPLE, 20), laps=1)

    @property
    def are_of_the_targets(self) -> bool:
        """Whether the targets are meant for sizes like these: with fewer people, what is fixed is all there is."""
        return self.people >= 1_000_000 and self.steps >= 200

    def save(self, file: Path) -> None:
        """Write the sizes down for the processes of the cases."""
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Sizes:
        """Read what `save` wrote."""
        return cls(**json.loads(file.read_text(encoding="utf-8")))
