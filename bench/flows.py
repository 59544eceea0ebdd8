"""Case `flows`: many people in a flow: entering by a selection, moving on, and ticks while nobody is due.

Entering: the whole call, with the selection judged in the lake. Against: COPY of the same rows, from a ready file, into
a table with the same columns and the same unique keys, committed. Moving on: through a wait, an if/else and to the next
wait. Against: UPDATE of the same columns of as many rows in a copy of the table with all its indexes, committed. Laps
alternate, each on tables that were emptied.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bench.row import Row, Stopwatch, at_most, spread
from bench.world import NOW, RECIPIENTS, World
from smp_pipelines.crm.bulk import copy_in
from smp_pipelines.deployment import Deployment
from smp_pipelines.flow.advancing import advance
from smp_pipelines.flow.judging import LakeJudge
from smp_pipelines.flow.sources import enrol_condition
from smp_pipelines.flow.tables import use
from smp_pipelines.flow.ticking import look_ahead
from smp_pipelines.flow.version import FlowState, FlowVersion, draft, freeze, read_state
from smp_pipelines.problems import SmpError
from smp_pipelines.selection.condition import condition_of
from smp_pipelines.stores.postgres import Connection

_FLOW = "bench"
_FILE = """name: Meten
description: Een keuze tussen twee keer wachten
triggers:
  - type: manual
steps:
  before:
    wait: 1 day
  dutch:
    if: {field: language, is: nl}
    then:
      short:
        wait: 2 days
    else:
      long:
        wait: 3 days
"""
_LATER = NOW + timedelta(days=1)
_NOT_DUE = (100, 10, 1)
_QUICK = 0.2
_FLAT = 1.5
_TICKS = 5
_COLUMNS = (
    *("participant_id", "flow_id", "version_id", "person_id", "entry_key", "entered_by", "entered_at", "round", "node"),
    *("arrived_at", "due_at"),
)
_KEYS = "primary key (participant_id), unique (flow_id, person_id, round), unique (flow_id, entry_key, person_id)"
_WAITING = """
insert into smp.participant (
    flow_id, version_id, person_id, entry_key, entered_by, entered_at, node, arrived_at, due_at
)
select %(flow_id)s, %(version_id)s, n, 'bench', 'bench', %(now)s, %(node)s, %(now)s,
       %(due)s::timestamptz + n %% 1000 * interval '1 minute'
