"""`smp selection impact` and `smp selection lineage`: what a column feeds, and where a selection comes from (X6)."""

from __future__ import annotations

from typing import Annotated

import typer

from smp_pipelines.commands.shared import deployment, out, print_table, settings
from smp_pipelines.deployment import Deployment
from smp_pipelines.selection.analysis.impact import Fed, Lineage
from smp_pipelines.sending.status import read_statuses


def selection_impact(
    name: Annotated[str, typer.Argument(help="A column or table: crm.person.city, crm.person, selections.x.")],
) -> None:
    """What a column or table feeds: selections, steps with their status, and marts. Look before you change it."""
    with deployment() as loaded:
        found = Lineage(loaded.project, loaded.library).impact(name)
        with loaded.connection() as postgres:
            statuses = read_statuses(postgres, [ref.key for ref, _through in found.steps])
    live = sum(each.status == "live" for each in statuses.values())
    counts = [_count(len(found.selections), "selection"), _count(live, "live step")]
    others = len(found.steps) - live
    counts += [_count(others, "other step")] if others else []
    counts += [_count(len(found.marts), "mart")] if found.marts else []
    out.print(f"{found.name} feeds {', '.join(counts)}")
    if found.selections:
        rows = [[each.name, _told(each, "decides who is in it"), ", ".join(each.through)] for each in found.selections]
        print_table(["selection", "what it does there", "through"], rows)
    if found.steps:
        steps = [[ref.key, statuses[ref.key].status, ", ".join(through)] for ref, through in found.steps]
        print_table(["step", "status", "selections"], steps)
    if found.marts:
        marts = [[each.name, _told(each, "decides its rows")] for each in found.marts]
        print_table(["mart", "what it does there"], marts)


def selection_lineage(name: str) -> None:
    """Which columns of which tables a selection comes from, through the selections that it reads."""
    loaded = Deployment.load(settings())
    origin = Lineage(loaded.project, loaded.library).origin(name)
    rows = [[column, _names(sources) or "a constant"] for column, sources in origin.outputs.items()]
    print_table(["column", "comes from"], [*rows, ["who is in it", _names(origin.deciding)]])


def _told(fed: Fed, decides: str) -> str:
    if not fed.certain:
        return "is read; what for could not be followed"
    comes_out = f"comes out in {', '.join(fed.outputs)}" if fed.outputs else ""
    return "; ".join(part for part in (decides if fed.decides else "", comes_out) if part)


def _names(sources: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{table}.{column}" for table, column in sources)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
