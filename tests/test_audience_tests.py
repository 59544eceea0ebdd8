"""Audience tests over a real lake: what each kind finds, and how a blocking one stops a send with its words (X5)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from smp_pipelines.assets.selections import selection_assets
from smp_pipelines.sending.audience_results import read_stops
from smp_pipelines.sending.overruling import stops_in_words
from smp_pipelines.sending.reasons import explain
from tests.conftest import copy_project
from tests.support.stopping import REASON, plan_send, stopping_theatre
from tests.support.theatre import MONDAY_0900, NEWSLETTER, STEP, Theatre, theatre

KINDS = """
audience_tests:
  enough: {rows: {at_least: 6, at_most: 9}}
  more: {rows: {at_least: 7}}
  said_no: {no_opt_out: newsletter}
  salutation: {filled: person.salutation, at_least: 95%, words: People without a salutation}
  half_salutation: {filled: person.salutation, at_least: 50%}
  town: {filled: town}
  fresh: {fresh: crm.ticket.bought_at, within: 10 days}
  stale: {fresh: crm.ticket.bought_at, within: 8 days}
  day: {fresh: crm.membership.starts_on, within: 1 day}
  pilot: {no_overlap_with: selections.pilot}
  mailed: {no_overlap_with: newsletter/december}
  unique: {unique: true}
