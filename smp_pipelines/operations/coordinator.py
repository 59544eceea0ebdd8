"""The run coordinator: Dagster's queue, in which a run that somebody is waiting for does not stand when there is room.

The daemon looks at the queue once in a second to a second and a half: half a second on average, a third of the time
that a welcome mail takes. A run with a priority (assets/submissions.py) is started by whoever asks for it; there is
one place for them besides those that large sends may take up for hours. With that taken, too, it goes to the front of
the queue. All that is used here is public in Dagster.
"""

from __future__ import annotations

import dagster as dg

_OF_THEIR_OWN = 1
"""Runs that may be on the way besides max_concurrent_runs, when somebody waits for them."""
_ON_THE_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


class PromptRunCoordinator(dg.QueuedRunCoordinator):
    """The queue with its settings, and a way past it. Two who ask at once may be one run over the limit."""

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        """Start or enqueue a run that was made."""
        run = context.dagster_run
        if run.status != dg.DagsterRunStatus.NOT_STARTED or not self._is_urgent(run) or not self._has_room():
            return super().submit_run(context)
        return self._instance.launch_run(run.run_id, context.workspace)

    def _is_urgent(self, run: dg.DagsterRun) -> bool:
        priority = run.tags.get("dagster/priority", "")
        return priority.isdigit() and int(priority) > 0

    def _has_room(self) -> bool:
        queue = self._instance.get_concurrency_config().run_queue_config
        most = queue.max_concurrent_runs if queue else 0
        count = self._instance.get_runs_count(dg.RunsFilter(statuses=_ON_THE_WAY))
        return most < 0 or count < most + _OF_THEIR_OWN
