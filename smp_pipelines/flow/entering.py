"""Entering: events become participants, each event and each round once, however often it is told (F42, F43)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from smp_pipelines.campaign.flow.models import ReentryAfter
from smp_pipelines.flow.judging import Judge
from smp_pipelines.flow.version import FlowVersion
from smp_pipelines.stores.postgres import Connection, engine_sql

_PEOPLE = "select distinct person_id from flow_new"


@dataclass(frozen=True)
class Entered:
    """What became of candidates: how many were enrolled, and why the others were not."""

    enrolled: int
    refused: Counter[str] = field(default_factory=Counter)


def enter(connection: Connection, version: FlowVersion, judge: Judge, entered_by: str, now: datetime) -> Entered:
    """Enrol whoever is in flow_candidate and may enter; empties it. Call it within a transaction that holds the flow.

    Events that were judged before are left out. Reasons: person_gone, person_blocked, present (in the flow already),
    reentry, filtered, excluded.
    """
    if connection.execute("select from flow_candidate limit 1").rowcount == 0:
        return Entered(0)
    connection.execute(engine_sql("flow/enter/new.sql"), {"flow_id": version.flow_id})
    connection.execute("truncate flow_candidate")
    for name in ("filter", "exclude"):
        if name in version.conditions:
            judge.fill(connection, version.conditions[name], now, _PEOPLE)
            if name == "filter":
                connection.execute("truncate flow_fit")
                connection.execute("insert into flow_fit select person_id from flow_yes")
    found = connection.execute(engine_sql("flow/enter/enter.sql"), _parameters(version, entered_by, now)).fetchall()
    connection.execute("drop table flow_new")
    counts: Counter[str] = Counter({reason or "": people for reason, people in found})
    enrolled = counts.pop("", 0)
    return Entered(enrolled, counts)


def _parameters(version: FlowVersion, entered_by: str, now: datetime) -> dict[str, Any]:
    reentry = version.model.reentry
    pause = reentry.after if isinstance(reentry, ReentryAfter) else None
    return {
        "flow_id": version.flow_id,
        "version_id": version.version_id,
        "entered_by": entered_by,
        "now": now,
        "again": reentry != "never",
        "days": pause.days if pause else 0,
        "rest": pause.exact if pause else timedelta(),
        "zone": version.zone.key,
        "filtered": "filter" in version.conditions,
        "excluded": "exclude" in version.conditions,
    }
