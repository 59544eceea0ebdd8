"""Contact moments: the ledger and what people did, mirrored to the lake, so that selections and reports read it there.

Only sends that changed are read again, and only people with something new: a hit can change what an earlier one
was (a scanner's, not a person's). A send is mirrored while it runs, too: whoever is planned has a contact moment
from then on, so that the next selection leaves them out (F17, F20).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import duckdb

from smp_pipelines.stores.lake import committed, literal, rows, scalar, transaction
from smp_pipelines.stores.postgres import engine_sql
from smp_pipelines.stores.snapshot import NOTHING, Snapshot, current


@dataclass(frozen=True)
class Moments:
    """What mirroring the ledger did: rows written, and the rows that the lake has, if they were counted."""

    written: int
    row_count: int | None = None


def prepare_lake(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the lake's own tables and views, unless these very ones are there (safe to repeat)."""
    scripts = [engine_sql(f"reporting/{name}.sql") for name in ("lake", "flows/lake")]
    digest = hashlib.sha256("".join(scripts).encode()).hexdigest()
    # each statement of them changes the schema, after which every reader loads it again
    if digest == _prepared(connection):
        return
    for script in scripts:
        connection.execute(script)
    with transaction(connection):
        connection.execute("delete from smp.prepared")
        connection.execute("insert into smp.prepared values (?)", [digest])


def _prepared(connection: duckdb.DuckDBPyConnection) -> str | None:
    try:
        found = scalar(connection, "select digest from smp.prepared")
    except duckdb.CatalogException:
        return None  # a new lake
    return None if found is None else str(found)


def mirror_moments(connection: duckdb.DuckDBPyConnection, *, counted: bool = True) -> Moments:
    """Bring `smp.message`, `smp.send`, `smp.reaction` and with them `smp.contact_moment` up to date with Postgres."""
    written = _mirror_messages(connection) + _mirror_reactions(connection)
    count = "select (select count(*) from smp.message) + (select count(*) from smp.reaction)"
    return Moments(written, int(scalar(connection, count)) if counted else None)


def _mirror_messages(connection: duckdb.DuckDBPyConnection) -> int:
    before, now = marks(connection, read_seen(connection))
    # Sends first: a send that ends in between is then still open in the lake, and read again the next time.
    for name in ("sends", "messages"):
        _fetch(connection, name, before)
    written = int(scalar(connection, "select count(*) from new_messages"))
    if rows(connection, "from new_sends limit 1"):
        committed(connection, lambda: _write_messages(connection, str(now)))
    connection.execute("drop table new_messages; drop table new_sends")
    return written


def _write_messages(connection: duckdb.DuckDBPyConnection, seen: str) -> None:
    # never a message without its send: one that came in between waits for the next time
    connection.execute("delete from new_messages where send_id not in (select send_id from new_sends)")
    connection.execute("delete from smp.message where send_id in (select send_id from new_sends)")
    connection.execute("insert into smp.message by name from new_messages")
    connection.execute("delete from smp.send where send_id in (select send_id from new_sends)")
    connection.execute("insert into smp.send by name from new_sends")
    connection.execute("delete from smp.message_state")
    connection.execute("insert into smp.message_state values (?)", [seen])


def _mirror_reactions(connection: duckdb.DuckDBPyConnection) -> int:
    text = scalar(connection, "select watermark from smp.reaction_state")
    before, now = marks(connection, NOTHING if text is None else Snapshot.parse(str(text)))
    _fetch(connection, "reactions", before)
    written = int(scalar(connection, "select count(*) from new_reactions where kind is not null"))
    if rows(connection, "from new_reactions limit 1"):
        committed(connection, lambda: _write_reactions(connection, str(now), everybody=before == NOTHING))
    connection.execute("drop table new_reactions")
    return written


def _write_reactions(connection: duckdb.DuckDBPyConnection, seen: str, *, everybody: bool) -> None:
    whose = "true" if everybody else "person_id in (select person_id from new_reactions)"
    connection.execute(f"delete from smp.reaction where {whose}")
    connection.execute("insert into smp.reaction by name select * from new_reactions where kind is not null")
    connection.execute("delete from smp.reaction_state")
    connection.execute("insert into smp.reaction_state values (?)", [seen])


def _fetch(connection: duckdb.DuckDBPyConnection, name: str, before: Snapshot) -> None:
    """Write what Postgres has since a snapshot to a temporary table: new_sends, new_messages, new_reactions."""
    query = engine_sql(f"reporting/{name}.sql").format(watermark=f"'{before.xmin}'")
    connection.execute(f"create or replace temp table new_{name} as from postgres_query('pg', {literal(query)})")


def marks(connection: duckdb.DuckDBPyConnection, before: Snapshot) -> tuple[Snapshot, Snapshot]:
    """What was seen before, and what can be seen now."""
    now = current(connection)
    # a mark that was made on another server, of which this one is a restored copy, says nothing here
    return (NOTHING if before.xmax > now.xmax else before), now


def read_seen(connection: duckdb.DuckDBPyConnection) -> Snapshot:
    """What the lake's contact moments have seen of the ledger."""
    text = scalar(connection, "select watermark from smp.message_state")
    return NOTHING if text is None else Snapshot.parse(str(text))
