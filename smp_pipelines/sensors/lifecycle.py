"""The lifecycle sensor: stops steps whose end date has passed, and takes up what is due and nobody works on.

That is a send that was not finished, and a moment of which nothing came: the machine was off, or the
project's files were broken when its schedule fired.
"""

import json
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from smp_pipelines.assets.facts import SEND_KEY_TAG
from smp_pipelines.assets.in_process import end_lost_runs
from smp_pipelines.assets.runs import JOB_NAME, due_assets, run_tags
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.due import Due
from smp_pipelines.stores.clock import Clock

_GRACE = timedelta(seconds=60)
_PAUSE_SECONDS = 90
_IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def lifecycle_sensor(deployment: Deployment, clock: Clock) -> dg.SensorDefinition:
    """One sensor for the whole deployment; its cursor holds when each send was last taken up again."""

    @dg.sensor(
        name="lifecycle",
        job_name=JOB_NAME,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Stops steps whose end date has passed (F19); takes up sends that are not finished",
    )
    def lifecycle(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = clock.now()
        taken_up = {key: float(at) for key, at in json.loads(context.cursor or "{}").items()}
        try:
            stopped = deployment.stop_ended(now)
            end_lost_runs(deployment, context.instance)
            # the schedule of a moment that is due just now takes care of it
            left = [due for due in deployment.due(now)[0] if now - due.moment > _GRACE]
        except SmpError as error:
            return dg.SkipReason(str(error))
        rested = [due for due in left if now.timestamp() - taken_up.get(due.send_key, 0) > _PAUSE_SECONDS]
        waiting = [due for due in rested if not _in_progress(context.instance, due)]
        cursor = {due.send_key: taken_up.get(due.send_key, 0.0) for due in left}
        cursor |= {due.send_key: now.timestamp() for due in waiting}
        if not waiting:
            told = f"stopped, end date passed: {', '.join(stopped)}" if stopped else "nothing to stop or to take up"
            return dg.SensorResult(skip_reason=dg.SkipReason(told), cursor=json.dumps(cursor))
        return dg.SensorResult(
            run_requests=list(_requests(deployment, waiting, now.timestamp())), cursor=json.dumps(cursor)
        )

    return lifecycle


def _requests(deployment: Deployment, waiting: list[Due], stamp: float) -> Iterator[dg.RunRequest]:
    for due in waiting:
        run_key = f"{due.send_key} again {int(stamp)}"
        yield dg.RunRequest(run_key=run_key, tags=run_tags(due), asset_selection=due_assets(deployment, due))


def _in_progress(instance: dg.DagsterInstance, due: Due) -> bool:
    filters = dg.RunsFilter(tags={SEND_KEY_TAG: due.send_key}, statuses=_IN_PROGRESS)
    return bool(instance.get_runs(filters=filters, limit=1))
