"""Runs: which assets a run of one step takes along, and the tags that tell it what it serves."""

from __future__ import annotations

from datetime import datetime

import dagster as dg

from smp_pipelines.assets.facts import CLOCK_TAG, MOMENT_TAG, SEND_KEY_TAG, STEP_TAG
from smp_pipelines.assets.flows import flow_keys
from smp_pipelines.assets.groups import group_key
from smp_pipelines.assets.mirror import table_key
from smp_pipelines.assets.selections import selection_key
from smp_pipelines.assets.sends import is_triggered, send_key
from smp_pipelines.campaign.project import StepRef
from smp_pipelines.deployment import MOMENTS, Deployment
from smp_pipelines.sending.due import Due
from smp_pipelines.sending.planning import judged_by

JOB_NAME = "campaigns"
_DOWNSTREAM = [dg.AssetKey("contact_moments"), dg.AssetKey("flow_metrics"), dg.AssetKey("reports_duckdb")]


def step_assets(deployment: Deployment, ref: StepRef) -> list[dg.AssetKey]:
    """From the crm tables that the step needs to the report file."""
    # a frozen group is as it was linked: its selections need not run
    evaluated = () if ref.step.is_frozen else ref.step.selections
    names = deployment.library.with_upstream(*evaluated)
    tables = {table for table in deployment.library.tables(names) if table.startswith("crm.")}
    tables |= {*judged_by(deployment.project, ref), *deployment.library.mart_tables()}
    return [
        *(table_key(table) for table in sorted(tables)),
        table_key(MOMENTS),
        *(selection_key(name) for name in names),
        *([group_key(ref)] if ref.step.own_group else []),
        send_key(ref),
        *_DOWNSTREAM,
    ]


def due_assets(deployment: Deployment, due: Due) -> list[dg.AssetKey]:
    """What a run of a due send materialises; people who are in the ledger already need no selection any more."""
    if is_triggered(due.ref):
        return [send_key(due.ref)]  # the reports follow by themselves: trigger sends are many (sensors/reports.py)
    return [send_key(due.ref), *_DOWNSTREAM] if due.planned else step_assets(deployment, due.ref)


def report_run_assets(deployment: Deployment) -> list[dg.AssetKey]:
    """What a run of the reports alone materialises: the crm tables that they show, flows, moments, metrics, file."""
    tables = [table_key(table) for table in sorted(deployment.library.mart_tables())]
    return [*tables, *flow_keys(deployment), *_DOWNSTREAM]


def run_tags(due: Due, clock: datetime | None = None) -> dict[str, str]:
    """The tags of a run that serves a send; `clock` sets the run's clock to that moment."""
    tags = {STEP_TAG: due.ref.key, MOMENT_TAG: due.moment.isoformat(), SEND_KEY_TAG: due.send_key}
    return tags | ({CLOCK_TAG: clock.isoformat()} if clock else {})


def run_request(deployment: Deployment, due: Due) -> dg.RunRequest:
    """What a schedule asks for; the send's key is the run's key, so that a tick asks once."""
    return dg.RunRequest(
        run_key=due.send_key, tags=run_tags(due), asset_selection=due_assets(deployment, due), job_name=JOB_NAME
    )
