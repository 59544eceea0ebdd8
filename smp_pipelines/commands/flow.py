"""`smp flow`: list, show, participants, path, enrol, live, pause, resume, end, plan, apply, admit."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.commands.flow_printing import (
    print_audit,
    print_counts,
    print_draft,
    print_entered,
    print_participants,
    print_path,
    print_plan,
    tell,
    uncounted,
    when,
)
from smp_pipelines.commands.flow_simulate import flow_simulate
from smp_pipelines.commands.shared import deployment, out, print_table
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import SystemClock

if TYPE_CHECKING:
    from smp_pipelines.deployment import Deployment
    from smp_pipelines.flow.seeing import VersionCounts
    from smp_pipelines.flow.version import FlowState
    from smp_pipelines.stores.postgres import Connection

app = typer.Typer(
    help="Flows: list, show, participants, path, enrol, live, pause, resume, end, plan, apply, admit, simulate.",
    no_args_is_help=True,
)
app.command("simulate")(flow_simulate)

_Flow = Annotated[str, typer.Argument(help="The flow: its campaign's name.")]
_By = Annotated[str | None, typer.Option(help="Who; default: you.")]
_Reason = Annotated[str | None, typer.Option(help="Why; kept in the audit.")]
_LATEST_CHANGES = 10
_MOST = 2**63 - 1
"""The largest key that Postgres holds."""


@app.command("list")
def flow_list() -> None:
    """All flows: whether they run, on which version, and how many are in them."""
    from smp_pipelines.flow.seeing import read_overview

    with deployment() as loaded, loaded.connection() as postgres:
        known = read_overview(postgres)
        rows: list[list[object]] = []
        for name in sorted({*loaded.project.flows, *known}):
            flow, seen = loaded.project.flows.get(name), known.get(name)
            title = flow.name if flow else "(its file is gone)"
            if seen is None:
                rows.append([name, title, "concept", None, None, None, None])
                continue
            rate = f"{seen.succeeded / seen.enrolled:.1%}" if seen.enrolled and flow and flow.goals else None
            told = [seen.state, *(["asks for a yes"] if seen.asked else [])]
            told += ["file changed"] if flow and seen.state != "ended" and _changed(loaded, postgres, name) else []
            counts = [f"{seen.enrolled:,}", f"{seen.waiting:,}"]
            rows.append([name, title, ", ".join(told), seen.number, *counts, rate])
    print_table(["flow", "name", "state", "version", "entered", "in it", "goal"], rows)
    if not rows:
        out.print("this project has no flow: write campaigns/CAMPAIGN/flow.yaml")


@app.command("show")
def flow_show(
    flow: _Flow,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the diagram as Mermaid text.")] = False,
    version: Annotated[
        int | None, typer.Option(min=1, help="Which version; default: the one that people enter.")
    ] = None,
) -> None:
    """A flow: its state, the people at each step, how they left, and the audit (F35, F47)."""
    from smp_pipelines.flow.mermaid import mermaid as drawn
    from smp_pipelines.flow.seeing import read_counts
    from smp_pipelines.flow.status import read_flow_changes
    from smp_pipelines.flow.version import draft, read_state

    with deployment() as loaded, loaded.connection() as postgres:
        state = read_state(postgres, flow)
        if state is None or state.version_id is None:
            made = draft(loaded.project, loaded.library, flow)
            typer.echo(drawn(uncounted(made))) if mermaid else print_draft(made)
            return
        zone = loaded.project.settings.zone
        counts = read_counts(postgres, flow)
        known = {each.version.number: each for each in counts.versions} if counts else {}
        wanted = version or next(each.version.number for each in known.values() if _is_entered(each, state))
        if counts is None or wanted not in known:
            raise SmpError(f"flow {flow} has no version {version}; it has {', '.join(str(each) for each in known)}")
        if mermaid:
            typer.echo(drawn(known[wanted]))
            return
        print_counts(counts, known[wanted], zone)
        print_audit(read_flow_changes(postgres, flow)[:_LATEST_CHANGES], zone)
        if note := _changed(loaded, postgres, flow):
            out.print(note, markup=False)


@app.command("participants")
def flow_participants(
    flow: _Flow,
    step: Annotated[str | None, typer.Option(help="Only who is at this step now, on any version.")] = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only who is in it now.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many, the latest first.")] = 50,
) -> None:
    """Who is or was in a flow: since when, where, until when, and the last mail (F35). Names are on the person card."""
    from smp_pipelines.flow.changing import read_all_versions
    from smp_pipelines.flow.seeing import Wanted, read_participants

    with deployment() as loaded, loaded.connection() as postgres:
        state = _state(loaded, postgres, flow)
        versions = read_all_versions(postgres, state.flow_id)
        wanted = [Wanted(waiting=waiting)]
        if step is not None:
            places = [(each.version_id, node.number) for each in versions for node in each.nodes if node.name == step]
            if not places:
                names = list(dict.fromkeys(node.name for each in versions for node in each.nodes))
                raise SmpError(f"flow {flow} has no step {step}\n    → {did_you_mean(step, names)}")
            wanted = [Wanted(version_id, node, waiting=True) for version_id, node in places]
        found = [each for one in wanted for each in read_participants(postgres, state, one, most=limit)][:limit]
    if not found:
        out.print("nobody" + (f" is at {step} now" if step else " is in it now" if waiting else " was ever in it"))
        return
    zone = loaded.project.settings.zone
    print_participants(found, {each.version_id: each for each in versions}, zone, SystemClock().now())


@app.command("path")
def flow_path(flow: _Flow, person: Annotated[int, typer.Argument(min=0, max=_MOST, help="The person's id.")]) -> None:
    """Which steps a person took, when, and which way (F47); each time they were in the flow."""
    from smp_pipelines.flow.seeing import Wanted, read_participants, read_path

    with deployment() as loaded, loaded.connection() as postgres:
        state = _state(loaded, postgres, flow)
        found = read_participants(postgres, state, Wanted(person_id=person))
        for each in reversed(found):
            path = read_path(postgres, each.participant_id)
            print_path(path, loaded.project.settings.zone, SystemClock().now())
    if not found:
        raise SmpError(f"person {person} was never in flow {flow}")


@app.command("live")
def flow_live(flow: _Flow, reason: _Reason = None, by: _By = None) -> None:
    """Let a flow run as its file has it now (F37). Refused while anything of it is wrong or missing (F39)."""
    from smp_pipelines.flow import status

    with deployment() as loaded:
        made, steps = loaded.complete_flow(flow)
        with loaded.connection() as postgres:
            done = status.run(postgres, made, steps, SystemClock().now(), _who(by), reason)
    tell(flow, done, "was live already")
    if done is not None:
        out.print(f"  people enter version {done.details['version']}", markup=False)
        for step in done.details["steps"]:
            out.print(f"  {step}: live as well", markup=False)


@app.command("pause")
def flow_pause(flow: _Flow, reason: _Reason = None, by: _By = None) -> None:
    """Let a flow stand still (F37): nobody enters or moves, nothing is lost. `resume` lets it go on."""
    from smp_pipelines.flow import status

    with deployment() as loaded, loaded.connection() as postgres:
        _known(loaded, postgres, flow)
        done = status.pause(postgres, flow, SystemClock().now(), _who(by), reason)
    tell(flow, done, "was paused already")


@app.command("resume")
def flow_resume(flow: _Flow, reason: _Reason = None, by: _By = None) -> None:
    """Let a paused flow go on where it was, on the version that it had (F37)."""
    from smp_pipelines.flow import status

    with deployment() as loaded, loaded.connection() as postgres:
        _known(loaded, postgres, flow)
        done = status.resume(postgres, flow, SystemClock().now(), _who(by), reason)
    tell(flow, done, "was not paused")


@app.command("end")
def flow_end(
    flow: _Flow,
    drop: Annotated[bool, typer.Option("--drop", help="Everybody leaves it now, wherever they are.")] = False,
    reason: _Reason = None,
    by: _By = None,
) -> None:
    """Let nobody enter a flow any more; who is in it goes on to the end, or leaves now (F37)."""
    from smp_pipelines.flow import status

    with deployment() as loaded, loaded.connection() as postgres:
        _known(loaded, postgres, flow)
        done = status.end(postgres, flow, SystemClock().now(), _who(by), reason, drop=drop)
    tell(flow, done, "had been ended already")
    if done is not None and drop:
        out.print(f"  {done.details['dropped']:,} people left it", markup=False)


@app.command("plan")
def flow_plan(
    flow: _Flow,
    who: Annotated[bool, typer.Option("--who", help="Also the ids of who would receive a mail again.")] = False,
) -> None:
    """What the edited file would do to whoever is in the flow: who stays, moves, would receive again (X9)."""
    from smp_pipelines.flow.changing import plan

    with deployment() as loaded:
        made, _steps = loaded.complete_flow(flow)
        with loaded.connection() as postgres:
            print_plan(plan(postgres, made, with_people=who))


@app.command("apply")
def flow_apply(
    flow: _Flow,
    move: Annotated[
        list[str], typer.Option(help="none, all, or a step of an older version; may be given several times.")
    ],
    again: Annotated[bool, typer.Option("--again", help="Also who would receive a mail of it again.")] = False,
    reason: _Reason = None,
    by: _By = None,
) -> None:
    """Make the edited file the version that people enter, and move people to it, on purpose (F46, X9)."""
    from smp_pipelines.flow.changing import apply

    chosen = move[0] if move in (["none"], ["all"]) else move
    if not isinstance(chosen, str) and {"none", "all"} & set(chosen):
        raise SmpError("--move is none, or all, or the names of steps")
    with deployment() as loaded:
        made, steps = loaded.complete_flow(flow)
        now = SystemClock().now()
        with loaded.connection() as postgres:
            kind = "all" if chosen == "all" else "none" if chosen == "none" else move
            done = apply(postgres, made, now, _who(by), kind, reason, steps=steps, again=again)
    out.print(f"flow {flow}: people enter version {done.version.number}", markup=False)
    for step in done.change.details["steps"]:
        out.print(f"  {step}: live as well", markup=False)
    for (number, name), people in done.moved.items():
        out.print(f"  {people:,} moved from {name} of version {number}", markup=False)
    kept = " (who would get a mail again stays, without --again)" if chosen != "none" and not again else ""
    out.print(f"  {done.stayed:,} stay on an older version{kept if done.stayed else ''}", markup=False)


@app.command("enrol")
def flow_enrol(
    flow: _Flow,
    person: Annotated[
        list[int] | None, typer.Option(min=0, max=_MOST, help="A person's id; may be given several times.")
    ] = None,
    selection: Annotated[str | None, typer.Option(help="Everybody who is in this selection now.")] = None,
    record: Annotated[int | None, typer.Option(min=0, max=_MOST, help="With --person: the linked record's id.")] = None,
    key: Annotated[str | None, typer.Option(help="What it is for: the same key enrols nobody twice.")] = None,
) -> None:
    """Let people enter by hand (F31). The flow's filter, exclusion and re-entry hold for them too."""
    from smp_pipelines.flow import sources
    from smp_pipelines.flow.judging import LakeJudge
    from smp_pipelines.flow.tables import use
    from smp_pipelines.flow.version import read_version
    from smp_pipelines.selection.condition import condition_of

    if bool(person) == (selection is not None):
        raise SmpError("say who: --person ID (as often as you like) or --selection NAME")
    now = SystemClock().now()
    key = key or f"{now.isoformat(timespec='microseconds')}"
    with deployment() as loaded, loaded.connection() as postgres:
        state = _state(loaded, postgres, flow)
        version = read_version(postgres, state.version_id or 0)
        use(postgres)
        judge = LakeJudge(loaded.lake, version.zone, loaded.refresh_read)
        if person:
            done = sources.enrol_people(postgres, version, state, judge, person, key, now, record)
        else:
            condition = condition_of(str(selection), loaded.library)
            done = sources.enrol_condition(postgres, version, state, judge, condition, key, now)
    print_entered(flow, done)
    if person and not done.enrolled:
        raise typer.Exit(1)


