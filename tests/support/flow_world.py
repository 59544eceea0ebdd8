"""One history for two: what happens is told to the reference interpreter and written to Postgres for the engine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import sql

from smp_pipelines.campaign.flow.graph import graph
from smp_pipelines.campaign.flow.models import Flow
from smp_pipelines.flow import status
from smp_pipelines.flow.changing import apply
from smp_pipelines.flow.version import Draft
from smp_pipelines.selection.condition import Condition
from smp_pipelines.stores.numbers import Query
from smp_pipelines.stores.postgres import Connection
from tests.support.flow_crm import TOPICS, Crm, Donation, Person
from tests.support.flow_reference import Reference

_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_EMPTIED = (
    *("participant_visit", "trigger_event", "participant", "flow_refusal", "flow_member", "flow_cursor"),
    *("flow_admission", "flow_change", "flow_node", "flow_version", "flow", "hit", "submission", "send", "step_status"),
    "step_status_change",
)


class Event(NamedTuple):
    """Something that happens to a person; `said`: the new city, the list, the fund, the step …"""

    kind: str
    person: int
    said: Any
    at: datetime


@dataclass
class SqlJudge:
    """Judges conditions in Postgres itself."""

    asked: int = 0

    def fill(self, connection: Connection, condition: Condition, now: datetime, people: Query) -> None:
        """As flow.judging.Judge has it."""
        self.asked += 1
        connection.execute("truncate flow_yes")
        query, asked = (
            sql.SQL(condition.sql),
            sql.SQL(people) if isinstance(people, str) else people,
        )
        connection.execute(
            sql.SQL("insert into flow_yes select person_id from ({}) as c where person_id in ({})").format(query, asked)
        )


def condition_sql(condition: Mapping[str, Any]) -> str:
    """A condition of the random flows as a query; the same for Postgres and DuckDB."""
    (kind, said), *_ = condition.items()
    match kind:
        case "not":
            return f"select person_id from crm.person where person_id not in ({condition_sql(said)})"
        case "city":
            return f"select person_id from crm.person where city = '{said}'"
        case "on_list":
            return f"select person_id from crm.list_member join crm.list using (list_id) where name = '{said}'"
    return f"select person_id from crm.donation where fund = '{said}'"


def compiled(name: str, file: Mapping[str, Any]) -> Draft:
    """A flow of the random ones, as `draft` makes it of a project's files."""
    model = Flow.model_validate(file)
    nodes = graph(model, name)
    said = {key: file[key] for key in ("filter", "exclude") if key in file}
    said |= {f"if:{node.name}": node.options["if"] for node in nodes if node.kind == "if"}
    goals = enumerate(file.get("goals", ()))
    said |= {f"goal:{number}": goal["where"] for number, goal in goals if goal["type"] == "person"}
    reads = ("crm.person", "crm.list", "crm.list_member", "crm.donation")
    conditions = {key: Condition(condition_sql(each), reads) for key, each in said.items()}
    definition = {
        "flow": file,
        "zone": "Europe/Amsterdam",
        "nodes": [{key: value for key, value in asdict(node).items() if key != "place"} for node in nodes],
        "conditions": {key: asdict(condition) for key, condition in conditions.items()},
    }
    return Draft(name, model, nodes, conditions, json.loads(json.dumps(definition)))


