"""Assets of the selections: who is in each target group, written to the lake by its own SQL."""

from collections.abc import Iterator

import dagster as dg

from smp_pipelines.assets.charts import table
from smp_pipelines.assets.facts import read_facts, told
from smp_pipelines.assets.mirror import table_key
from smp_pipelines.audiences import Materialised
from smp_pipelines.deployment import Deployment

_CHECKS = {
    "key_unique": "No person (with the same linked record), or no record, is in the selection twice",
    "address_share": "At least half of the people have an e-mail address",
    "volume": "The selection is between half and twice the size it had the time before",
}


def _check_names(deployment: Deployment, name: str) -> list[str]:
    """The checks of a selection; the rows of one that is there for its records have no address."""
    return [check for check in _CHECKS if check != "address_share" or not deployment.library.is_of_records(name)]


def selection_key(name: str) -> dg.AssetKey:
    """The asset of a selection."""
    return dg.AssetKey(["selections", name])


def selection_assets(deployment: Deployment) -> list[dg.AssetsDefinition]:
    """One asset a selection; a broken one fails with its own words and stops no other."""
    return [_selection_asset(deployment, name) for name in deployment.library.names]


def _selection_asset(deployment: Deployment, name: str) -> dg.AssetsDefinition:
    key = selection_key(name)

    @dg.asset(
        key=key,
        deps=[table_key(dependency) for dependency in deployment.library.dependencies(name)],
        description=deployment.library.description(name),
        group_name="selections",
        kinds={"sql", "ducklake"},
        check_specs=[
            dg.AssetCheckSpec(check, asset=key, description=_CHECKS[check]) for check in _check_names(deployment, name)
        ],
    )
    def selection(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        facts = read_facts(context.run)
        with told():
            done = deployment.audiences.materialise(name, facts.clock.now(), facts.run_id)
            lineage = deployment.library.lineage(name)
        return dg.MaterializeResult(
            metadata={**_metadata(done), "dagster/column_lineage": _lineage(lineage)}, check_results=list(_checks(done))
        )

    return selection


def _metadata(done: Materialised) -> dict[str, dg.MetadataValue | int | str]:
    metadata: dict[str, dg.MetadataValue | int | str] = {
        "dagster/row_count": done.run.row_count,
        "preview": table(*done.written.preview),
        "SQL": dg.MetadataValue.md(f"```sql\n{done.run.sql}\n```"),
        "lake snapshot": done.run.snapshot_id,
        "evaluated at": dg.MetadataValue.timestamp(done.run.moment),
    }
    if done.written.with_address is not None:
        metadata["with an address"] = done.written.with_address
    if done.previous is not None:
        metadata["change since the time before"] = done.run.row_count - done.previous.row_count
    return metadata


def _checks(done: Materialised) -> Iterator[dg.AssetCheckResult]:
    count, before = done.run.row_count, done.previous.row_count if done.previous else None
    yield dg.AssetCheckResult(
        check_name="key_unique",
        passed=done.written.repeated_keys == 0,
        metadata={"rows too many": done.written.repeated_keys},
        description=None
        if done.written.repeated_keys == 0
        else f"{done.written.repeated_keys} rows are there more than once",
    )
    if done.written.with_address is not None:
        share = done.written.with_address / count if count else 1.0
        yield dg.AssetCheckResult(
            check_name="address_share",
            passed=share >= 0.5,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"share with an address": share},
            description=f"{share:.0%} of the rows have an e-mail address",
        )
    steady = before is None or before < 100 or before / 2 <= count <= before * 2
    yield dg.AssetCheckResult(
        check_name="volume",
        passed=steady,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"rows": count, "rows the time before": before if before is not None else "none"},
        description=f"{count} rows, {before if before is not None else 'none'} the time before",
    )


def _lineage(lineage: dict[str, list[tuple[str, str]]]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=table_key(source), column_name=name) for source, name in sources]
            for column, sources in lineage.items()
        }
    )
