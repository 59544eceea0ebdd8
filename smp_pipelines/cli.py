"""The command `smp`: what marketing-ops, analysts and operators type."""

from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from smp_pipelines.campaign.project import load_project
from smp_pipelines.commands import colleague, flow, group, ledger, person, selection, send, step, suppression
from smp_pipelines.commands.shared import Project, deployment, local_moment, out, print_table, print_ticked, settings
from smp_pipelines.commands.site import print_sign_in, serve_site
from smp_pipelines.commands.test import run_tests
from smp_pipelines.deployment import check
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import SystemClock

app = typer.Typer(
    name="smp",
    help="Marketing campaigns as a Dagster deployment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for name, commands in (
    ("step", step.app),
    ("selection", selection.app),
    ("group", group.app),
    ("flow", flow.app),
    ("ledger", ledger.app),
    ("send", send.app),
    ("person", person.app),
    ("suppression", suppression.app),
    ("colleague", colleague.app),
):
    app.add_typer(commands, name=name)
app.command("test")(run_tests)
app.command("site")(serve_site)
app.command("sign-in")(print_sign_in)


@app.callback()
def _root(
    project: Annotated[Path | None, typer.Option(help="The project folder: smp.yaml, campaigns/, sql/.")] = None,
) -> None:
    Project.folder = project


@app.command()
def up() -> None:
    """Start everything: Postgres, the Dagster UI and daemon, the inbox, the site. Ctrl-C or `smp down` ends it."""
    from smp_pipelines.operations.supervisor import up as start

    start(settings(), out.print)


@app.command()
def down() -> None:
    """Stop what `smp up` started."""
    from smp_pipelines.operations.running import down as stop

    out.print("stopped" if stop(settings()) else "nothing was running")


@app.command()
def demo(people: Annotated[int, typer.Option(help="How many people the sample CRM has.")] = 20_000) -> None:
    """The main job: sample CRM, selections, a due send to the local inbox, contact moments, metrics, report file."""
    from smp_pipelines.operations.demo import run_demo

    run_demo(settings(), people, out)


@app.command("check")
def check_files() -> None:
    """Check every campaign, template and selection; exits with 1 when something is wrong."""
    from smp_pipelines.site.visitors.theme import theme_problems

    problems = [*check(settings()), *theme_problems(settings().project)]
    for problem in problems:
        typer.echo(str(problem))
    errors = sum(not problem.warning for problem in problems)
    typer.echo(f"{errors} errors, {len(problems) - errors} warnings")
    if errors:
        raise typer.Exit(1)


@app.command("import")
def import_table(
    table: Annotated[str, typer.Argument(help="A crm table, e.g. crm.person or person.")],
    file: Annotated[Path, typer.Argument(help="A CSV (UTF-8 or Windows) or Parquet file.")],
    rejects: Annotated[Path | None, typer.Option(help="Where rejected rows go; default FILE.rejects.csv.")] = None,
) -> None:
    """Load a file into a crm table. Loading it twice changes nothing; bad rows go to a file with line and reason."""
    from smp_pipelines.crm.importing import import_file

    with deployment() as loaded:
        zone = loaded.project.settings.time_zone
        done = import_file(loaded.url, loaded.project.catalog, table, file, rejects, time_zone=zone)
    counts = f"{done.inserted} new, {done.updated} changed, {done.unchanged} unchanged, {done.rejected} rejected"
    out.print(f"{done.read} read: {counts}")
    if done.rejected:
        out.print(f"rejected rows, with line and reason: {done.rejects_file}")


@app.command()
def sample(
    people: Annotated[int, typer.Option(help="How many people.")] = 20_000,
    today: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day that the sample is made for.")
    ] = None,
) -> None:
    """Load the sample CRM of a Dutch theatre into an empty CRM."""
    from smp_pipelines.crm.sample import load

    with deployment() as loaded:
        day: date = today.date() if today else SystemClock().now().astimezone(loaded.project.settings.zone).date()
        counts = load(loaded.url, people, day)
    for name, count in counts.items():
        out.print(f"{name}: {count:,}")


@app.command()
def tick(
    at: Annotated[str | None, typer.Option(help='The moment, local time: "2026-11-23 09:00"; default now.')] = None,
) -> None:
    """Do whatever is due at a moment, in this process: for cron, for tests, for who runs no daemon."""
    from smp_pipelines.operations.instance import open_instance
    from smp_pipelines.operations.tick import Ticker

    with deployment() as loaded:
        clock = local_moment(at, loaded) if at else None
        with open_instance(loaded.settings, loaded.url) as instance:
            done, skipped = Ticker(loaded, instance).tick(clock or SystemClock().now(), clock)
        for each in skipped:
            out.print(f"{each.ref.key}: not sent, {each.why}")
        for result in done:
            print_ticked(result)
        if not done and not skipped:
            out.print("nothing is due")
        if any(result.failure for result in done):
            raise typer.Exit(1)


@app.command("report")
def show_report(
    name: Annotated[str | None, typer.Argument(help="A report of sql/reports; without it, the list.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
) -> None:
    """Print a report from reports.duckdb."""
    from smp_pipelines.reporting.query import list_reports, run_report

    current = settings()
    if name is None:
        for report, description in list_reports(current.project).items():
            out.print(f"{report}: {description}")
        return
    zone = load_project(current.project).settings.time_zone
    frame = run_report(current.project, current.report_file, name, zone)
    if csv:
        frame.to_csv(sys.stdout, index=False)
        return
    print_table(frame.columns.tolist(), frame.astype(object).where(frame.notna(), None).values.tolist())


@app.command()
def schema(folder: Annotated[Path, typer.Argument(help="Where to write the files.")] = Path("schemas")) -> None:
    """Write the JSON Schemas of smp.yaml and campaign.yaml, which editors use to help."""
    from smp_pipelines.schemas import write_schemas

    for file in write_schemas(folder):
        out.print(str(file))


def main() -> None:
    """Run the command; a user's mistake is told in words, without a traceback."""
    try:
        app()
    except SmpError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
