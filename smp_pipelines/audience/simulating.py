"""Simulations of flows over the stores of a deployment: the version, the CRM as it was, the mails people got (X2)."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from smp_pipelines.flow.past import copy_tables, past_judge
from smp_pipelines.flow.simulating import Simulation, simulate
from smp_pipelines.flow.version import FlowVersion, draft, read_state, read_version
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import Connection
from smp_pipelines.warehouse import Warehouse

_LONGEST = timedelta(days=3660)


def simulated_version(warehouse: Warehouse, flow: str, *, from_file: bool) -> FlowVersion:
    """The version that people enter; that of the file if so wanted, or if the flow was never live. Nothing is frozen.

    Raises ProjectError for a file with mistakes, SmpError when there is no such flow.
    """
    with warehouse.connection() as postgres:
        state = read_state(postgres, flow)
        if not from_file and state is not None and state.version_id is not None:
            return read_version(postgres, state.version_id)
    made = draft(warehouse.project, warehouse.library, flow)
    return FlowVersion(0, 0, flow, 0, made.model, made.nodes, made.conditions, warehouse.project.settings.zone)


def simulate_flow(
    warehouse: Warehouse,
    flow: str,
    start: datetime,
    end: datetime,
    *,
    from_file: bool = False,
) -> Simulation:
    """Replay a flow from start to end over what the CRM knows of that time; sends nothing, writes nothing.

    Raises SmpError when the stretch is none, ProjectError for a flow with mistakes.
    """
    if not start < end <= start + _LONGEST:
        raise SmpError("a simulation is from a moment to a later one, ten years at most")
    version = simulated_version(warehouse, flow, from_file=from_file)
    reads = sorted({name for condition in version.conditions.values() for name in condition.reads})
    warehouse.refresh(reads)
    tables = {name: warehouse.project.catalog.tables[name] for name in reads}
    with tempfile.TemporaryDirectory(prefix="smp-simulation-") as folder:
        file = Path(folder) / "past.duckdb"
        with warehouse.lake.open() as lake:
            copy_tables(lake, reads, file)
        with past_judge(file, tables, version.zone) as judge, warehouse.connection() as postgres:
            _note_mails(warehouse, postgres, version, start, end)
            return simulate(postgres, version, warehouse.project, judge, start, end)


def _note_mails(
    warehouse: Warehouse, postgres: Connection, version: FlowVersion, start: datetime, end: datetime
) -> None:
    """Write the mails that count for the frequency cap to flow_past_mail; those of the flow itself are simulated."""
    cap = warehouse.project.settings.frequency_cap
    postgres.execute("create temporary table flow_past_mail (person_id bigint not null, moment timestamptz not null)")
    if cap is None:
        return
    own = {str(node.options["step"]) for node in version.nodes if node.kind == "mail"}
    exempt = {ref.key for ref in warehouse.project.steps() if ref.step.topic in cap.exempt}
    query = (
        "select person_id, epoch_us(happened_at) as moment from smp.contact_moment where received"
        " and happened_at > $since and happened_at <= $until and not list_contains($apart, step)"
    )
    since = start.astimezone(version.zone) - timedelta(days=cap.days)
    with warehouse.lake.open() as lake:
        found = lake.execute(query, {"since": since, "until": end, "apart": sorted(own | exempt)}).fetchnumpy()
    people, moments = (np.asarray(found[name], dtype=np.int64).tolist() for name in ("person_id", "moment"))
    with (
        postgres.cursor() as cursor,
        cursor.copy("copy flow_past_mail (person_id, moment) from stdin") as copy,
    ):
        for person_id, moment in zip(people, moments, strict=True):
            copy.write_row((person_id, datetime.fromtimestamp(moment / 1e6, tz=version.zone)))
    postgres.execute("create index on flow_past_mail (person_id, moment)")
