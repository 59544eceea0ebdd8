"""Assets of the mirror: every crm table, and what people received so far, as the lake has them."""

from collections.abc import Iterator

import dagster as dg

from smp_pipelines.assets.facts import told
from smp_pipelines.crm.catalog import CONTACT_MOMENT, Table
from smp_pipelines.deployment import MOMENTS, Deployment


def table_key(name: str) -> dg.AssetKey:
    """The asset of a table, selection or contact moments by the name that SQL knows it by."""
    return dg.AssetKey(name.split("."))


def mirror_assets(deployment: Deployment) -> dg.AssetsDefinition:
    """One op that mirrors whichever tables a run asks for; each table is an asset of its own."""
    tables = {table_key(table.name): table for table in deployment.project.catalog.crm()}
    moments = table_key(MOMENTS)
    specs = [_spec(key, table, "crm") for key, table in tables.items()] + [_spec(moments, CONTACT_MOMENT, "ledger")]

    @dg.multi_asset(
        specs=specs, can_subset=True, name="mirror", description="Copy what changed in Postgres to the lake"
    )
    def mirror(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        selected = context.selected_asset_keys
        with told():
            wanted = [table.name for key, table in tables.items() if key in selected]
            for done in deployment.mirror(wanted):
                yield dg.MaterializeResult(
                    asset_key=table_key(done.table),
                    metadata={
                        "dagster/row_count": done.row_count,
                        "changed": done.changed,
                        "deleted": done.deleted,
                        "copied": "all of it" if done.full else "what changed",
                    },
                )
            if moments in selected:
                written = deployment.mirror_moments()
                yield dg.MaterializeResult(
                    asset_key=moments, metadata={"dagster/row_count": written.row_count, "changed": written.written}
                )

    return mirror


def _spec(key: dg.AssetKey, table: Table, group: str) -> dg.AssetSpec:
    columns = [
        dg.TableColumn(column.name, column.type, column.comment, dg.TableColumnConstraints(nullable=column.nullable))
        for column in table.columns.values()
    ]
    return dg.AssetSpec(
        key,
        description=table.comment,
        group_name=group,
        kinds={"postgres", "ducklake"},
        metadata={"dagster/column_schema": dg.TableSchema(columns=columns), "dagster/table_name": table.name},
    )
