"""`smp send`: the sends, how each stands and why it waits; work on one, or cancel what is left of it."""

from __future__ import annotations

import getpass
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from smp_pipelines.commands.shared import deployment, out, print_table
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.overruling import stops_in_words
from smp_pipelines.sending.reasons import explain
from smp_pipelines.stores.clock import SystemClock

if TYPE_CHECKING:
    from smp_pipelines.deployment import Deployment
    from smp_pipelines.sending.sends import Listed

app = typer.Typer(help="Sends: list, show, audience, deliver, cancel.", no_args_is_help=True)


@app.command("list")
def send_list(
    step: Annotated[str | None, typer.Option(help="campaign/step; default all.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many; those that are not finished come along always.")] = 20,
) -> None:
    """The latest sends and all that are not finished, with what waits and why; then moments that are not sent."""
    from smp_pipelines.sending.sends import list_sends

    with deployment() as loaded:
        key = loaded.project.step(step).key if step else None
        now = SystemClock().now()
        with loaded.connection() as postgres:
            listed = list_sends(postgres, key, limit)
            stopped = stops_in_words(postgres, [each.send.send_id for each in listed])
        skipped = [each for each in loaded.due(now)[1] if key in (None, each.ref.key)]
        rows = [
            [
                s.send.send_id,
                s.send.send_key,
                s.send.purpose,
                s.send.state,
                s.send.planned,
                s.waiting,
                s.in_hand,
                s.unknown,
            ]
            for s in listed
        ]
        if not rows:
            out.print("nothing was sent yet")
        else:
            print_table(["send", "key", "purpose", "state", "planned", "waiting", "in hand", "unknown"], rows)
        for each in listed:
            if each.send.state != "finished":
                out.print(f"send {each.send.send_id}: {_standing(loaded, each, now)}", markup=False)
            if each.send.send_id in stopped:
                out.print(f"send {each.send.send_id}: {stopped[each.send.send_id]}", markup=False)
    for line in dict.fromkeys(f"{each.ref.key}: not sent now, {each.why}" for each in skipped):
        out.print(line, markup=False)


@app.command("show")
def send_show(number: Annotated[int, typer.Argument(help="The send's number.")]) -> None:
    """One send: its identity (X3), why people got no mail, why it waits, who cancelled it."""
    from smp_pipelines.sending.ledger import read_send
    from smp_pipelines.sending.proof import prove, read_reasons
    from smp_pipelines.sending.sends import list_sends, read_send_changes

    with deployment() as loaded:
        zone = loaded.project.settings.zone
        with loaded.connection() as postgres:
            send = read_send(postgres, number)
            proofs, reasons = prove(postgres, number), read_reasons(postgres, number)
            changes = read_send_changes(postgres, send)
            stopped = stops_in_words(postgres, [number]).get(number)
            listed = [each for each in list_sends(postgres, send.step) if each.send.send_id == number]
        out.print(f"{send.send_key}, {send.purpose}, {send.state}", markup=False)
        out.print(f"for the moment {send.moment.astimezone(zone):%Y-%m-%d %H:%M}")
        for each in listed:
            if send.state != "finished":
                out.print(_standing(loaded, each, SystemClock().now()), markup=False)
        if stopped:
            out.print(stopped, markup=False)
        for proof in proofs:
            out.print(proof.sentence)
            for finding in proof.findings:
                out.print(f"DOES NOT HOLD: {finding}", markup=False)
        for state, count, why in reasons:
            out.print(f"  {count:,} {state}: {why}", markup=False)
        for change in changes:
            when = f"{change.changed_at.astimezone(zone):%Y-%m-%d %H:%M}"
            why = f": {change.reason}" if change.reason else ""
            out.print(f"{when} {change.change} by {change.changed_by}, {change.messages:,} mails{why}", markup=False)


