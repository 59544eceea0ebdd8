"""Tests of merging people who are on their way in a flow: it goes on under the new key, no mail comes twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from smp_pipelines.crm.merging import merge
from smp_pipelines.deployment import Deployment
from smp_pipelines.flow.sources import enrol_people
from smp_pipelines.flow.tables import use
from smp_pipelines.flow.version import draft, freeze, read_state, read_version
from tests.support.flow_files import sample, with_flows
from tests.support.flow_world import SqlJudge
from tests.support.theatre import MONDAY_0900, Theatre, theatre

FLOW = """
    name: Bedankt
    triggers: [{type: manual}]
    steps:
      first: {mail: open_house/confirmation}
      think: {wait: 3 days}
      second: {mail: welcome/welcome}
"""
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def house(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """A theatre with a flow that is live: a mail, three days, another mail."""
    folder = tmp_path_factory.mktemp("flow")
    with theatre(embedded_url, migrated_template, folder / "state") as opened:
        made = Deployment(opened.deployment.settings, with_flows(folder, friends=FLOW), sample()[1])
        opened.deployment = made
        opened.people(8, tickets=False)
        opened.sql(
            "insert into crm.consent select person_id, 'email', 'newsletter', true, now(), 'web' from crm.person"
        )
        with made.connection() as connection, connection.transaction():
            version = freeze(connection, draft(made.project, made.library, "friends"), MONDAY_0900 - DAY, "anna")
            connection.execute(
                "update smp.flow set state = 'live', live_since = since, version_id = %s", (version.version_id,)
            )
        with closing(made.lake):
            yield opened


def enter(house: Theatre, person: int, day: int) -> None:
    with house.deployment.connection() as connection:
        use(connection)
        state = read_state(connection, "friends")
        assert state is not None
        assert state.version_id is not None
        version = read_version(connection, state.version_id)
        enrol_people(connection, version, state, SqlJudge(), [person], "by hand", MONDAY_0900 + day * DAY)


def tick(house: Theatre, day: int) -> None:
    house.deployment.tick_flows(MONDAY_0900 + day * DAY)


def join(house: Theatre, old: int, new: int, day: int) -> None:
    with house.deployment.connection() as connection:
        merge(connection, [(old, new)], [], MONDAY_0900 + day * DAY, "anna")


def mails(house: Theatre, person: int) -> list[tuple[str, str | None]]:
    return house.sql(
        "select split_part(step, '/', 1), missed from smp.trigger_event where person_id = %s order by event_id", person
    )


def test_the_journey_goes_on_under_the_new_key(house: Theatre) -> None:
    enter(house, 2, day=0)
    tick(house, day=0)
    join(house, 2, 1, day=1)
    tick(house, day=3)
    assert mails(house, 1) == [("open_house", None), ("welcome", None)]
    assert house.sql("select outcome from smp.participant where person_id = 1") == [("completed",)]


def test_whoever_is_in_it_twice_gets_each_mail_once(house: Theatre) -> None:
    enter(house, 3, day=0)
    tick(house, day=0)
    enter(house, 4, day=1)
    tick(house, day=1)
    house.sql("update smp.trigger_event set missed = 'late' where person_id in (3, 4)")  # both have left
    join(house, 4, 3, day=2)
    tick(house, day=3)
    tick(house, day=9)
    assert [step for step, _ in mails(house, 3)] == ["open_house", "open_house", "welcome"]
    assert house.sql("select outcome from smp.participant where person_id = 3 order by entered_at") == [
        ("completed",),
        ("merged",),
    ]


def test_what_the_later_one_had_already_is_not_sent_by_the_earlier_one(house: Theatre) -> None:
    enter(house, 5, day=0)  # waits in the queue: nobody ticks yet
    enter(house, 6, day=0)
    tick(house, day=0)
    house.sql("update smp.participant set node = 0, due_at = now() where person_id = 5 and left_at is null")
    house.sql("delete from smp.trigger_event where person_id = 5")
    house.sql(
        "delete from smp.participant_visit where participant_id in"
        " (select participant_id from smp.participant where person_id = 5)"
    )
    join(house, 6, 5, day=1)
    tick(house, day=1)
    tick(house, day=9)
    assert [step for step, _ in mails(house, 5)] == ["open_house", "welcome"]
