"""Tests of the status of a step (F23): who changed it, when, from what to what."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.status import StatusChange, change_status, read_changes, read_status, read_statuses
from smp_pipelines.stores.postgres import Connection, connect

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
STEP = "servicemails/servicemail"


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Connection]:
    with connect(postgres_url) as opened:
        opened.autocommit = True
        yield opened


def test_a_step_that_nobody_touched_is_a_concept_since_never(connection: Connection) -> None:
    assert (read_status(connection, STEP).status, read_status(connection, STEP).since) == ("concept", None)


def test_each_change_is_recorded_with_who_when_from_to_and_why(connection: Connection) -> None:
    change_status(connection, STEP, "live", NOW, " anna ", "eerste keer")
    later = NOW + timedelta(hours=1)
    assert change_status(connection, STEP, "stopped", later, "bob") == StatusChange(
        STEP, "live", "stopped", later, "bob", None
    )
    assert [
        (c.from_status, c.to_status, c.changed_at, c.changed_by, c.reason) for c in read_changes(connection, STEP)
    ] == [
        ("live", "stopped", later, "bob", None),
        ("concept", "live", NOW, "anna", "eerste keer"),
    ]
    assert read_status(connection, STEP).since == later


def test_a_change_to_the_status_it_has_is_no_change(connection: Connection) -> None:
    change_status(connection, STEP, "live", NOW, "anna")
    assert change_status(connection, STEP, "live", NOW + timedelta(days=1), "bob") is None
    assert read_status(connection, STEP).since == NOW
    assert len(read_changes(connection, STEP)) == 1


def test_making_a_concept_a_concept_leaves_it_as_if_never_touched(connection: Connection) -> None:
    assert change_status(connection, STEP, "concept", NOW, "anna") is None
    assert read_status(connection, STEP).since is None


def test_a_status_that_does_not_exist_and_a_change_by_nobody_are_refused(connection: Connection) -> None:
    with pytest.raises(SmpError, match="'on' is not a status; choose from concept, testing, live, stopped"):
        change_status(connection, STEP, "on", NOW, "anna")
    with pytest.raises(SmpError, match="needs the name"):
        change_status(connection, STEP, "live", NOW, "  ")
    assert read_changes(connection, STEP) == []


def test_two_changes_at_once_are_recorded_one_after_the_other(postgres_url: str) -> None:
    def change(status: str) -> object:
        with connect(postgres_url) as connection:
            connection.autocommit = True
            return change_status(connection, STEP, status, NOW, status)

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(change, ["live", "stopped"] * 8))
    with connect(postgres_url) as connection:
        audit = read_changes(connection, STEP)[::-1]
        status = read_status(connection, STEP).status
    assert len(audit) == sum(each is not None for each in done)
    assert [each.from_status for each in audit] == ["concept", *(each.to_status for each in audit[:-1])]
    assert status == audit[-1].to_status


def test_statuses_of_several_steps_are_read_at_once(connection: Connection) -> None:
    change_status(connection, STEP, "testing", NOW, "anna")
    found = read_statuses(connection, [STEP, "a/b"])
    assert {step: each.status for step, each in found.items()} == {STEP: "testing", "a/b": "concept"}
