"""Sends to people who are given: the jobs `trigger` and `test_mail`, and the assets of trigger steps."""

import dagster as dg
from pydantic import Field

from smp_pipelines.assets.facts import SEND_KEY_TAG, STEP_TAG, read_facts, told
from smp_pipelines.assets.outcomes import Metadata, send_metadata
from smp_pipelines.assets.progress import Progress
from smp_pipelines.assets.sends import is_triggered, send_key
from smp_pipelines.campaign.project import StepRef
from smp_pipelines.deployment import Deployment
from smp_pipelines.sending import ledger
from smp_pipelines.sending.given import trigger_key
from smp_pipelines.sending.ledger import Send
from smp_pipelines.site.colleagues.recipients import test_record
from smp_pipelines.stores.clock import Clock

TRIGGER_JOB = "trigger"
_WORTH_A_PICTURE = 20
"""People. Drawing takes longer than the mails of fewer."""


class Given(dg.Config):
    """Who gets the mail, and about which linked record."""

    person: int = Field(description="The id of the person")
    record: int | None = Field(default=None, description="The id of the linked record, for a step that has one")


class TriggerConfig(dg.Config):
    """What to fill in: the step, who gets it, and what it follows."""

    step: str = Field(description="The trigger step: campaign/step")
    recipients: list[Given] = Field(description="Who gets it; everybody at most once")
    key: str = Field(description="What this follows, e.g. a submission: the same key is the same send, never a second")


class TestMailConfig(dg.Config):
    """What to fill in: the step, the internal test persons, and the linked record."""

    step: str = Field(description="campaign/step, in whatever status")
    persons: list[int] = Field(description="The ids of internal test persons")
    record: int | None = Field(default=None, description="The id of the linked record; left out: the next one")


def trigger_assets(deployment: Deployment) -> list[dg.AssetsDefinition]:
    """One asset per trigger step: the jobs that send it tell there what was sent; a run of it goes on with a send."""
    return [_trigger_asset(deployment, ref) for ref in deployment.project.steps() if is_triggered(ref)]


def _trigger_asset(deployment: Deployment, ref: StepRef) -> dg.AssetsDefinition:
    @dg.asset(
        key=send_key(ref),
        group_name=ref.campaign,
        description=f"{ref.step.name}. {ref.step.description}".strip(),
    )
    def sends(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        facts = read_facts(context.run)
        if facts.send_key is None:
            return dg.MaterializeResult(metadata={"state": "nothing to go on with: submissions send this step"})
        with told():
            with deployment.connection() as postgres:
                send = ledger.read_send(postgres, facts.send_key)
            if send.state == "planning":
                send = deployment.plan_events(ref, send, facts.clock.now(), facts.run_id)
            return dg.MaterializeResult(metadata=deliver(context.op_execution_context, deployment, send, facts.clock))

    return sends


def trigger_job(deployment: Deployment, clock: Clock) -> dg.JobDefinition:
    """Send a trigger step to people who are named: by hand, or by another program (F05). The reports follow."""

    @dg.op(name="send_given", description="Plan, deliver and settle: only a live step, each person at most once a key.")
    def send_given(context: dg.OpExecutionContext, config: TriggerConfig) -> None:
        facts = read_facts(context.run, lambda: clock)
        recipients = [(each.person, each.record) for each in config.recipients]
        with told():
            ref = deployment.project.step(config.step)
            key = trigger_key(ref, config.key)
            now = facts.clock.now()
            send = deployment.open_and_plan_given(ref, key, recipients, ref.step.purpose, now, facts.run_id)
            # the lifecycle sensor then sees that this run is at it
            context.instance.add_run_tags(context.run_id, {STEP_TAG: ref.key, SEND_KEY_TAG: send.send_key})
            metadata = deliver(context, deployment, send, facts.clock)
            context.log_event(dg.AssetMaterialization(send_key(ref), metadata=metadata))

    @dg.job(name=TRIGGER_JOB, description="Send a trigger step to people who are named (F05)")
    def trigger() -> None:
        send_given()

    return trigger


def test_mail_job(deployment: Deployment, clock: Clock) -> dg.JobDefinition:
    """Send a test mail to internal test persons; the same as `smp step test` (F28)."""

    @dg.op(name="send_test_mail", description="Only to internal test persons; in any status of the step, at any hour.")
    def send_test_mail(context: dg.OpExecutionContext, config: TestMailConfig) -> None:
        facts = read_facts(context.run, lambda: clock)
        with told():
            ref = deployment.project.step(config.step)
            with deployment.connection() as postgres:
                record = test_record(postgres, deployment.project, ref, config.record, facts.clock.now())
            sent = deployment.send_test(ref, config.persons, record, facts.clock, facts.run_id)
            context.add_output_metadata(send_metadata(deployment, sent.send, sent.held))

    @dg.job(name="test_mail", description="Send a test mail of a step to internal test persons (F28)")
    def test_mail() -> None:
        send_test_mail()

    return test_mail


def deliver(context: dg.OpExecutionContext, deployment: Deployment, send: Send, clock: Clock) -> Metadata:
    """Deliver what is left of a planned send of a trigger step, and tell about it; the metadata of its asset."""
    progress = Progress(context, deployment, send, send_key(deployment.project.step(send.step)))
    done = deployment.deliver(send, clock, progress)
    metadata = send_metadata(deployment, send, done.held, pictures=send.planned >= _WORTH_A_PICTURE)
    context.log.info(f"{done.accepted} mails accepted; {metadata['identity']}")
    if done.held:
        context.log.warning(f"held: {done.held}")
    return metadata
