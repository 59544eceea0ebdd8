"""Runs in a process of our own (`smp tick`, `smp step send`): Dagster did not start them and does not miss them.

When such a process is killed, Dagster shows its run as started for ever: it would keep a place in the
queue, and its send from being taken up again. So each holds a lock in Postgres, under its run's id,
which ends with the process; a run whose lock nobody holds has lost its process, on whatever machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import dagster as dg

from smp_pipelines.deployment import Deployment
from smp_pipelines.stores.locks import is_held, locked

IN_PROCESS_TAG = "smp/in_process"
"""Holds the run's own id: a run that does this one again, and inherits the tag, is not taken for one of these."""
LOST = "The process of this run was ended from outside. What it sent is in the ledger; its send goes on by itself."
"""What is told of a run that has lost its process."""
_ON_THE_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@contextmanager
def in_process(deployment: Deployment) -> Iterator[tuple[str, dict[str, str]]]:
    """The id and the tags for a run that takes place within the block, in this process."""
    run_id = str(uuid4())
    with locked(deployment.url, _lock(run_id)):
        yield run_id, {IN_PROCESS_TAG: run_id}


def end_lost_runs(deployment: Deployment, instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs whose own process is gone; says which. Raises SmpError when Postgres does not answer."""
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=_ON_THE_WAY))
    own = [run for run in runs if run.tags.get(IN_PROCESS_TAG) == run.run_id]
    lost = [run for run in own if not is_held(deployment.url, _lock(run.run_id))]
    ended = []
    for run in lost:
        # it may have ended in good order since its lock was looked at
        now = instance.get_run_by_id(run.run_id)
        if now is not None and now.status in _ON_THE_WAY:
            instance.report_run_failed(now, LOST)
            ended.append(run.run_id)
    return ended


def _lock(run_id: str) -> str:
    return f"run {run_id}"
