"""Tests of the past of selections and sends: who enters and leaves, by which predicate; who was in it then (X1, X7).

One theatre for all that only look. Its selection ran twice: at nine with people 1 to 6, at ten without 1 and 2 and with
7 and 8; a send to those of ten left 3 out, for want of an address.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from typer.testing import CliRunner

from smp_pipelines.assets.facts import CLOCK_TAG
from smp_pipelines.assets.selections import selection_assets, selection_key
from smp_pipelines.cli import app
from smp_pipelines.commands import selection as selection_commands
from smp_pipelines.commands import send as send_commands
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import ProjectError, SmpError
from smp_pipelines.selection.history.comparing import changes_since
from smp_pipelines.selection.history.difference import Difference
from smp_pipelines.selection.runs import SelectionRun
from smp_pipelines.sending.ledger import Send
from smp_pipelines.stores.lake import current_pin, rows
from tests.conftest import copy_project
from tests.support.theatre import MONDAY_0900, PERFORMANCE, STEP, Theatre, deployment, theatre

NAME = "visitors_in_two_days"
TEN = MONDAY_0900 + timedelta(hours=1)
HAS_TICKET = "has a row in crm.ticket with crm.performance"
NOT_RECEIVED = f"not received {STEP} within 30 days about this performance_id"


@dataclass
class Past:
    """The theatre after its story, with its two runs and the send from the second."""

    house: Theatre
    nine: SelectionRun
    ten: SelectionRun
    send: Send
    file: Path

    def edited(self, *changes: tuple[str, str]) -> Deployment:
        """The deployment with the selection's file edited; `restored` puts it back."""
        text = self.file.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.file.write_text(text)
        return deployment(self.house.url, self.house.deployment.settings.home, project=self.file.parents[2])

    def compare(self, run: SelectionRun, now: datetime = TEN, loaded: Deployment | None = None) -> Difference:
        return (loaded or self.house.deployment).history.compare(NAME, now, run, 2)


