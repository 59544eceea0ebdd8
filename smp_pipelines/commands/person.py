"""`smp person`: the person card, merging two, and why somebody gets a mail or not."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from smp_pipelines.commands.shared import deployment, end_of, out, print_table
from smp_pipelines.sending.reasons import explain
from smp_pipelines.stores.clock import SystemClock

_SHOWN = 10
"""Rows of the ledger that an answer shows, the latest first."""

app = typer.Typer(help="People: the person card, and why (not) me.", no_args_is_help=True)


@app.command("show")
def person_show(person: Annotated[int, typer.Argument(help="The person's id.")]) -> None:
    """The person card: who it is and every contact moment (F15)."""
    from smp_pipelines.sending.card import read_card

    with deployment() as loaded, loaded.connection() as postgres:
        card = read_card(postgres, person)
    zone = loaded.project.settings.zone
    out.print(f"{card.person_id}: {card.name}, {card.email or 'no e-mail address'}", markup=False)
    rows = [
        [f"{m.moment.astimezone(zone):%Y-%m-%d %H:%M}", m.step, m.kind, m.record_id, m.outcome, m.why]
        for m in card.moments
    ]
    print_table(["when", "step", "what", "record", "outcome", "why"], rows)


@app.command("merge")
def person_merge(
    old: Annotated[int, typer.Argument(help="The id that goes.")],
    new: Annotated[int, typer.Argument(help="The id that stays.")],
    by: Annotated[str | None, typer.Option(help="Who; default: you.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept in the audit.")] = None,
) -> None:
    """Make one person of two cards of the same person: history, consents and flows go along (F50)."""
    from smp_pipelines.crm.merging import merge

    with deployment() as loaded, loaded.connection() as postgres:
        once = [ref.key for ref in loaded.project.steps() if ref.step.deduplicate]
        done = merge(postgres, [(old, new)], once, SystemClock().now(), by or getpass.getuser(), reason)
    out.print(f"person {old} is person {new} from now on", markup=False, style="bold")
    print_table(["rows moved", "of"], [[count, name] for name, count in sorted(done.moved.items())])
    for name, count in sorted(done.dropped.items()):
        out.print(f"{count} of {name} dropped: person {new} had the same, or a later decision", markup=False)
    if done.mails_skipped:
        out.print(f"{done.mails_skipped} planned mails skipped: person {new} gets, or got, the same mail", markup=False)
    if done.left:
        out.print(f"{done.left} times in a flow twice: the one that entered first stays", markup=False)


@app.command("why")
def person_why(
    person: Annotated[int, typer.Argument(help="The person's id.")],
    step: Annotated[str, typer.Argument(help="campaign/step")],
    at: Annotated[
        str | None, typer.Option(help="Local time, e.g. '2026-11-20 09:00'; left out: the step's next send.")
    ] = None,
) -> None:
    """Why somebody gets a step or does not: every rule, in order, with what was found (X4)."""
    with deployment() as loaded:
        ref, now = loaded.project.step(step), SystemClock().now()
        (why,) = loaded.explaining.why(ref, [person], now, None if at is None else end_of(at, loaded))
    marks = {True: "ok", False: "STOPS", None: "may stop"}
    out.print(why.conclusion, markup=False, style="bold")
    print_table(["", "rule", "found"], [[marks[rule.ok], rule.name, rule.told] for rule in why.rules])
    for row in why.rows:
        out.print()
        verdict = "gets it" if row.planned.state == "planned" else "does not get it"
        out.print(f"{'this mail' if row.record_id is None else f'record {row.record_id}'}: {verdict}", style="bold")
        print_table(["", "rule", "found"], [[marks[rule.ok], rule.name, rule.told] for rule in row.rules])
    zone = loaded.project.settings.zone
    if why.ledger:
        out.print("\nin the ledger", style="bold")
        shown = [
            [
                *(each.send_id, f"{each.moment.astimezone(zone):%Y-%m-%d %H:%M}", each.record_id, each.outcome),
                explain(each.reason) if each.reason else "",
            ]
            for each in why.ledger[:_SHOWN]
        ]
        print_table(["send", "moment", "record", "outcome", "why"], shown)
