"""Target groups: who takes part in a step, when that is more than one selection as it is at each send (F52 to F57).

A group that is evaluated at each send is several selections put together. A frozen one was laid down when it was
linked, in Postgres: its selections as they were, a copy of another step's group, imports, and people by hand.
Who was unlinked stays out, whatever is linked later. Every change is recorded: who, when, whom, from what and why.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
from psycopg import sql

from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.crm.bulk import copy_in
from smp_pipelines.problems import SmpError
from smp_pipelines.selection.runs import SelectionRun
from smp_pipelines.sending.target.used import gather_used, hold_campaign, load
from smp_pipelines.stores.lake import identifier, literal
from smp_pipelines.stores.postgres import Connection, engine_sql

_MEMBERS = "select person_id, record_id from smp.target_member where step = {step} and linked"


@dataclass(frozen=True)
class Linked:
    """The linking of a frozen group: since when it is frozen, by whom, and the selection runs it was linked from."""

    step: str
    linked_at: datetime
    linked_by: str
    selection_runs: list[int]


@dataclass(frozen=True)
class Applied:
    """What a change did to frozen groups: how many people it linked and how many it unlinked; the others were so."""

    linked: int
    unlinked: int


@dataclass(frozen=True)
class Source:
    """Where people of a frozen group come from, and how many of them are linked and unlinked."""

    source: str
    linked: int
    unlinked: int


@dataclass(frozen=True)
class Change:
    """One line of the audit of a frozen group; `linked` and `unlinked` count people."""

    changed_at: datetime
    changed_by: str
    source: str
    reason: str | None
    linked: int
    unlinked: int


def describe(ref: StepRef) -> str:
    """How the group of a step is put together, in words."""
    group = ref.step.target_group
    if group is None:
        return ", ".join(ref.step.people) or "whoever triggers it"
    parts = [*ref.step.people, *([f"the group of {ref.copied_key}"] if ref.copied_key else [])]
    left_out = ", without whom the campaign used already" if group.not_used_in_campaign else ""
    when = "frozen when it is linked" if ref.step.is_frozen else "as they are at each send"
    return f"{' + '.join(parts) or 'imported, or linked by hand'}{left_out}; {when}"


def read_linked(connection: Connection, step: str) -> Linked | None:
    """When and by whom the frozen group of a step was linked; None: not yet."""
    found = connection.execute(
        "select step, linked_at, linked_by, selection_runs from smp.target_group where step = %s", (step,)
    ).fetchone()
    return None if found is None else Linked(*found)


def refuse_unlinked(connection: Connection, ref: StepRef) -> None:
    """Raise SmpError when a step has a frozen group that nobody linked yet."""
    if ref.step.is_frozen and read_linked(connection, ref.key) is None:
        raise SmpError(f"the target group of {ref.key} is not linked yet\n    → smp group link {ref.key}")


def refuse_unfrozen(ref: StepRef) -> None:
    """Raise SmpError for a step whose group is not frozen: there is nothing to link people to."""
    if not ref.step.is_frozen:
        what = "is evaluated at each send" if ref.step.has_group else "has no target group"
        remedy = "write `target_group: {evaluate: once, …}` at the step to lay down who takes part"
        raise SmpError(f"{ref.key} {what}, so nobody can be linked to it or unlinked\n    → {remedy}")


def read_sources(connection: Connection, step: str) -> list[Source]:
    """Where the people of a frozen group come from, the first source first."""
    return [Source(*row) for row in connection.execute(engine_sql("target/sources.sql"), {"step": step})]


def read_group_changes(connection: Connection, step: str, limit: int) -> list[Change]:
    """The audit of a frozen group, the latest change first."""
    found = connection.execute(engine_sql("target/changes.sql"), {"step": step, "limit": limit})
    return [Change(*row) for row in found]


def read_members(connection: Connection, step: str, limit: int) -> list[tuple[int, int | None, bool, str, datetime]]:
    """The first people of a frozen group: person, linked record, linked or not, source, since when."""
    return connection.execute(
        "select person_id, record_id, linked, source, since from smp.target_member where step = %s"
        " order by person_id, record_id limit %s",
        (step, limit),
    ).fetchall()


def hold_group(connection: Connection, step: str) -> None:
    """Be the only one who changes a step's frozen group until the transaction ends."""
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"target group {step}",))


