"""How `smp flow` prints: figures per step, participants, paths, plans and the audit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from smp_pipelines.campaign.flow.graph import END
from smp_pipelines.commands.shared import out, print_table
from smp_pipelines.flow.seeing import StepCounts, VersionCounts
from smp_pipelines.flow.version import FlowVersion
from smp_pipelines.flow.wording import OUTCOMES, kind_words, note_words, reason_words, way_words, ways_of

if TYPE_CHECKING:
    from smp_pipelines.flow.changing import FlowPlan, Place
    from smp_pipelines.flow.entering import Entered
    from smp_pipelines.flow.seeing import FlowCounts, Participant, Path
    from smp_pipelines.flow.status import FlowChange
    from smp_pipelines.flow.version import Draft


def when(moment: datetime | None, zone: ZoneInfo) -> str:
    """A moment in local time; empty for none."""
    return "" if moment is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"


def tell(flow: str, change: FlowChange | None, otherwise: str) -> None:
    """Say from what to what a flow changed, or that it did not."""
    told = f"{change.details['from']} → {change.details['to']}" if change else otherwise
    out.print(f"flow {flow}: {told}", markup=False)


def print_counts(counts: FlowCounts, chosen: VersionCounts, zone: ZoneInfo) -> None:
    """A flow's state and figures, and those of the steps of one version."""
    state = counts.state
    out.print(f"flow {state.flow} is {state.state} since {when(state.since, zone)}", markup=False)
    told = [f"{counts.enrolled:,} entered", f"{counts.waiting:,} in it now"]
    told += [f"{people:,} {OUTCOMES.get(outcome, outcome).lower()}" for outcome, people in counts.outcomes.items()]
    out.print(", ".join(told))
    if chosen.version.model.goals and counts.goal_rate is not None:
        out.print(f"{counts.goal_rate:.1%} left with the goal met ({counts.succeeded:,} of {counts.enrolled:,})")
    for reason, events in counts.refused.items():
        out.print(f"  {events:,} did not enter: {reason_words(reason)}", markup=False)
    older = [each for each in counts.versions if each is not chosen and each.waiting]
    for each in older:
        out.print(f"  {each.waiting:,} are on version {each.version.number}: `--version {each.version.number}`")
    out.print(f"version {chosen.version.number}:")
    print_table(
        ["step", "does", "came", "in it", "went on", "dropped", "why, and mails"], [_row(s) for s in chosen.steps]
    )


def _in_order(step: StepCounts) -> list[tuple[str, int]]:
    """The ways that people went, in the order of the file."""
    places = [way for way, _ in ways_of(step.node)]
    return sorted(step.ways.items(), key=lambda each: places.index(each[0]) if each[0] in places else len(places))


def _row(step: StepCounts) -> list[str]:
    ways = [f"{way_words(way, step.node) or way} {people:,}" for way, people in _in_order(step) if way != "none"]
    on = ", ".join(ways) if len(step.node.ways) > 1 and ways else f"{step.went_on:,}"
    more = [f"{people:,} {reason_words(reason)}" for reason, people in step.dropped.items()]
    more += [f"{step.goal:,} goal met"] if step.goal else []
    if step.mails is not None:
        mails = step.mails
        counts = {
            "sent": mails.accepted,
            "waiting": mails.waiting,
            "rejected": mails.rejected,
            "unknown": mails.unknown,
        }
        counts |= {"opened": mails.opened or 0, "clicked": mails.clicked or 0}
        more += [f"{people:,} {what}" for what, people in counts.items() if people]
        more += [f"{people:,} no mail: {reason_words(reason)}" for reason, people in mails.reasons.items()]
    name = f"{step.node.name}"
    return [
        name,
        kind_words(step.node),
        f"{step.came:,}",
        f"{step.waiting:,}",
        on,
        f"{step.drop_outs:,}",
        "; ".join(more),
    ]


def print_draft(made: Draft) -> None:
    """A flow that was never live: what its file would do."""
    out.print(f"flow {made.flow} is concept: `smp flow live {made.flow}` lets it run", markup=False)
    names = [node.name for node in made.nodes]
    rows = []
    for node in made.nodes:
        ways = [f"{way_words(way, node)} {_name(names, to)}".strip() for way, to in ways_of(node)]
        rows.append([node.name, kind_words(node), ", ".join(ways)])
    print_table(["step", "does", "then"], rows)


def _name(names: list[str], number: int) -> str:
    return "leaves" if number == END else names[number]


def uncounted(made: Draft) -> VersionCounts:
    """The figures of a draft, which nobody ever entered."""
    zone = ZoneInfo(str(made.definition["zone"]))
    version = FlowVersion(0, 0, made.flow, 0, made.model, made.nodes, made.conditions, zone)
    return VersionCounts(version, 0, 0, {}, 0, tuple(StepCounts(node, 0, {}, {}, {}, 0, None) for node in made.nodes))


def print_audit(changes: list[FlowChange], zone: ZoneInfo) -> None:
    """Who changed a flow, when, how and why."""
    rows = [[when(c.changed_at, zone), c.changed_by, c.change, _effect(c.details), c.reason] for c in changes]
    if rows:
        print_table(["when", "who", "what", "effect", "why"], rows)


