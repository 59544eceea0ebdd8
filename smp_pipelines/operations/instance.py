"""Dagster's instance: opened with storage that is there and of this version, without runs that nobody runs any more.

As a command (`python -m smp_pipelines.operations.instance`) it makes the instance ready for the
processes that `smp up` starts next.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from smp_pipelines.assets.in_process import LOST
from smp_pipelines.operations.environment import dagster_environment, dagster_home
from smp_pipelines.operations.handover import RunProcess
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.locks import locked
from smp_pipelines.stores.server import EmbeddedServer
from smp_pipelines.stores.settings import Settings, read_settings

_LAUNCHED_TAG = ".dagster/grpc_info"
"""Dagster gives this tag to a run that a code server runs; runs of `smp tick` do not have it (assets/in_process)."""
_ON_THE_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@contextmanager
def open_instance(settings: Settings, postgres_url: str) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance of this deployment, for a process that runs jobs itself.

    The first one makes the tables of Dagster's storage; after an upgrade of Dagster the first one
    brings them up to date. Others wait for it, on whatever machine they are. The process's
    environment is changed for the length of the block.
    """
    environment = dagster_environment(settings, postgres_url)
    with _environment(environment):
        with locked(postgres_url, "dagster storage"):
            instance = dg.DagsterInstance.get()
            _bring_up_to_date(settings, instance)
        with instance:
            yield instance


def end_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs that lost their process: it was killed, or it belonged to a code server that was; says which.

    Without this they would be «started» for ever, or until run monitoring looks, keep their places in the queue, and
    keep the lifecycle sensor from taking their sends up again. To be called while no code server runs anything.
    """
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=_ON_THE_WAY))
    orphans = [run for run in runs if _is_orphan(run)]
    for run in orphans:
        instance.report_run_failed(run, LOST)
    return [run.run_id for run in orphans]


def _is_orphan(run: dg.DagsterRun) -> bool:
    process = RunProcess.of(run.run_id, run.tags)
    return _LAUNCHED_TAG in run.tags if process is None else not process.lives


def _bring_up_to_date(settings: Settings, instance: dg.DagsterInstance) -> None:
    marker = dagster_home(settings) / "storage.version"
    if marker.exists() and marker.read_text(encoding="ascii") == dg.__version__:
        return
    instance.upgrade()
    marker.write_text(dg.__version__, encoding="ascii")


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def main() -> int:
    """Make the instance ready and end orphaned runs; 0, or 1 with one line about what is wrong."""
    settings = read_settings()
    try:
        url = settings.postgres_url or EmbeddedServer(settings.home).url()
        with open_instance(settings, url) as instance:
            for run_id in end_orphans(instance):
                print(f"run {run_id} had lost its process: marked as failed", flush=True)
    except SmpError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
