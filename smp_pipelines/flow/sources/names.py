"""Names of sources: what a trigger is called in cursors, in questions and as the way by which people entered.

The same words in two versions of a flow are the same source, so that what was seen of it stays seen.
"""

from __future__ import annotations

from smp_pipelines.campaign.flow.graph import step_key
from smp_pipelines.campaign.flow.sources import (
    ClickSource,
    DateSource,
    FormSource,
    ListSource,
    MomentSource,
    RecordSource,
    SelectionSource,
    Trigger,
)

HAND = "hand"
"""Enrolled by a colleague."""
MOVED = "moved"
"""The source of people who come from other flows."""


def source_name(trigger: Trigger, flow: str) -> str:
    """The name of a trigger's source, e.g. `list Friends`, `record donation fund=roof amount>=10`."""
    if isinstance(trigger, ListSource):
        return f"list {trigger.list}{_again(trigger.again)}"
    if isinstance(trigger, SelectionSource):
        return f"selection {trigger.selection}{_again(trigger.again)}"
    if isinstance(trigger, DateSource):
        every = "yearly" if trigger.yearly else "once"
        return f"date {trigger.field.removeprefix('crm.')} {trigger.days:+d} {trigger.time:%H:%M} {every}"
    if isinstance(trigger, RecordSource):
        return " ".join(("record", trigger.table.removeprefix("crm."), *_conditions(trigger)))
    if isinstance(trigger, ClickSource):
        return " ".join(filter(None, ("click", step_key(trigger.step, flow), trigger.link)))
    if isinstance(trigger, FormSource):
        return f"form {step_key(trigger.step, flow)}"
    if isinstance(trigger, MomentSource):
        return f"{trigger.kind} {step_key(trigger.step, flow)}"
    return HAND


def _again(again: bool) -> str:
    return " again" if again else ""


def _conditions(trigger: RecordSource) -> list[str]:
    found = [f"{column}={value}" for column, value in sorted(trigger.equal.items())]
    if trigger.min is not None:
        found.append(f"{trigger.amount}>={trigger.min}")
    if trigger.max is not None:
        found.append(f"{trigger.amount}<={trigger.max}")
    return [*found, *([f"by {trigger.date}"] if trigger.date else [])]
