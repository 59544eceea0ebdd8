"""`smp group`: the target groups of steps that are frozen: link, show, link or unlink people, import."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smp_pipelines.commands.shared import deployment, out, print_table
from smp_pipelines.stores.clock import SystemClock

if TYPE_CHECKING:
    from smp_pipelines.campaign.project import StepRef
    from smp_pipelines.deployment import Deployment

app = typer.Typer(help="Target groups: link, show, link or unlink people, import.", no_args_is_help=True)

_Step = Annotated[str, typer.Argument(help="campaign/step, with a target group that is evaluated once.")]
_People = Annotated[list[int], typer.Argument(help="The ids of people.")]
_By = Annotated[str | None, typer.Option(help="Who; default: you.")]
_Record = Annotated[int | None, typer.Option(help="The linked record's id, of a step that is about one.")]


@app.command("link")
def group_link(
    step: _Step,
    by: _By = None,
    again: Annotated[bool, typer.Option("--again", help="Linked before: add who is new in its selections.")] = False,
) -> None:
    """Freeze a group: who is in its selections now takes part, and whom it takes over from another step (F53, F57)."""
    with deployment() as loaded:
        ref = loaded.project.step(step)
        now = SystemClock().now()
        done = loaded.groups.link(ref, now, by or getpass.getuser(), again=again)
    told = f", {done.unlinked:,} stay out" if done.unlinked else ""
    out.print(f"{ref.key}: {done.linked:,} {'new people' if again else 'people'} linked{told}", markup=False)


@app.command("show")
def group_show(
    step: Annotated[str, typer.Argument(help="campaign/step")],
    limit: Annotated[int, typer.Option(min=1, help="How many people and changes.")] = 10,
) -> None:
    """A group: since when it is frozen, where its people come from, the first of them, and the audit."""
    with deployment() as loaded:
        ref = loaded.project.step(step)
        if ref.step.is_frozen:
            _show_frozen(loaded, ref, limit)
        else:
            _show_evaluated(loaded, ref)


@app.command("link-person")
def group_link_person(
    step: _Step,
    people: _People,
    by: _By = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept in the audit.")] = None,
    record: _Record = None,
) -> None:
    """Link people by name, also who was unlinked before."""
    _by_hand(step, people, by, reason, record, linked=True)


@app.command("unlink")
def group_unlink(
    step: _Step,
    people: _People,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")],
    by: _By = None,
    record: _Record = None,
) -> None:
    """Take people out of a group, or keep them out of one: they stay out, whatever is linked later."""
    _by_hand(step, people, by, reason, record, linked=False)


@app.command("import")
def group_import(
    file: Annotated[Path, typer.Argument(help="CSV with contact and, if not given here, campaign, number, linked.")],
    campaign: Annotated[str | None, typer.Option(help="The campaign of rows that name none.")] = None,
    step: Annotated[
        str | None, typer.Option(help="The step of rows that name none: number, name, campaign/step.")
    ] = None,
    linked: Annotated[str, typer.Option(help="J or N, of rows that do not say: link, or keep out.")] = "J",
    rejects: Annotated[Path | None, typer.Option(help="Where rejected rows go; default NAME.rejects.csv.")] = None,
    by: _By = None,
) -> None:
    """Link contacts from a file, or keep them out (F52). Importing it twice changes nothing; bad rows come back."""
    from smp_pipelines.sending.target.importing import Fixed, import_groups

    if step is not None and "/" in step:
        campaign, _, step = step.partition("/")
    now, who = SystemClock().now(), by or getpass.getuser()
    with deployment() as loaded, loaded.connection() as postgres:
        done = import_groups(postgres, loaded.project, file, Fixed(campaign, step, linked), now, who, rejects)
    counts = (
        f"{done.linked:,} linked, {done.unlinked:,} unlinked, {done.unchanged:,} unchanged, {done.rejected:,} rejected"
    )
    out.print(f"{done.read:,} read: {counts}")
    if done.rejected:
        out.print(f"rejected rows, with line and reason: {done.rejects_file}", markup=False)


def _by_hand(
    step: str, people: list[int], by: str | None, reason: str | None, record: int | None, *, linked: bool
) -> None:
    from smp_pipelines.sending.target.group import change_by_hand

    now, who = SystemClock().now(), by or getpass.getuser()
    with deployment() as loaded, loaded.connection() as postgres:
        ref = loaded.project.step(step)
        done = change_by_hand(postgres, ref, people, now, who, linked=linked, record_id=record, reason=reason)
    out.print(f"{ref.key}: {done.linked} linked, {done.unlinked} unlinked", markup=False)


def _show_frozen(loaded: Deployment, ref: StepRef, limit: int) -> None:
    from smp_pipelines.sending.target.group import describe, read_group_changes, read_linked, read_members, read_sources

    zone = loaded.project.settings.zone
    with loaded.connection() as postgres:
        frozen, sources = read_linked(postgres, ref.key), read_sources(postgres, ref.key)
        members = read_members(postgres, ref.key, limit)
        changes = read_group_changes(postgres, ref.key, limit)
    if frozen is None:
        out.print(f"{ref.key} is not linked yet: `smp group link {ref.key}`", markup=False)
    else:
        when = f"{frozen.linked_at.astimezone(zone):%Y-%m-%d %H:%M}"
        out.print(f"{ref.key}: frozen since {when}, by {frozen.linked_by}", markup=False)
    out.print(describe(ref), markup=False)
    linked, unlinked = sum(each.linked for each in sources), sum(each.unlinked for each in sources)
    out.print(f"{linked:,} linked, {unlinked:,} kept out")
    if sources:
        print_table(["source", "linked", "kept out"], [[s.source, s.linked, s.unlinked] for s in sources])
        rows = [
            [person, record, "yes" if is_linked else "no", source, f"{since.astimezone(zone):%Y-%m-%d %H:%M}"]
            for person, record, is_linked, source, since in members
        ]
        print_table(["person", "record", "linked", "source", "since"], rows)
        audit = [
            [f"{c.changed_at.astimezone(zone):%Y-%m-%d %H:%M}", c.changed_by, c.source, c.linked, c.unlinked, c.reason]
            for c in changes
        ]
        print_table(["when", "who", "what", "linked", "unlinked", "why"], audit)


def _show_evaluated(loaded: Deployment, ref: StepRef) -> None:
    from smp_pipelines.selection.runs import last_run
    from smp_pipelines.sending.target.group import describe

    if not ref.step.has_group:
        out.print(f"{ref.key} has no target group: it is sent to whoever triggers it", markup=False)
        return
    zone = loaded.project.settings.zone
    out.print(f"{ref.key}: {describe(ref)}", markup=False)
    with loaded.connection() as postgres:
        runs = [last_run(postgres, name) for name in (*ref.step.people, ref.key)]
    rows = [[r.selection, f"{r.moment.astimezone(zone):%Y-%m-%d %H:%M}", r.row_count] for r in runs if r is not None]
    if rows:
        print_table(["last run of", "at", "rows"], rows)
