"""The job `overrule_audience_test`: a person lets a send go that an audience test stopped (X5)."""

import dagster as dg

from smp_pipelines.assets.facts import SEND_KEY_TAG, STEP_TAG, read_facts, told
from smp_pipelines.assets.outcomes import send_metadata
from smp_pipelines.assets.reports import follow_up
from smp_pipelines.assets.sends import send_key
from smp_pipelines.deployment import Deployment
from smp_pipelines.sending import ledger
from smp_pipelines.sending.overruling import new_key
from smp_pipelines.stores.clock import Clock


class OverruleConfig(dg.Config):
    """What to fill in: the number of the stopped send (`smp send list`, or its page), who you are, and why."""

    send: int
    by: str
    reason: str


def overrule_job(deployment: Deployment, clock: Clock) -> dg.JobDefinition:
    """Let a send go that an audience test stopped, once and with audit; the same as `smp send overrule`."""

    @dg.op(name="overrule_and_send", description="Opens a new send from a fresh selection, and delivers it.")
    def overrule_and_send(context: dg.OpExecutionContext, config: OverruleConfig) -> None:
        facts = read_facts(context.run, lambda: clock)
        with told():
            with deployment.connection() as postgres:
                stopped = ledger.read_send(postgres, config.send)
            # the lifecycle sensor then sees that this run is at it
            context.instance.add_run_tags(context.run_id, {STEP_TAG: stopped.step, SEND_KEY_TAG: new_key(stopped)})
            sent = deployment.overrule(config.send, config.by, config.reason, facts.clock, facts.run_id)
            ref = deployment.project.step(stopped.step)
            metadata = send_metadata(deployment, sent.send, sent.held)
            context.log_event(dg.AssetMaterialization(send_key(ref), metadata=metadata))
            follow_up(context, deployment, facts.clock.now())
        context.log.info(f"send {sent.send.send_id} takes the place of send {config.send}; {metadata['identity']}")

    @dg.job(
        name="overrule_audience_test",
        description="Send after all what a blocking audience test stopped: once, with audit, from a fresh selection",
    )
    def overrule_audience_test() -> None:
        overrule_and_send()

    return overrule_audience_test
