"""`smp selection`: count, show, sql."""

from __future__ import annotations

from typing import Annotated

import typer

from smp_pipelines.commands.shared import deployment, local_moment, out, print_table, settings
from smp_pipelines.deployment import Deployment

app = typer.Typer(help="Selections: count, show, sql.", no_args_is_help=True)


@app.command("count")
def selection_count(name: str, at: Annotated[str | None, typer.Option(help="Local time; default now.")] = None) -> None:
    """How many people are in a selection now, by the SQL that sends (F18)."""
    with deployment() as loaded:
        out.print(f"{loaded.audiences.count(name, local_moment(at, loaded)):,}")


@app.command("show")
def selection_show(
    name: str,
    at: Annotated[str | None, typer.Option(help="Local time; default now.")] = None,
    limit: Annotated[int, typer.Option(help="How many rows.")] = 20,
) -> None:
    """The first rows of a selection."""
    with deployment() as loaded:
        columns, rows = loaded.audiences.preview(name, local_moment(at, loaded), limit)
    print_table(list(columns), [list(row) for row in rows])


@app.command("sql")
def selection_sql(name: str, at: Annotated[str | None, typer.Option(help="Local time; default now.")] = None) -> None:
    """The SQL that runs: macros written out, clock replaced by the moment."""
    loaded = Deployment.load(settings())
    typer.echo(loaded.library.sql(name, local_moment(at, loaded)))
