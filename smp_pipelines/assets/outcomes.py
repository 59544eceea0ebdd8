"""Outcomes: what the asset of a send tells at the end of a run, in figures, words and pictures. No personal data."""

from __future__ import annotations

import dagster as dg

from smp_pipelines.assets.charts import bars, course, table
from smp_pipelines.deployment import Deployment
from smp_pipelines.reporting.throughput import Throughput, read_throughput
from smp_pipelines.sending import ledger
from smp_pipelines.sending.ledger import Send, Totals
from smp_pipelines.sending.overruling import stops_in_words
from smp_pipelines.sending.proof import Proof, prove
from smp_pipelines.sending.reasons import explain

Metadata = dict[str, dg.MetadataValue | float | int | str]


def send_metadata(deployment: Deployment, send: Send, held: str | None = None, *, pictures: bool = True) -> Metadata:
    """Read in the ledger how a send stands, and tell it; `held` says why it does not go on, if so.

    Without pictures it takes milliseconds. Raises SmpError when Postgres is away.
    """
    with deployment.connection() as postgres:
        send = ledger.read_send(postgres, send.send_id)
        totals = ledger.totals(postgres, send)
        (proof,) = prove(postgres, send.send_id)
        speed = read_throughput(postgres, send)
        stopped = stops_in_words(postgres, [send.send_id]).get(send.send_id)
    metadata: Metadata = {
        "send": send.send_key,
        "report": dg.MetadataValue.url(f"{deployment.settings.pages_url}/sends/{send.send_id}"),
        "state": send.state,
        **figures(totals),
        **_identity(proof),
    }
    if held:
        metadata["held"] = held
    if stopped:
        metadata["audience test"] = stopped
    if totals.reasons:
        metadata["why not"] = table(("reason", "people"), [(explain(each), n) for each, n in totals.reasons.items()])
    return metadata | _pictures(deployment, send, totals, speed) if pictures else metadata


def _identity(proof: Proof) -> Metadata:
    """The identity in words (X3), whether it holds, and what is wrong if it does not."""
    holds = "holds" if proof.holds else "DOES NOT HOLD"
    return {"identity": "; ".join([f"{proof.sentence}: {holds}", *proof.findings])}


def figures(totals: Totals) -> Metadata:
    """How many people are in a send, and what became of them."""
    return {"planned": totals.all, **_parts(totals)}


def _parts(totals: Totals) -> dict[str, int]:
    return {
        "accepted": totals.accepted,
        "skipped": totals.skipped,
        "rejected": totals.rejected,
        "unknown": totals.unknown,
        "waiting": totals.open,
    }


def _pictures(deployment: Deployment, send: Send, totals: Totals, speed: Throughput) -> Metadata:
    drawn: Metadata = {"funnel": bars(f"{send.step}: {totals.all:,} planned", _parts(totals))}
    if totals.reasons:
        reasons = {explain(reason): count for reason, count in totals.reasons.items()}
        drawn["why not, drawn"] = bars("People who got no mail, by reason", reasons)
    if not any(accepted for _begins_at, accepted in speed.course):
        return drawn
    zone = deployment.project.settings.zone
    rates = [(begins_at.astimezone(zone), accepted / speed.seconds) for begins_at, accepted in speed.course]
    drawn["throughput, drawn"] = course("Mails a second", rates, speed.seconds)
    return drawn if speed.per_second is None else {"throughput": round(speed.per_second, 1)} | drawn