def mark_linked(connection: Connection, step: str, now: datetime, by: str, runs: Sequence[int] = ()) -> None:
    """Say that a step's group is laid down, from these selection runs; its date is that of the first time."""
    values = {"step": step, "now": now, "by": by, "runs": list(runs)}
    connection.execute(engine_sql("target/mark_linked.sql"), values)


def linked_runs(connection: Connection, step: str) -> list[int]:
    """The runs that a frozen group was linked from, without those whose failing tests were overruled for the step."""
    return [run for (run,) in connection.execute(engine_sql("target/linked_runs.sql"), {"step": step})]


def apply_incoming(
    connection: Connection, now: datetime, by: str, reason: str | None, *, override: bool = True
) -> Applied:
    """Bring the groups in line with `smp_target_incoming`, with audit, and empty it.

    With `override` it changes who is in a group already; without, it only adds who is new.
    """
    values = {"now": now, "by": by.strip(), "reason": reason, "override": override}
    found = connection.execute(engine_sql("target/apply.sql"), values).fetchone()
    connection.execute("truncate smp_target_incoming")
    return Applied(*(found or (0, 0)))


def refuse_again(project: LoadedProject, before: Linked | None, *, again: bool) -> None:
    """Raise SmpError for a group that was linked before, unless it shall be linked again (F57)."""
    if before is not None and not again:
        when = f"{before.linked_at.astimezone(project.settings.zone):%Y-%m-%d %H:%M}"
        remedy = f"`smp group link {before.step} --again` adds who came into its selections since"
        raise SmpError(f"the target group of {before.step} was linked on {when} by {before.linked_by}\n    → {remedy}")


def link(
    connection: Connection,
    lake: duckdb.DuckDBPyConnection,
    project: LoadedProject,
    ref: StepRef,
    runs: Sequence[SelectionRun],
    now: datetime,
    by: str,
    *,
    again: bool = False,
) -> Applied:
    """Freeze a group: its selections as these runs found them, and what it takes over from another step (F53, F57).

    Again, it adds who is new in the selections; what was taken over is not taken over anew, and who was unlinked
    stays out. Raises SmpError for a group that was linked before, by nobody, or that has nobody to take over.
    """
    refuse_unfrozen(ref)
    refuse_nobody(by)
    with connection.transaction():
        hold_group(connection, ref.key)
        before = read_linked(connection, ref.key)
        refuse_again(project, before, again=again)
        connection.execute(engine_sql("target/incoming.sql"))
        linked_from = [run.selection_run_id for run in runs]
        if before is None and ref.copied_key is not None:
            linked_from += _take_over(connection, project.step(ref.copied_key), ref)
        hold_campaign(connection, project, ref)
        gather_used(connection, lake, project, ref, linking=True)
        for run in runs:
            _add_run(connection, lake, project, ref, run)
        done = apply_incoming(connection, now, by, "linked again" if before else None, override=False)
        mark_linked(connection, ref.key, now, by.strip(), linked_from)
    return done


def change_by_hand(
    connection: Connection,
    ref: StepRef,
    people: Sequence[int],
    now: datetime,
    by: str,
    *,
    linked: bool,
    record_id: int | None = None,
    reason: str | None = None,
) -> Applied:
    """Link or unlink people by name. Unlinking somebody who is not in the group keeps them out when it is linked.

    For a step with a linked record without `record_id` it holds for all records that they are in the group with.
    Raises SmpError for a group that is not frozen, people who are not in the CRM, people with no record, and a record
    that the step is not about.
    """
    refuse_unfrozen(ref)
    refuse_nobody(by)
    if record_id is not None and ref.step.record is None:
        raise SmpError(
            f"{ref.key} is not about a record: nobody can be linked to it with one\n    → leave out --record"
        )
    _refuse_strangers(connection, people)
    with connection.transaction():
        hold_group(connection, ref.key)
        connection.execute(engine_sql("target/incoming.sql"))
        values = {
            **{"step": ref.key, "people": list(people), "record": record_id, "linked": linked, "source": "by hand"},
            "needs_record": ref.step.record is not None,
        }
        found = {person for (person,) in connection.execute(engine_sql("target/by_hand.sql"), values)}
        if missing := sorted(set(people) - found):
            told = ", ".join(map(str, missing))
            raise SmpError(f"not in the group: {told}; say about which {ref.step.record}, with --record ID")
        done = apply_incoming(connection, now, by, reason)
        if linked:
            lay_down_by_hand(connection, ref, now, by)
    return done


