"""How the audience of a past send is printed: where it came from, how it compares with who was mailed, the people."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from smp_pipelines.commands.shared import out, print_table

if TYPE_CHECKING:
    from smp_pipelines.sending.audience import SentAudience

_STATES = {"accepted": "mailed", "planned": "waiting", "claimed": "in a worker's hands", None: "not in the ledger"}


def print_audience(found: SentAudience, zone: ZoneInfo) -> None:
    """Print the selection runs of a send, the counts of who was selected and what became of them, and some people."""
    send = found.planned.send
    out.print(f"{send.send_key}, {send.purpose}, for {send.moment.astimezone(zone):%Y-%m-%d %H:%M}", markup=False)
    for run in found.planned.runs:
        kind = "target group" if "/" in run.selection else "selection"
        when = f"{run.moment.astimezone(zone):%Y-%m-%d %H:%M}"
        out.print(f"{kind} {run.selection}, run {run.selection_run_id} for {when}", markup=False)
    linked = found.planned.linked
    if linked is not None:
        out.print(
            f"frozen since {linked.linked_at.astimezone(zone):%Y-%m-%d %H:%M}, by {linked.linked_by}", markup=False
        )
    if found.planned.run is None:
        out.print("its people were given, no selection found them")
    elif found.note is not None:
        out.print(f"note: {found.note}; who is in the ledger tells who was selected", markup=False)
    else:
        out.print(f"{found.count(selected=True):,} selected, {found.count(state='accepted'):,} mailed")
    for fate in found.fates:
        outsider = "" if fate.selected or found.planned.run is None or found.note else ", not selected by that run"
        what = _STATES.get(fate.state, fate.state)
        out.print(f"  {fate.count:,} {what}{f': {fate.why}' if fate.why else ''}{outsider}", markup=False)
    if found.people:
        print_table(
            ["person", "record", "became", "why"],
            [[m.person_id, m.record_id, _STATES.get(m.state, m.state), m.why or m.reason] for m in found.people],
        )
