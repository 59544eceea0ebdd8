"""Given recipients: a send that code asks for, planned in Postgres in one statement (F05, F28).

A trigger send (somebody filled in a form) and a test mail have no selection: who gets them is given.
The rules, the reasons and the recipient keys are those of a send to a selection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import address
from smp_pipelines.sending.cap import Cap, cap_of, hold
from smp_pipelines.sending.context import Recipient
from smp_pipelines.sending.ledger import ClaimRules, Send, Totals, read_send
from smp_pipelines.sending.planning import claim_rules
from smp_pipelines.sending.status import read_status
from smp_pipelines.stores.postgres import Connection, engine_sql


@dataclass(frozen=True)
class Sent:
    """What became of a send to given recipients: its counts in the ledger, and why the rest waits, if so."""

    send: Send
    totals: Totals
    held: str | None = None


def trigger_key(ref: StepRef, key: str) -> str:
    """The key of a trigger send: what triggers it (a submission, a batch) gives it one send, however often it asks.

    Raises SmpError for an empty key, and for a step that is no trigger step.
    """
    if ref.step.send != "trigger":
        raise SmpError(f"{ref.key} is no trigger step (send: {ref.step.send}): who gets it is in its selection")
    if not key.strip():
        raise SmpError("a trigger send needs a key: what it follows, e.g. the number of the submission")
    return f"{ref.key}@{key.strip()}"


def plan_given(
    connection: Connection,
    project: LoadedProject,
    ref: StepRef,
    send: Send,
    recipients: Sequence[Recipient],
    now: datetime,
) -> Send:
    """Write the rows of a send to given people, all or none; a send that was planned before is left as it is.

    Raises SmpError when the step is not live (a test mail may), when nobody is given, and when the
    linked record is missing or too much. Every statement is for all recipients at once.
    """
    _refuse_unfit(ref, recipients)
    with connection.transaction():
        # the lock of a send to a selection: one planner a step at a time
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"plan {send.step}",))
        found = read_send(connection, send.send_id)
        if found.state != "planning":
            return found
        if send.purpose != "test":
            _refuse_unless_live(connection, ref)
        cap = cap_of(project, ref, send)
        if cap is not None:
            hold(connection)
        rules = claim_rules(project, ref.step, send.purpose)
        query = sql.SQL(engine_sql("planning/given.sql")).format(**_record_parts(rules))
        planned = connection.execute(query, _parameters(rules, send, recipients, cap)).rowcount
        connection.execute(
            "update smp.send set state = 'open', planned = %s, planned_at = %s, changed_tx = pg_current_xact_id()"
            " where send_id = %s",
            (planned, now, send.send_id),
        )
        return read_send(connection, send.send_id)


def _refuse_unfit(ref: StepRef, recipients: Sequence[Recipient]) -> None:
    if not recipients:
        raise SmpError(f"{ref.key}: there is nobody to send to; give at least one person")
    if ref.step.record is None and any(record_id is not None for _, record_id in recipients):
        raise SmpError(f"step {ref.key} has no linked record: leave the record out")
    if ref.step.record is not None and any(record_id is None for _, record_id in recipients):
        raise SmpError(f"step {ref.key} is about a {ref.step.record}: give the id of one with every person")


def _refuse_unless_live(connection: Connection, ref: StepRef) -> None:
    status = read_status(connection, ref.key).status
    if status != "live":
        raise SmpError(f"{ref.key} is {status}; only live sends: `smp step status {ref.key} live`")


def _record_parts(rules: ClaimRules) -> dict[str, sql.Composable]:
    if rules.record is None:
        return {"record_rule": sql.SQL(""), "record_join": sql.SQL("")}
    key, table = sql.Identifier(rules.record.key), sql.Identifier(*rules.record.table.split("."))
    rule = sql.SQL("when r.{} is null then 'record_gone'").format(key)
    if rules.block:
        rule += sql.SQL(" when r.{} then 'record_blocked'").format(sql.Identifier(rules.block))
    return {
        "record_rule": rule,
        "record_join": sql.SQL("left join {} as r on r.{} = g.record_id").format(table, key),
    }


def _parameters(rules: ClaimRules, send: Send, recipients: Sequence[Recipient], cap: Cap | None) -> dict[str, Any]:
    return {
        "send_id": send.send_id,
        "people": [person_id for person_id, _ in recipients],
        "records": [record_id for _, record_id in recipients],
        **address.POSTGRES_RULE,
        "consent": rules.consent,
        "channel": rules.channel,
        "topic": rules.topic,
        "opt_in": rules.opt_in,
        "deduplicate": rules.deduplicate,
        "cap": cap.mails if cap else None,
        "since": cap.since if cap else None,
        "exempt": cap.exempt if cap else [],
    }