from generate_series(%(first)s::bigint, %(last)s::bigint) as n
"""


@dataclass(frozen=True)
class _Running:
    """The flow, live, on a connection whose statements commit one by one."""

    connection: Connection
    deployment: Deployment
    version: FlowVersion
    state: FlowState
    judge: LakeJudge

    def enrol(self) -> None:
        """Enrol everybody of the selection."""
        condition = condition_of(RECIPIENTS, self.deployment.library)
        enrol_condition(self.connection, self.version, self.state, self.judge, condition, "bench", NOW)

    def advance(self, now: datetime) -> None:
        """Move on whoever is due."""
        advance(self.connection, self.version, self.deployment.project, self.judge, now)

    def empty(self) -> None:
        """Remove all participants."""
        self.connection.execute("truncate smp.participant, smp.participant_visit")

    def wait(self, first: int, last: int, node: int, due: datetime) -> None:
        """Let so many people, by their ids, wait at a step."""
        values = {"flow_id": self.version.flow_id, "version_id": self.version.version_id, "now": NOW}
        self.connection.execute(_WAITING, values | {"first": first, "last": last, "node": node, "due": due})


def run(world: World) -> list[Row]:
    """Time entering, moving on, and ticks."""
    folder = world.project / "campaigns" / _FLOW
    (folder / "flow.yaml").write_text(_FILE, encoding="utf-8")
    try:
        deployment = world.deployment()
    finally:
        (folder / "flow.yaml").unlink()  # the other cases know of no flow
    with deployment.connection() as connection:
        running = _start(connection, deployment)
        rows = [*_many(world, running), *_beside_others(world, running), *_nothing_due(world, running)]
        running.empty()
        connection.execute("update smp.flow set state = 'ended'")
    return rows


def _start(connection: Connection, deployment: Deployment) -> _Running:
    use(connection)
    with connection.transaction():
        version = freeze(connection, draft(deployment.project, deployment.library, _FLOW), NOW, "bench")
        connection.execute(
            "update smp.flow set state = 'live', since = %(now)s, live_since = %(now)s, version_id = %(version)s"
            " where flow = %(flow)s",
            {"now": NOW, "version": version.version_id, "flow": _FLOW},
        )
    state = read_state(connection, _FLOW)
    if state is None:
        raise SmpError("the flow of the benchmark is not there")
    judge = LakeJudge(deployment.lake, deployment.project.settings.zone, deployment.refresh)
    return _Running(connection, deployment, version, state, judge)


def _many(world: World, running: _Running) -> list[Row]:
    entering, bare_entering, moving, bare_moving = Stopwatch(), Stopwatch(), Stopwatch(), Stopwatch()
    connection = running.connection
    for _lap in range(world.sizes.laps):
        running.empty()
        with entering.lap():
            running.enrol()
        _copy(connection, world.folder / "participants.csv", bare_entering)
        running.advance(NOW)
        _update(connection, bare_moving)
        with moving.lap():
            running.advance(_LATER)
    (people, visits) = connection.execute(
        "select (select count(*) from smp.participant where node in (2, 3)),"
        " (select count(*) from smp.participant_visit)"
    ).fetchone() or (0, 0)
    # a few people are blocked, and do not enter
    if not 0.9 * world.sizes.recipients < people <= world.sizes.recipients or visits != 2 * people:
        raise AssertionError(f"{people} people moved on, {visits} steps written")
    note = f"{people:,} people"
    return [
        at_most(
            *("flows", "people enter by a selection", entering.median, bare_entering.median, 4),
            f"{note}; baseline: COPY with the same keys; {spread(entering.seconds)}",
        ),
        at_most(
            *("flows", "people move on: wait, if/else, wait", moving.median, bare_moving.median, 4),
            f"{note}, {visits:,} steps of paths; baseline: UPDATE; {spread(moving.seconds)}",
        ),
    ]


def _copy(connection: Connection, file: Path, bare: Stopwatch) -> None:
    columns = ", ".join(_COLUMNS)
    connection.execute("drop table if exists public.bare_participant")
    connection.execute(f"create table public.bare_participant (like smp.participant including defaults, {_KEYS})")
    query = f"copy (select {columns} from smp.participant) to stdout (format csv)"
    with file.open("wb") as target, connection.cursor() as cursor, cursor.copy(query) as rows:
        for block in rows:
            target.write(block)
    with connection.cursor() as cursor, bare.lap(), connection.transaction():
        copy_in(cursor, "public.bare_participant", _COLUMNS, file)
    connection.execute("drop table public.bare_participant")
    file.unlink()


def _update(connection: Connection, bare: Stopwatch) -> None:
    connection.execute("create table public.bare_participant (like smp.participant including all)")
    connection.execute("insert into public.bare_participant overriding system value select * from smp.participant")
    with bare.lap(), connection.transaction():
        connection.execute(
            "update public.bare_participant set node = 2, arrived_at = %(now)s,"
            " due_at = %(now)s::timestamptz + interval '2 days', left_at = null,"
            " outcome = null, reason = null, changed_tx = pg_current_xact_id()",
            {"now": _LATER},
        )
    connection.execute("drop table public.bare_participant")


def _beside_others(world: World, running: _Running) -> list[Row]:
    """How long it takes to move on a few, beside more and more people who are not due."""
    people, due = world.sizes.people, max(world.sizes.people // 100, 1)
    rows: list[Row] = []
    base: float | None = None
    for share in _NOT_DUE:
        others = people // share
        moving = Stopwatch()
        running.empty()
        running.wait(due + 1, due + others, 0, NOW + timedelta(days=30))
        for lap in range(world.sizes.laps):
            running.connection.execute("delete from smp.participant where person_id <= %s", (due,))
            running.wait(1, due, 0, NOW - timedelta(days=1))
            running.connection.execute("vacuum analyze smp.participant")
            with moving.lap():
                running.advance(NOW + timedelta(hours=lap))
        per_thousand = moving.median / due * 1000
        base = per_thousand if base is None else base
        note = f"{due:,} due; {spread(moving.seconds)}"
        what = f"1,000 due beside {others:,} others"
        rows.append(at_most("flows", what, per_thousand, base, _FLAT, note))
    return rows


def _nothing_due(world: World, running: _Running) -> list[Row]:
    """How long a tick takes that finds nothing to do, with very many people waiting."""
    waiting = world.sizes.crowd_people
    running.empty()
    running.wait(1, waiting, 0, NOW + timedelta(days=30))
    running.connection.execute("analyze smp.participant")
    running.deployment.tick_flows(NOW)  # the first one of a flow writes down where it begins to look
    asking, ticking = Stopwatch(), Stopwatch()
    for _tick in range(_TICKS):
        with asking.lap():
            due = look_ahead(running.connection, running.deployment.project, NOW).is_due
        with ticking.lap():
            done = running.deployment.tick_flows(NOW)
        if due or any(each.did_something for each in done):
            raise AssertionError("somebody was due")
    note = f"{waiting:,} people wait"
    return [
        Row(
            *("flows", f"{what}, nothing due", watch.median, "s"),
            target=f"< {_QUICK:g} s",
            met=watch.median < _QUICK,
            note=f"{note}; laps {', '.join(f'{lap:.3f}' for lap in watch.seconds)} s",
        )
        for what, watch in (("asking whether to tick", asking), ("a tick", ticking))
    ]
