"""Used people: whom another step of a campaign used already, so that a step leaves them out (F55; F56: pilot and rest).

Used is who was mailed by a live send of another step of the campaign, or is about to be (not who was skipped), and
who is linked in a frozen group of another step. The steps of such a campaign are planned one at a time, and the first
goes first. A step that leaves nobody out, and is planned after one that does although it should have been before it,
leaves out the people of that one: nobody gets both. A step with one mail per address leaves out who shares one, too.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from psycopg import sql

from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.crm.bulk import copy_out
from smp_pipelines.selection.runs import SelectionRun
from smp_pipelines.sending.ledger import Send
from smp_pipelines.stores.lake import literal, scalar
from smp_pipelines.stores.postgres import Connection, engine_sql
from smp_pipelines.stores.snapshot import NOTHING, Snapshot

_NEVER = datetime(9999, 1, 1, tzinfo=UTC)


def hold_campaign(connection: Connection, project: LoadedProject, ref: StepRef) -> None:
    """Be the only one who plans a step of this campaign until the transaction ends, if one of its steps leaves out."""
    if leaves_out(ref) or _strict(project, ref):
        name = f"plan campaign {ref.campaign}"
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))


def leaves_out(ref: StepRef) -> bool:
    """Whether a step leaves out whom another step of its campaign used."""
    return ref.step.target_group is not None and ref.step.target_group.not_used_in_campaign


def gather_used(
    connection: Connection, lake: duckdb.DuckDBPyConnection, project: LoadedProject, ref: StepRef, *, linking: bool
) -> None:
    """Write to the lake's `temp.used_in_campaign` whom a step leaves out as things are; without such a rule, nobody.

    A frozen group is compared with those of other steps when it is linked (`linking`), and not later: if two hold
    somebody all the same, the step that is sent first reaches them; left out by both, nobody would.
    """
    every = leaves_out(ref)
    sends = _sends(connection, lake, ref, every=every, strict=[], moment=_NEVER, selected=_NEVER)
    frozen = _frozen(project, ref) if every and (linking or not ref.step.is_frozen) else []
    _write(connection, lake, ref, sends, frozen)


def gather_used_since(
    connection: Connection,
    lake: duckdb.DuckDBPyConnection,
    project: LoadedProject,
    ref: StepRef,
    send: Send,
    selection: SelectionRun,
) -> None:
    """The same for a send that is planned now: exact while `hold_campaign` lasts."""
    every = leaves_out(ref)
    strict = [] if every or send.purpose != "live" else _strict(project, ref)
    sends = _sends(connection, lake, ref, every=every, strict=strict, moment=send.moment, selected=selection.moment)
    _write(connection, lake, ref, sends, _frozen(project, ref) if every and not ref.step.is_frozen else [])


def _strict(project: LoadedProject, ref: StepRef) -> list[str]:
    """The other steps of the campaign that leave out who was used."""
    others = (each for each in project.steps() if each.campaign == ref.campaign and each.key != ref.key)
    return [each.key for each in others if leaves_out(each)]


def _frozen(project: LoadedProject, ref: StepRef) -> list[str]:
    """The other steps of the campaign that have a frozen group."""
    others = (each for each in project.steps() if each.campaign == ref.campaign and each.key != ref.key)
    return [each.key for each in others if each.step.is_frozen]


def _sends(
    connection: Connection,
    lake: duckdb.DuckDBPyConnection,
    ref: StepRef,
    *,
    every: bool,
    strict: list[str],
    moment: datetime,
    selected: datetime,
) -> list[tuple[int, bool]]:
    """The numbers of the sends that count, each with whether the lake's contact moments know it.

    The mark is read before the moments: what the lake learns in between is then read from the ledger.
    """
    if not every and not strict:
        return []
    mark = scalar(lake, "select watermark from smp.message_state")
    seen = NOTHING if mark is None else Snapshot.parse(str(mark))
    found = connection.execute(
        engine_sql("target/used_sends.sql"),
        {
            **{"step": ref.key, "campaign": ref.campaign, "every": every, "strict": strict},
            **{"moment": moment, "selected": selected, "seen": str(seen)},
        },
    )
    return found.fetchall()


def _write(
    connection: Connection,
    lake: duckdb.DuckDBPyConnection,
    ref: StepRef,
    sends: list[tuple[int, bool]],
    frozen: list[str],
) -> None:
    lake.execute("create or replace temp table used_in_campaign (person_id bigint)")
    if known := [send_id for send_id, in_lake in sends if in_lake]:
        numbers = ", ".join(str(int(send_id)) for send_id in known)
        lake.execute(engine_sql("target/used_known.sql").format(sends=numbers))
    newer = [send_id for send_id, in_lake in sends if not in_lake]
    if newer or frozen:
        query = sql.SQL(engine_sql("target/used_people.sql")).format(
            sends=sql.Literal(newer) + sql.SQL("::bigint[]"), frozen=sql.Literal(frozen) + sql.SQL("::text[]")
        )
        load(connection, lake, query, "used_in_campaign")
    if ref.step.deduplicate and (sends or frozen):
        # one mail per address (F24) holds for the steps together as well: the rest leaves the pilot's addresses alone
        lake.execute(engine_sql("target/used_sharing.sql"))


def load(connection: Connection, lake: duckdb.DuckDBPyConnection, query: sql.Composed, table: str) -> None:
    """Add the rows of a Postgres query to a temporary table of the lake's connection."""
    with tempfile.TemporaryDirectory(prefix="smp-group-") as folder, connection.cursor() as cursor:
        file = Path(folder) / "rows.csv"
        copy_out(cursor, query, file)
        lake.execute(f"copy {table} from {literal(str(file))} (format csv, header false)")
