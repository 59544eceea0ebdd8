"""Assets of the selections: who is in each target group, written to the lake by its own SQL."""

from zoneinfo import ZoneInfo

import dagster as dg

from smp_pipelines.assets.audience_tests import audience_test_result, audience_test_spec
from smp_pipelines.assets.charts import table
from smp_pipelines.assets.facts import read_facts, told
from smp_pipelines.assets.mirror import table_key
from smp_pipelines.audience.audiences import Materialised
from smp_pipelines.deployment import Deployment
from smp_pipelines.selection.runs import SelectionRun

_RUNS = 10


def selection_key(name: str) -> dg.AssetKey:
    """The asset of a selection."""
    return dg.AssetKey(["selections", name])


def selection_assets(deployment: Deployment) -> list[dg.AssetsDefinition]:
    """One asset a selection; a broken one fails with its own words and stops no other."""
    return [_selection_asset(deployment, name) for name in deployment.library.names]


def _tables(deployment: Deployment, name: str) -> list[str]:
    """What a selection is made from; people are counted with their addresses, whatever their selection reads."""
    counted = set() if deployment.library.is_of_records(name) else {"crm.person"}
    return sorted({*deployment.library.dependencies(name), *counted})


def _selection_asset(deployment: Deployment, name: str) -> dg.AssetsDefinition:
    key = selection_key(name)

    @dg.asset(
        key=key,
        deps=[table_key(table) for table in _tables(deployment, name)],
        description=deployment.library.description(name),
        group_name="selections",
        kinds={"sql", "ducklake"},
        check_specs=[audience_test_spec(key, test) for test in deployment.library.audience_tests(name)],
    )
    def selection(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        facts = read_facts(context.run)
        with told():
            done = deployment.audiences.materialise(name, facts.clock.now(), facts.run_id)
            lineage, runs = deployment.library.lineage(name), deployment.history.runs(name, _RUNS)
        metadata = {
            **_metadata(done, deployment.library.sql(name, done.run.moment)),
            "runs": _history(runs, deployment.project.settings.zone),
            "dagster/column_lineage": _lineage(lineage),
        }
        results = [audience_test_result(result) for result in done.results]
        return dg.MaterializeResult(metadata=metadata, check_results=results)

    return selection


def _metadata(done: Materialised, sql: str) -> dict[str, dg.MetadataValue | int | str]:
    metadata: dict[str, dg.MetadataValue | int | str] = {
        "dagster/row_count": done.run.row_count,
        "preview": table(*done.written.preview),
        "SQL": dg.MetadataValue.md(f"```sql\n{sql}\n```"),
        "lake snapshot": str(done.run.snapshot_id),
        "evaluated at": dg.MetadataValue.timestamp(done.run.moment),
    }
    if done.written.with_address is not None:
        metadata["with an address"] = done.written.with_address
    if done.run.entered is not None and done.run.departed is not None:
        metadata |= {"entered": done.run.entered, "left": done.run.departed}
    if done.previous is not None:
        metadata["change since the time before"] = done.run.row_count - done.previous.row_count
    return metadata


def _history(runs: list[SelectionRun], zone: ZoneInfo) -> dg.MarkdownMetadataValue:
    """How the audience went over its latest runs, as a table; the figures by themselves are what Dagster plots."""
    told = [[f"{r.moment.astimezone(zone):%Y-%m-%d %H:%M}", r.row_count, r.entered, r.departed] for r in runs]
    return table(["moment", "rows", "entered", "left"], told)


def _lineage(lineage: dict[str, list[tuple[str, str]]]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=table_key(source), column_name=name) for source, name in sources]
            for column, sources in lineage.items()
        }
    )
