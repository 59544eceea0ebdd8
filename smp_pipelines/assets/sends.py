"""Assets of the sends: plan, deliver and settle are ops, downstream of the step's selection."""

import dagster as dg

from smp_pipelines.assets.facts import SEND_KEY_TAG, STEP_TAG, RunFacts, read_facts, told
from smp_pipelines.assets.groups import group_key
from smp_pipelines.assets.outcomes import send_metadata
from smp_pipelines.assets.progress import Progress
from smp_pipelines.assets.selections import selection_key
from smp_pipelines.campaign.project import StepRef
from smp_pipelines.deployment import Deployment
from smp_pipelines.sending import ledger
from smp_pipelines.sending.ledger import Send


def send_key(ref: StepRef) -> dg.AssetKey:
    """The asset of a step's sends."""
    return dg.AssetKey(["sends", ref.campaign, ref.name])


def is_triggered(ref: StepRef) -> bool:
    """Whether a step is sent to people who are given, by what triggers it, and not to a selection (F05)."""
    return ref.step.send == "trigger" and not ref.step.has_group


def send_assets(deployment: Deployment) -> list[dg.AssetsDefinition]:
    """One graph-backed asset per step that is sent to a selection."""
    return [_send_asset(deployment, ref) for ref in deployment.project.steps() if ref.step.has_group]


def _send_asset(deployment: Deployment, ref: StepRef) -> dg.AssetsDefinition:
    return dg.AssetsDefinition.from_graph(
        _graph(deployment, ref),
        keys_by_input_name=_upstream(ref),
        keys_by_output_name={"result": send_key(ref)},
        group_name=ref.campaign,
        descriptions_by_output_name={"result": f"{ref.step.name}. {ref.step.description}".strip()},
    )


def _upstream(ref: StepRef) -> dict[str, dg.AssetKey]:
    """What a send is planned from: who gets it (selection or own group) and, of an internal step, the records (F26)."""
    keys = [group_key(ref)] if ref.step.own_group else [selection_key(name) for name in ref.step.selections]
    return dict(zip(("selection", "records"), keys, strict=False))


def _graph(deployment: Deployment, ref: StepRef) -> dg.GraphDefinition:
    plan, deliver, settle = _ops(deployment, ref)
    make = dg.graph(name=f"send_{ref.slug}", description=ref.step.description or ref.step.name)

    def send(selection):  # type: ignore[no-untyped-def]
        return settle(deliver(plan(selection=selection)))

    def internal_send(selection, records):  # type: ignore[no-untyped-def]
        return settle(deliver(plan(selection=selection, records=records)))

    return make(internal_send if "records" in _upstream(ref) else send)


def _ops(deployment: Deployment, ref: StepRef) -> tuple[dg.OpDefinition, dg.OpDefinition, dg.OpDefinition]:
    @dg.op(name=f"plan_{ref.slug}", ins={name: dg.In(dg.Nothing) for name in _upstream(ref)}, out=dg.Out(str))
    def plan(context: dg.OpExecutionContext) -> str:
        """Write a row in the ledger for everybody in the selection: to be sent, or skipped with a reason."""
        facts = read_facts(context.run)
        with told():
            send = _open(deployment, ref, facts)
            # a run that was started by hand has no such tags: the lifecycle sensor then sees that it is at it
            context.instance.add_run_tags(context.run_id, {STEP_TAG: ref.key, SEND_KEY_TAG: send.send_key})
            send = deployment.plan(ref, send, facts.clock.now(), facts.run_id)
        context.log.info(f"send {send.send_key}: {send.planned} rows in the ledger")
        return send.send_key

    @dg.op(name=f"deliver_{ref.slug}", out=dg.Out(dict))
    def deliver(context: dg.OpExecutionContext, key: str) -> dict[str, str | None]:
        """Claim rows, hand the mails to the mail server, write down what became of them."""
        with told():
            with deployment.connection() as postgres:
                send = ledger.read_send(postgres, key)
            progress = Progress(context, deployment, send, send_key(ref))
            try:
                done = deployment.deliver(send, read_facts(context.run).clock, progress)
            finally:
                progress.observe()
        speed = f", {done.accepted / done.seconds:,.0f} a second" if done.accepted and done.seconds else ""
        context.log.info(f"{done.accepted} mails accepted{speed}")
        if done.held:
            context.log.warning(f"held: {done.held}")
        return {"send": key, "held": done.held}

    @dg.op(name=f"settle_{ref.slug}", out=dg.Out(dg.Nothing))
    def settle(context: dg.OpExecutionContext, delivered: dict[str, str | None]) -> None:
        """Look at the ledger, not at what the ops remember, and say how the send stands."""
        with told():
            with deployment.connection() as postgres:
                send = ledger.read_send(postgres, str(delivered["send"]))
            metadata = send_metadata(deployment, send, delivered["held"])
        context.log.info(str(metadata["identity"]))
        context.add_output_metadata(metadata)

    return plan, deliver, settle


def _open(deployment: Deployment, ref: StepRef, facts: RunFacts) -> Send:
    # A run that was started by hand serves a send of its own; a re-execution of it serves the same one.
    # A one-off step is sent once, whoever starts it and however often (F04).
    own = f"{ref.key}@once" if ref.step.send == "one_off" else f"{ref.key}@run-{facts.root_run_id}"
    return deployment.open_send(ref, facts.send_key or own, facts.moment, facts.clock.now(), facts.run_id)
