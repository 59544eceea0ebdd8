"""Simulations of flows over the stores of a deployment: the version, the CRM as it was, the mails people got (X2)."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from smp_pipelines.flow.past import copy_tables, past_judge
from smp_pipelines.flow.simulating import Simulation, simulate
from smp_pipelines.flow.version import FlowVersion, draft, read_state, read_version
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.lake import literal
from smp_pipelines.stores.postgres import Connection
from smp_pipelines.warehouse import Warehouse

_LONGEST = timedelta(days=3660)
_BLOCK = 1 << 20
"""Bytes in one piece of a COPY."""


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
    scratch = warehouse.settings.home / "scratch"  # it holds people: what a killed process leaves is to be found there
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=scratch) as folder:
        file = Path(folder) / "past.duckdb"
        with warehouse.lake.open() as lake:
            copy_tables(lake, reads, file)
        with past_judge(file, tables, version.zone) as judge, warehouse.connection() as postgres:
            _note_mails(warehouse, postgres, version, start, end, file.parent)
            return simulate(postgres, version, warehouse.project, judge, start, end)


def _note_mails(
    warehouse: Warehouse, postgres: Connection, version: FlowVersion, start: datetime, end: datetime, folder: Path
) -> None:
    """Write the mails that count for the frequency cap to flow_past_mail; those of the flow itself are simulated."""
    cap = warehouse.project.settings.frequency_cap
    postgres.execute("create temporary table flow_past_mail (person_id bigint not null, moment timestamptz not null)")
    if cap is None:
        return
    own = {str(node.options["step"]) for node in version.nodes if node.kind == "mail"}
    exempt = {ref.key for ref in warehouse.project.steps() if ref.step.topic in cap.exempt}
    mails = (
        "select person_id, happened_at from smp.contact_moment where received"
        " and happened_at > $since and happened_at <= $until and not list_contains($apart, step)"
    )
    since = start.astimezone(version.zone) - timedelta(days=cap.days)
    file = folder / "mails.csv"
    with warehouse.lake.open() as lake:
        values = {"since": since, "until": end, "apart": sorted(own | exempt)}
        lake.execute(f"copy ({mails}) to {literal(str(file))} (format csv, header false)", values)
    with (
        file.open("rb") as rows,
        postgres.cursor() as cursor,
        cursor.copy("copy flow_past_mail (person_id, moment) from stdin (format csv)") as copy,
    ):
        while block := rows.read(_BLOCK):
            copy.write(block)
    postgres.execute("create index on flow_past_mail (person_id, moment)")
