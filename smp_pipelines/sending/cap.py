"""The frequency cap: how many mails somebody gets at most in a number of days, over all steps that count.

What counts is what a person received, as selections see it: mails that are planned, accepted or
unknown, and mails to the same address that went to somebody else. Whoever was skipped or refused
after planning has that mail free again. Test and internal sends do not count and are not limited.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from psycopg import sql

from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.crm.bulk import copy_out
from smp_pipelines.sending.ledger import Send
from smp_pipelines.stores.lake import literal, scalar
from smp_pipelines.stores.postgres import Connection, engine_sql
from smp_pipelines.stores.snapshot import NOTHING, Snapshot


@dataclass(frozen=True)
class Cap:
    """The cap as it holds for one send: at most `mails`, of which those after `since` count.

    `exempt` are the steps whose mails do not count. A step that is no longer in the files counts: nobody
    knows any more what it was about.
    """

    mails: int
    since: datetime
    exempt: list[str]


def cap_of(project: LoadedProject, ref: StepRef, send: Send) -> Cap | None:
    """The cap for a send; None when nothing limits it: no cap in smp.yaml, an exempt topic, or not a live send.

    The days are days on the local calendar, so a weekly step at nine does not meet its own mail of a week before in
    the spring night that is an hour shorter. What was planned for a later moment counts as well: it is
    on its way, and this send is late.
    """
    cap = project.settings.frequency_cap
    if cap is None or send.purpose != "live" or ref.step.topic in cap.exempt:
        return None
    since = (send.moment.astimezone(project.settings.zone) - timedelta(days=cap.days)).astimezone(UTC)
    return Cap(cap.mails, since, [each.key for each in project.steps() if each.step.topic in cap.exempt])


def hold(connection: Connection) -> None:
    """Be the only one who plans under the cap until the transaction ends: of two sends one sees what the other took."""
    connection.execute("select pg_advisory_xact_lock(hashtextextended('plan capped', 0))")


def gather(connection: Connection, lake: duckdb.DuckDBPyConnection, send: Send, cap: Cap | None) -> None:
    """Write how many mails each person received in the days of the cap to the lake's `temp.received`.

    The lake knows all of them but those of sends that were planned since it last followed the ledger;
    these few are read from the ledger. Exact while `hold` lasts. Without a cap the table is empty.
    """
    lake.execute("create or replace temp table received (person_id bigint, mails bigint)")
    if cap is None:
        return
    newer = _newer_sends(connection, lake, send, cap)
    lake.execute("create or replace temp table newer_mail (person_id bigint)")
    if newer:
        _copy_newer(connection, lake, newer)
    counted = {"since": cap.since, "exempt": cap.exempt, "apart": [send.send_id, *newer]}
    lake.execute(engine_sql("planning/received.sql"), counted)
    lake.execute("drop table newer_mail")


def _newer_sends(connection: Connection, lake: duckdb.DuckDBPyConnection, send: Send, cap: Cap) -> list[int]:
    """The sends that count and that changed after the lake's contact moments were read: they are not in there, or old.

    The mark is read before the moments: what the lake learns in between is then left out of it.
    """
    mark = scalar(lake, "select watermark from smp.message_state")
    seen = NOTHING if mark is None else Snapshot.parse(str(mark))
    found = connection.execute(
        engine_sql("planning/newer_sends.sql"),
        {"send_id": send.send_id, "since": cap.since, "exempt": cap.exempt, "seen": str(seen)},
    )
    return [send_id for (send_id,) in found]


def _copy_newer(connection: Connection, lake: duckdb.DuckDBPyConnection, sends: list[int]) -> None:
    query = sql.SQL(engine_sql("planning/newer_mails.sql")).format(sends=sql.Literal(sends))
    with tempfile.TemporaryDirectory(prefix="smp-cap-") as folder, connection.cursor() as cursor:
        file = Path(folder) / "newer.csv"
        copy_out(cursor, query, file)
        lake.execute(f"copy newer_mail from {literal(str(file))} (format csv, header false)")
