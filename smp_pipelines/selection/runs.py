"""Selection runs: every time that a selection was written to the lake, with what is needed to look at it again.

The people of a run are in the lake, at the run's snapshot, as bare keys; what the query read then is at the pin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.lake import Pin, identifier
from smp_pipelines.stores.postgres import Connection
from smp_pipelines.stores.snapshot import Snapshot

_COLUMNS = (
    "select selection_run_id, selection, moment, snapshot_id, row_count, seen::text,"
    " crm_snapshot_id, smp_snapshot_id, sql, entered, departed from smp.selection_run"
)


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """One materialisation of a selection, or of a step's target group (then `selection` is the step's key).

    Its rows are in the lake at `snapshot_id`. `seen` is the ledger as the contact moments knew it when the query read
    them: what a send of the same step planned since then, it has not seen. `pin` is the lake that the query read, `sql`
    the query with its clock still in it. `entered` and `departed` count the rows that came and went since the run
    before; None for a first run.
    """

    selection: str
    moment: datetime
    snapshot_id: int
    row_count: int
    seen: str
    pin: Pin | None = None
    sql: str | None = None
    entered: int | None = None
    departed: int | None = None


@dataclass(frozen=True, kw_only=True)
class SelectionRun(NewRun):
    """A run as it is remembered, under its number."""

    selection_run_id: int

    @property
    def table(self) -> str:
        """The lake's table of this selection or target group, quoted; the run's rows are its version `snapshot_id`."""
        return lake_table(self.selection)


def lake_table(selection: str) -> str:
    """The lake's table of a selection, or of the target group of a step (`campaign/step`), quoted for DuckDB."""
    campaign, _, step = selection.partition("/")
    return (
        f"smp.target_groups.{identifier(f'{campaign}__{step}')}" if step else f"smp.selections.{identifier(campaign)}"
    )


def record_run(connection: Connection, new: NewRun, address_count: int, run_id: str | None) -> SelectionRun:
    """Remember a run; `address_count` of its rows have an e-mail address, `run_id` is the Dagster run, if any."""
    found = connection.execute(
        "insert into smp.selection_run (selection, moment, snapshot_id, row_count, address_count, seen, run_id,"
        " crm_snapshot_id, smp_snapshot_id, sql, entered, departed)"
        " values (%s, %s, %s, %s, %s, %s::pg_snapshot, %s, %s, %s, %s, %s, %s) returning selection_run_id",
        (
            *(new.selection, new.moment, new.snapshot_id, new.row_count, address_count, new.seen, run_id),
            *(new.pin.crm if new.pin else None, new.pin.smp if new.pin else None, new.sql, new.entered, new.departed),
        ),
    ).fetchone()
    if found is None:
        raise RuntimeError("the insert returned no row")
    return SelectionRun(selection_run_id=found[0], **vars(new))


def read_run(connection: Connection, number: int) -> SelectionRun:
    """One run by its number. Raises SmpError when there is none."""
    found = _one(connection, "where selection_run_id = %s", (number,))
    if found is None:
        raise SmpError(f"there is no selection run {number}; see `smp selection history NAME`")
    return found


def read_runs(connection: Connection, selection: str, limit: int) -> list[SelectionRun]:
    """The latest runs of a selection, the last one first."""
    rows = connection.execute(
        f"{_COLUMNS} where selection = %s order by selection_run_id desc limit %s", (selection, limit)
    )
    return [_read(row) for row in rows]


def last_run(connection: Connection, selection: str) -> SelectionRun | None:
    """The latest run of a selection, if there was any."""
    return next(iter(read_runs(connection, selection, 1)), None)


def run_at(connection: Connection, selection: str, moment: datetime) -> SelectionRun | None:
    """The run that stood at a moment: the last one that is not after it."""
    where = "where selection = %s and moment <= %s order by selection_run_id desc limit 1"
    return _one(connection, where, (selection, moment))


def read_selection_run(connection: Connection, selection: str, run_id: str) -> SelectionRun | None:
    """The latest materialisation of a selection by a Dagster run, if it made one."""
    where = "where selection = %s and run_id = %s order by selection_run_id desc limit 1"
    return _one(connection, where, (selection, run_id))


def read_seen_by(connection: Connection, selections: Sequence[str]) -> list[Snapshot]:
    """What the latest materialisations of these selections knew of the ledger.

    A selection that reads others knows no more than they do.
    """
    found = connection.execute(
        "select distinct on (selection) seen::text from smp.selection_run where selection = any (%s)"
        " order by selection, selection_run_id desc",
        (list(selections),),
    )
    return [Snapshot.parse(text) for (text,) in found]


def _one(connection: Connection, where: str, values: Sequence[object]) -> SelectionRun | None:
    row = connection.execute(f"{_COLUMNS} {where}", values).fetchone()
    return None if row is None else _read(row)


def _read(row: Sequence[Any]) -> SelectionRun:
    number, selection, moment, snapshot, count, seen, crm, smp, sql, entered, departed = row
    return SelectionRun(
        selection_run_id=number,
        selection=selection,
        moment=moment,
        snapshot_id=snapshot,
        row_count=count,
        seen=seen,
        pin=None if crm is None or smp is None else Pin(crm, smp),
        sql=sql,
        entered=entered,
        departed=departed,
    )
