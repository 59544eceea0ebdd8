"""The tick: whatever is due at a moment, done in this process by Dagster's own job, without a daemon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import dagster as dg

from smp_pipelines.assets.facts import CLOCK_TAG
from smp_pipelines.assets.flows import FLOWS_JOB
from smp_pipelines.assets.in_process import in_process
from smp_pipelines.assets.runs import JOB_NAME, due_assets, report_run_assets, run_tags
from smp_pipelines.assets.sends import is_triggered
from smp_pipelines.assets.submissions import OP as SUBMISSIONS_OP
from smp_pipelines.assets.submissions import SUBMISSIONS_JOB
from smp_pipelines.assets.triggers import TRIGGER_JOB
from smp_pipelines.campaign.project import StepRef
from smp_pipelines.definitions import build_definitions
from smp_pipelines.deployment import Deployment
from smp_pipelines.flow.ticking import look_ahead
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.context import Recipient
from smp_pipelines.sending.due import Due, Skipped
from smp_pipelines.sending.given import trigger_key
from smp_pipelines.sending.ledger import Send, Totals

_INTERRUPTED = "DagsterExecutionInterruptedError"
"""What Dagster makes of a Ctrl-C while an op runs."""
_QUIET_LOG = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Ticked:
    """What became of one due send: the send and its counts, or why it failed."""

    due: Due
    send: Send | None
    totals: Totals | None
    failure: str | None = None


class Ticker:
    """Runs sends in this process; the runs are in Dagster's own storage like any other."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        self._deployment = deployment
        self._instance = instance
        self._definitions = build_definitions(deployment)

    def tick(self, now: datetime, clock: datetime | None = None) -> tuple[list[Ticked], list[Skipped]]:
        """Do everything that is due at `now`; `clock` is given when the runs take place at that moment too.

        Raises SmpError, at the end, when flows could not be looked after.
        """
        self._deployment.stop_ended(now)
        due, skipped = self._deployment.due(now)
        done = [self.send(each, clock) for each in due]
        moved, failure = self._flows(now, clock)
        done += self._submissions(now, clock)
        if any(is_triggered(each.due.ref) for each in done):
            done[-1] = self._followed(done[-1], clock)
        elif moved:
            failure = failure or self.run(report_run_assets(self._deployment), _at(clock))
        if failure is not None:  # what was due was sent all the same
            raise SmpError(f"the flows could not be looked after: {failure}")
        return done, skipped

    def send(self, due: Due, clock: datetime | None = None) -> Ticked:
        """Run one send from the crm tables to the report file."""
        return self._ticked(due, self.run(due_assets(self._deployment, due), run_tags(due, clock)))

    def trigger(self, ref: StepRef, recipients: Sequence[Recipient], key: str, now: datetime) -> Ticked:
        """Send a trigger step to these people, then make the reports; `key` is what it follows (F05).

        Raises SmpError for an empty key, and for a step that is no trigger step.
        """
        due = Due(ref, now, trigger_key(ref, key), planned=True)
        given = [{"person": person_id, "record": record_id} for person_id, record_id in recipients]
        config = {"step": ref.key, "key": key, "recipients": given}
        with in_process(self._deployment) as (run_id, tags):
            result = self._definitions.resolve_job_def(TRIGGER_JOB).execute_in_process(
                instance=self._instance,
                run_id=run_id,
                tags=tags,
                run_config={**_QUIET_LOG, "ops": {"send_given": {"config": config}}},
                raise_on_error=False,
            )
        return self._followed(self._ticked(due, _failure(result)), None)

    def _flows(self, now: datetime, clock: datetime | None) -> tuple[bool, str | None]:
        """Move the participants of flows on, if anybody is due: whether so, and what went wrong.

        What they are to get is in the outbox then, like what follows submissions.
        """
        with self._deployment.connection() as postgres:
            ahead = look_ahead(postgres, self._deployment.project, now)
        if not ahead.is_due:
            return False, "; ".join(ahead.failures) or None
        with in_process(self._deployment) as (run_id, tags):
            result = self._definitions.resolve_job_def(FLOWS_JOB).execute_in_process(
                instance=self._instance,
                run_id=run_id,
                tags=tags | _at(clock or now),
                run_config=_QUIET_LOG,
                raise_on_error=False,
            )
        return True, _failure(result)

    def _submissions(self, now: datetime, clock: datetime | None) -> list[Ticked]:
        """Send what follows the submissions that wait, each batch in a run of its own, as the sensor has it."""
        done = []
        for send in self._deployment.take_events(now):
            due = Due(self._deployment.project.step(send.step), now, send.send_key)
            with in_process(self._deployment) as (run_id, tags):
                result = self._definitions.resolve_job_def(SUBMISSIONS_JOB).execute_in_process(
                    instance=self._instance,
                    run_id=run_id,
                    tags=tags | run_tags(due, clock),
                    run_config={**_QUIET_LOG, "ops": {SUBMISSIONS_OP: {"config": {"linger_seconds": 0.0}}}},
                    raise_on_error=False,
                )
            done.append(self._ticked(due, _failure(result)))
        return done

    def _followed(self, last: Ticked, clock: datetime | None) -> Ticked:
        """Make the reports after trigger sends: without a daemon nobody else does."""
        failure = self.run(report_run_assets(self._deployment), _at(clock))
        if failure is None or last.failure is not None:
            return last
        return replace(last, failure=f"the mails were sent, but the reports could not be made: {failure}")

    def run(self, assets: list[dg.AssetKey], tags: dict[str, str]) -> str | None:
        """Materialise these assets in one run; says what went wrong, if anything did."""
        with in_process(self._deployment) as (run_id, own_tags):
            result = self._definitions.resolve_job_def(JOB_NAME).execute_in_process(
                instance=self._instance,
                run_id=run_id,
                asset_selection=assets,
                tags=tags | own_tags,
                run_config=_QUIET_LOG,
                raise_on_error=False,
            )
        return _failure(result)

    def _ticked(self, due: Due, failure: str | None) -> Ticked:
        with self._deployment.connection() as postgres:
            try:
                send = ledger.read_send(postgres, due.send_key)
            except SmpError:
                return Ticked(due, None, None, failure)
            return Ticked(due, send, ledger.totals(postgres, send), failure)


def _at(clock: datetime | None) -> dict[str, str]:
    """The tag of a run that takes place at this moment."""
    return {CLOCK_TAG: clock.isoformat()} if clock else {}


def _failure(result: dg.ExecuteInProcessResult) -> str | None:
    """What went wrong in a run, in words. Raises KeyboardInterrupt when somebody ended it."""
    if result.success:
        return None
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    if any(failure.error and failure.error.cls_name == _INTERRUPTED for failure in failures):
        raise KeyboardInterrupt
    for failure in failures:
        if failure.user_failure_data is not None and failure.user_failure_data.description:
            return str(failure.user_failure_data.description)
        if failure.error is not None:
            cause = failure.error.cause or failure.error
            return cause.message.strip().splitlines()[0]
    return "the run failed; its log is in the Dagster UI"


def by_hand(ref: StepRef, now: datetime) -> Due:
    """A send that somebody asks for now; a one-off step is sent once, whoever asks and however often."""
    if not ref.step.has_group:
        raise SmpError(f"{ref.key} has no selection: say who gets it, with --person ID")
    key = f"{ref.key}@once" if ref.step.send == "one_off" else f"{ref.key}@{now.isoformat(timespec='seconds')}"
    return Due(ref, now, key)
