"""Target groups of steps over a deployment's stores: evaluated for a send, frozen, imported (F52 to F57)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from smp_pipelines.audience.audiences import Audiences, Materialised, write_run
from smp_pipelines.campaign.project import StepRef
from smp_pipelines.reporting.moments import read_seen
from smp_pipelines.selection.runs import SelectionRun, last_run, read_selection_run, record_run
from smp_pipelines.sending.audience_results import inherit
from smp_pipelines.sending.target import group as target
from smp_pipelines.sending.target.group import Applied, Linked
from smp_pipelines.stores.locks import locked
from smp_pipelines.stores.snapshot import Snapshot, oldest
from smp_pipelines.warehouse import Warehouse


@dataclass(frozen=True)
class Evaluated(Materialised):
    """A group as it was written to the lake; the rows of each of its selections, and when it was frozen, if it was."""

    parts: dict[str, int]
    frozen: Linked | None


class TargetGroups:
    """The target groups of one project that are more than one selection, over its warehouse."""

    def __init__(self, warehouse: Warehouse, audiences: Audiences) -> None:
        self._warehouse = warehouse
        self._audiences = audiences

    def evaluate(
        self, ref: StepRef, now: datetime, run_id: str | None, runs: Sequence[SelectionRun] | None = None
    ) -> Evaluated:
        """Write the group of a step to the lake as it is at this moment, as a run under the step's key.

        `runs` are those of its selections; left out, the ones of this Dagster run, and fresh ones of what it did not
        make. Raises SmpError for a frozen group that is not linked.
        """
        name, project = ref.key, self._warehouse.project
        if ref.step.is_frozen:
            runs = ()
        elif runs is None:
            runs = self._runs_of(ref, now, run_id)
        record = project.record(ref)
        keys = ("person_id", record.key) if record else ("person_id",)
        with locked(self._warehouse.url, f"target group {name}"), self._warehouse.connection() as postgres:
            target.refuse_unlinked(postgres, ref)
            previous, frozen = last_run(postgres, name), target.read_linked(postgres, name)
            with self._warehouse.lake.open() as lake:
                # before the query: what is planned from here on, the group may not have seen
                seen = oldest([read_seen(lake), *(Snapshot.parse(run.seen) for run in runs)])
                query = target.group_query(postgres, lake, project, ref, runs)
                written, new = write_run(lake, name, query, keys, dict.fromkeys(keys, "BIGINT"), seen, now, previous)
            with postgres.transaction():
                run = record_run(postgres, new, written.with_address or 0, run_id)
                linked_from = target.linked_runs(postgres, name) if frozen else []
                inherit(postgres, run, [*linked_from, *(each.selection_run_id for each in runs)])
        return Evaluated(run, written, previous, {each.selection: each.row_count for each in runs}, frozen)

    def fresh_runs(self, ref: StepRef, now: datetime, run_id: str | None) -> list[SelectionRun]:
        """The selections of a step, evaluated at this moment with everything that they read."""
        return [self._fresh_run(name, now, run_id) for name in ref.step.selections]

    def link(self, ref: StepRef, now: datetime, by: str, *, again: bool = False) -> Applied:
        """Freeze the group of a step as its selections are now (F57); again, it adds who is new. Raises SmpError."""
        target.refuse_unfrozen(ref)
        target.refuse_nobody(by)
        project = self._warehouse.project
        with self._warehouse.connection() as postgres:
            target.refuse_again(project, target.read_linked(postgres, ref.key), again=again)
            runs = self.fresh_runs(ref, now, None)
            self._warehouse.mirror_moments()
            with self._warehouse.lake.open() as lake:
                return target.link(postgres, lake, project, ref, runs, now, by, again=again)

    def _runs_of(self, ref: StepRef, now: datetime, run_id: str | None) -> list[SelectionRun]:
        """The selections of a group as this Dagster run made them; those that it did not make are evaluated now."""
        with self._warehouse.connection() as postgres:
            made = {name: read_selection_run(postgres, name, run_id) if run_id else None for name in ref.step.people}
        return [run or self._fresh_run(name, now, run_id) for name, run in made.items()]

    def _fresh_run(self, name: str, now: datetime, run_id: str | None) -> SelectionRun:
        self._audiences.refresh(name, now, run_id)
        return self._audiences.materialise(name, now, run_id).run
