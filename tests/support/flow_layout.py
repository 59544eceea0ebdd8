"""The steps of a flow in a row, laid out anew for the reference interpreter: not by campaign/flow/graph.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

END = -1
KINDS = (
    *("mail", "form", "page", "wait", "wait_until", "window", "if", "split", "go_to"),
    *("update", "create", "add_to_list", "remove_from_list", "move_to", "end"),
)


class Step(NamedTuple):
    """A step of the file, and the numbers of the steps that its ways lead to."""

    name: str
    kind: str
    written: Mapping[str, Any]
    ways: dict[str, int]


def lay_out(steps: Mapping[str, Any]) -> list[Step]:
    """The steps in the order of the file; behind the last one of a branch comes what follows the branching."""
    numbers = {name: number for number, name in enumerate(_names(steps))}
    laid: list[Step] = []

    def row(named: Mapping[str, Any], behind: int) -> None:
        names = list(named)
        for place, name in enumerate(names):
            step, after = named[name], numbers[names[place + 1]] if place + 1 < len(names) else behind
            kind = next(kind for kind in KINDS if kind in step)
            branches = _branches(step)
            ways = {way: numbers[next(iter(inner))] if inner else after for way, inner in branches.items()}
            if kind == "go_to":
                ways = {"next": numbers[step["go_to"]]}
            elif not branches and kind not in ("move_to", "end"):
                ways = {"next": after}
            laid.append(Step(name, kind, step, ways))
            for inner in branches.values():
                row(inner, after)

    row(steps, END)
    return laid


def _branches(step: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    if "if" in step:
        return {"yes": step.get("then", {}), "no": step.get("else", {})}
    return {str(place): part.get("steps", {}) for place, part in enumerate(step.get("split", ()))}


def _names(steps: Mapping[str, Any]) -> list[str]:
    found = []
    for name, step in steps.items():
        found.append(name)
        for inner in _branches(step).values():
            found += _names(inner)
    return found