def lay_down_by_hand(connection: Connection, ref: StepRef, now: datetime, by: str) -> None:
    """A group that is only imported or made by hand is laid down by that; others wait for `link`."""
    group = ref.step.target_group
    if group is not None and not group.selections and group.copy_of is None:
        mark_linked(connection, ref.key, now, by.strip())


def group_query(
    connection: Connection,
    lake: duckdb.DuckDBPyConnection,
    project: LoadedProject,
    ref: StepRef,
    runs: Sequence[SelectionRun],
) -> str:
    """The DuckDB query for the people of a step's group at this moment, each once (with the linked record).

    It reads temporary tables that this makes. `runs` are those of the selections; of a frozen group there are none.
    """
    gather_used(connection, lake, project, ref, linking=False)
    record = project.record(ref)
    columns = ", ".join(identifier(name) for name in ("person_id", *([record.key] if record else [])))
    sources = [_people_of(run, columns) for run in runs]
    if ref.step.is_frozen:
        lake.execute("create or replace temp table linked_member (person_id bigint, record_id bigint)")
        load(connection, lake, sql.SQL(_MEMBERS).format(step=sql.Literal(ref.key)), "linked_member")
        name = identifier(record.key if record else "record_id")
        reached = reached_query(ref, moment="smp.contact_moment", person="crm.person")
        has_record = str(record is not None).lower()
        sources = [engine_sql("target/frozen.sql").format(record=name, reached=reached, has_record=has_record)]
    return engine_sql("target/group.sql").format(columns=columns, sources="\nunion all\n".join(sources))


def reached_query(ref: StepRef, *, moment: str, person: str) -> str:
    """The DuckDB query for whom a step reached already, from these tables of contact moments and people."""
    deduplicate = str(ref.step.deduplicate).lower()
    return engine_sql("target/reached.sql").format(
        step=literal(ref.key), moment=moment, person=person, deduplicate=deduplicate
    )


def refuse_nobody(by: str) -> None:
    """Raise SmpError when nobody says to have done it."""
    if not by.strip():
        raise SmpError("say who changes the target group: the audit keeps it")


def _take_over(connection: Connection, source: StepRef, ref: StepRef) -> list[int]:
    """Copy the group of an earlier step as it is now: of a frozen one its people, of another whom it selected (F53).

    Returns the runs that they come from: what stops a send of the source stops one of the copy.
    """
    values = {
        **{"from": source.key, "step": ref.key, "source": f"taken over from {source.key}"},
        "with_record": ref.step.record is not None,
    }
    refuse_unlinked(connection, source)
    how = "frozen" if source.step.is_frozen else "sent"
    if connection.execute(engine_sql(f"target/take_over_{how}.sql"), values).rowcount == 0 and how == "sent":
        raise SmpError(f"{source.key} was not sent yet, so {ref.key} has no group to take over from it")
    if source.step.is_frozen:
        return linked_runs(connection, source.key)
    return [run for (run,) in connection.execute(engine_sql("target/sent_runs.sql"), {"step": source.key})]


def _add_run(
    connection: Connection, lake: duckdb.DuckDBPyConnection, project: LoadedProject, ref: StepRef, run: SelectionRun
) -> None:
    """Copy the people of a selection's run from the lake to the people that are to be linked."""
    record = project.record(ref)
    columns = ", ".join(identifier(name) for name in ("person_id", *([record.key] if record else [])))
    values = f"{literal(ref.key)}, g.person_id, {f'g.{identifier(record.key)}' if record else 'null'}, true"
    told = literal(f"selection {run.selection}, run {run.selection_run_id}")
    query = engine_sql("target/group.sql").format(columns=f"{values}, {told}", sources=_people_of(run, columns))
    with tempfile.TemporaryDirectory(prefix="smp-link-") as folder, connection.cursor() as cursor:
        file = Path(folder) / "people.csv"
        lake.execute(f"copy ({query}) to {literal(str(file))} (format csv, header false)")
        copy_in(cursor, "smp_target_incoming", ["step", "person_id", "record_id", "linked", "source"], file)


def _people_of(run: SelectionRun, columns: str) -> str:
    return f"from {run.table} at (version => {int(run.snapshot_id)}) select {columns}"


def _refuse_strangers(connection: Connection, people: Sequence[int]) -> None:
    found = connection.execute(
        "select g from unnest(%s::bigint[]) as g where not exists (select from crm.person where person_id = g)",
        (list(people),),
    ).fetchall()
    if found:
        raise SmpError(f"not in the CRM: {', '.join(str(person) for (person,) in found)}")
