"""Events: what happened to people, as a query that triggers and goals read alike (F42, F34).

Each query gives person_id, record_id, entry_key and happened_at. Tables and columns are quoted identifiers that stand
in the project's schema files; everything else is a parameter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, LiteralString

from psycopg import sql

from smp_pipelines.campaign.flow.graph import step_key
from smp_pipelines.campaign.flow.sources import (
    ClickSource,
    Event,
    FormSource,
    ListSource,
    MomentSource,
    RecordSource,
    table_name,
)
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.crm.catalog import Table
from smp_pipelines.flow.sources.cursors import SETTLES
from smp_pipelines.flow.version import FlowVersion
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import engine_sql

_HITS: Mapping[str, list[str]] = {
    "opened": ["open", "view"],
    "clicked": ["click"],
    "form_opened": ["form"],
    "page_seen": ["page"],
}
"""Contact moments that are hits, and which."""
_NO_RECORD = sql.SQL("null")
_RECORD = sql.SQL("s.record_id")


@dataclass(frozen=True)
class Events:
    """A query for what happened to people. table: where it is written down, with changed_tx; moment: when, in SQL.

    twice: its rows are read at two looks, because whose they are may only show later.
    """

    file: str
    table: str
    moment: sql.Composable
    parts: Mapping[str, sql.Composable] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    twice: bool = False

    def query(self, after: datetime | None) -> sql.Composed:
        """The query: what was written since %(mark)s, or, with `after`, what happened in (%(after)s, %(now)s]."""
        fresh: sql.Composable = sql.SQL("s.changed_tx >= %(mark)s::xid8")
        if after is not None:
            fresh = sql.SQL("{0} > %(after)s and {0} <= %(now)s").format(self.moment)
        return sql.SQL(engine_sql(f"flow/sources/{self.file}.sql")).format(fresh=fresh, **self.parts)

    def values(self, since: datetime, mark: str, now: datetime, after: datetime | None) -> dict[str, Any]:
        """The parameters of the query."""
        young = SETTLES if after is None else timedelta()
        bounds = {"settled": now - young, "ahead": now + young}
        return {**self.parameters, **bounds, "since": since, "mark": mark, "now": now, "after": after}


def window(after: datetime | None) -> sql.SQL:
    """The condition on happened_at of who reads a query with `after`; what it gives may be older."""
    return sql.SQL("true" if after is None else "happened_at > %(after)s and happened_at <= %(now)s")


def events_of(source: Event, version: FlowVersion, project: LoadedProject) -> Events:
    """The query for a trigger or a goal. Raises SmpError for a table or column that is in no schema file any more."""
    return _MAKERS[source.type](source, version, project)


def table_of(project: LoadedProject, version: FlowVersion, name: str, *columns: str) -> Table:
    """A table with these columns. Raises SmpError when it is in no schema file (any more)."""
    table = project.catalog.tables.get(table_name(name))
    missing = name if table is None else next((each for each in columns if each not in table.columns), None)
    if table is None or missing is not None:
        raise SmpError(
            f"flow {version.flow} reads {table_name(name)}, and there is no {missing} in sql/schema any more\n"
            f"    → put it back, or change {version.flow}/flow.yaml and run `smp flow apply {version.flow}`"
        )
    return table


def _list(source: ListSource, _version: FlowVersion, _project: LoadedProject) -> Events:
    parameters = {"list": source.list, "again": source.again}
    return Events("list", "crm.list_member", sql.SQL("s.added_at"), {}, parameters)


def _record(source: RecordSource, version: FlowVersion, project: LoadedProject) -> Events:
    columns = [*source.equal, *filter(None, (source.amount, source.date))]
    table = table_of(project, version, source.table, "person_id", *columns)
    moment = _moment(source, version, table)
    about = project.settings.records.get(version.model.record or "")
    wanted: list[sql.Composable] = [
        sql.SQL("{} = {}").format(sql.Identifier("s", column), sql.Placeholder(f"equal_{number}"))
        for number, column in enumerate(source.equal)
    ]
    limits: list[tuple[LiteralString, Decimal | None]] = [(">= %(min)s", source.min), ("<= %(max)s", source.max)]
    wanted += [
        sql.SQL("{} " + bound).format(sql.Identifier("s", source.amount))
        for bound, limit in limits
        if limit is not None and source.amount is not None
    ]
    parts = {
        "table": sql.Identifier(*table.name.split(".")),
        "key": sql.SQL(", ").join(sql.Identifier("s", column) for column in table.key),
        "moment": moment,
        "record": sql.Identifier("s", about.key) if about and about.key in table.columns else _NO_RECORD,
        "wanted": sql.SQL(" and ").join(wanted) if wanted else sql.SQL("true"),
    }
    # a value goes as text, so that Postgres reads it as the type of its column
    equal = {f"equal_{number}": _text(value) for number, value in enumerate(source.equal.values())}
    others = {"min": source.min, "max": source.max, "zone": version.zone.key}
    parameters = {"prefix": f"record:{table.short_name}:", **equal, **others}
    return Events("record", table.name, moment, parts, parameters)


def _moment(source: RecordSource, version: FlowVersion, table: Table) -> sql.Composable:
    """The instant of a row: the named column, or the only one with moments."""
    moments = [column.name for column in table.columns.values() if column.type.startswith("timestamp")]
    name = source.date or (moments[0] if len(moments) == 1 else None)
    if name is None:
        raise SmpError(
            f"flow {version.flow} cannot tell when a row of {table.name} happened\n"
            "    → say which column has its moment: `date: …`"
        )
    kind = table.columns[name].type
    if kind == "timestamptz" or "with time zone" in kind:
        return sql.Identifier("s", name)
    return sql.SQL("({}::timestamp at time zone %(zone)s)").format(sql.Identifier("s", name))


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _form(source: FormSource, version: FlowVersion, project: LoadedProject) -> Events:
    # with double opt-in it counts once it is confirmed
    moment = sql.SQL("case when s.awaits_confirmation then s.confirmed_at else s.submitted_at end")
    key = step_key(source.step, version.flow)
    parts = {
        "record": _record_of(project, version, key),
        "key": sql.SQL("'form:' || s.submission_id"),
        "moment": moment,
    }
    return Events("submission", "smp.submission", moment, parts, {"step": key})


def _click(source: ClickSource, version: FlowVersion, project: LoadedProject) -> Events:
    key = step_key(source.step, version.flow)
    link = source.link
    parts = {
        "record": _record_of(project, version, key),
        "key": sql.SQL("'click:' || coalesce(s.send_id::text, '-') || ':' || %(target)s::text"),
    }
    target = "*" if link is None else hashlib.md5(link.encode(), usedforsecurity=False).hexdigest()
    parameters = {"step": key, "kinds": _HITS["clicked"], "link": link, "target": target}
    return Events("hit", "smp.hit", sql.SQL("s.happened_at"), parts, parameters, twice=True)


def _contact_moment(source: MomentSource, version: FlowVersion, project: LoadedProject) -> Events:
    key = step_key(source.step, version.flow)
    kind = source.kind
    parts: dict[str, sql.Composable] = {
        "record": _record_of(project, version, key),
        "key": sql.SQL(
            "%(prefix)s::text || concat_ws('/', coalesce(s.send_id::text, '-'), coalesce(s.submission_id::text, '-'),"
            " coalesce(s.record_id::text, '-'))"
        ),
    }
    parameters: dict[str, Any] = {"step": key, "prefix": f"moment:{kind}:{key}:"}
    if kind in _HITS:
        parameters |= {"kinds": _HITS[kind], "link": None}
        return Events("hit", "smp.hit", sql.SQL("s.happened_at"), parts, parameters, twice=True)
    if kind == "unsubscribed":
        return Events("unsubscription", "smp.unsubscription", sql.SQL("s.happened_at"), parts, parameters)
    moment = sql.SQL("s.confirmed_at" if kind == "confirmed" else "s.submitted_at")
    return Events("submission", "smp.submission", moment, {**parts, "moment": moment}, parameters)


def _record_of(project: LoadedProject, version: FlowVersion, step: str) -> sql.SQL:
    """The record of what was done at a step, when it is of the kind that the flow is about."""
    about = next((ref.step.record for ref in project.steps() if ref.key == step), None)
    return _RECORD if about is not None and about == version.model.record else _NO_RECORD


_MAKERS: Mapping[str, Callable[[Any, FlowVersion, LoadedProject], Events]] = {
    "list": _list,
    "record": _record,
    "form": _form,
    "click": _click,
    "contact_moment": _contact_moment,
}
