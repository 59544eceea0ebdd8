"""Jobs that marketing-ops start by hand in the launchpad."""

from enum import StrEnum

import dagster as dg

from smp_pipelines.assets.facts import told
from smp_pipelines.deployment import Deployment
from smp_pipelines.stores.clock import Clock


class StatusName(StrEnum):
    """The statuses of a step, as the launchpad offers them."""

    concept = "concept"
    testing = "testing"
    live = "live"
    stopped = "stopped"


class StatusConfig(dg.Config):
    """What to fill in: the step (campaign/step), its new status, who you are, and why."""

    step: str
    status: StatusName
    by: str
    reason: str = ""


def status_job(deployment: Deployment, clock: Clock) -> dg.JobDefinition:
    """Change the status of a step, with audit; the same as `smp step status`."""

    @dg.op(name="change_status", description="Only live sends. Every change is recorded: who, when, from, to, why.")
    def change_status(context: dg.OpExecutionContext, config: StatusConfig) -> None:
        with told():
            change = deployment.change_status(
                config.step, config.status.value, clock.now(), config.by, config.reason or None
            )
        if change is None:
            context.log.info(f"{config.step} was {config.status.value} already")
        else:
            context.log.info(f"{change.step}: {change.from_status} → {change.to_status}, by {change.changed_by}")

    @dg.job(name="step_status", description="Change the status of a step: concept, testing, live or stopped (F23)")
    def step_status() -> None:
        change_status()

    return step_status


class CancelConfig(dg.Config):
    """What to fill in: the number of the send (`smp send list`, or the asset's page), who you are, and why."""

    send: int
    by: str
    reason: str


def cancel_job(deployment: Deployment, clock: Clock) -> dg.JobDefinition:
    """Cancel what is left of a send, with audit; the same as `smp send cancel`."""

    @dg.op(name="cancel_what_is_left", description="Mails that a worker has in hand at this moment may still leave.")
    def cancel_what_is_left(context: dg.OpExecutionContext, config: CancelConfig) -> None:
        with told():
            count = deployment.cancel_send(config.send, clock.now(), config.by, config.reason)
        context.log.info(f"send {config.send}: {count:,} mails will not be sent, cancelled by {config.by}")

    @dg.job(name="cancel_send", description="Cancel what is left of a send; who is not mailed is skipped as cancelled")
    def cancel_send() -> None:
        cancel_what_is_left()

    return cancel_send
