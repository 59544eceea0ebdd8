"""Flows in Dagster: an asset per flow that shows how it stands (F47), and the job `flows` that moves people on."""

import base64
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg

from smp_pipelines.assets.charts import table
from smp_pipelines.assets.facts import read_facts, told
from smp_pipelines.assets.mirror import table_key
from smp_pipelines.assets.outcomes import Metadata
from smp_pipelines.assets.selections import selection_key
from smp_pipelines.campaign.flow.sources import RecordSource, SelectionSource
from smp_pipelines.deployment import Deployment
from smp_pipelines.flow.drawing import draw
from smp_pipelines.flow.mermaid import mermaid
from smp_pipelines.flow.seeing import FlowCounts, StepCounts, VersionCounts, read_counts
from smp_pipelines.flow.ticking import Ticked
from smp_pipelines.flow.version import draft
from smp_pipelines.flow.wording import kind_words, reason_words
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import Clock

FLOWS_JOB = "flows"
OP = "move_people"
_FRESH = timedelta(minutes=5)
"""How long the figures of a flow stand before a run that moves its people counts anew: that walks all of them."""


def flow_key(flow: str) -> dg.AssetKey:
    """The asset of a flow."""
    return dg.AssetKey(["flows", flow])


def flow_assets(deployment: Deployment) -> list[dg.AssetsDefinition]:
    """One asset per flow, with its figures and its diagram; materialising it moves nobody, the job `flows` does."""
    return [_flow_asset(deployment, name) for name in deployment.project.flows]


def flow_keys(deployment: Deployment) -> list[dg.AssetKey]:
    """The assets of all flows."""
    return [flow_key(name) for name in deployment.project.flows]


def _flow_asset(deployment: Deployment, name: str) -> dg.AssetsDefinition:
    model = deployment.project.flows[name]

    @dg.asset(
        key=flow_key(name),
        deps=_upstream(deployment, name),
        group_name=name,
        description=f"{model.name}. {model.description}".strip(),
        kinds={"postgres"},
    )
    def flow() -> dg.MaterializeResult:
        with told():
            return dg.MaterializeResult(metadata=flow_metadata(deployment, name))

    return flow


def _upstream(deployment: Deployment, name: str) -> list[dg.AssetKey]:
    """What a flow reads: the selections of its triggers, and the tables of its triggers and conditions."""
    model = deployment.project.flows[name]
    sources = [*model.triggers, *model.goals]
    selections = {each.selection for each in sources if isinstance(each, SelectionSource)}
    tables = {"crm.person"}
    tables |= {f"crm.{each.table.removeprefix('crm.')}" for each in sources if isinstance(each, RecordSource)}
    try:
        conditions = draft(deployment.project, deployment.library, name).conditions
    except SmpError:
        conditions = {}  # what is wrong in its file is told by `smp check`, and when it is to go live
    tables |= {each for condition in conditions.values() for each in condition.reads}
    known = deployment.project.catalog.tables
    return [
        *(selection_key(each) for each in sorted(selections & set(deployment.library.names))),
        *(table_key(each) for each in sorted(tables) if each in known and each.startswith("crm.")),
    ]


def flows_job(deployment: Deployment, clock: Clock) -> dg.JobDefinition:
    """Tick all flows. Their mails are in the outbox then: the sensor `submissions` asks for runs that send them."""

    @dg.op(name=OP, description="Goals, new participants, everybody who is due. Mails go into the outbox.")
    def move_people(context: dg.OpExecutionContext) -> None:
        facts = read_facts(context.run, lambda: clock)
        with told():
            ticked = [each for each in deployment.tick_flows(facts.clock.now()) if each.did_something]
            for each in ticked:
                context.log.info(_in_words(each))
            failures = [f"{each.flow}: {each.failure}" for each in ticked if each.failure is not None]
            for each in ticked:
                if _is_fresh(context.instance, each.flow, facts.clock.now()) and not each.ended:
                    continue
                metadata = flow_metadata(deployment, each.flow)
                context.log_event(dg.AssetMaterialization(flow_key(each.flow), metadata=metadata))
            if failures:
                raise SmpError("; ".join(failures))

    @dg.job(name=FLOWS_JOB, description="Flows: whoever is due moves on (F31 to F49)")
    def flows() -> None:
        move_people()

    return flows


