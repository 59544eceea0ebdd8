"""Schedules: one per step that has a calendar, under the step's own name, in the project's time zone."""

from datetime import UTC, datetime

import dagster as dg

from smp_pipelines.assets.runs import JOB_NAME, run_request
from smp_pipelines.campaign.calendar import cron_lines, due_moment
from smp_pipelines.campaign.models import OneOffSchedule, Schedule
from smp_pipelines.campaign.project import StepRef
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.due import Skipped, judge
from smp_pipelines.sending.status import read_status
from smp_pipelines.stores.clock import Clock


def step_schedules(deployment: Deployment, clock: Clock) -> list[dg.ScheduleDefinition]:
    """A schedule for every continuous step and every planned one-off step."""
    return [
        _schedule(deployment, ref, ref.step.schedule, clock)
        for ref in deployment.project.steps()
        if ref.step.schedule is not None and ref.step.has_group
    ]


def _schedule(
    deployment: Deployment, ref: StepRef, schedule: Schedule | OneOffSchedule, clock: Clock
) -> dg.ScheduleDefinition:
    def evaluate(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        scheduled = context.scheduled_execution_time.astimezone(UTC)
        moment = due_moment(schedule, deployment.project.settings.zone, scheduled)
        if moment is None or moment != scheduled.replace(second=0, microsecond=0):
            return dg.SkipReason(f"{ref.key}: {_not_this_day(schedule, scheduled)}")
        try:
            with deployment.connection() as postgres:
                status = read_status(postgres, ref.key)
        except SmpError as error:
            return dg.SkipReason(f"{ref.key}: {error}")
        verdict = judge(deployment.project, ref, status, moment, max(clock.now(), moment))
        if isinstance(verdict, Skipped):
            return dg.SkipReason(f"{ref.key}: {verdict.why}")
        return run_request(deployment, verdict)

    return dg.ScheduleDefinition(
        name=ref.slug,
        job_name=JOB_NAME,
        cron_schedule=_cron(schedule),
        execution_timezone=deployment.project.settings.time_zone,
        execution_fn=evaluate,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{ref.step.name}. {ref.step.description}".strip(),
        tags={"smp/step": ref.key},
    )


def _cron(schedule: Schedule | OneOffSchedule) -> list[str]:
    if isinstance(schedule, OneOffSchedule):
        return [f"{schedule.at.minute} {schedule.at.hour} {schedule.at.day} {schedule.at.month} *"]
    return cron_lines(schedule)


def _not_this_day(schedule: Schedule | OneOffSchedule, scheduled: datetime) -> str:
    if isinstance(schedule, OneOffSchedule):
        return f"it is planned for {schedule.at:%Y-%m-%d %H:%M}"
    if scheduled.date() < schedule.start:
        return f"it starts on {schedule.start}"
    return f"it ended on {schedule.end}"
