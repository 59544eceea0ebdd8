"""How the difference between two audiences is printed: the counts, then each predicate with its people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smp_pipelines.commands.shared import out

if TYPE_CHECKING:
    from smp_pipelines.selection.history.difference import Cause, Difference, Edits


def print_difference(found: Difference) -> None:
    """Print what changed: how many were, are, entered, left and stayed; then who did, by predicate."""
    changes = found.changes
    out.print(
        f"{changes.was:,} were in it, {changes.now:,} are: {changes.entered:,} entered, {changes.departed:,} left,"
        f" {changes.stayed:,} stayed"
    )
    for predicate in found.edits.removed:
        out.print(f"taken out of the file: `{predicate}`", markup=False)
    for predicate in found.edits.added:
        out.print(f"new in the file: `{predicate}`", markup=False)
    if found.edits.changed and not found.edits.added and not found.edits.removed:
        out.print("the SQL has changed, its predicates have not")
    for change in ("left", "entered"):
        for cause in found.of(change):
            out.print(_line(cause, found), markup=False)
            for row in cause.people:
                out.print("    " + ", ".join(f"{key} {value}" for key, value in zip(found.keys, row, strict=True)))
    for note in found.notes:
        out.print(f"note: {note}", markup=False)


def _line(cause: Cause, found: Difference) -> str:
    if cause.predicate is None:
        return f"{cause.count:,} {cause.change}: no predicate tells why"
    whose = f" (of selections.{cause.selection})" if cause.selection != found.run.selection else ""
    return f"{cause.count:,} {cause.change}: {_why(cause, found.edits)} `{cause.predicate}`{whose}"


def _why(cause: Cause, edits: Edits) -> str:
    if cause.change == "left":
        return "new in the file:" if cause.predicate in edits.added else "no longer"
    return "taken out of the file:" if cause.predicate in edits.removed else "now"
