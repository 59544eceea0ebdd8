"""Printing audience tests: what each found, and the people in whom it found something (X5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from smp_pipelines.commands.shared import out, print_table

if TYPE_CHECKING:
    from smp_pipelines.selection.audience_tests.running import Result


def print_results(results: Sequence[Result], selection: str) -> None:
    """Print a line a test, and the ids of the first people of each that failed."""
    rows = [
        [
            each.test if each.selection == selection else f"{each.selection}.{each.test}",
            "passed" if each.passed else "FAILED",
            "yes" if each.blocking else "",
            each.detail,
        ]
        for each in results
    ]
    print_table(["audience test", "", "blocking", "found"], rows)
    for each in results:
        if not each.passed:
            out.print(f"{each.test}: {each.words}", markup=False)
            if each.person_ids:
                more = " …" if each.offending > len(each.person_ids) else ""
                out.print(f"  people: {', '.join(map(str, each.person_ids))}{more}", markup=False)
