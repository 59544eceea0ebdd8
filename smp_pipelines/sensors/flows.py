"""The flows sensor: asks for a run of the job `flows` when somebody is due or something happened, and rests otherwise.

A tick looks into indexes only. While a run of the job is under way it asks for no other: that run, or the next one,
takes what comes. Two runs at once would do no harm, each flow is held by one of them.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from smp_pipelines.assets.flows import FLOWS_JOB
from smp_pipelines.deployment import Deployment
from smp_pipelines.flow.ticking import look_ahead
from smp_pipelines.flow.version import read_states
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import Clock

EVERY = 15
"""Seconds between two looks, at least."""
AFTER_FAILURE = timedelta(minutes=1)
"""How long after a run that failed the next one is asked for: what is broken is not tried all the time."""
_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def flows_sensor(deployment: Deployment, clock: Clock) -> dg.SensorDefinition:
    """One sensor for all flows. Its cursor is the moment at which it asked last; the run key is named after it."""

    @dg.sensor(
        name="flows",
        job_name=FLOWS_JOB,
        minimum_interval_seconds=EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Moves the participants of flows on as soon as they are due (F31 to F49)",
    )
    def flows(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = clock.now()
        try:
            rests = _rests(deployment, clock)
        except SmpError as error:
            return dg.SkipReason(str(error))
        if rests is not None:
            return dg.SkipReason(rests)
        if (waits := _waits(context.instance, now)) is not None:
            return dg.SkipReason(f"somebody is due; {waits}")
        return dg.SensorResult(
            # a tick that was cut off before its cursor was kept asks with the same key once more: that is one run
            run_requests=[dg.RunRequest(run_key=f"flows after {context.cursor or 'the beginning'}")],
            cursor=now.isoformat(),
        )

    return flows


def _waits(instance: dg.DagsterInstance, now: datetime) -> str | None:
    """Why a run is not asked for at this moment, though there is something to do; None when it may be."""
    latest = next(iter(instance.get_run_records(dg.RunsFilter(job_name=FLOWS_JOB), limit=1)), None)
    if latest is None:
        return None
    status = latest.dagster_run.status
    if status in _UNDER_WAY:
        return "a run is at it"
    ended = datetime.fromtimestamp(latest.end_time or 0.0, UTC)
    if status == dg.DagsterRunStatus.FAILURE and now - ended < AFTER_FAILURE:
        return f"the last run failed, and the next one begins {AFTER_FAILURE.seconds} seconds after it"
    return None


def _rests(deployment: Deployment, clock: Clock) -> str | None:
    """Why there is nothing to do, in words."""
    with deployment.connection() as postgres:
        running = [each for each in read_states(postgres).values() if each.state in ("live", "ending")]
        if not running:
            return "no flow is live"
        ahead = look_ahead(postgres, deployment.project, clock.now())
    if ahead.is_due:
        return None
    rests = f"nobody is due in {len(running)} flow{'' if len(running) == 1 else 's'}, and nothing happened"
    return "; ".join((rests, *ahead.failures))