@pytest.fixture(scope="module")
def past(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    folder = tmp_path_factory.mktemp("past")
    project = copy_project(folder / "my project")
    with theatre(embedded_url, migrated_template, folder / "state", project=project) as house:
        house.live()
        house.people(6)
        nine = house.materialise()
        house.sql("delete from crm.ticket where person_id = 1")
        house.plan_these([2])
        house.people(2, first=7)
        house.sql("update crm.person set email = null where person_id = 3")
        house.now = TEN
        send = house.plan()
        (ten, _nine) = house.deployment.history.runs(NAME, 5)
        yield Past(house, nine, ten, send, project / "sql" / "selections" / f"{NAME}.sql")


@pytest.fixture
def edited(past: Past) -> Iterator[Callable[..., Deployment]]:
    before = past.file.read_text()
    yield past.edited
    past.file.write_text(before)


@pytest.fixture
def smp(past: Past, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What `smp` prints on the theatre's deployment, with spaces and line ends as one space."""

    @contextmanager
    def running() -> Iterator[Deployment]:
        yield past.house.deployment

    for module in (selection_commands, send_commands):
        monkeypatch.setattr(module, "deployment", running)

    def typed(*words: str) -> str:
        done = CliRunner().invoke(app, words)
        return " ".join((str(done.exception) if isinstance(done.exception, SmpError) else done.output).split())

    return typed


def told(found: Difference, change: str) -> dict[str | None, list[object]]:
    return {cause.predicate: [person for person, *_ in cause.people] for cause in found.of(change)}


def test_a_run_remembers_how_many_came_and_went_since_the_run_before(past: Past) -> None:
    assert (past.nine.entered, past.nine.departed) == (None, None)
    assert (past.ten.entered, past.ten.departed, past.ten.row_count) == (2, 2, 6)


def test_whoever_leaves_is_told_with_the_predicate_that_holds_no_longer(
    past: Past, tmp_path: Path, smp: Callable[..., str]
) -> None:
    file = tmp_path / "who.csv"
    number = str(past.nine.selection_run_id)
    printed = smp("selection", "diff", NAME, "--run", number, "--at", "2026-11-23 10:00", "--people", str(file))
    # 3 had no mail, for want of an address, so the selection still has 3
    assert "6 were in it, 1 are: 0 entered, 5 left, 1 stayed" in printed
    assert f"4 left: no longer `{NOT_RECEIVED}` person_id 2, performance_id 7" in printed
    assert f"1 left: no longer `{HAS_TICKET}` person_id 1, performance_id 7" in printed
    with file.open() as lines:
        written = {(row["person_id"], row["change"], row["predicate"]) for row in csv.DictReader(lines)}
    assert written == {(n, "left", NOT_RECEIVED) for n in "2456"} | {("1", "left", HAS_TICKET)}


def test_who_enters_is_judged_by_what_the_run_read_then(past: Past) -> None:
    past.house.people(1, first=20)
    found = past.compare(past.ten)
    assert (found.edits.changed, found.notes) == (False, [])
    assert told(found, "entered") == {HAS_TICKET: [20]}
    assert past.ten.pin is not None
    found = past.compare(replace(past.ten, pin=replace(past.ten.pin, crm=4711)))
    assert told(found, "entered") == {None: [20]}
    assert [note.split(":")[0] for note in found.notes] == ["because of which predicate people entered cannot be told"]
    past.house.sql("delete from crm.ticket where person_id = 20")


def test_the_new_side_is_the_file_as_it_was_edited_at_the_moment_that_is_asked_for(
    past: Past, edited: Callable[..., Deployment]
) -> None:
    loaded = edited(("  and not block_service_mail\n", "  and performance_id > 100\n"))
    found = past.compare(past.ten, TEN + timedelta(days=1), loaded)
    assert found.edits.changed
    assert found.edits.added == ("performance_id > 100",)
    assert [each.lower() for each in found.edits.removed] == ["not block_service_mail"]
    # both the clock, which went on, and the new predicate keep them out: the first in the file is told
    (cause,) = found.of("left")
    assert (str(cause.predicate).lower(), cause.count) == ("starts_at::date = current_date + 2", 6)


def test_people_who_were_held_back_by_a_predicate_that_was_taken_out_enter_because_of_it(
    past: Past, edited: Callable[..., Deployment]
) -> None:
    macro = next(line for line in past.file.read_text().splitlines() if "not_received" in line)
    found = past.compare(past.ten, TEN, edited((macro, "")))
    assert found.edits.removed == (NOT_RECEIVED,)
    assert told(found, "entered") == {NOT_RECEIVED: [2]}
    assert found.changes.departed == 0


def test_what_cannot_be_compared_is_said_in_words(past: Past, edited: Callable[..., Deployment]) -> None:
    history = past.house.deployment.history
    with pytest.raises(SmpError, match="we_miss_you never ran"):
        history.run_to_compare("we_miss_you")
    with pytest.raises(SmpError, match=f"run {past.nine.selection_run_id} is one of {NAME}"):
        history.run_to_compare("we_miss_you", number=past.nine.selection_run_id)
    with pytest.raises(SmpError, match=r"had not run at 2026-11-23 08:59\n.*first run was for 2026-11-23 09:00"):
        history.run_to_compare(NAME, MONDAY_0900 - timedelta(minutes=1))
    with pytest.raises(SmpError, match="does not keep the people of run"):
        history.people(replace(past.ten, snapshot_id=4711), 1)
    with pytest.raises(ProjectError, match=r"crm\.tikcet"):
        edited(("from crm.ticket", "from crm.tikcet")).history.run_to_compare(NAME)


def test_a_run_without_one_of_the_keys_counts_no_changes(past: Past) -> None:
    with past.house.deployment.lake.open_for_selections() as lake:
        fresh = "select 3 as person_id, 1 as other"
        assert changes_since(lake, past.ten, fresh, ("person_id", "other")) is None
        assert changes_since(lake, None, fresh, ("person_id",)) is None
        found = changes_since(lake, past.ten, fresh, ("person_id",))
    assert found is not None
    assert (found.entered, found.departed, found.stayed) == (0, 5, 1)


def test_the_people_of_a_past_run_are_exactly_those_it_had(past: Past, smp: Callable[..., str]) -> None:
    history = past.house.deployment.history
    assert history.people(past.nine, 99) == (("person_id", "performance_id"), [(n, PERFORMANCE) for n in range(1, 7)])
    assert history.people(past.ten, 99)[1] == [(n, PERFORMANCE) for n in range(3, 9)]
    assert history.run_at(NAME, TEN - timedelta(seconds=1)) == past.nine
    nine = f"run {past.nine.selection_run_id}, for 2026-11-23 09:00"
    assert smp("selection", "count", NAME, "--as-of", "2026-11-23 09:59") == f"6 {nine}"
    assert smp("selection", "show", NAME, "--as-of", "2026-11-23 09:59", "--limit", "1").startswith(nine)
    assert f"run {past.ten.selection_run_id}," in smp("selection", "count", NAME, "--as-of", "2026-11-23")
    assert "had not run at" in smp("selection", "show", NAME, "--as-of", "2026-11-22")


def test_the_runs_of_a_selection_are_told(past: Past, smp: Callable[..., str]) -> None:
    assert f"{past.ten.selection_run_id} 2026-11-23 10:00 6 2 2 no" in smp("selection", "history", NAME)
    assert smp("selection", "history", "we_miss_you") == "we_miss_you never ran"
    assert "there is no selection visitors" in smp("selection", "history", "visitors")


def test_the_audience_of_a_send_is_compared_with_who_was_mailed(
    past: Past, tmp_path: Path, smp: Callable[..., str]
) -> None:
    file = tmp_path / "audience.csv"
    found = past.house.deployment.history.of_send(past.send.send_id, 3, file)
    assert found.planned.runs == [past.ten]
    assert found.count(selected=True) == 6
    assert {(fate.state, fate.why): fate.count for fate in found.fates} == {
        ("planned", None): 5,
        ("skipped", "has no e-mail address"): 1,
    }
    first = found.people[0]
    assert (first.person_id, first.record_id, first.reason) == (3, PERFORMANCE, "no_address")
    with file.open() as lines:
        assert {row["person_id"] for row in csv.DictReader(lines)} == {str(n) for n in range(3, 9)}
    printed = smp("send", "audience", str(past.send.send_id))
    assert "6 selected, 0 mailed" in printed
    assert "there is no send 4711" in smp("send", "audience", "4711")


def test_a_send_without_a_run_tells_its_people_from_the_ledger(past: Past) -> None:
    given = past.house.sql("select min(send_id) from smp.send")[0][0]
    found = past.house.deployment.history.of_send(given, 5)
    assert found.planned.runs == []
    assert [(member.person_id, member.selected) for member in found.people] == [(2, False)]


def test_the_report_file_has_the_runs(past: Past) -> None:
    past.house.mirror()
    past.house.deployment.refresh_metrics()
    file = past.house.deployment.publish(TEN).file
    with duckdb.connect(str(file), read_only=True) as report:
        query = "select rows_selected, entered, departed, sends from selection_runs where selection = ? order by moment"
        assert report.execute(query, [NAME]).fetchall() == [(6, None, None, 0), (6, 2, 2, 1)]


def test_dagster_gets_how_many_entered_and_left_as_figures_that_it_plots(past: Past) -> None:
    loaded = past.house.deployment
    loaded.mirror(["crm.person", "crm.consent"])
    loaded.audiences.materialise("colleagues", MONDAY_0900, None)
    past.house.sql("update crm.person set internal_test = true where person_id in (5, 6)")
    loaded.mirror(["crm.person"])
    (asset,) = [each for each in selection_assets(loaded) if each.key == selection_key("colleagues")]
    done = dg.materialize([asset], tags={CLOCK_TAG: TEN.isoformat()})
    (told,) = [event.materialization.metadata for event in done.get_asset_materialization_events()]
    assert (told["entered"].value, told["left"].value) == (2, 0)
    assert str(told["runs"].value).splitlines()[2:] == [
        "| 2026-11-23 10:00 | 2 | 2 | 0 |",
        "| 2026-11-23 09:00 | 0 |  |  |",
    ]


def test_erasing_a_person_leaves_the_bare_key_in_every_snapshot(past: Past) -> None:
    past.house.sql("delete from crm.person where person_id = 4")
    past.house.mirror()
    assert (4, PERFORMANCE) in past.house.deployment.history.people(past.ten, 99)[1]
    assert 4 in [each.person_id for each in past.house.deployment.history.of_send(past.send.send_id, 99).people]
    with past.house.deployment.lake.open() as lake:
        tables = rows(lake, "select schema_name, table_name from duckdb_tables() where database_name = 'smp'")
        versions = [past.nine.snapshot_id, past.ten.snapshot_id, current_pin(lake).smp]
        assert ("selections", NAME) in tables
        seen = [_held(lake, schema, name, version) for schema, name in tables for version in versions]
    assert any("'person_id': 4" in text for text in seen)
    assert not [text for text in seen if "example.org" in text or "Jansen" in text or "Anna" in text]


def _held(lake: duckdb.DuckDBPyConnection, schema: str, name: str, version: int) -> str:
    """All that a table of the lake held at a version, as text; nothing when it was not there yet."""
    try:
        found = rows(lake, f'select t::varchar from smp."{schema}"."{name}" as t at (version => {version})')
    except (duckdb.CatalogException, duckdb.InvalidInputException):
        return ""
    return " ".join(text for (text,) in found)
