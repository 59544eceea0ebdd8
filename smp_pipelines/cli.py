"""The command `smp`: what marketing-ops, analysts and operators type."""

from __future__ import annotations

import contextlib
import getpass
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from smp_pipelines.campaign.project import load_project
from smp_pipelines.deployment import Deployment, check
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import SystemClock
from smp_pipelines.stores.settings import Settings, read_settings

if TYPE_CHECKING:
    from smp_pipelines.operations.tick import Ticked

app = typer.Typer(
    name="smp",
    help="Marketing campaigns as a Dagster deployment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
step_app = typer.Typer(help="Steps: list, status, preview, send.", no_args_is_help=True)
selection_app = typer.Typer(help="Selections: count, show, sql.", no_args_is_help=True)
ledger_app = typer.Typer(help="The ledger: prove that nobody was mailed twice or lost.", no_args_is_help=True)
person_app = typer.Typer(help="People: the person card.", no_args_is_help=True)
for name, sub in (("step", step_app), ("selection", selection_app), ("ledger", ledger_app), ("person", person_app)):
    app.add_typer(sub, name=name)

# a file or a pipe has no width to fit into: nothing is cut off there
out = Console(highlight=False, width=None if sys.stdout.isatty() else 240)


class _Project:
    """The project folder that was named on the command line, if any."""

    folder: Path | None = None


def settings() -> Settings:
    """The settings of the project that the command is about."""
    return read_settings(_Project.folder)


@contextlib.contextmanager
def deployment() -> Iterator[Deployment]:
    """The project, loaded, with its Postgres server running."""
    loaded = Deployment.load(settings())
    with loaded.running():
        yield loaded


@app.callback()
def _root(
    project: Annotated[Path | None, typer.Option(help="The project folder: smp.yaml, campaigns/, sql/.")] = None,
) -> None:
    _Project.folder = project


@app.command()
def up() -> None:
    """Start everything: Postgres, the Dagster UI and daemon, the inbox, previews. Ctrl-C or `smp down` ends it."""
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
    problems = check(settings())
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
        clock = _moment(at, loaded) if at else None
        with open_instance(loaded.settings, loaded.url) as instance:
            done, skipped = Ticker(loaded, instance).tick(clock or SystemClock().now(), clock)
        for each in skipped:
            out.print(f"{each.ref.key}: not sent, {each.why}")
        for result in done:
            _print_ticked(result)
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
    _print_table(frame.columns.tolist(), frame.astype(object).where(frame.notna(), None).values.tolist())


@app.command()
def schema(folder: Annotated[Path, typer.Argument(help="Where to write the files.")] = Path("schemas")) -> None:
    """Write the JSON Schemas of smp.yaml and campaign.yaml, which editors use to help."""
    from smp_pipelines.campaign.schema import write_schemas

    for file in write_schemas(folder):
        out.print(str(file))


@step_app.command("list")
def step_list() -> None:
    """All steps with their status."""
    from smp_pipelines.sending.status import read_statuses

    with deployment() as loaded:
        refs = loaded.project.steps()
        with loaded.connection() as postgres:
            statuses = read_statuses(postgres, [ref.key for ref in refs])
    rows = [[ref.key, ref.step.name, ref.step.send, statuses[ref.key].status] for ref in refs]
    _print_table(["step", "name", "send", "status"], rows)


@step_app.command("status")
def step_status(
    step: Annotated[str, typer.Argument(help="campaign/step")],
    status: Annotated[str | None, typer.Argument(help="concept, testing, live or stopped; without it: show.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept in the audit.")] = None,
    by: Annotated[str | None, typer.Option(help="Who; default: you.")] = None,
) -> None:
    """Show or change a step's status. Only live sends; a change is in effect at once and is recorded."""
    from smp_pipelines.sending.status import read_changes, read_status

    with deployment() as loaded:
        ref = loaded.project.step(step)
        if status is not None:
            change = loaded.change_status(ref.key, status, SystemClock().now(), by or getpass.getuser(), reason)
            told = f"{change.from_status} → {change.to_status}" if change else f"was {status} already"
            out.print(f"{ref.key}: {told}")
            return
        with loaded.connection() as postgres:
            now, changes = read_status(postgres, ref.key), read_changes(postgres, ref.key)
    zone = loaded.project.settings.zone
    out.print(
        f"{ref.key} is {now.status}" + (f" since {now.since.astimezone(zone):%Y-%m-%d %H:%M}" if now.since else "")
    )
    rows = [
        [f"{c.changed_at.astimezone(zone):%Y-%m-%d %H:%M}", c.changed_by, c.from_status, c.to_status, c.reason or ""]
        for c in changes
    ]
    if rows:
        _print_table(["when", "who", "from", "to", "why"], rows)


@step_app.command("preview")
def step_preview(
    step: Annotated[str, typer.Argument(help="campaign/step")],
    person: Annotated[int | None, typer.Option(help="The person's id; default: an internal test person.")] = None,
    record: Annotated[int | None, typer.Option(help="The linked record's id; default: the next one.")] = None,
    file: Annotated[Path, typer.Option(help="Where to write the mail as a page.")] = Path("preview.html"),
) -> None:
    """Write a step's mail for one person as a page to open in a browser; nothing is sent (F09)."""
    from smp_pipelines.site.preview import render_preview

    with deployment() as loaded, loaded.connection() as postgres:
        shown = render_preview(
            postgres, loaded.project, loaded.project.step(step), person, record, now=SystemClock().now()
        )
    file.write_text(shown.rendered.html, encoding="utf-8")
    out.print(f"Subject: {shown.rendered.subject}\n\n{shown.rendered.text}", markup=False)
    out.print(f"open {file.resolve()} in a browser", markup=False)


@step_app.command("send")
def step_send(step: Annotated[str, typer.Argument(help="campaign/step")]) -> None:
    """Send a live step now, in this process. A one-off step is sent once, however often this is asked."""
    from smp_pipelines.operations.instance import open_instance
    from smp_pipelines.operations.tick import Ticker, by_hand

    with deployment() as loaded:
        ref = loaded.project.step(step)
        now = SystemClock().now()
        loaded.refuse_to_send(ref, now)
        with open_instance(loaded.settings, loaded.url) as instance:
            result = Ticker(loaded, instance).send(by_hand(ref, now))
        _print_ticked(result)
        if result.failure:
            raise typer.Exit(1)


@selection_app.command("count")
def selection_count(name: str, at: Annotated[str | None, typer.Option(help="Local time; default now.")] = None) -> None:
    """How many people are in a selection now, by the SQL that sends (F18)."""
    with deployment() as loaded:
        out.print(f"{loaded.count(name, _moment(at, loaded)):,}")


@selection_app.command("show")
def selection_show(
    name: str,
    at: Annotated[str | None, typer.Option(help="Local time; default now.")] = None,
    limit: Annotated[int, typer.Option(help="How many rows.")] = 20,
) -> None:
    """The first rows of a selection."""
    with deployment() as loaded:
        columns, rows = loaded.preview(name, _moment(at, loaded), limit)
    _print_table(list(columns), [list(row) for row in rows])


@selection_app.command("sql")
def selection_sql(name: str, at: Annotated[str | None, typer.Option(help="Local time; default now.")] = None) -> None:
    """The SQL that runs: macros written out, clock replaced by the moment."""
    loaded = Deployment.load(settings())
    typer.echo(loaded.library.sql(name, _moment(at, loaded)))


@ledger_app.command("verify")
def ledger_verify(send: Annotated[int | None, typer.Argument(help="A send's number; default all.")] = None) -> None:
    """Check per send: planned = accepted + rejected + unknown + skipped; exits with 1 when it does not hold (X3)."""
    from smp_pipelines.sending.ledger import verify

    with deployment() as loaded, loaded.connection() as postgres:
        verdicts = verify(postgres, send)
    columns = ["send", "key", "state", "planned", "accepted", "rejected", "unknown", "skipped", "open", "holds"]
    rows = [
        [
            v.send_id,
            v.send_key,
            v.state,
            v.planned,
            v.accepted,
            v.rejected,
            v.unknown,
            v.skipped,
            v.open,
            "yes" if v.holds else "NO",
        ]
        for v in verdicts
    ]
    _print_table(columns, rows)
    if not all(verdict.holds for verdict in verdicts):
        raise typer.Exit(1)


@person_app.command("show")
def person_show(person: Annotated[int, typer.Argument(help="The person's id.")]) -> None:
    """The person card: who it is and every contact moment (F15)."""
    from smp_pipelines.sending.card import read_card

    with deployment() as loaded, loaded.connection() as postgres:
        card = read_card(postgres, person)
    zone = loaded.project.settings.zone
    out.print(f"{card.person_id}: {card.name}, {card.email or 'no e-mail address'}", markup=False)
    rows = [
        [f"{m.moment.astimezone(zone):%Y-%m-%d %H:%M}", m.step, m.record_id, m.outcome, m.why] for m in card.moments
    ]
    _print_table(["when", "step", "record", "outcome", "why"], rows)


def _moment(text: str | None, loaded: Deployment) -> datetime:
    if text is None:
        return SystemClock().now()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SmpError(f"{text!r} is no moment; write it like 2026-11-23 09:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=loaded.project.settings.zone)


def _print_ticked(result: Ticked) -> None:
    from smp_pipelines.sending.reasons import explain

    if result.failure:
        typer.echo(f"{result.due.ref.key}: failed: {result.failure}", err=True)
    if result.totals is not None:
        t = result.totals
        out.print(
            f"{result.due.send_key}: {t.all} selected, {t.accepted} accepted, {t.rejected} rejected, "
            f"{t.unknown} unknown, {t.skipped} skipped, {t.open} waiting"
        )
        for reason, count in t.reasons.items():
            out.print(f"  {count} {explain(reason)}")


def _print_table(columns: list[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(str(column))
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    out.print(table, markup=False)


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
