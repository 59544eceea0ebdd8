"""A theatre in which an audience test stops sends: who reads the newsletter has to have a salutation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smp_pipelines.sending.ledger import Send
from tests.conftest import copy_project
from tests.support.theatre import NEWSLETTER, Theatre, theatre

NAMED = "audience_tests:\n  named: {filled: person.salutation, blocking: true, words: People without a salutation}\n"
REASON = "audience_test: People without a salutation"


@contextmanager
def stopping_theatre(embedded_url: str, migrated_template: str, folder: Path, **options: Any) -> Iterator[Theatre]:
    """Four readers with a ticket: 2 has no salutation, 3 is blocked, 4 shares the address of 1."""
    project = copy_project(folder / "my project")
    for name in ("newsletter_readers", "visitors_in_two_days"):
        (project / "sql" / "selections" / f"{name}.checks.yaml").write_text(NAMED)
    with theatre(embedded_url, migrated_template, folder / "state", project=project, **options) as house:
        house.people(4)
        house.sql("update crm.person set salutation = '' where person_id = 2")
        house.sql("update crm.person set blocked = true where person_id = 3")
        house.sql("update crm.person set email = 'p1@example.org' where person_id = 4")
        house.sql(
            "insert into crm.consent select n, 'email', 'newsletter', true, %s, 'web', 'x'"
            " from generate_series(1, 4) as n",
            house.now,
        )
        house.live()
        house.live(NEWSLETTER)
        yield house


def plan_send(house: Theatre, step: str, key: str, run_id: str | None = None) -> Send:
    """The send of a step with this key, opened and planned as the CLI and Dagster do."""
    ref, now = house.deployment.project.step(step), house.now
    return house.deployment.plan(ref, house.deployment.open_send(ref, key, now, now, run_id), now, run_id)
