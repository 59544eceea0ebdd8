"""How submissions are found: by their keys, also over a connection that made its plans while the tables were empty."""

from __future__ import annotations

import psycopg

from smp_pipelines.stores.postgres import engine_sql
from tests.conftest import fresh_database

_WHOSE = "explain select from smp.submission as s join smp.trigger_event as e using (submission_id)"


def _plan(connection: psycopg.Connection[tuple[str]]) -> str:
    return "\n".join(line for (line,) in connection.execute(_WHOSE))


def test_tables_that_are_still_empty_are_not_read_as_a_whole(embedded_url: str, migrated_template: str) -> None:
    with fresh_database(embedded_url, migrated_template) as url, psycopg.connect(url, autocommit=True) as connection:
        assert "Seq Scan" in _plan(connection)  # what Postgres thinks best for now, and would keep to
        connection.execute(engine_sql("submission/session.sql"), {"lock_timeout": "2s"})
        plan = _plan(connection)
        assert not any(word in plan for word in ("Seq Scan", "Hash Join", "Merge Join")), plan
