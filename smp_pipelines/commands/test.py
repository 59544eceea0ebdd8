"""`smp test`: the unit tests of selections."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from smp_pipelines.commands.shared import out, settings
from smp_pipelines.deployment import Deployment
from smp_pipelines.selection.unit_tests.runner import Outcome, UnitTestRunner, read_all_cases


def run_tests(
    selections: Annotated[list[str] | None, typer.Argument(help="Names of selections; all of them without.")] = None,
) -> None:
    """Run the unit tests of selections (sql/selections/NAME.tests.yaml), in memory; exits with 1 when one fails."""
    started = time.perf_counter()
    loaded = Deployment.load(settings())
    cases, problems = read_all_cases(loaded.project, loaded.library, selections or ())
    for problem in problems:
        typer.echo(str(problem))
    with UnitTestRunner(loaded.project, loaded.library) as runner:
        outcomes = [runner.run(case) for case in cases]
    for outcome in outcomes:
        _print(outcome)
    failed = sum(not outcome.passed for outcome in outcomes)
    counts = f"{len(outcomes) - failed} passed, {failed} failed"
    out.print(f"{counts}{f', {len(problems)} problems' if problems else ''} in {time.perf_counter() - started:.1f} s")
    if failed or problems:
        raise typer.Exit(1)


def _print(outcome: Outcome) -> None:
    case = outcome.case
    typer.echo(f"{'pass' if outcome.passed else 'FAIL'}  {case.selection}: {case.name}")
    if not outcome.passed:
        typer.echo(f"      {case.file}:{case.line}")
        for line in outcome.difference().splitlines():
            typer.echo(f"      {line}")