"""


@pytest.fixture(scope="module")
def kinds(
    embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Theatre, dict[str, tuple[bool, int, tuple[int, ...], str]]]]:
    """A theatre with six people, and what the tests of the selection `everyone` find there."""
    folder = tmp_path_factory.mktemp("audience tests")
    project = copy_project(folder / "my project")
    selections = project / "sql" / "selections"
    everyone = "-- Everybody, person 1 twice.\nselect person_id, nullif(length(city), 0) as town from crm.person"
    again = " union all select 1, 5 from crm.performance"
    (selections / "everyone.sql").write_text(everyone + again)
    (selections / "pilot.sql").write_text("-- The first two.\nselect person_id from crm.person where person_id <= 2")
    (selections / "everyone.checks.yaml").write_text(KINDS)
    (selections / "everyone.late.sql").write_text(
        "-- People who came in late.\nselect selections.everyone.person_id, now() as at_once from selections.everyone"
        " where everyone.person_id > 4 and current_date = '2026-11-23'"
    )
    (selections / "everyone.broken.sql").write_text(
        "-- Cannot be told.\n-- blocking\nselect person_id from crm.person where cast(email as integer) = 1"
    )
    with theatre(embedded_url, migrated_template, folder / "state", project=project) as house:
        house.people(5)
        house.sql("update crm.person set city = case person_id when 3 then '' else 'Delft' end")
        house.sql("update crm.person set salutation = ' ' where person_id = 2")
        house.sql("insert into crm.consent values (4, 'email', 'newsletter', false, %s, 'web', 'x')", house.now)
        house.sql("insert into crm.membership values (1, 1, 'friend', %s)", house.now + timedelta(days=1))
        results = house.deployment.audiences.test("everyone", house.now)
        yield house, {each.test: (each.passed, each.offending, each.person_ids, each.detail) for each in results}


def test_each_kind_of_test_finds_its_people(kinds: tuple[Theatre, dict[str, object]]) -> None:
    found = {name: each[:3] for name, each in kinds[1].items()}  # type: ignore[index]
    assert found == {
        "key_unique": (False, 1, (1,)),
        "address_share": (True, 0, ()),
        "volume": (True, 0, ()),
        "enough": (True, 0, ()),
        "more": (False, 0, ()),
        "said_no": (False, 1, (4,)),
        "salutation": (False, 1, (2,)),
        "half_salutation": (True, 1, (2,)),
        "town": (False, 1, (3,)),
        "fresh": (True, 0, ()),
        "stale": (False, 0, ()),
        "day": (False, 0, ()),
        "pilot": (False, 3, (1, 2)),
        "mailed": (True, 0, ()),
        "unique": (False, 1, (1,)),
        "late": (False, 1, (5,)),
        "broken": (False, 0, ()),
    }


def test_a_test_tells_its_figures_and_no_address(kinds: tuple[Theatre, dict[str, tuple[object, ...]]]) -> None:
    details = {name: str(each[3]) for name, each in kinds[1].items()}
    assert details["salutation"] == "83.3% of 6 rows have it; 95% should"
    assert details["stale"] == "newest bought_at: 2026-11-14 09:00"
    assert details["day"] == "newest starts_on: none"
    assert "it does not run" in details["broken"]
    assert "example.org" not in details["broken"]


def test_asking_keeps_nothing_of_the_selection_itself(kinds: tuple[Theatre, object]) -> None:
    assert kinds[0].sql("select distinct selection from smp.selection_run") == [("pilot",)]


@pytest.fixture
def stopping(embedded_url: str, migrated_template: str, tmp_path: Path) -> Iterator[Theatre]:
    """A theatre whose sends are stopped by anybody without a salutation."""
    with stopping_theatre(embedded_url, migrated_template, tmp_path) as house:
        yield house


def test_a_failing_blocking_test_skips_whoever_would_be_mailed_and_stops_the_next_send_no_more(
    stopping: Theatre,
) -> None:
    send = plan_send(stopping, STEP, "first")
    assert stopping.reasons(send) == {1: REASON, 2: REASON, 3: "person_blocked", 4: "duplicate_address"}
    assert explain(REASON) == "stopped by an audience test: People without a salutation"
    with stopping.deployment.connection() as postgres:
        (stop,) = read_stops(postgres, send)
        told = stops_in_words(postgres, [send.send_id])[send.send_id]
    assert (stop.selection, stop.test) == ("visitors_in_two_days", "named")
    assert f"overrule with `smp send overrule {send.send_id}" in told
    # nobody is mailed, and nobody is lost
    assert stopping.deliver(send, 1).accepted == 0
    verdict = stopping.verdict(send)
    assert (verdict.state, verdict.skipped, verdict.holds) == ("finished", 4, True)
    # who was stopped did not receive it: when the data is right, the next send has them
    stopping.sql("update crm.person set salutation = 'Beste' where person_id = 2")
    right = stopping.reasons(plan_send(stopping, STEP, "next"))
    assert right == {1: None, 2: None, 3: "person_blocked", 4: "duplicate_address"}


def test_what_a_selection_reads_stops_its_sends_as_well(stopping: Theatre) -> None:
    folder = stopping.deployment.project.folder / "sql" / "selections"
    text = "-- Half of them.\nselect * from selections.readers where person_id > 1"
    (folder / "readers.sql").write_text((folder / "newsletter_readers.sql").read_text())
    (folder / "newsletter_readers.checks.yaml").rename(folder / "readers.checks.yaml")
    (folder / "newsletter_readers.sql").write_text(text)
    stopping.deployment = type(stopping.deployment).load(stopping.deployment.settings)
    assert stopping.reasons(plan_send(stopping, NEWSLETTER, "first"))[2] == REASON
    results = stopping.deployment.audiences.test("newsletter_readers", stopping.now)
    assert [(each.selection, each.test) for each in results if not each.passed] == [("readers", "named")]


def test_a_volume_that_was_stopped_is_not_what_the_next_one_is_compared_with(
    embedded_url: str, migrated_template: str, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "my project")
    rule = "audience_tests: {volume: {between: [50%, 200%], of: last 3 runs, blocking: true}}\n"
    (project / "sql" / "selections" / "visitors_in_two_days.checks.yaml").write_text(rule)
    with theatre(embedded_url, migrated_template, tmp_path / "state", project=project) as house:
        house.people(2)
        runs = []
        for people in (0, 0, 6, 0, 0):
            if people:
                house.people(people, first=10)
            house.materialise()
            runs = house.sql(
                "select r.row_count, t.passed from smp.audience_test_result as t"
                " join smp.selection_run as r using (selection_run_id) where test = 'volume' order by selection_run_id"
            )
        assert runs == [(2, True), (2, True), (8, False), (8, False), (8, False)]


def test_dagster_shows_every_audience_test_as_a_check_with_its_people(stopping: Theatre) -> None:
    stopping.mirror()
    stopping.deployment.mirror_moments()
    assets = [each for each in selection_assets(stopping.deployment) if each.key.path[-1] == "visitors_in_two_days"]
    result = dg.materialize(
        assets, instance=dg.DagsterInstance.ephemeral(), tags={"smp/clock": MONDAY_0900.isoformat()}
    )
    assert result.success
    checks = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert set(checks) == {"key_unique", "address_share", "volume", "named"}
    named = checks["named"]
    assert not named.passed
    assert named.severity is dg.AssetCheckSeverity.ERROR
    assert named.metadata["offending rows"].value == 1
    assert "| 2 |" in str(named.metadata["first people"].value)
    assert named.description == "People without a salutation: 75.0% of 4 rows have it; 100% should"
    assert checks["volume"].severity is dg.AssetCheckSeverity.WARN
