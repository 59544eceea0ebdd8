"""The job `submissions`: sends what submissions ask for, and lingers a moment for those that come next (F05)."""

from collections.abc import Iterable, Iterator

import dagster as dg
from pydantic import Field

from smp_pipelines.assets.facts import SEND_KEY_TAG, STEP_TAG, RunFacts, read_facts, told
from smp_pipelines.assets.sends import send_key
from smp_pipelines.assets.triggers import deliver
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.ledger import Send
from smp_pipelines.stores.clock import Clock

SUBMISSIONS_JOB = "submissions"
OP = "send_submissions"
LINGER = 5.0
"""Seconds. The sensor listens again five seconds after the tick that asked for a run (Dagster's own loop): until
then the run takes what comes, and so spares it a run of its own as well."""
_LONGEST = 60.0
"""Seconds after which a run ends however busy it is; the next one goes on."""
PRIORITY_TAG = "dagster/priority"


class SubmissionsConfig(dg.Config):
    """How long the run waits for more."""

    linger_seconds: float = Field(
        default=LINGER, ge=0, description="How long to wait for the next submission before the run ends"
    )


def submission_tags(send: Send) -> dict[str, str]:
    """The tags of a run for one send; somebody is waiting for its mail, so it goes before others in the queue."""
    return {STEP_TAG: send.step, SEND_KEY_TAG: send.send_key, PRIORITY_TAG: "10"}


def submissions_job(deployment: Deployment, clock: Clock) -> dg.JobDefinition:
    """Plan, deliver and settle the send that the run's tag names, or whatever waits; then wait for more."""

    @dg.op(name=OP, description="Plan from the events, deliver, settle; then take what comes in the next moment.")
    def send_submissions(context: dg.OpExecutionContext, config: SubmissionsConfig) -> None:
        facts = read_facts(context.run, lambda: clock)
        with told():
            failures = send_taken(context, deployment, facts, _sends(deployment, facts, config.linger_seconds))
            if failures:
                raise SmpError("; ".join(failures))

    @dg.job(name=SUBMISSIONS_JOB, description="Trigger sends: what follows a submission, by the sensor `submissions`")
    def submissions() -> None:
        send_submissions()

    return submissions


def send_taken(
    context: dg.OpExecutionContext, deployment: Deployment, facts: RunFacts, sends: Iterable[Send]
) -> list[str]:
    """Plan, deliver and settle sends that took events, one after the other; what went wrong with which."""
    failures: list[str] = []
    for send in sends:
        try:
            _send(context, deployment, facts, send)
        except SmpError as error:
            # the sends that were taken with it do not wait for it
            failures.append(f"{send.send_key}: {error}")
            context.log.error(failures[-1])
    return failures


def _sends(deployment: Deployment, facts: RunFacts, linger: float) -> Iterator[Send]:
    """The send that the run was asked for, then those that come while it lingers."""
    if facts.send_key is not None:
        with deployment.connection() as postgres:
            send = ledger.read_send(postgres, facts.send_key)
        yield send
    else:
        yield from deployment.take_events(facts.clock.now(), facts.run_id)
    if linger > 0:
        yield from deployment.linger(facts.clock, facts.run_id, linger, _LONGEST)


def _send(context: dg.OpExecutionContext, deployment: Deployment, facts: RunFacts, send: Send) -> None:
    if send.send_key != context.run.tags.get(SEND_KEY_TAG):
        # the lifecycle sensor then sees that this run is at it
        context.instance.add_run_tags(context.run_id, {STEP_TAG: send.step, SEND_KEY_TAG: send.send_key})
    ref = deployment.project.step(send.step)
    planned = deployment.plan_events(ref, send, facts.clock.now(), facts.run_id)
    metadata = deliver(context, deployment, planned, facts.clock)
    context.log_event(dg.AssetMaterialization(send_key(ref), metadata=metadata))