def _is_fresh(instance: dg.DagsterInstance, flow: str, now: datetime) -> bool:
    latest = instance.get_latest_materialization_event(flow_key(flow))
    return latest is not None and timedelta() <= now - datetime.fromtimestamp(latest.timestamp, UTC) < _FRESH


def _in_words(ticked: Ticked) -> str:
    if ticked.failure is not None:
        return f"{ticked.flow}: {ticked.failure}"
    entered = sum(each.enrolled for _, each in ticked.entered)
    moved = sum(ticked.arrived.values())
    words = [f"{entered:,} entered", f"{moved:,} moved on", f"{ticked.goals:,} met a goal"]
    return f"{ticked.flow}: {', '.join(words)}" + ("; it has ended" if ticked.ended else "")


def flow_metadata(deployment: Deployment, flow: str) -> Metadata:
    """How a flow stands: figures, diagram and a table of its steps. Keys of steps and numbers only, no people."""
    with deployment.connection() as postgres:
        counts = read_counts(postgres, flow)
    url = dg.MetadataValue.url(f"{deployment.settings.pages_url}/flows/{flow}")
    if counts is None or not counts.versions:
        return {"state": "never live", "page": url}
    latest = counts.versions[0]
    rate = (
        {} if counts.goal_rate is None or not latest.version.model.goals else {"goal rate": f"{counts.goal_rate:.1%}"}
    )
    return {
        "dagster/row_count": counts.enrolled,
        "state": counts.state.state,
        "version": latest.version.number,
        "enrolled": counts.enrolled,
        "in the flow now": counts.waiting,
        **rate,
        "page": url,
        "diagram": picture(latest),
        "steps": steps_table(latest.steps),
        "mails": mails_table(latest.steps),
        "versions": _versions(counts),
        "mermaid": dg.MetadataValue.md(f"```mermaid\n{mermaid(latest)}\n```"),
        **({"not enrolled": table(("reason", "events"), _reasons(counts.refused.items()))} if counts.refused else {}),
    }


def picture(counts: VersionCounts) -> dg.MarkdownMetadataValue:
    """The diagram as an image."""
    encoded = base64.b64encode(draw(counts).encode()).decode("ascii")
    return dg.MetadataValue.md(f"![diagram](data:image/svg+xml;base64,{encoded})")


def steps_table(steps: Iterable[StepCounts]) -> dg.MarkdownMetadataValue:
    """The figures of each step (F47)."""
    columns = ("step", "what", "came", "waiting", "went on", "goal met", "dropped out", "why")
    return table(
        columns,
        [
            (
                each.node.name,
                kind_words(each.node),
                each.came,
                each.waiting,
                each.went_on,
                each.goal,
                each.drop_outs,
                ", ".join(f"{count} {why}" for why, count in _reasons(each.dropped.items())),
            )
            for each in steps
        ],
    )


def mails_table(steps: Iterable[StepCounts]) -> dg.MarkdownMetadataValue:
    """The figures of each mail (F48)."""
    columns = ("step", "planned", "accepted", "rejected", "skipped", "waiting", "opened", "clicked", "unsubscribed")
    mailed = [(each.node.name, each.mails) for each in steps if each.mails is not None]
    return table(columns, [(name, *(getattr(mails, column) for column in columns[1:])) for name, mails in mailed])


def _versions(counts: FlowCounts) -> dg.MarkdownMetadataValue:
    outcomes = ("completed", "goal", "moved", "dropped")
    rows = [
        (
            *(each.version.number, each.enrolled, each.waiting, each.succeeded),
            *(each.outcomes.get(name, 0) for name in outcomes),
        )
        for each in counts.versions
    ]
    return table(("version", "enrolled", "waiting", "succeeded", *outcomes), rows)


def _reasons(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return [(reason_words(reason), count) for reason, count in counts]