class World:
    """A CRM in Postgres and the same one in Python."""

    def __init__(self, connection: Connection, people: Mapping[int, Person], lists: Sequence[str]) -> None:
        self.connection = connection
        self.crm = Crm(people=dict(people), lists={name: {} for name in lists})
        self.gifts = 0
        self.names: dict[str, str] = {}
        self.later: Mapping[str, Mapping[str, Any]] = {}
        for table in _EMPTIED:
            self._sql(f"delete from smp.{table}")
        for table in ("list_member", "list", "donation", "consent", "suppression", "person"):
            self._sql(f"delete from crm.{table}")
        for number, person in people.items():
            self._sql(
                "insert into crm.person (person_id, last_name, city, email, blocked, created_at)"
                " values (%s, 'x', %s, %s, %s, '2020-01-01')",
                *(number, person.city, person.email, person.blocked),
            )
        for number, name in enumerate(lists, 1):
            self._sql("insert into crm.list (list_id, name) values (%s, %s)", number, name)
        for number, step in enumerate(TOPICS, 1):
            self._sql(
                "insert into smp.send (send_id, send_key, step, purpose, moment, opened_at) overriding system value"
                " values (%s, %s, %s, 'live', '2020-01-01', '2020-01-01')",
                *(number, step, step),
            )

    def _sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        done = self.connection.execute(statement, values)
        return done.fetchall() if done.description else []

    def happen(self, event: Event) -> None:
        """Let something happen, in both."""
        kind, person, said, at = event
        if kind == "outbox":
            self.crm.waiting.clear()
            self._sql("update smp.trigger_event set missed = 'late' where missed is null")
        elif kind in ("form", "page", "click"):
            self._visit(kind, person, said, at)
        elif kind == "suppress":
            self.crm.suppressed.add(said)
            self._sql("insert into crm.suppression values (%s, 'x', %s) on conflict do nothing", said.upper(), at)
        elif person in self.crm.people:
            getattr(self, f"_{kind}")(person, said, at)

    def turn(self, reference: Reference, name: str, change: str, now: datetime) -> None:
        """Pause, resume or end a flow, or apply what its file is later, in both; what cannot be done is left."""
        flow = reference.flows[name]
        wanted = {"resume": ["paused"], "apply": ["live", "ending", "paused"]}.get(change, ["live", "ending"])
        if flow.state not in wanted:
            return
        if change == "apply":
            file = self.later[name]
            flow.apply(file, now)
            apply(self.connection, compiled(name, file), now, "test")
            return
        reference.turn(flow, change, now)
        change_of = {"pause": status.pause, "resume": status.resume, "end": status.end}
        if change == "drop":
            status.end(self.connection, name, now, "test", drop=True)
        else:
            change_of[change](self.connection, name, now, "test")

    def _visit(self, kind: str, person: int, step: str, at: datetime) -> None:
        if kind == "form":
            self.crm.submitted.append(((step, person), at))
            self._sql(
                "insert into smp.submission (submission_id, submission_key, form, step, person_id, identified, answers,"
                " language, submitted_at) overriding system value values (%s, %s, 'x', %s, %s, 'link', '{}', 'nl', %s)",
                *(len(self.crm.submitted), uuid.uuid4(), step, person, at),
            )
            return
        (self.crm.pages_seen if kind == "page" else self.crm.clicked).append(((step, person), at))
        send = list(TOPICS).index(step) + 1 if kind == "click" else None
        self._sql(
            "insert into smp.hit (kind, happened_at, step, person_id, send_id, recipient_key, link, method, user_agent)"
            " values (%s, %s, %s, %s, %s, %s, 'https://example.org/', 'GET', %s)",
            *(kind, at, step, person, send, uuid.UUID(int=person) if send else None, _BROWSER),
        )

    def _delete(self, person: int, _said: Any, _at: datetime) -> None:
        self.crm.remove(person)
        self._sql("delete from crm.person where person_id = %s", person)

    def _city(self, person: int, said: str, _at: datetime) -> None:
        self.crm.people[person].city = said
        self._sql("update crm.person set city = %s where person_id = %s", said, person)

    def _email(self, person: int, said: str | None, _at: datetime) -> None:
        self.crm.people[person].email = said
        self._sql("update crm.person set email = %s where person_id = %s", said, person)

    def _block(self, person: int, said: bool, _at: datetime) -> None:
        self.crm.people[person].blocked = said
        self._sql("update crm.person set blocked = %s where person_id = %s", said, person)

    def _join(self, person: int, said: str, at: datetime) -> None:
        self.crm.lists.setdefault(said, {}).setdefault(person, at)
        self._sql(
            "insert into crm.list_member select list_id, %s, %s from crm.list where name = %s on conflict do nothing",
            *(person, at, said),
        )

    def _leave(self, person: int, said: str, _at: datetime) -> None:
        self.crm.lists.get(said, {}).pop(person, None)
        self._sql(
            "delete from crm.list_member using crm.list as l"
            " where list_member.list_id = l.list_id and l.name = %s and person_id = %s",
            *(said, person),
        )

    def _give(self, person: int, said: tuple[str, int], at: datetime) -> None:
        self.gifts += 1
        number = self.gifts
        self.crm.donations.append(Donation(str(number), person, *said, at))
        self._sql("insert into crm.donation values (%s, %s, %s, null, %s, %s)", number, person, *said, at)

    def _consent(self, person: int, said: tuple[str, bool], at: datetime) -> None:
        topic, granted = said
        self.crm.consents[person, topic] = granted
        self._sql(
            "insert into crm.consent values (%s, 'email', %s, %s, %s, 'x') on conflict (person_id, channel, topic)"
            " do update set granted = excluded.granted",
            *(person, topic, granted, at),
        )


