"""Seeing: how a flow stands in the database now: figures per step, participants, paths (F35, F47, F48).

Counting walks once over a flow's participants and their steps; a page of participants and a path are look-ups.
Nothing here holds names or addresses: whoever shows them reads them by the person's key.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import sql
from psycopg.rows import class_row

from smp_pipelines.campaign.flow.graph import Node
from smp_pipelines.flow.version import FlowState, FlowVersion, read_state, read_version
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import Connection, engine_sql

SUCCESSFUL = ("completed", "goal", "moved")
"""Outcomes with which somebody who met a goal counts as a success (F34)."""
MOST_JUDGED = 50_000
"""Mails. Whose hits are people's is worked out mail by mail: of more, the report file tells who opened and clicked."""
PAGE = 50
"""Participants on a page."""
_REFUSED = "skipped: "
"""How the note begins of a mail step that asked for no mail."""


@dataclass(frozen=True)
class MailCounts:
    """What became of the mails of a step (F48): planned is all of them. reasons: why some were skipped or rejected.

    opened, clicked, unsubscribed: people; None when there are more than MOST_JUDGED mails.
    """

    planned: int = 0
    accepted: int = 0
    rejected: int = 0
    unknown: int = 0
    skipped: int = 0
    waiting: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    opened: int | None = 0
    clicked: int | None = 0
    unsubscribed: int | None = 0


@dataclass(frozen=True)
class StepCounts:
    """The figures of a step of a version, in participants.

    ways: who left it, by way (`none`: they left the flow here). notes: the same by what was noted. dropped: who was
    dropped here, by reason. goal: who left here because a goal was met. mails: of a mail step only.
    """

    node: Node
    waiting: int
    ways: Mapping[str, int]
    notes: Mapping[str, int]
    dropped: Mapping[str, int]
    goal: int
    mails: MailCounts | None

    @property
    def came(self) -> int:
        """Who ever arrived here."""
        return self.waiting + self.left

    @property
    def left(self) -> int:
        """Who is no longer here, whichever way they went."""
        return sum(self.ways.values())

    @property
    def went_on(self) -> int:
        """Who left it along one of its ways."""
        return self.left - self.ways.get("none", 0)

    @property
    def drop_outs(self) -> int:
        """Who was dropped here, for whatever reason."""
        return sum(self.dropped.values())


@dataclass(frozen=True)
class VersionCounts:
    """The figures of a version: how many there are or were on it, how many left by outcome, and how many succeeded."""

    version: FlowVersion
    enrolled: int
    waiting: int
    outcomes: Mapping[str, int]
    succeeded: int
    steps: tuple[StepCounts, ...]

    @property
    def goal_rate(self) -> float | None:
        """Of who enrolled, the share (0 to 1) that left with a goal met (F34); None when nobody did."""
        return self.succeeded / self.enrolled if self.enrolled else None


@dataclass(frozen=True)
class FlowCounts:
    """The figures of a flow: of each version, the latest first. refused: events that enrolled nobody, by reason."""

    state: FlowState
    versions: tuple[VersionCounts, ...]
    refused: Mapping[str, int]

    @property
    def enrolled(self) -> int:
        """Who ever entered."""
        return sum(each.enrolled for each in self.versions)

    @property
    def waiting(self) -> int:
        """Who is in it now."""
        return sum(each.waiting for each in self.versions)

    @property
    def succeeded(self) -> int:
        """Who left with a goal met."""
        return sum(each.succeeded for each in self.versions)

    @property
    def outcomes(self) -> Counter[str]:
        """Who left, by outcome."""
        return sum((Counter(each.outcomes) for each in self.versions), Counter())

    @property
    def goal_rate(self) -> float | None:
        """Of who enrolled, the share (0 to 1) that left with a goal met (F34); None when nobody did."""
        return self.succeeded / self.enrolled if self.enrolled else None


