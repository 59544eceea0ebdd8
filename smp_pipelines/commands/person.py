"""`smp person`: the person card."""

from __future__ import annotations

from typing import Annotated

import typer

from smp_pipelines.commands.shared import deployment, out, print_table

app = typer.Typer(help="People: the person card.", no_args_is_help=True)


@app.command("show")
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
    print_table(["when", "step", "record", "outcome", "why"], rows)
