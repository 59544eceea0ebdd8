"""Planning: a selection becomes the rows of a send in the ledger, all or none of them, in one stream.

The rules are judged in DuckDB over the lake; the rows travel as CSV into one COPY. Whoever is
skipped gets a row as well, with the reason.
"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

import duckdb

from smp_pipelines.campaign.models import Step
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.selection.runs import SelectionRun
from smp_pipelines.sending import address
from smp_pipelines.sending.audience_results import stop
from smp_pipelines.sending.cap import Cap, cap_of, gather, hold
from smp_pipelines.sending.ledger import ClaimRules, Purpose, Send, read_send
from smp_pipelines.sending.target.used import gather_used_since, hold_campaign
from smp_pipelines.stores.lake import identifier, literal
from smp_pipelines.stores.postgres import Connection, engine_sql

_BLOCK = 1 << 20


class StaleSelectionError(Exception):
    """Another send of this step was planned after the selection had looked at who received it."""


def claim_rules(project: LoadedProject, step: Step, purpose: Purpose | None = None) -> ClaimRules:
    """What planning and the claim check for a send of a step; the purpose is the step's own unless it is given.

    Colleagues get internal and test mails because it is their work, whatever they allow as visitors; and
    they see the mail of a blocked record too, for they want to know that it is right now (F26, F27, F28).
    """
    purpose = purpose or step.purpose
    public = purpose == "live"
    return ClaimRules(
        zone=project.settings.zone,
        channel=step.channel,
        topic=step.topic,
        opt_in=project.settings.topics[step.topic] == "opt_in",
        deduplicate=step.deduplicate,
        record=project.settings.records[step.record] if step.record else None,
        block=step.block if public else None,
        consent=public,
        any_hour=purpose == "test" or step.at_night == "send",
    )


def judged_by(project: LoadedProject, ref: StepRef) -> set[str]:
    """The crm tables that planning a send of a step looks at, whatever its selections read."""
    record = project.record(ref)
    return {"crm.person", "crm.consent", "crm.suppression", *([record.table] if record else [])}


def plan(
    connection: Connection,
    lake: duckdb.DuckDBPyConnection,
    project: LoadedProject,
    ref: StepRef,
    send: Send,
    selection: SelectionRun,
    now: datetime,
    records: SelectionRun | None = None,
) -> Send:
    """Write the rows of a send; a send that was planned before is left as it is.

    With `records`, for an internal send, everybody in the selection gets every one of them (F26). When a blocking
    audience test failed at one of the runs, nobody is mailed, and the reason says why (X5).
    One planner a step at a time. Raises StaleSelectionError when another send of the step was
    planned after the selection read who received it: materialise it again and plan again.
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"plan {send.step}",))
        if read_send(connection, send.send_id).state != "planning":
            return read_send(connection, send.send_id)
        newer = connection.execute(
            "select 1 from smp.send where step = %s and purpose = 'live' and send_id <> %s"
            " and state <> 'planning' and not pg_visible_in_snapshot(changed_tx, %s::pg_snapshot) limit 1",
            (send.step, send.send_id, selection.seen),
        ).fetchone()
        if newer is not None:
            raise StaleSelectionError(selection.selection)
        hold_campaign(connection, project, ref)
        rules = claim_rules(project, ref.step, send.purpose)
        cap = cap_of(project, ref, send)
        if cap is not None:
            hold(connection)
        gather(connection, lake, send, cap)
        gather_used_since(connection, lake, project, ref, send, selection)
        runs = (selection.selection_run_id, records.selection_run_id if records else None)
        stopped = stop(connection, send, [run for run in runs if run is not None])
        planned = _copy_rows(connection, lake, rules, send, selection, records, cap, stopped)
        connection.execute(
            "update smp.send set state = 'open', planned = %s, planned_at = %s, selection_run_id = %s,"
            " records_run_id = %s, changed_tx = pg_current_xact_id() where send_id = %s",
            (planned, now, *runs, send.send_id),
        )
    return read_send(connection, send.send_id)


def _copy_rows(
    connection: Connection,
    lake: duckdb.DuckDBPyConnection,
    rules: ClaimRules,
    send: Send,
    selection: SelectionRun,
    records: SelectionRun | None,
    cap: Cap | None,
    stopped: str | None,
) -> int:
    columns = "recipient_key, seq, person_id, record_id, state, reason, duplicate_of"
    # a failing audience test stops whoever would be mailed; everybody else has a reason of their own (X5)
    instead = f"replace ('skipped' as state, coalesce(reason, {literal(stopped)}) as reason)" if stopped else ""
    judged = f"select * {instead} from ({planning_query(rules, selection, records)})"
    with tempfile.TemporaryDirectory(prefix="smp-plan-") as folder:
        file = Path(folder) / "rows.csv"
        rows = f"select {int(send.send_id)} as send_id, {columns} from ({judged})"
        lake.execute(f"copy ({rows}) to {literal(str(file))} (format csv, header false)", judging_values(rules, cap))
        statement = f"copy smp.message (send_id, {columns}) from stdin (format csv)"
        with connection.cursor() as cursor:
            with file.open("rb") as source, cursor.copy(statement) as target:
                while block := source.read(_BLOCK):
                    target.write(block)
            return cursor.rowcount


def planning_query(rules: ClaimRules, selection: SelectionRun, records: SelectionRun | None = None) -> str:
    """The DuckDB query that judges every selected row (with `records`: everybody with each of them).

    Its values are parameters.
    """
    people = f"{selection.table} as people at (version => {int(selection.snapshot_id)})"
    shown = f"{records.table} at (version => {int(records.snapshot_id)})" if records else ""
    return judging_query(rules, people, shown)


def judging_query(rules: ClaimRules, people: str, records: str = "") -> str:
    """The same for any source of people, as FROM takes it under the name `people`; its values are `judging_values`."""
    record = rules.record
    shown, record_id = "", identifier(record.key) if record else "null::bigint"
    if record and records:
        shown = f" cross join (select distinct {record_id} as record_id from {records}) as shown"
        record_id = "shown.record_id"
    once, nth = "1", "row_number() over (partition by j.reason is null, j.person_id order by j.record_id)"
    schema, _, table = record.table.partition(".") if record else ("", "", "")
    gone = f"when r.{identifier(record.key)} is null then 'record_gone'" if record else ""
    blocked = f" when r.{identifier(rules.block)} then 'record_blocked'" if record and rules.block else ""
    return engine_sql("planning/plan.sql").format(
        people=people,
        shown=shown,
        record_id=record_id,
        how_manieth=once if rules.deduplicate or not record else nth,
        record_rule=gone + blocked,
        record_join=(
            f"left join {identifier(schema)}.{identifier(table)} as r on r.{identifier(record.key)} = s.record_id"
            if record
            else ""
        ),
    )


def judging_values(rules: ClaimRules, cap: Cap | None) -> dict[str, object]:
    """The values of the parameters of `planning_query`."""
    return {
        **address.RULE,
        "cap": cap.mails if cap else None,
        "consent": rules.consent,
        "opt_in": rules.opt_in,
        "channel": rules.channel,
        "topic": rules.topic,
        "deduplicate": rules.deduplicate,
    }