def read_counts(connection: Connection, flow: str) -> FlowCounts | None:
    """The figures of a flow; None for one that was never live. A flow without goals succeeds with nobody."""
    state = read_state(connection, flow)
    if state is None:
        return None
    found = connection.execute(
        "select version_id from smp.flow_version where flow_id = %s order by number desc", (state.flow_id,)
    ).fetchall()
    versions = [read_version(connection, version_id) for (version_id,) in found]
    values = {"flow_id": state.flow_id, "versions": [each.version_id for each in versions]}
    people = connection.execute(engine_sql("flow/seeing/people.sql"), values).fetchall()
    visits = connection.execute(engine_sql("flow/seeing/visits.sql"), values).fetchall()
    mails = _mails(connection, values)
    return FlowCounts(
        state,
        tuple(_version_counts(each, people, visits, mails) for each in versions),
        dict(connection.execute(engine_sql("flow/seeing/refused.sql"), values).fetchall()),
    )


def _version_counts(
    version: FlowVersion,
    people: Sequence[tuple[Any, ...]],
    visits: Sequence[tuple[Any, ...]],
    mails: Mapping[tuple[int, int], MailCounts],
) -> VersionCounts:
    waiting: Counter[int] = Counter()
    outcomes: Counter[str] = Counter()
    dropped: defaultdict[int, Counter[str]] = defaultdict(Counter)
    goal: Counter[int] = Counter()
    succeeded = enrolled = 0
    for version_id, node, waits, outcome, reason, met_goal, count in people:
        if version_id != version.version_id:
            continue
        enrolled += count
        succeeded += count if met_goal and outcome in SUCCESSFUL else 0
        if waits:
            waiting[node] += count
            continue
        outcomes[outcome] += count
        if outcome == "dropped":
            dropped[node][reason or "dropped"] += count
        goal[node] += count if outcome == "goal" else 0
    ways: defaultdict[int, Counter[str]] = defaultdict(Counter)
    notes: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for version_id, node, way, note, count in visits:
        if version_id == version.version_id:
            ways[node][way] += count
            notes[node][note or ""] += count
    steps = tuple(
        StepCounts(
            each,
            waiting[each.number],
            dict(ways[each.number]),
            {note: count for note, count in notes[each.number].items() if note},
            dict(dropped[each.number].most_common()),
            goal[each.number],
            _with_refusals(mails.get((version.version_id, each.number)), notes[each.number])
            if each.kind == "mail"
            else None,
        )
        for each in version.nodes
    )
    return VersionCounts(version, enrolled, sum(waiting.values()), dict(outcomes), succeeded, steps)


def _with_refusals(mails: MailCounts | None, notes: Mapping[str, int]) -> MailCounts:
    """The figures with those whom the step asked no mail for: to a reader they are skipped as well."""
    mails = mails or MailCounts()
    refused = {note.removeprefix(_REFUSED): count for note, count in notes.items() if note.startswith(_REFUSED)}
    reasons = Counter(mails.reasons) + Counter(refused)
    more = sum(refused.values())
    return MailCounts(
        mails.planned + more,
        mails.accepted,
        mails.rejected,
        mails.unknown,
        mails.skipped + more,
        mails.waiting,
        dict(reasons.most_common()),
        mails.opened,
        mails.clicked,
        mails.unsubscribed,
    )


def _mails(connection: Connection, values: Mapping[str, Any]) -> dict[tuple[int, int], MailCounts]:
    states: defaultdict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    reasons: defaultdict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for version_id, node, state, reason, mails in connection.execute(engine_sql("flow/seeing/mails.sql"), values):
        states[version_id, node][state] += mails
        if reason is not None:
            reasons[version_id, node][reason] += mails
    few = sum(count.total() for count in states.values()) <= MOST_JUDGED
    kinds: defaultdict[tuple[int, int], dict[str, int]] = defaultdict(dict)
    if few:
        for version_id, node, kind, people in connection.execute(engine_sql("flow/seeing/reactions.sql"), values):
            kinds[version_id, node][kind] = people
    return {
        place: MailCounts(
            count.total(),
            count["accepted"],
            count["rejected"],
            count["unknown"],
            count["skipped"],
            count["waiting"],
            dict(reasons[place]),
            *(kinds[place].get(name, 0) if few else None for name in ("opened", "clicked", "unsubscribed")),
        )
        for place, count in states.items()
    }


@dataclass(frozen=True)
class Overview:
    """A flow at a glance. number: of the version that people enter. asked: people who wait for a yes (F44)."""

    flow: str
    state: str
    since: datetime
    number: int | None
    enrolled: int
    waiting: int
    succeeded: int
    asked: int


