"""`smp step`: list, status, preview, url, test, send."""

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

app = typer.Typer(help="Steps: list, status, preview, url, test, send.", no_args_is_help=True)


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
    unknown: Annotated[bool, typer.Option("--unknown", help="A form or page as somebody unknown sees it.")] = False,
    file: Annotated[Path, typer.Option(help="Where to write it.")] = Path("preview.html"),
) -> None:
    """Write a step's mail, form or page for one person as a page to open in a browser; nothing is sent (F09)."""
    from smp_pipelines.site.colleagues.page_preview import render_page_preview
    from smp_pipelines.site.colleagues.preview import render_preview
    from smp_pipelines.site.visitors.theme import Theme

    with deployment() as loaded, loaded.connection() as postgres:
        ref, now, base = loaded.project.step(step), SystemClock().now(), loaded.settings.pages_url
        if ref.step.is_mail:
            mail = render_preview(postgres, loaded.project, ref, person, record, now=now, base=base)
            told, html = f"Subject: {mail.rendered.subject}\n\n{mail.rendered.text}", mail.html
        else:
            theme = Theme(loaded.settings.project)
            page = render_page_preview(
                postgres, loaded.project, theme, ref, person, record, unknown=unknown, now=now, base=base
            )
            # its style and pictures are the site's
            told, html = page.heading, page.html.replace("<head>", f'<head>\n  <base href="{base}/">', 1)
    file.write_text(html, encoding="utf-8")
    out.print(told, markup=False)
    out.print(f"open {file.resolve()} in a browser", markup=False)
    if not ref.step.is_mail:
        out.print("  (it looks as it does to visitors while `smp up` runs)", markup=False)


@app.command("url")
def step_url(
    step: Annotated[str, typer.Argument(help="campaign/step, a form or page")],
    person: Annotated[int | None, typer.Option(help="A person's id, for the personal URL.")] = None,
    record: Annotated[int | None, typer.Option(help="The linked record's id, for the personal URL.")] = None,
) -> None:
    """Print where visitors find a form or page: the URL to share, and with --person that person's own (F10)."""
    from smp_pipelines.sending.links import LinkSigner
    from smp_pipelines.site.colleagues.preview import linked_record, missing_recipient
    from smp_pipelines.site.colleagues.urls import step_urls
    from smp_pipelines.site.visitors.visitor import personal_context

    with deployment() as loaded, loaded.connection() as postgres:
        project, settings, now = loaded.project, loaded.settings, SystemClock().now()
        ref = project.step(step)
        urls = step_urls(project, ref, settings.site_url, LinkSigner(settings.link_secrets), now, person, record)
        linked_record(project, ref, record)
        if person is not None and personal_context(postgres, project, ref, person, record) is None:
            raise SmpError(missing_recipient(postgres, ref, person, record))
    out.print(urls.shareable or "a closed form has no URL to share: name somebody with --person", markup=False)
    if urls.personal:
        out.print(urls.personal, markup=False, soft_wrap=True)
        out.print(f"  of person {person} only, up to and with {urls.last_day}", markup=False)


@app.command("test")
def step_test(
    step: Annotated[str, typer.Argument(help="campaign/step")],
    person: Annotated[list[int], typer.Option(help="An internal test person's id; may be given several times.")],
    record: Annotated[int | None, typer.Option(help="The linked record's id; default: the next one.")] = None,
) -> None:
    """Send a test mail to internal test persons, in any status of the step, at any hour (F28)."""
    from smp_pipelines.sending.reasons import explain
    from smp_pipelines.sending.transport import TransportDownError
    from smp_pipelines.site.colleagues.recipients import test_record

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
