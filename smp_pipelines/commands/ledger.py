"""`smp ledger`: prove that nobody was mailed twice or lost; settle what nobody knows."""

from __future__ import annotations

import getpass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from smp_pipelines.commands.shared import deployment, out, print_table
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import SystemClock

if TYPE_CHECKING:
    from smp_pipelines.sending.proof import Proof
    from smp_pipelines.sending.unknown import Resolved

app = typer.Typer(help="The ledger: prove that nobody was mailed twice or lost.", no_args_is_help=True)

Number = Annotated[int | None, typer.Argument(help="A send's number; default all.")]
_FEW = 100


class Verdict(StrEnum):
    """What a person can say of a mail of which nobody knew whether it left."""

    accepted = "accepted"
    rejected = "rejected"
    resend = "resend"


_BECOMES: dict[Verdict, Resolved] = {
    Verdict.accepted: "accepted",
    Verdict.rejected: "rejected",
    Verdict.resend: "planned",
}


@app.command("verify")
def ledger_verify(send: Number = None) -> None:
    """Check per send: planned = accepted + rejected + unknown + skipped; exits with 1 when it does not hold (X3).

    For one send the reasons are told, too, and it is checked that nobody is in it twice.
    """
    from smp_pipelines.sending.proof import prove, read_reasons

    with deployment() as loaded, loaded.connection() as postgres:
        proofs = prove(postgres, send)
        reasons = read_reasons(postgres, send) if send is not None else []
    if send is None:
        _print_all(proofs)
    for proof in proofs:
        if send is not None:
            out.print(f"{proof.verdict.send_key}, {proof.verdict.state}", markup=False)
            out.print(f"{proof.sentence}: {'holds' if proof.holds else 'DOES NOT HOLD'}", markup=False)
        for state, count, why in reasons:
            out.print(f"  {count:,} {state}: {why}", markup=False)
        for finding in proof.findings:
            out.print(f"send {proof.verdict.send_id}: {finding}", markup=False)
    if not all(proof.holds for proof in proofs):
        raise typer.Exit(1)


def _print_all(proofs: list[Proof]) -> None:
    columns = ["send", "key", "state", "planned", "accepted", "rejected", "unknown", "skipped", "waiting", "holds"]
    rows = []
    for proof in proofs:
        v = proof.verdict
        counts = [v.planned, v.accepted, v.rejected, v.unknown, v.skipped, v.open]
        rows.append([v.send_id, v.send_key, v.state, *counts, "yes" if proof.holds else "NO"])
    print_table(columns, rows)


@app.command("unknown")
def ledger_unknown(
    send: Number = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows.")] = _FEW,
) -> None:
    """The mails of which nobody knows whether they left. They are never sent again by themselves."""
    from smp_pipelines.sending.ledger import read_send
    from smp_pipelines.sending.unknown import count_unknown, list_unknown

    with deployment() as loaded, loaded.connection() as postgres:
        if send is not None:
            read_send(postgres, send)
        rows, count = list_unknown(postgres, send, limit), count_unknown(postgres, send)
    zone = loaded.project.settings.zone
    if not rows:
        out.print("nothing is unknown")
        return
    print_table(
        ["send", "row", "person", "record", "since", "why", "response"],
        [
            [
                r.send_id,
                r.seq,
                r.person_id,
                r.record_id,
                f"{r.since.astimezone(zone):%Y-%m-%d %H:%M}",
                r.why,
                r.response,
            ]
            for r in rows
        ],
    )
    if count > len(rows):
        out.print(f"and {count - len(rows):,} more (--limit)")


@app.command("resolve")
def ledger_resolve(
    send: Annotated[int, typer.Argument(help="The send's number.")],
    verdict: Annotated[
        Verdict, typer.Argument(help="accepted: it left; rejected: it did not; resend: it did not, so send it.")
    ],
    evidence: Annotated[str, typer.Option(help="How you know, e.g. the mail server's log; kept in the audit.")],
    row: Annotated[list[int] | None, typer.Option(help="A row of `smp ledger unknown`; may be repeated.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All unknown rows of the send.")] = False,
    by: Annotated[str | None, typer.Option(help="Who; default: you.")] = None,
) -> None:
    """Say what became of mails of which nobody knew. Only `resend` lets a mail leave, once."""
    from smp_pipelines.sending.ledger import read_send
    from smp_pipelines.sending.unknown import resolve

    if everything == bool(row):
        raise SmpError("say which rows: --row with the number that `smp ledger unknown` shows, or --all")
    with deployment() as loaded, loaded.connection() as postgres:
        found = read_send(postgres, send)
        who = by or getpass.getuser()
        count = resolve(
            postgres, found, "all" if everything else row or [], _BECOMES[verdict], SystemClock().now(), who, evidence
        )
    if not count:
        out.print(f"send {send} has no unknown rows")
        return
    what = "will be sent, when the step is live" if verdict is Verdict.resend else f"now {verdict.value}"
    out.print(f"{count:,} rows of send {send} {'are ' if verdict is not Verdict.resend else ''}{what}")


@app.command("look-up")
def ledger_look_up(send: Annotated[int, typer.Argument(help="The send's number.")]) -> None:
    """Ask the transport what became of the unknown rows of a send; not every transport can tell."""
    from smp_pipelines.sending.ledger import read_send

    with deployment() as loaded:
        with loaded.connection() as postgres:
            found = read_send(postgres, send)
        told = loaded.look_up(found, SystemClock().now())
    out.print(
        f"send {send}: {told['accepted']:,} accepted, {told['rejected']:,} rejected, {told['planned']:,} to be sent, "
        f"{told['unknown']:,} still unknown"
    )