@app.command("audience")
def send_audience(
    number: Annotated[int, typer.Argument(help="The send's number.")],
    csv: Annotated[Path | None, typer.Option(help="Write everybody to this CSV file: keys, no addresses.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many people to show.")] = 10,
) -> None:
    """The audience of a send exactly as it was, compared with who was mailed (X7)."""
    from smp_pipelines.commands.audience import print_audience

    with deployment() as loaded:
        found = loaded.history.of_send(number, limit, csv)
        print_audience(found, loaded.project.settings.zone)
    if csv is not None:
        out.print(f"everybody is in {csv}", markup=False)


@app.command("deliver")
def send_deliver(
    number: Annotated[int, typer.Argument(help="The send's number.")],
    processes: Annotated[int | None, typer.Option(min=1, max=64, help="How many processes at most.")] = None,
) -> None:
    """Work on a planned send, beside whoever else does, on this machine or another. Nobody is mailed twice."""
    from smp_pipelines.sending.ledger import read_send

    with deployment() as loaded:
        with loaded.connection() as postgres:
            send = read_send(postgres, number)
        if send.state == "planning":
            raise SmpError(f"send {number} has nobody in it yet: it is planned by `smp tick`, or by its run in Dagster")
        done = loaded.deliver(send, SystemClock(), processes=processes)
    speed = f", {done.accepted / done.seconds:,.0f} a second" if done.accepted else ""
    out.print(f"send {number}: {done.accepted:,} mails accepted{speed}")
    for what, count in sorted((done.outcomes - Counter({"accepted": done.accepted}) + done.skipped).items()):
        out.print(f"  {count:,} {'put off' if what == 'planned' else explain(what)}", markup=False)
    if done.held:
        out.print(f"held: {done.held}", markup=False)


@app.command("overrule")
def send_overrule(
    number: Annotated[int, typer.Argument(help="The number of the send that an audience test stopped.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")],
    by: Annotated[str | None, typer.Option(help="Who; default: you.")] = None,
) -> None:
    """Send after all what a blocking audience test stopped: once, as a new send from a fresh selection (X5)."""
    with deployment() as loaded:
        sent = loaded.overrule(number, by or getpass.getuser(), reason, SystemClock(), uuid4().hex)
        with loaded.connection() as postgres:
            told = stops_in_words(postgres, [sent.send.send_id])
    totals = sent.totals
    out.print(f"send {sent.send.send_id} {told[sent.send.send_id]}", markup=False)
    out.print(f"{totals.all} selected, {totals.accepted} accepted, {totals.skipped} skipped, {totals.open} waiting")
    for why, count in totals.reasons.items():
        out.print(f"  {count} {explain(why)}", markup=False)
    if sent.held:
        out.print(f"held: {sent.held}", markup=False)


@app.command("cancel")
def send_cancel(
    number: Annotated[int, typer.Argument(help="The send's number.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")],
    by: Annotated[str | None, typer.Option(help="Who; default: you.")] = None,
) -> None:
    """Cancel what is left of a send. Mails that a worker has in hand at this moment may still leave."""
    with deployment() as loaded:
        count = loaded.cancel_send(number, SystemClock().now(), by or getpass.getuser(), reason)
    out.print(f"send {number}: {count:,} mails will not be sent")


def _standing(loaded: Deployment, listed: Listed, now: datetime) -> str:
    """How a send that is not finished stands, in words."""
    from smp_pipelines.sending.due import why_waiting
    from smp_pipelines.sending.status import read_status

    if listed.cancelled:
        return f"cancelled; {listed.in_hand:,} mails are in a worker's hands"
    try:
        ref = loaded.project.step(listed.send.step)
    except SmpError:
        return f"its step is in no file any more; `smp send cancel {listed.send.send_id}` ends it"
    with loaded.connection() as postgres:
        why = why_waiting(loaded.project, ref, read_status(postgres, ref.key), listed.send, now)
    return f"waits: {why}" if why else "goes on: a worker takes it up, or the mail server put its mails off"
