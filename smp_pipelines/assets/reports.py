"""Assets downstream of the sends: contact moments, flow metrics and the report file."""

import dagster as dg

from smp_pipelines.assets.charts import bars, stacked_days, table
from smp_pipelines.assets.facts import read_facts, told
from smp_pipelines.assets.mirror import table_key
from smp_pipelines.assets.sends import send_key
from smp_pipelines.deployment import Deployment
from smp_pipelines.stores.lake import rows


def report_assets(deployment: Deployment) -> list[dg.AssetsDefinition]:
    """The chain from the ledger to the file that analysts open."""
    sends = [send_key(ref) for ref in deployment.project.steps() if ref.step.selection is not None]

    @dg.asset(deps=sends, group_name="reports", kinds={"ducklake"})
    def contact_moments() -> dg.MaterializeResult:
        """Every contact moment of every person: planned, accepted, rejected or unknown (F15)."""
        with told():
            moments = deployment.mirror_moments()
            with deployment.lake.open() as lake:
                outcomes = dict(
                    rows(lake, "select outcome, count(*) from smp.contact_moment where outcome <> 'skipped' group by 1")
                )
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": sum(outcomes.values()),
                "written": moments.written,
                "outcomes": bars("Contact moments by outcome", outcomes),
            }
        )

    @dg.asset(deps=[contact_moments], group_name="reports", kinds={"ducklake"})
    def flow_metrics() -> dg.MaterializeResult:
        """Figures per campaign, step and day: planned, accepted, rejected, unknown, skipped by reason."""
        with told():
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
        series = {name: [float(day[place]) for day in days] for place, name in enumerate(names, start=1)}
        columns = ("day", "step", "planned", "accepted", "skipped", "rejected", "unknown", "waiting")
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": metrics,
                "skip reasons": skips,
                "per day": stacked_days("People per day, all steps", [f"{day[0]:%d-%m}" for day in days], series),
                "latest": table(columns, latest),
            }
        )

    @dg.asset(
        deps=[flow_metrics, *(table_key(name) for name in deployment.library.mart_tables())],
        group_name="reports",
        kinds={"duckdb"},
    )
    def reports_duckdb(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The file reports.duckdb, replaced whole: who has the old one open keeps it until they open it again."""
        with told():
            done = deployment.publish(read_facts(context.run).clock.now())
        return dg.MaterializeResult(
            metadata={
                "file": dg.MetadataValue.path(str(done.file)),
                "megabytes": round(done.size / 1e6, 1),
                "tables": table(("table", "rows"), list(done.tables.items())),
            }
        )

    return [contact_moments, flow_metrics, reports_duckdb]
