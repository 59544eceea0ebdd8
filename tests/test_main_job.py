"""The main job, end to end in this process: CRM → mirror → selection → mails over SMTP → contact moments → report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from smp_pipelines.assets.mirror import table_key
from smp_pipelines.assets.selections import selection_key
from smp_pipelines.assets.sends import send_key
from smp_pipelines.catcher.server import Catcher
from smp_pipelines.definitions import build_definitions
from smp_pipelines.deployment import Deployment
from smp_pipelines.operations.tick import Ticked, Ticker, by_hand
from smp_pipelines.problems import ProjectError
from smp_pipelines.sending.due import Skipped
from smp_pipelines.sending.ledger import verify
from smp_pipelines.stores.settings import Settings
from tests.conftest import copy_project, fresh_database
from tests.support.theatre import lake_template

MONDAY_0900 = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
MONDAY_1500 = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
STEP = "servicemails/servicemail"


@dataclass
class Theatre:
    """A deployment on the sample CRM with a mail catcher, after its first tick."""

    deployment: Deployment
    instance: dg.DagsterInstance
    catcher: Catcher
    first: list[Ticked]
    skipped: list[Skipped]
    seen: dict[dg.AssetKey, dict[str, dg.MetadataValue]]
    """What the assets of the first tick told."""

    def ticker(self) -> Ticker:
        return Ticker(self.deployment, self.instance)


def metadata(instance: dg.DagsterInstance) -> dict[dg.AssetKey, dict[str, dg.MetadataValue]]:
    """The metadata of every asset's latest materialisation."""
    events = {key: instance.get_latest_materialization_event(key) for key in instance.all_asset_keys()}
    return {
        key: dict(event.asset_materialization.metadata)
        for key, event in events.items()
        if event is not None and event.asset_materialization is not None
    }


@contextmanager
def deployed(url: str, folder: Path) -> Iterator[tuple[Deployment, Catcher]]:
    with Catcher(folder / "in box") as catcher:
        settings = Settings(
            project=copy_project(folder / "my project"),
            home=folder / "state of it",
            postgres_url=url,
            mail_url=f"smtp://127.0.0.1:{catcher.smtp_port}",
        )
        loaded = Deployment.load(settings)
        with loaded.running():
            yield loaded, catcher


@pytest.fixture(scope="module")
def template(embedded_url: str, sample_template: str) -> str:
    """A database with the sample CRM and an empty lake."""
    return lake_template(embedded_url, sample_template, mirrored=False)


@pytest.fixture
def deployment(embedded_url: str, template: str, tmp_path: Path) -> Iterator[Deployment]:
    with fresh_database(embedded_url, template) as url, deployed(url, tmp_path) as (loaded, _catcher):
        yield loaded


