"""Assets downstream of the sends: contact moments, flow metrics and the report file."""

from datetime import datetime

import dagster as dg

from smp_pipelines.assets.charts import bars, stacked_days, table
from smp_pipelines.assets.facts import read_facts, told
from smp_pipelines.assets.flows import flow_keys
from smp_pipelines.assets.mirror import table_key
from smp_pipelines.assets.outcomes import Metadata
from smp_pipelines.assets.sends import is_triggered, send_key
from smp_pipelines.deployment import Deployment
from smp_pipelines.stores.lake import rows
from smp_pipelines.stores.postgres import engine_sql


def report_assets(deployment: Deployment) -> list[dg.AssetsDefinition]:
    """The chain from the ledger to the file that analysts open."""
    steps = deployment.project.steps()
    sends = [send_key(ref) for ref in steps if ref.step.has_group or is_triggered(ref)]

    @dg.asset(deps=sends, group_name="reports", kinds={"ducklake"})
    def contact_moments() -> dg.MaterializeResult:
        """Every contact moment of every person: planned, accepted, rejected or unknown (F15)."""
        with told():
            return dg.MaterializeResult(metadata=_follow_moments(deployment))

    flows = flow_keys(deployment)

    @dg.asset(deps=[contact_moments, *flows], group_name="reports", kinds={"ducklake"})
    def flow_metrics() -> dg.MaterializeResult:
        """Figures per campaign, step and day: planned, accepted, rejected, unknown, skipped by reason."""
        with told():
            return dg.MaterializeResult(metadata=_compute_metrics(deployment))

    @dg.asset(
        deps=[flow_metrics, *(table_key(name) for name in deployment.library.mart_tables())],
        group_name="reports",
        kinds={"duckdb"},
    )
    def reports_duckdb(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The file reports.duckdb, replaced whole: who has the old one open keeps it until they open it again."""
        with told():
            return dg.MaterializeResult(metadata=_publish(deployment, read_facts(context.run).clock.now()))

    return [contact_moments, flow_metrics, reports_duckdb]


def follow_up(context: dg.OpExecutionContext, deployment: Deployment, now: datetime) -> None:
    """Bring the same assets up to date from an op of a job that has no assets, each as a materialisation."""
    deployment.mirror(sorted(deployment.library.mart_tables()))
    context.log_event(dg.AssetMaterialization("contact_moments", metadata=_follow_moments(deployment)))
    context.log_event(dg.AssetMaterialization("flow_metrics", metadata=_compute_metrics(deployment)))
    context.log_event(dg.AssetMaterialization("reports_duckdb", metadata=_publish(deployment, now)))


def _follow_moments(deployment: Deployment) -> Metadata:
    moments = deployment.follow_moments()
    with deployment.lake.open() as lake:
        outcomes = dict(
            rows(lake, "select outcome, count(*) from smp.contact_moment where outcome <> 'skipped' group by 1")
        )
    return {
        "dagster/row_count": sum(outcomes.values()),
        "written": moments.written,
        "outcomes": bars("Contact moments by outcome", outcomes),
    }


def _compute_metrics(deployment: Deployment) -> Metadata:
    metrics, skips = deployment.refresh_metrics()
    with deployment.lake.open() as lake:
        names = ("accepted", "skipped", "rejected", "unknown", "waiting")
        days = rows(
            lake,
            "select day, sum(accepted), sum(skipped), sum(rejected), sum(unknown), sum(waiting)"
            " from smp.flow_metrics group by day order by day desc limit 30",
        )[::-1]
        latest = rows(
            lake,
            "select day, step, planned, accepted, skipped, rejected, unknown, waiting"
            " from smp.flow_metrics order by day desc, step limit 20",
        )
        flows = lake.sql(engine_sql("reporting/flows/latest.sql"))
        steps = table(flows.columns, flows.fetchall())
    series = {name: [float(day[place]) for day in days] for place, name in enumerate(names, start=1)}
    columns = ("day", "step", "planned", "accepted", "skipped", "rejected", "unknown", "waiting")
    return {
        "dagster/row_count": metrics,
        "skip reasons": skips,
        "per day": stacked_days("People per day, all steps", [f"{day[0]:%d-%m}" for day in days], series),
        "latest": table(columns, latest),
        "flows": steps,
    }


def _publish(deployment: Deployment, now: datetime) -> Metadata:
    done = deployment.publish(now)
    return {
        "file": dg.MetadataValue.path(str(done.file)),
        "megabytes": round(done.size / 1e6, 1),
        "tables": table(("table", "rows"), list(done.tables.items())),
    }
