"""Wording: what a step of a flow does, and where a way leads, in a few words for pictures and pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from smp_pipelines.campaign.flow.graph import Node
from smp_pipelines.campaign.models import WEEKDAYS
from smp_pipelines.sending.reasons import explain

OUTCOMES = {
    "completed": "Completed",
    "goal": "Goal met",
    "dropped": "Dropped out",
    "moved": "Moved to another flow",
    "merged": "Merged with another card",
}
"""How somebody left a flow."""
REASONS = {
    "present": "was in the flow already",
    "reentry": "was in it before, and may not enter again",
    "filtered": "does not meet the filter",
    "excluded": "is excluded",
    "already": "has this mail on its way already",
    "flow_ended": "was in it when the flow was ended",
}
"""Why somebody did not enter, got no mail or was dropped, besides the reasons of the ledger."""


def entry_words(entered_by: str) -> str:
    """By what somebody entered a flow, in words."""
    return "by hand" if entered_by == "hand" else entered_by


def reason_words(reason: str) -> str:
    """A reason in words; one without words as it is."""
    return REASONS.get(reason) or explain(reason).replace("_", " ")


def note_words(note: str) -> str:
    """What was noted of a step that somebody left, in words."""
    if note.startswith("skipped: "):
        return f"no mail: {reason_words(note.removeprefix('skipped: '))}"
    known = {
        "timeout": "not within the time",
        "sent": "mail asked for",
        "goal": "goal met",
        "applied": "moved to another version",
    }
    return known.get(note, reason_words(note))


def way_words(way: str, node: Node) -> str:
    """A way that leads on from a step: nothing for the only one, yes or no, the percentage of a part."""
    if way.isdecimal():
        return f"{node.options['split'][int(way)]}%"
    return "" if way == "next" else way


def ways_of(node: Node) -> list[tuple[str, int]]:
    """The ways of a step with where they lead, yes before no and the parts of a split in their order.

    A version that was read from the database has them in any order.
    """
    return sorted(node.ways.items(), key=lambda way: (way[0] == "no", int(way[0]) if way[0].isdecimal() else 0))


def kind_words(node: Node) -> str:
    """What a step does: Wait 3 days, Mail, Split 30/70."""
    return _KINDS[node.kind](node.options)


def _length(value: Mapping[str, Any]) -> str:
    count, unit = value["count"], value["unit"]
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _window(value: Mapping[str, Any]) -> str:
    days = [str(day) for day in value["days"]]
    which = "" if len(days) == len(WEEKDAYS) else f"{', '.join(days)} "
    until = str(value["until"])[:5]
    return f"Between {which}{str(value['from'])[:5]} and {'24:00' if until == '00:00' else until}"


def _awaited(name: str, options: Mapping[str, Any]) -> str:
    return f"Wait for the {name}" + (f", at most {_length(options['at_most'])}" if options.get("at_most") else "")


_KINDS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "mail": lambda _: "Mail",
    "if": lambda _: "If",
    "form": lambda options: _awaited("form", options),
    "page": lambda options: _awaited("page", options),
    "wait": lambda options: f"Wait {_length(options['wait'])}",
    "wait_until": lambda options: f"Wait until {datetime.fromisoformat(str(options['wait_until'])):%Y-%m-%d %H:%M}",
    "window": lambda options: _window(options["window"]),
    "split": lambda options: "Split " + "/".join(str(percent) for percent in options["split"]),
    "update": lambda options: "Change " + ", ".join(options["update"]),
    "create": lambda options: f"Write a row in {options['create']['table']}",
    "add_to_list": lambda options: f"Add to list {options['add_to_list']}",
    "remove_from_list": lambda options: f"Take off list {options['remove_from_list']}",
    "move_to": lambda options: f"Move to {options['move_to']}",
    "go_to": lambda options: f"Go on at {options['go_to']}",
    "end": lambda options: f"End: {options['end']}",
}