@pytest.fixture(scope="module")
def theatre(embedded_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """One deployment for all tests that only look, or only add sends of their own."""
    folder = tmp_path_factory.mktemp("theatre")
    with fresh_database(embedded_url, template) as url, deployed(url, folder) as (deployment, catcher):
        deployment.change_status(STEP, "live", MONDAY_0900, "anna")
        with dg.DagsterInstance.ephemeral() as instance:
            done, skipped = Ticker(deployment, instance).tick(MONDAY_0900, MONDAY_0900)
            yield Theatre(deployment, instance, catcher, done, skipped, metadata(instance))


def test_a_due_send_goes_from_the_crm_to_the_inbox_and_the_report(theatre: Theatre) -> None:
    (result,) = theatre.first
    assert result.failure is None
    assert result.send is not None
    assert result.totals is not None
    assert result.send.state == "finished"
    assert result.send.send_key == f"{STEP}@2026-11-23T09:00+01:00"
    assert result.totals.accepted > 10

    mails = theatre.catcher.mailbox.search(limit=1000).mails
    assert len(mails) == result.totals.accepted == theatre.catcher.mailbox.count()
    assert {mail.step for mail in mails} == {STEP}
    addresses = [recipient.lower() for mail in mails for recipient in mail.recipients]
    assert len(addresses) == len(set(addresses)), "one mail per address (F24)"

    with duckdb.connect(str(theatre.deployment.settings.report_file), read_only=True) as report:
        outcomes = dict(report.execute("select outcome, count(*) from contact_moments group by 1").fetchall())
        assert outcomes["accepted"] == result.totals.accepted
        metrics = report.execute("select planned, accepted, rejected, unknown, skipped, waiting from flow_metrics")
        assert metrics.fetchall() == [(result.totals.all, result.totals.accepted, 0, 0, result.totals.skipped, 0)]
        skips = dict(report.execute("select reason, people from skip_metrics").fetchall())
        assert skips == result.totals.reasons
        comments = report.execute("select table_name from duckdb_tables() where comment is null").fetchall()
        assert comments == [], "every table says what it holds"
        for view in ("step_results", "reached_people", "skip_words"):
            assert report.execute(f"select count(*) from {view}").fetchone() != (0,), f"{view} can be read"
        assert report.execute(
            "select count(*) from duckdb_views() where not internal and comment is null"
        ).fetchone() == (0,)

    # those who share an address have a contact moment, so that the next tick leaves them out
    planned = result.totals.accepted + result.totals.reasons.get("duplicate_address", 0)
    with theatre.deployment.lake.open() as lake:
        assert lake.execute("select count(*) from smp.contact_moment where received").fetchone() == (planned,)


def test_a_second_tick_at_the_same_moment_sends_nobody_anything(theatre: Theatre) -> None:
    before = theatre.catcher.mailbox.count()
    done, skipped = theatre.ticker().tick(MONDAY_0900, MONDAY_0900)
    assert done == []
    assert any("was sent already" in each.why for each in skipped)
    assert theatre.catcher.mailbox.count() == before


def test_the_next_tick_of_the_day_leaves_out_who_received_it(theatre: Theatre) -> None:
    before = theatre.catcher.mailbox.count()
    (result,), _ = theatre.ticker().tick(MONDAY_1500, MONDAY_1500)
    assert result.failure is None
    assert result.totals is not None
    assert result.totals.accepted == 0
    assert "duplicate_address" not in result.totals.reasons
    assert theatre.catcher.mailbox.count() == before
    with theatre.deployment.connection() as postgres:
        assert all(verdict.holds for verdict in verify(postgres))


def test_a_step_that_is_not_live_says_so_and_sends_nothing(theatre: Theatre) -> None:
    due, skipped = theatre.deployment.due(datetime(2026, 11, 24, 9, 0, tzinfo=UTC))
    assert [each.ref.key for each in due] == [STEP]
    assert [each.why for each in skipped if each.ref.key == "we_miss_you/we_miss_you"] == [
        "status is concept (it never went live)"
    ]


def test_the_runs_assets_tell_what_marketing_ops_want_to_see(theatre: Theatre) -> None:
    assert theatre.first[0].totals is not None
    selection = theatre.seen[selection_key("visitors_in_two_days")]
    assert selection["dagster/row_count"].value == theatre.first[0].totals.all
    assert "current_date" not in str(selection["SQL"].value).lower()
    assert "2026-11-23" in str(selection["SQL"].value)
    assert str(selection["preview"].value).startswith("| person_id | performance_id |")
    lineage = selection["dagster/column_lineage"].value
    assert isinstance(lineage, dg.TableColumnLineage)
    sources = {(dep.asset_key, dep.column_name) for dep in lineage.deps_by_column["performance_id"]}
    assert (table_key("crm.ticket"), "performance_id") in sources or (
        table_key("crm.performance"),
        "performance_id",
    ) in sources

    sent = theatre.seen[send_key(theatre.deployment.project.step(STEP))]
    assert sent["accepted"].value == theatre.first[0].totals.accepted
    assert "data:image/png;base64," in str(sent["funnel"].value)
    assert "has no e-mail address" in str(sent["why not"].value)
    per_day = theatre.seen[dg.AssetKey("flow_metrics")]["per day"]
    assert "data:image/png;base64," in str(per_day.value)


def test_no_address_and_no_name_is_in_the_runs_metadata_or_the_report(theatre: Theatre) -> None:
    with theatre.deployment.connection() as postgres:
        names = postgres.execute("select email, last_name from crm.person where email is not null").fetchall()
    told = json.dumps([str(each) for each in metadata(theatre.instance).values()])
    content = theatre.deployment.settings.report_file.read_bytes()
    for email, _name in names:
        assert email.strip() not in told
        assert email.strip().encode() not in content


def test_asset_checks_come_with_every_materialisation_of_a_selection(theatre: Theatre) -> None:
    for name in ("key_unique", "address_share", "volume"):
        key = dg.AssetCheckKey(selection_key("visitors_in_two_days"), name)
        record = theatre.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert record.event is not None
        assert record.event.dagster_event is not None
        assert record.event.dagster_event.asset_check_evaluation_data.passed


def test_a_one_off_step_is_sent_once_however_often_it_is_asked(theatre: Theatre) -> None:
    deployment = theatre.deployment
    newsletter = deployment.project.step("newsletter/december")
    deployment.change_status(newsletter.key, "live", MONDAY_0900, "anna")
    first = theatre.ticker().send(by_hand(newsletter, MONDAY_0900), MONDAY_0900)
    assert first.failure is None
    assert first.totals is not None
    assert first.totals.accepted > 20
    count = theatre.catcher.mailbox.count()
    again = theatre.ticker().send(by_hand(newsletter, MONDAY_1500), MONDAY_1500)
    assert again.send == first.send
    assert theatre.catcher.mailbox.count() == count


def test_one_broken_selection_stops_only_the_steps_that_use_it(deployment: Deployment) -> None:
    folder = deployment.project.folder
    (folder / "sql" / "selections" / "we_miss_you.sql").write_text("-- Nobody.\nselect person_id from crm.persn")
    broken = Deployment.load(deployment.settings)
    definitions = build_definitions(broken)
    assert selection_key("we_miss_you") in definitions.resolve_asset_graph().get_all_asset_keys()
    with pytest.raises(ProjectError, match=r"crm\.persn"):
        broken.change_status("we_miss_you/we_miss_you", "live", MONDAY_0900, "anna")
    broken.change_status(STEP, "live", MONDAY_0900, "anna")
    with dg.DagsterInstance.ephemeral() as instance:
        (result,), _ = Ticker(broken, instance).tick(MONDAY_0900, MONDAY_0900)
    assert result.failure is None
    assert result.totals is not None
    assert result.totals.accepted > 10


def test_a_selection_without_exclusion_is_not_sent_to_even_when_the_step_is_live(deployment: Deployment) -> None:
    deployment.change_status(STEP, "live", MONDAY_0900, "anna")
    file = deployment.project.folder / "sql" / "selections" / "visitors_in_two_days.sql"
    file.write_text("-- Everyone with a ticket.\nselect distinct person_id, performance_id from crm.ticket")
    changed = Deployment.load(deployment.settings)
    with dg.DagsterInstance.ephemeral() as instance:
        (result,), _ = Ticker(changed, instance).tick(MONDAY_0900, MONDAY_0900)
    assert result.failure is not None
    assert "leaves out who already received it" in result.failure
    assert result.totals is None or result.totals.all == 0


def test_a_mail_server_that_is_away_leaves_the_send_to_go_on_later(deployment: Deployment) -> None:
    deployment.change_status(STEP, "live", MONDAY_0900, "anna")
    settings = dataclasses.replace(deployment.settings, mail_url="smtp://127.0.0.1:9")
    without = Deployment.load(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        (result,), _ = Ticker(without, instance).tick(MONDAY_0900, MONDAY_0900)
        assert result.failure is not None
        assert "the mail server at 127.0.0.1:9 cannot be used" in result.failure
        assert result.totals is not None
        assert result.totals.planned > 10
        assert result.totals.accepted == result.totals.unknown == 0
        (again,), _ = Ticker(deployment, instance).tick(MONDAY_0900, MONDAY_0900)
    assert again.totals is not None
    assert again.totals.accepted == result.totals.planned
    assert again.send is not None
    assert again.send.state == "finished"


def test_the_end_date_stops_a_step_by_itself(deployment: Deployment) -> None:
    file = deployment.project.folder / "campaigns" / "servicemails" / "campaign.yaml"
    file.write_text(file.read_text().replace("start: 2026-01-01", "start: 2026-01-01\n      end: 2026-11-22"))
    ended = Deployment.load(deployment.settings)
    ended.change_status(STEP, "live", datetime(2026, 11, 1, tzinfo=UTC), "anna")
    with dg.DagsterInstance.ephemeral() as instance:
        done, _skipped = Ticker(ended, instance).tick(MONDAY_0900, MONDAY_0900)
    assert done == []
    with ended.connection() as postgres:
        audit = postgres.execute("select to_status::text, changed_by, reason from smp.step_status_change order by 1")
        assert audit.fetchall() == [("live", "anna", None), ("stopped", "smp", "its end date has passed")]
