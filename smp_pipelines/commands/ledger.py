"""`smp ledger`: prove that nobody was mailed twice or lost."""

from __future__ import annotations

from typing import Annotated

import typer

from smp_pipelines.commands.shared import deployment, print_table

app = typer.Typer(help="The ledger: prove that nobody was mailed twice or lost.", no_args_is_help=True)


@app.command("verify")
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
    print_table(columns, rows)
    if not all(verdict.holds for verdict in verdicts):
        raise typer.Exit(1)
