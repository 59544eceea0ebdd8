"""Definitions: the only place where Dagster's objects are put together."""

from __future__ import annotations

from functools import lru_cache

import dagster as dg

from smp_pipelines.assets.flows import flow_assets, flows_job
from smp_pipelines.assets.groups import group_assets, link_job
from smp_pipelines.assets.jobs import cancel_job, status_job
from smp_pipelines.assets.mirror import mirror_assets
from smp_pipelines.assets.overruling import overrule_job
from smp_pipelines.assets.reports import report_assets
from smp_pipelines.assets.runs import JOB_NAME
from smp_pipelines.assets.selections import selection_assets
from smp_pipelines.assets.sends import send_assets
from smp_pipelines.assets.submissions import submissions_job
from smp_pipelines.assets.triggers import test_mail_job, trigger_assets, trigger_job
from smp_pipelines.deployment import Deployment
from smp_pipelines.schedules.continuous import step_schedules
from smp_pipelines.sensors.flows import flows_sensor
from smp_pipelines.sensors.lifecycle import lifecycle_sensor
from smp_pipelines.sensors.reports import reports_sensor
from smp_pipelines.sensors.submissions import submissions_sensor
from smp_pipelines.stores.clock import Clock, SystemClock
from smp_pipelines.stores.settings import Settings, read_settings


def build_definitions(deployment: Deployment, clock: Clock | None = None) -> dg.Definitions:
    """All assets, jobs, schedules and sensors of a project. Needs no server: only files are read."""
    clock = clock or SystemClock()
    # One job for all sends, of which a schedule asks for the assets of its step: a job per step would
    # cost a tenth of a second each whenever the definitions are loaded.
    campaigns = dg.define_asset_job(
        JOB_NAME,
        selection=dg.AssetSelection.all(),
        description="Sends: from the crm tables to the report file",
        config={"loggers": {"console": {"config": {"log_level": "INFO"}}}},
    )
    return dg.Definitions(
        assets=[
            mirror_assets(deployment),
            *selection_assets(deployment),
            *group_assets(deployment),
            *send_assets(deployment),
            *trigger_assets(deployment),
            *flow_assets(deployment),
            *report_assets(deployment),
        ],
        jobs=[
            campaigns,
            trigger_job(deployment, clock),
            submissions_job(deployment, clock),
            flows_job(deployment, clock),
            test_mail_job(deployment, clock),
            status_job(deployment, clock),
            cancel_job(deployment, clock),
            overrule_job(deployment, clock),
            link_job(deployment, clock),
        ],
        schedules=step_schedules(deployment, clock),
        sensors=[
            lifecycle_sensor(deployment, clock),
            submissions_sensor(deployment, clock),
            flows_sensor(deployment, clock),
            reports_sensor(deployment, clock),
        ],
        # every op is one statement or one stream: a process of its own would only cost its start
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The project that SMP_PROJECT names; the sample project without it."""
    return _loaded(read_settings())


# Dagster asks twice while it loads a code location: to find the definitions, and to make its repository of them.
# A reload is a new process, which reads the files again.
@lru_cache(maxsize=1)
def _loaded(settings: Settings) -> dg.Definitions:
    return build_definitions(Deployment.load(settings))