def facts_of(reference: Reference) -> dict[str, Any]:
    """Everything that the interpreter came to, to be compared."""
    people = reference.participants
    return {
        "participants": {
            (p.flow, p.person, p.round): (
                *(p.version.number, p.record, p.entry_key, p.entered_at, p.node, p.arrived_at, p.due_at),
                *(p.goal_at, p.goal, p.left_at, p.outcome, p.reason),
            )
            for p in people
        },
        "visits": {(p.flow, p.person, p.round): [tuple(visit) for visit in p.visits] for p in people},
        "refusals": dict(reference.refused),
        "outbox": sorted(tuple(mail) for mail in reference.crm.outbox),
        "people": {number: (each.city,) for number, each in reference.crm.people.items()},
        "lists": {name: members for name, members in reference.crm.lists.items() if members},
        "gifts": sorted((gift.person, gift.fund, gift.amount, gift.at) for gift in reference.crm.donations),
        "states": {flow.name: flow.state for flow in reference.flows.values()},
    }


def facts_in(connection: Connection, names: dict[str, str]) -> dict[str, Any]:
    """The same from Postgres. names: what rows are called, also of those that are not there any more; it grows."""

    def rows(statement: LiteralString) -> list[tuple[Any, ...]]:
        return connection.execute(statement).fetchall()

    participants = rows(
        "select flow, person_id, round, number, record_id, entry_key, entered_at, node, arrived_at, due_at, goal_at,"
        " goal, left_at, outcome, p.reason from smp.participant as p join smp.flow using (flow_id)"
        " join smp.flow_version as v on v.version_id = p.version_id"
    )
    names |= dict(
        rows(
            "select 'list:' || list_id, name from crm.list union all select 'click:' || send_id, step from smp.send"
            " union all select 'moved:' || participant_id, flow || '/' || person_id || '/' || round"
            " from smp.participant join smp.flow using (flow_id)"
        )
    )
    names |= {
        f"record:donation:{number}": f"donation:{person}/{at.isoformat()}/{nth}"
        for number, person, at, nth in rows(
            "select donation_id, person_id, donated_at, row_number() over (partition by person_id, donated_at"
            " order by donation_id) from crm.donation where donation_id >= 1000000000000"
        )
    }
    visits = rows(
        "select f.flow, p.person_id, p.round, v.node, v.arrived_at, v.left_at, v.way, v.note"
        " from smp.participant_visit as v join smp.participant as p using (participant_id)"
        " join smp.flow as f using (flow_id) order by v.node"
    )
    return {
        "participants": {row[:3]: (*row[3:5], _plain(row[5], names), *row[6:]) for row in participants},
        "visits": {row[:3]: [each[3:] for each in visits if each[:3] == row[:3]] for row in participants},
        "refusals": {
            (flow, _plain(key, names), who): (reason, at)
            for flow, key, who, reason, at in rows(
                "select flow, entry_key, person_id, reason, refused_at from smp.flow_refusal"
                " join smp.flow using (flow_id)"
            )
        },
        "outbox": sorted(
            rows(
                "select flow, e.person_id, round, e.node, e.record_id, step, happened_at from smp.trigger_event as e"
                " join smp.participant as p using (participant_id) join smp.flow using (flow_id)"
            )
        ),
        "people": {row[0]: row[1:] for row in rows("select person_id, city from crm.person")},
        "lists": _lists(rows("select name, person_id, added_at from crm.list_member join crm.list using (list_id)")),
        "gifts": sorted(rows("select person_id, fund, amount::int, donated_at from crm.donation")),
        "states": dict(rows("select flow, state::text from smp.flow")),
    }


def _lists(rows: list[tuple[Any, ...]]) -> dict[str, dict[int, datetime]]:
    found: dict[str, dict[int, datetime]] = {}
    for name, person, at in rows:
        found.setdefault(name, {})[person] = at
    return found


def _plain(key: str, names: Mapping[str, str]) -> str:
    """An entry key with names in the place of numbers that the database gave out: of lists, sends and participants."""
    if key.startswith("record:"):
        return "record:" + names.get(key, key.removeprefix("record:"))
    kind, number, *rest = key.split(":")
    return ":".join([kind, names.get(f"{kind}:{number}", number), *rest])


def differences(right: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Where two sets of facts differ, in words."""
    told = []
    for kind, facts in right.items():
        if not isinstance(facts, dict):
            told += [f"{kind}: not {each}" for each in facts if each not in found[kind]]
            told += [f"{kind}: but {each}" for each in found[kind] if each not in facts]
            told += [f"{kind}: in other numbers"] if not told and facts != found[kind] else []
            continue
        for key in sorted({*facts, *found[kind]}, key=repr):
            if facts.get(key) != found[kind].get(key):
                told.append(f"{kind} {key}:\n  right {facts.get(key)}\n  found {found[kind].get(key)}")
    return told
