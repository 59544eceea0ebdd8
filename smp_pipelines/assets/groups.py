"""Assets of target groups that are more than one selection, and the job that freezes one."""

import dagster as dg
from pydantic import Field

from smp_pipelines.assets.charts import table
from smp_pipelines.assets.facts import read_facts, told
from smp_pipelines.assets.mirror import table_key
from smp_pipelines.assets.outcomes import Metadata
from smp_pipelines.assets.selections import selection_key
from smp_pipelines.audience.groups import Evaluated
from smp_pipelines.campaign.project import StepRef
from smp_pipelines.deployment import MOMENTS, Deployment
from smp_pipelines.sending.target.group import describe, read_sources
from smp_pipelines.stores.clock import Clock


class LinkConfig(dg.Config):
    """What to fill in: the step whose group is frozen, and who you are."""

    step: str = Field(description="campaign/step, with a target group that is evaluated once")
    by: str = Field(description="Who you are; kept in the audit")
    again: bool = Field(default=False, description="Linked before: add who came into its selections since")


def group_key(ref: StepRef) -> dg.AssetKey:
    """The asset of a step's own target group."""
    return dg.AssetKey(["target_groups", ref.campaign, ref.name])


def group_assets(deployment: Deployment) -> list[dg.AssetsDefinition]:
    """One asset per step whose target group is more than one selection at each send."""
    return [_group_asset(deployment, ref) for ref in deployment.project.steps() if ref.step.own_group]


def _group_asset(deployment: Deployment, ref: StepRef) -> dg.AssetsDefinition:
    selections = [name for name in ref.step.people if name in deployment.library.names]

    @dg.asset(
        key=group_key(ref),
        deps=[*map(selection_key, selections), table_key("crm.person"), table_key(MOMENTS)],
        description=f"Who gets {ref.step.name}: {describe(ref)}",
        group_name=ref.campaign,
        kinds={"ducklake"},
    )
    def target_group(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        facts = read_facts(context.run)
        with told():
            done = deployment.groups.evaluate(ref, facts.clock.now(), facts.run_id)
            return dg.MaterializeResult(metadata=_metadata(deployment, ref, done))

    return target_group


def _metadata(deployment: Deployment, ref: StepRef, done: Evaluated) -> Metadata:
    metadata: Metadata = {
        "dagster/row_count": done.run.row_count,
        "with an address": done.written.with_address or 0,
        "preview": table(*done.written.preview),
        "lake snapshot": done.run.snapshot_id,
        "evaluated at": dg.MetadataValue.timestamp(done.run.moment),
    }
    if done.run.entered is not None and done.run.departed is not None:
        metadata |= {"entered": done.run.entered, "left": done.run.departed}
    if done.parts:
        metadata["per selection"] = table(("selection", "rows"), list(done.parts.items()))
    if done.frozen is not None:
        with deployment.connection() as postgres:
            sources = [(each.source, each.linked, each.unlinked) for each in read_sources(postgres, ref.key)]
        metadata["frozen since"] = dg.MetadataValue.timestamp(done.frozen.linked_at)
        metadata["frozen by"] = done.frozen.linked_by
        metadata["sources"] = table(("source", "linked", "unlinked"), sources)
    return metadata


def link_job(deployment: Deployment, clock: Clock) -> dg.JobDefinition:
    """Freeze the target group of a step; the same as `smp group link` (F57)."""

    @dg.op(name="link", description="Who is in the group's selections at this moment takes part; recorded: who, when.")
    def link(context: dg.OpExecutionContext, config: LinkConfig) -> None:
        with told():
            ref = deployment.project.step(config.step)
            done = deployment.groups.link(ref, clock.now(), config.by, again=config.again)
        context.log.info(f"{ref.key}: {done.linked:,} linked by {config.by}")
        context.add_output_metadata({"linked": done.linked, "unlinked": done.unlinked})

    @dg.job(name="link_group", description="Freeze the target group of a step that is evaluated once (F57)")
    def link_group() -> None:
        link()

    return link_group
