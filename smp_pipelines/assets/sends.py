"""Assets of the sends: plan, deliver and settle are ops, downstream of the step's selection."""

import time
from collections.abc import Callable

import dagster as dg

from smp_pipelines.assets.charts import bars, table
from smp_pipelines.assets.facts import RunFacts, read_facts, told
from smp_pipelines.assets.selections import selection_key
from smp_pipelines.campaign.project import StepRef
from smp_pipelines.deployment import Deployment
from smp_pipelines.sending import ledger
from smp_pipelines.sending.delivery import Delivery
from smp_pipelines.sending.ledger import Send, Totals
from smp_pipelines.sending.reasons import explain

_PROGRESS_SECONDS = 2.0


def send_key(ref: StepRef) -> dg.AssetKey:
    """The asset of a step's sends."""
    return dg.AssetKey(["sends", ref.campaign, ref.name])


def send_assets(deployment: Deployment) -> list[dg.AssetsDefinition]:
    """One graph-backed asset per step that is sent to a selection."""
    return [_send_asset(deployment, ref) for ref in deployment.project.steps() if ref.step.selection is not None]


def _send_asset(deployment: Deployment, ref: StepRef) -> dg.AssetsDefinition:
    plan, deliver, settle = _ops(deployment, ref)

    @dg.graph(name=f"send_{ref.slug}", description=ref.step.description or ref.step.name)
    def send(selection):  # type: ignore[no-untyped-def]
        return settle(deliver(plan(selection)))

    return dg.AssetsDefinition.from_graph(
        send,
        keys_by_input_name={"selection": selection_key(str(ref.step.selection))},
        keys_by_output_name={"result": send_key(ref)},
        group_name=ref.campaign,
        descriptions_by_output_name={"result": f"{ref.step.name}. {ref.step.description}".strip()},
    )


def _ops(deployment: Deployment, ref: StepRef) -> tuple[dg.OpDefinition, dg.OpDefinition, dg.OpDefinition]:
    @dg.op(name=f"plan_{ref.slug}", ins={"selection": dg.In(dg.Nothing)}, out=dg.Out(str))
    def plan(context: dg.OpExecutionContext) -> str:
        """Write a row in the ledger for everybody in the selection: to be sent, or skipped with a reason."""
        facts = read_facts(context.run)
        with told():
            send = _open(deployment, ref, facts)
            send = deployment.plan(ref, send, facts.clock.now(), facts.run_id)
        context.log.info(f"send {send.send_key}: {send.planned} rows in the ledger")
        return send.send_key

    @dg.op(name=f"deliver_{ref.slug}", out=dg.Out(str))
    def deliver(context: dg.OpExecutionContext, key: str) -> str:
        """Claim rows, hand the mails to the mail server, write down what became of them."""
        with told():
            with deployment.connection() as postgres:
                send = ledger.read_send(postgres, key)
            done = deployment.deliver(send, read_facts(context.run).clock, _progress(context.log.info))
        speed = f", {done.accepted / done.seconds:,.0f} a second" if done.accepted and done.seconds else ""
        context.log.info(f"{done.accepted} mails accepted{speed}" + (f"; held: {done.held}" if done.held else ""))
        return key

    @dg.op(name=f"settle_{ref.slug}", out=dg.Out(dg.Nothing))
    def settle(context: dg.OpExecutionContext, key: str) -> None:
        """Look at the ledger, not at what the ops remember, and say how the send stands."""
        with told(), deployment.connection() as postgres:
            send = ledger.read_send(postgres, key)
            totals = ledger.totals(postgres, send)
        context.add_output_metadata(_metadata(send, totals))

    return plan, deliver, settle


def _open(deployment: Deployment, ref: StepRef, facts: RunFacts) -> Send:
    # A run that was started by hand serves a send of its own; a re-execution of it serves the same one.
    # A one-off step is sent once, whoever starts it and however often (F04).
    own = f"{ref.key}@once" if ref.step.send == "one_off" else f"{ref.key}@run-{facts.root_run_id}"
    return deployment.open_send(ref, facts.send_key or own, facts.moment, facts.clock.now(), facts.run_id)


def _progress(log: Callable[[str], None]) -> Callable[[Delivery], None]:
    last = time.monotonic()

    def tell(done: Delivery) -> None:
        nonlocal last
        if time.monotonic() - last >= _PROGRESS_SECONDS:
            last = time.monotonic()
            log(f"{done.accepted} accepted, {done.accepted / max(done.seconds, 0.001):,.0f} a second")

    return tell


def _metadata(send: Send, totals: Totals) -> dict[str, dg.MetadataValue | int | str]:
    metadata: dict[str, dg.MetadataValue | int | str] = {
        "send": send.send_key,
        "state": send.state,
        "planned": totals.all,
        "accepted": totals.accepted,
        "rejected": totals.rejected,
        "unknown": totals.unknown,
        "skipped": totals.skipped,
        "waiting": totals.open,
        "funnel": bars(
            f"{send.step}: {totals.all:,} planned",
            {
                "accepted": totals.accepted,
                "skipped": totals.skipped,
                "rejected": totals.rejected,
                "unknown": totals.unknown,
                "waiting": totals.open,
            },
        ),
    }
    if totals.reasons:
        rows = [(explain(reason), count) for reason, count in totals.reasons.items()]
        metadata["why not"] = table(("reason", "people"), rows)
        metadata["why not, drawn"] = bars("People who got no mail, by reason", dict(rows))
    return metadata
