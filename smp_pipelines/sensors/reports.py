"""The reports sensor: contact moments, metrics and report file follow what happens, a few minutes later.

A scheduled send brings them up to date at its end. Submissions, hits and trigger sends come one by one at any
moment: this sensor asks for one run of the reports when something changed that they do not show yet.
"""

from datetime import datetime, timedelta
from math import ceil

import dagster as dg

from smp_pipelines.assets.runs import JOB_NAME, report_run_assets
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import SmpError
from smp_pipelines.reporting.freshness import Freshness
from smp_pipelines.stores.clock import Clock

REST = timedelta(minutes=5)
"""Between two publications, at least: whoever has the report file open reads a copy meanwhile."""


def reports_sensor(deployment: Deployment, clock: Clock) -> dg.SensorDefinition:
    """One sensor for the deployment. Its cursor is the moment at which it asked last."""

    @dg.sensor(
        name="reports",
        job_name=JOB_NAME,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Contact moments, metrics and the report file, within minutes after something changed (F15, F48)",
    )
    def reports(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = clock.now()
        asked = datetime.fromisoformat(context.cursor) if context.cursor else None
        try:
            fresh = deployment.freshness()
        except SmpError as error:
            return dg.SkipReason(str(error))
        if (why_not := _rests(fresh, asked, now)) is not None:
            return dg.SkipReason(why_not)
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=f"reports {now.isoformat(timespec='seconds')}",
                    asset_selection=report_run_assets(deployment),
                    tags={"smp/changed": ", ".join(fresh.changed)},
                )
            ],
            cursor=now.isoformat(),
        )

    return reports


def _rests(fresh: Freshness, asked: datetime | None, now: datetime) -> str | None:
    """Why no report is made now, in words."""
    if not fresh.changed:
        return "nothing happened since the report file was published"
    latest = max((each for each in (fresh.published_at, asked) if each is not None), default=None)
    if latest is not None and now < latest + REST:
        left = ceil((latest + REST - now) / timedelta(minutes=1))
        return f"{' and '.join(fresh.changed)} changed; the reports follow in {left} min"
    return None
