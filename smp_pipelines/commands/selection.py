"""`smp selection`: count, show, sql, and the past: diff, history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smp_pipelines.commands.differences import print_difference
from smp_pipelines.commands.lineage import selection_impact, selection_lineage
from smp_pipelines.commands.shared import deployment, end_of, local_moment, out, print_table, settings
from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import SmpError

if TYPE_CHECKING:
    from smp_pipelines.selection.runs import SelectionRun

app = typer.Typer(help="Selections: who is in them, why, since when, and whether they are right.", no_args_is_help=True)

_AS_OF = "The people of the last run at or before this local moment (a bare date: its end)."
_AGAINST = "Compare with the last run at or before this local moment (a bare date: its end); default the last run."


@app.command("count")
def selection_count(
    name: str,
    at: Annotated[str | None, typer.Option(help="Local time; default now.")] = None,
    as_of: Annotated[str | None, typer.Option(help=_AS_OF)] = None,
) -> None:
    """How many people are in a selection now, by the SQL that sends (F18), or were in it at a run of the past (X7)."""
    with deployment() as loaded:
        if as_of is None:
            out.print(f"{loaded.audiences.count(name, local_moment(at, loaded)):,}")
            return
        run = _standing(loaded, name, at, as_of)
        out.print(f"{loaded.history.count(run):,}")
        out.print(_told(run, loaded))


@app.command("show")
def selection_show(
    name: str,
    at: Annotated[str | None, typer.Option(help="Local time; default now.")] = None,
    limit: Annotated[int, typer.Option(help="How many rows.")] = 20,
    as_of: Annotated[str | None, typer.Option(help=_AS_OF)] = None,
) -> None:
    """The first rows of a selection now, or the keys of those that were in it at a run of the past (X7)."""
    with deployment() as loaded:
        if as_of is None:
            columns, rows = loaded.audiences.preview(name, local_moment(at, loaded), limit)
        else:
            run = _standing(loaded, name, at, as_of)
            columns, rows = loaded.history.people(run, limit)
            out.print(_told(run, loaded))
    print_table(list(columns), [list(row) for row in rows])


@app.command("diff")
def selection_diff(
    name: str,
    against: Annotated[str | None, typer.Option(help=_AGAINST)] = None,
    run: Annotated[int | None, typer.Option(help="The number of the run to compare with.")] = None,
    at: Annotated[str | None, typer.Option(help="Local time of the new side; default now.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many people to show for each predicate.")] = 3,
    people: Annotated[Path | None, typer.Option(help="Write everybody who enters or leaves to this CSV file.")] = None,
) -> None:
    """Who enters and who leaves since a run, and which predicate does it; the new side is the file as it is (X1)."""
    if against is not None and run is not None:
        raise SmpError("--against names a run by its moment, --run by its number: use one of them")
    with deployment() as loaded:
        now, then = local_moment(at, loaded), None if against is None else end_of(against, loaded)
        old = loaded.history.run_to_compare(name, then, run)
        found = loaded.history.compare(name, now, old, limit, people)
        zone = loaded.project.settings.zone
    out.print(f"{name}: {_told(old, loaded)}, against {now.astimezone(zone):%Y-%m-%d %H:%M}", markup=False)
    print_difference(found)
    if people is not None:
        out.print(f"everybody who entered or left is in {people}", markup=False)


@app.command("history")
def selection_history(
    name: Annotated[str, typer.Argument(help="A selection, or campaign/step for the target group of a step.")],
    limit: Annotated[int, typer.Option(min=1, help="How many runs.")] = 20,
) -> None:
    """The runs of a selection: when, how many rows, how many entered and left, and whether its SQL had changed."""
    from smp_pipelines.selection.history.past import changed_sql

    with deployment() as loaded:
        runs = loaded.history.runs(name, limit + 1)
        if not runs:
            out.print(f"{name} never ran", markup=False)
            return
        zone = loaded.project.settings.zone
    changed = {True: "yes", False: "no", None: None}
    rows = [
        [
            run.selection_run_id,
            f"{run.moment.astimezone(zone):%Y-%m-%d %H:%M}",
            run.row_count,
            run.entered,
            run.departed,
            changed[sql],
        ]
        for run, sql in zip(runs, changed_sql(runs), strict=True)
    ]
    print_table(["run", "moment", "rows", "entered", "left", "SQL changed"], rows[:limit])


@app.command("check")
def selection_check(name: str, at: Annotated[str | None, typer.Option(help="Local time; default now.")] = None) -> None:
    """Run the audience tests of a selection as it is now; nothing is sent. Exit code 1: they would stop a send (X5)."""
    from smp_pipelines.commands.audience_tests import print_results

    with deployment() as loaded:
        results = loaded.audiences.test(name, local_moment(at, loaded))
    print_results(results, name)
    if any(each.blocking and not each.passed for each in results):
        out.print("a send to this selection would be stopped")
        raise typer.Exit(1)


@app.command("sql")
def selection_sql(name: str, at: Annotated[str | None, typer.Option(help="Local time; default now.")] = None) -> None:
    """The SQL that runs: macros written out, clock replaced by the moment."""
    loaded = Deployment.load(settings())
    typer.echo(loaded.library.sql(name, local_moment(at, loaded)))


app.command("impact")(selection_impact)
app.command("lineage")(selection_lineage)


def _standing(loaded: Deployment, name: str, at: str | None, as_of: str) -> SelectionRun:
    """The run that `--as-of` is about. Raises SmpError when there is none, or with `--at` as well."""
    if at is not None:
        raise SmpError("--at asks what the file gives at a moment, --as-of what a run gave: use one of them")
    return loaded.history.run_at(name, end_of(as_of, loaded))


def _told(run: SelectionRun, loaded: Deployment) -> str:
    return f"run {run.selection_run_id}, for {run.moment.astimezone(loaded.project.settings.zone):%Y-%m-%d %H:%M}"