def read_overview(connection: Connection) -> dict[str, Overview]:
    """Every flow that somebody touched, by name (F36)."""
    with connection.cursor(row_factory=class_row(Overview)) as cursor:
        return {each.flow: each for each in cursor.execute(engine_sql("flow/seeing/overview.sql"))}


@dataclass(frozen=True)
class Participant:
    """Somebody in a flow, or who was (F35). mail_…: the last mail that the flow asked for, and what became of it."""

    participant_id: int
    person_id: int
    record_id: int | None
    version_id: int
    node: int
    entered_at: datetime
    entered_by: str
    round: int
    arrived_at: datetime
    due_at: datetime | None
    goal_at: datetime | None
    goal: int | None
    left_at: datetime | None
    outcome: str | None
    reason: str | None
    mail_step: str | None
    mail_at: datetime | None
    mail_state: str | None
    mail_why: str | None


@dataclass(frozen=True)
class Wanted:
    """Which participants: of one version, at one of its steps now, of one person, only those who are in it still."""

    version_id: int | None = None
    node: int | None = None
    person_id: int | None = None
    waiting: bool = False


def read_participants(
    connection: Connection,
    state: FlowState,
    wanted: Wanted | None = None,
    before: int | None = None,
    most: int = PAGE,
) -> list[Participant]:
    """A page of participants, the latest first; the next one begins `before` the last participant_id of this one."""
    wanted = wanted or Wanted()
    values = {
        "flow_id": state.flow_id,
        "before": before,
        "person_id": wanted.person_id,
        "version_id": wanted.version_id,
        "node": wanted.node,
        "waiting": wanted.waiting,
        "most": most,
    }
    found = connection.execute(_with_mails("participants"), values).fetchall()
    return [Participant(*row) for row in found]


@dataclass(frozen=True)
class Visit:
    """A step that a participant left. mail: what became of the mail that it asked for, None without one."""

    version: FlowVersion
    node: Node
    arrived_at: datetime
    left_at: datetime
    way: str
    note: str | None
    send_id: int | None
    mail: str | None
    why: str | None


@dataclass(frozen=True)
class Path:
    """The path that a participant took so far (F47); `here` is the step where they are, or were last."""

    flow: str
    participant: Participant
    version: FlowVersion
    visits: tuple[Visit, ...]

    @property
    def here(self) -> Node:
        """The step where they are, or were when they left the flow."""
        return self.version.nodes[self.participant.node]


def _with_mails(name: str) -> sql.Composed:
    """A statement that reads what became of mails."""
    return sql.SQL(engine_sql(f"flow/seeing/{name}.sql")).format(mail=sql.SQL(engine_sql("flow/seeing/mail.sql")))


def read_path(connection: Connection, participant_id: int) -> Path:
    """The path of a participant. Raises SmpError when there is none with this number."""
    row = connection.execute(
        "select f.flow, p.person_id from smp.participant as p join smp.flow as f using (flow_id)"
        " where p.participant_id = %s",
        (participant_id,),
    ).fetchone()
    state = read_state(connection, row[0]) if row else None
    if row is None or state is None:
        raise SmpError(f"there is no participant {participant_id}")
    page = read_participants(connection, state, Wanted(person_id=row[1]), participant_id + 1, 1)
    (participant,) = page
    found = connection.execute(_with_mails("path"), {"participant_id": participant_id}).fetchall()
    visits = []
    for version_id, node, *rest in found:
        version = read_version(connection, version_id)
        visits.append(Visit(version, version.nodes[node], *rest))
    return Path(row[0], participant, read_version(connection, participant.version_id), tuple(visits))


@dataclass(frozen=True)
class Day:
    """What happened in a flow on a local day, in people."""

    day: date
    entered: int
    departed: int
    goals: int


def read_days(connection: Connection, state: FlowState, since: datetime, zone: ZoneInfo) -> list[Day]:
    """The days since a moment on which anything happened."""
    values = {"flow_id": state.flow_id, "since": since, "zone": zone.key}
    with connection.cursor(row_factory=class_row(Day)) as cursor:
        return cursor.execute(engine_sql("flow/seeing/days.sql"), values).fetchall()