@app.command("admit")
def flow_admit(
    flow: _Flow,
    yes: Annotated[bool | None, typer.Option("--yes/--no", help="Let them enter, or leave them out for good.")] = None,
    by: _By = None,
) -> None:
    """Answer what a flow asks: may so many people, new in a selection all at once, enter? (F44) Without: show it."""
    from smp_pipelines.flow import admission

    with deployment() as loaded, loaded.connection() as postgres:
        _known(loaded, postgres, flow)
        if yes is None:
            asked = admission.read_open(postgres, flow)
        else:
            asked = admission.answer(postgres, flow, yes, SystemClock().now(), _who(by))
    zone = loaded.project.settings.zone
    for each in asked:
        told = {None: "wait for --yes or --no", True: "enter at the next look", False: "stay out"}[yes]
        people, since = f"{each.people:,} people", when(each.asked_at, zone)
        out.print(f"{flow}: {people} of {each.source}, asked {since}: they {told}", markup=False)
    if not asked:
        out.print(f"flow {flow} asks nothing", markup=False)


def _known(loaded: Deployment, connection: Connection, flow: str) -> None:
    """Refuse a name that no file and no row has; a flow whose file is gone can still be paused and ended."""
    from smp_pipelines.flow.version import read_state

    if read_state(connection, flow) is None:
        loaded.project.flow(flow)


def _state(loaded: Deployment, connection: Connection, flow: str) -> FlowState:
    """The state of a flow that was live once. Raises SmpError for another."""
    from smp_pipelines.flow.version import read_state

    state = read_state(connection, flow)
    if state is None or state.version_id is None:
        loaded.project.flow(flow)
        raise SmpError(f"flow {flow} was never live, so nobody is or was in it\n    → `smp flow live {flow}`")
    return state


def _is_entered(counts: VersionCounts, state: FlowState) -> bool:
    return counts.version.version_id == state.version_id


def _who(by: str | None) -> str:
    return by or getpass.getuser()


def _changed(loaded: Deployment, connection: Connection, flow: str) -> str | None:
    """What to say when the file is not what people enter."""
    from smp_pipelines.flow.changing import is_edited
    from smp_pipelines.flow.version import draft

    if flow not in loaded.project.flows:
        return f"the file of flow {flow} is gone; what runs is the version above"
    try:
        made = draft(loaded.project, loaded.library, flow)
    except SmpError:
        return "its file has errors, see `smp check`; what runs is the version above"
    told = f"its file has changed: `smp flow plan {flow}` shows what that would do"
    return told if is_edited(connection, made) else None
