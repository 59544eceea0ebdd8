"""`smp step`: list, status, preview, test, send."""

from __future__ import annotations

import contextlib
import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from smp_pipelines.commands.shared import deployment, out, print_table, print_ticked
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import SystemClock

if TYPE_CHECKING:
    from smp_pipelines.deployment import Deployment
    from smp_pipelines.sending.due import Due

app = typer.Typer(help="Steps: list, status, preview, test, send.", no_args_is_help=True)


@app.command("list")
def step_list() -> None:
    """All steps with their status."""
    from smp_pipelines.sending.status import read_statuses

    with deployment() as loaded:
        refs = loaded.project.steps()
        with loaded.connection() as postgres:
            statuses = read_statuses(postgres, [ref.key for ref in refs])
    rows = [[ref.key, ref.step.name, ref.step.send or ref.step.channel, statuses[ref.key].status] for ref in refs]
    print_table(["step", "name", "kind", "status"], rows)


@app.command("status")
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
        print_table(["when", "who", "from", "to", "why"], rows)


@app.command("preview")
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


@app.command("test")
def step_test(
    step: Annotated[str, typer.Argument(help="campaign/step")],
    person: Annotated[list[int], typer.Option(help="An internal test person's id; may be given several times.")],
    record: Annotated[int | None, typer.Option(help="The linked record's id; default: the next one.")] = None,
) -> None:
    """Send a test mail to internal test persons, in any status of the step, at any hour (F28)."""
    from smp_pipelines.sending.reasons import explain
    from smp_pipelines.sending.transport import TransportDownError
    from smp_pipelines.site.recipients import test_record

    clock = SystemClock()
    with deployment() as loaded:
        ref = loaded.project.step(step)
        with loaded.connection() as postgres:
            record = test_record(postgres, loaded.project, ref, record, clock.now())
        try:
            sent = loaded.send_test(ref, person, record, clock, uuid4().hex[:12])
        except TransportDownError as error:
            raise SmpError(
                f"{error}\n    → the test mail waits: it leaves with the next tick once that is mended"
            ) from None
    totals = sent.totals
    out.print(
        f"{sent.send.send_key}: {totals.accepted} accepted, {totals.rejected} rejected, "
        f"{totals.unknown} unknown, {totals.skipped} skipped, {totals.open} waiting"
    )
    for reason, count in totals.reasons.items():
        out.print(f"  {count} {explain(reason)}")
    if sent.held:
        out.print(f"  {sent.held}", markup=False)
    if not totals.accepted:
        raise typer.Exit(1)


@app.command("send")
def step_send(
    step: Annotated[str, typer.Argument(help="campaign/step")],
    person: Annotated[
        list[int] | None, typer.Option(help="Trigger steps: the id of who gets it; may be given several times.")
    ] = None,
    record: Annotated[int | None, typer.Option(help="Trigger steps: the linked record's id.")] = None,
) -> None:
    """Send a live step now, in this process. A one-off step is sent once, however often this is asked.

    A trigger step is sent to the people that --person names; at night it is planned, and held until 06:00.
    """
    from smp_pipelines.operations.instance import open_instance
    from smp_pipelines.operations.tick import Ticker, by_hand

    with deployment() as loaded:
        ref = loaded.project.step(step)
        now = SystemClock().now()
        if not person:
            due = by_hand(ref, now)
            loaded.refuse_to_send(ref, now)
            if why := _why_not_again(loaded, due):
                out.print(f"{ref.key} {why}", markup=False)
        with open_instance(loaded.settings, loaded.url) as instance:
            ticker = Ticker(loaded, instance)
            if person:
                recipients = [(each, record) for each in person]
                result = ticker.trigger(ref, recipients, f"by-hand-{now.isoformat(timespec='microseconds')}", now)
            else:
                result = ticker.send(due)
        print_ticked(result)
        if result.totals is not None and result.totals.open:
            for waiting in (each for each in loaded.due(now)[1] if each.ref.key == ref.key):
                out.print(f"  {waiting.why}", markup=False)
        if result.failure:
            raise typer.Exit(1)


def _why_not_again(loaded: Deployment, due: Due) -> str | None:
    """Why a send that is finished mails nobody any more; None of a step that is sent by hand again and again."""
    from smp_pipelines.sending.ledger import read_send
    from smp_pipelines.sending.overruling import stops_in_words

    with loaded.connection() as postgres, contextlib.suppress(SmpError):
        send = read_send(postgres, due.send_key)
        if send.state == "finished":
            sent = "was sent already, and a one-off step is sent once: nobody gets it now"
            return stops_in_words(postgres, [send.send_id]).get(send.send_id, sent)
    return None
