"""The submissions sensor: hears of a submission at its commit, and asks for a run that sends what follows (F05).

Dagster evaluates a sensor every five seconds. This one waits inside its tick until Postgres notifies it, so
that nobody waits for the next tick; its tick ends before the next is due. Ticks are on threads (dagster.yaml):
it holds up no other sensor. What comes right after a tick is taken by the run that the tick asked for.
"""

import dagster as dg

from smp_pipelines.assets.submissions import SUBMISSIONS_JOB, submission_tags
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.events import Waiting, read_unasked, read_waiting
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.outbox import Outbox
from smp_pipelines.stores.clock import Clock

WAIT = 4.0
"""Seconds: with what else a tick takes on a busy machine, it is over when Dagster looks again. Otherwise it looks next
after five more, and whoever comes meanwhile waits."""


def submissions_sensor(deployment: Deployment, clock: Clock, wait: float = WAIT) -> dg.SensorDefinition:
    """One sensor for all trigger steps. Its cursor is the last send that a run was asked for."""

    @dg.sensor(
        name="submissions",
        job_name=SUBMISSIONS_JOB,
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends what follows a submission, within a second or two (F05)",
    )
    def submissions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        after = int(context.cursor or 0)
        try:
            sends, left = _look(deployment, clock, after, wait)
        except SmpError as error:
            return dg.SkipReason(str(error))
        if not sends:
            return dg.SkipReason(_in_words(left))
        return dg.SensorResult(
            # the key of the send is that of the run: asked for twice, by a tick that was cut off, it is one run
            run_requests=[dg.RunRequest(run_key=send.send_key, tags=submission_tags(send)) for send in sends],
            cursor=str(max(send.send_id for send in sends)),
        )

    return submissions


def _look(deployment: Deployment, clock: Clock, after: int, wait: float) -> tuple[list[Send], list[Waiting]]:
    """Take what waits, or what comes; the sends that no run was asked for, and the events that wait for their step."""
    with deployment.connection() as postgres:
        outbox = Outbox(postgres, deployment.project, clock)
        # those of a tick that was cut off after it had taken them come first
        if not read_unasked(postgres, after):
            outbox.wait(wait)
        sends = read_unasked(postgres, after)
        return sends, [] if sends else read_waiting(postgres, deployment.project)


def _in_words(left: list[Waiting]) -> str:
    kept = [each.words for each in left if each.status != "live"]
    return "; ".join(["no submission that asks for a mail", *kept])