def _effect(details: Mapping[str, Any]) -> str:
    told = [f"{details['from']} → {details['to']}"] if "from" in details else []
    told += [f"version {details['version']}"] if "version" in details else []
    told += [f"{details['dropped']:,} left"] if "dropped" in details else []
    told += [f"{sum(details['moved'].values()):,} moved"] if "moved" in details else []
    rest = {key: value for key, value in details.items() if key in ("source", "people", "answer")}
    return ", ".join([*told, *(f"{key}: {value}" for key, value in rest.items())])


def status_words(each: Participant, zone: ZoneInfo, now: datetime) -> str:
    """Where a participant stands: waiting until when, or how they left."""
    if each.left_at is None:
        until = f"waits until {when(each.due_at, zone)}" if each.due_at else "waits for what they do"
        is_due = each.due_at is not None and each.due_at <= now
        return ("goes on at the next tick" if is_due else until) + (", goal met" if each.goal_at else "")
    why = reason_words(each.reason) if each.outcome == "dropped" and each.reason else each.reason
    told = OUTCOMES.get(str(each.outcome), str(each.outcome)).lower()
    return f"left {when(each.left_at, zone)}: {told}" + (f" ({why})" if why else "")


def print_participants(
    found: list[Participant], versions: Mapping[int, FlowVersion], zone: ZoneInfo, now: datetime
) -> None:
    """Participants, by their ids."""
    rows = [
        [
            each.person_id,
            when(each.entered_at, zone),
            each.entered_by,
            versions[each.version_id].number,
            versions[each.version_id].nodes[each.node].name,
            status_words(each, zone, now),
            f"{each.mail_step} {each.mail_state}" if each.mail_step else None,
        ]
        for each in found
    ]
    print_table(["person", "entered", "by", "version", "step", "status", "last mail"], rows)


def print_path(path: Path, zone: ZoneInfo, now: datetime) -> None:
    """The steps that somebody took, and where they are."""
    here = path.participant
    out.print(f"entered {when(here.entered_at, zone)} by {here.entered_by}", markup=False)
    rows: list[list[object]] = []
    for visit in path.visits:
        way = "" if visit.way == "none" else way_words(visit.way, visit.node)
        mail = f"mail {visit.mail}" if visit.mail else ""
        mail += f": {reason_words(visit.why)}" if visit.why else ""
        told = ", ".join(part for part in (way, note_words(visit.note) if visit.note else "", mail) if part)
        arrived, left = when(visit.arrived_at, zone), when(visit.left_at, zone)
        rows.append([arrived, left, visit.version.number, visit.node.name, kind_words(visit.node), told])
    if here.left_at is None:
        name, does = path.here.name, kind_words(path.here)
        rows.append([when(here.arrived_at, zone), "", path.version.number, name, does, status_words(here, zone, now)])
    print_table(["came", "went on", "version", "step", "does", "how"], rows)
    if here.left_at is not None:
        out.print(status_words(here, zone, now), markup=False)


def print_plan(plan: FlowPlan) -> None:
    """What an edited file would do (X9)."""
    number = plan.current.number
    if not plan.is_new:
        out.print(f"the file of flow {plan.flow} is what people enter: version {number}", markup=False)
    else:
        out.print(f"flow {plan.flow}: the file differs from version {number}, which people enter now", markup=False)
        if plan.settings:
            out.print(f"  changed at the top: {', '.join(plan.settings)}", markup=False)
        rows = [[s.change, s.name, s.kind, ", ".join(s.what)] for s in plan.steps if s.change != "kept"]
        if rows:
            print_table(["step is", "name", "does", "what is different"], rows)
        elif not plan.settings:
            out.print("  only texts are different")
    if not plan.places:
        out.print("nobody is in it now")
        return
    rows = [[str(p.version.number), p.node.name, f"{p.people:,}", _to(plan, p), f"{p.again:,}"] for p in plan.places]
    print_table(["version", "is at", "people", "could move to", "would get a mail again"], rows)
    for place in plan.places:
        if place.people_again:
            ids = ", ".join(str(each) for each in place.people_again)
            out.print(f"  a mail again, from {place.node.name}: {ids}", markup=False)
    if plan.can_move:
        out.print(
            f"`smp flow apply {plan.flow} --move none` leaves everybody where they are; `--move all` moves "
            f"{plan.can_move - plan.again:,}" + (f", with --again {plan.can_move:,}" if plan.again else ""),
            markup=False,
        )


def _to(plan: FlowPlan, place: Place) -> str:
    if place.version.version_id == plan.same:
        return "is on it already"
    return "nowhere: they stay" if place.to is None else place.to.name


def print_entered(flow: str, entered: Entered) -> None:
    """How many entered, and why the others did not."""
    out.print(f"flow {flow}: {entered.enrolled:,} entered", markup=False)
    if not entered.enrolled and not entered.refused:
        out.print("  nobody was asked, or everybody was asked with this key before")
    for reason, people in entered.refused.items():
        out.print(f"  {people:,} did not: {reason_words(reason)}", markup=False)
