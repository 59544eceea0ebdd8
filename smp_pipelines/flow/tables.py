"""Tables: where flows keep who is where, and how a simulation puts tables of its own in their place.

Statements about people in flows name these tables without a schema. Real life finds them in schema smp; a simulation
makes temporary tables of the same names, which Postgres finds first: the same statements, and nothing to clean up.
"""

from __future__ import annotations

from datetime import datetime

from psycopg import sql

from smp_pipelines.stores.postgres import Connection, engine_sql

NAMES = (
    *("participant", "participant_visit", "flow_refusal", "flow_member", "flow_cursor", "flow_admission"),
    *("trigger_event", "flow_node"),
)
"""The tables of people in flows."""


def use(connection: Connection) -> None:
    """Let this connection find the tables, and give it the scratch tables of the engine. Call it once, first."""
    connection.execute("set search_path = smp, public")
    connection.execute(engine_sql("flow/scratch.sql"))


def pretend(connection: Connection) -> None:
    """Put empty temporary tables in front of the real ones, for this connection. Call it after `use`."""
    for name in NAMES:
        connection.execute(
            sql.SQL("create temporary table {} (like smp.{} including all)").format(
                sql.Identifier(name), sql.Identifier(name)
            )
        )


def pretend_now(connection: Connection, now: datetime) -> None:
    """Let a simulation's connection see of forms and pages only what was done up to this moment."""
    connection.execute("select set_config('smp.pretended', %s, false)", (now.isoformat(),))


def hold(connection: Connection, flow_id: int) -> None:
    """Be the only one who moves people of this flow, until the transaction ends; waits for whoever does."""
    connection.execute("select pg_advisory_xact_lock(hashtextextended('flow ' || %s, 0))", (flow_id,))
