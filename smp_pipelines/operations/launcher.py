"""The run launcher: hands a run to the warm process, which forks for it; without one, to the code server as usual.

Starting a run takes Dagster some four seconds, of which importing and loading are all but a few tenths. The warm
process (operations/warm.py) has that behind it. This is the only module that uses what Dagster keeps to itself,
all of it here: what a run's process is asked to do is what `dagster api execute_run` is asked to do, the way in
that Dagster's launchers for Docker and Kubernetes use as well. To go back to Dagster's own launcher, leave
`run_launcher` out of dagster.yaml.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._cli.api import execute_run_command
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value

from smp_pipelines.operations.handover import PROCESS_TAG, NobodyThereError, RunProcess, offered

if TYPE_CHECKING:
    from dagster._core.launcher import LaunchRunContext


class WarmRunLauncher(dg.DefaultRunLauncher):
    """Runs in forks of the warm process. A run of the code server stays one: it is ended there, and watched there."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start a run that is in Dagster's storage."""
        run = context.dagster_run
        assert run.job_code_origin is not None  # noqa: S101  (Dagster does not launch a run without one)
        arguments = serialize_value(ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref()))
        try:
            with offered(Path(self._instance.root_directory), run.run_id, arguments) as offer:
                self._instance.add_run_tags(run.run_id, {PROCESS_TAG: offer.process.written()})
                offer.go()
        except NobodyThereError:
            super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        """End a run, as the UI asks: its process is interrupted, gives back what it had in hand, and says so."""
        run = self._instance.get_run_by_id(run_id) if self.has_instance else None
        if run is None or run.is_finished:
            return False
        process = RunProcess.of(run_id, run.tags)
        if process is None:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        self._instance.report_run_canceling(run)
        if process.interrupt():
            return True
        self._instance.report_run_canceled(run, f"Its process {process.pid} on {process.host} was gone already.")
        return False

    @property
    def supports_check_run_worker_health(self) -> bool:
        """So that Dagster's run monitoring asks."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run lives. A run without one of ours is somebody else's to watch."""
        process = RunProcess.of(run.run_id, run.tags)
        if process is None or process.lives:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"its process {process.pid} on {process.host} is gone")


def execute(arguments: str) -> None:
    """Execute a run in this process, as `dagster api execute_run` does. What goes wrong is told in the run's log."""
    execute_run_command.main([arguments], standalone_mode=False)


def report_lost(run_id: str, how: str) -> None:
    """Fail a run whose process ended without a word; a run that had finished stays as it is."""
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_failed(run, how)
