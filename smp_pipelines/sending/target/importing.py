"""Import of target groups (F52): a file of contacts that are linked to frozen groups, or kept out of them.

One file may hold several campaigns and steps. What is sound is taken, in one transaction; the rows that are not come
back in a file with line and reason, which can be imported again once it is corrected. A file that is
imported twice changes nothing the second time.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg import sql

from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.crm.delimited import Layout, read_layout, read_rows
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.target.group import apply_incoming, hold_group, lay_down_by_hand, refuse_nobody
from smp_pipelines.stores.postgres import Connection, engine_sql

_NAMES: Mapping[str, Sequence[str]] = {
    "campaign": ("campaign", "campagne"),
    "number": ("number", "volgnummer", "step", "stap"),
    "contact": ("contact", "contact code", "contact_code", "contactcode", "contactnummer", "person", "person_id"),
    "linked": ("linked", "gekoppeld"),
    "record": ("record", "record_id"),
}
"""What a column is for → what it may be called, in small letters."""
_OWN = ("line", "reason", "original")
"""Columns of a file with rejected rows that say what was wrong; they are passed over."""


@dataclass(frozen=True)
class Fixed:
    """What holds for every row that does not say it itself: campaign, number (or name) of the step, linked or not."""

    campaign: str | None = None
    number: str | None = None
    linked: str | None = None


@dataclass(frozen=True)
class GroupImported:
    """What an import did: rows read = linked + unlinked + unchanged + rejected. No rejects, no rejects file."""

    read: int
    linked: int
    unlinked: int
    unchanged: int
    rejected: int
    rejects_file: Path | None


def import_groups(
    connection: Connection,
    project: LoadedProject,
    file: Path,
    fixed: Fixed,
    now: datetime,
    by: str,
    rejects: Path | None = None,
) -> GroupImported:
    """Link, or keep out, the contacts of a CSV file; rejected rows go to `rejects` (default: <file>.rejects.csv).

    Raises SmpError, with nothing written, for a file that cannot be read, a column that it does not know, and a file
    that says nowhere which contacts, campaign or step are meant.
    """
    refuse_nobody(by)
    rejects = rejects or file.with_name(f"{file.stem}.rejects.csv")
    if rejects.resolve() == file.resolve():
        raise SmpError(f"the rejects may not go into the imported file itself: {file}")
    if not file.is_file():
        raise SmpError(f"there is no file {file}")
    reading = _read(project, file, fixed)
    partial = rejects.with_name(f".{rejects.name}.partial")
    try:
        with connection.transaction():
            done = _import(connection, project, reading, partial, now, by)
        if done.rejected:
            partial.replace(rejects)
        else:
            rejects.unlink(missing_ok=True)  # those of an earlier import of this file
    except psycopg.DataError as error:
        raise SmpError(f"nothing was imported from {file}: {str(error).strip()}") from error
    finally:
        partial.unlink(missing_ok=True)
    return replace(done, rejects_file=rejects if done.rejected else None)


@dataclass(frozen=True)
class _Reading:
    """A file with what its columns are for: the place of each in the header."""

    file: Path
    layout: Layout
    places: Mapping[str, int]
    fixed: Fixed

    @property
    def kept(self) -> list[int]:
        """The places of the columns that go to the rejects file."""
        return [place for place, name in enumerate(self.layout.header) if name not in _OWN]


def _read(project: LoadedProject, file: Path, fixed: Fixed) -> _Reading:
    """Find out what the columns of a file are for. Raises SmpError for what does not fit."""
    keys = [record.key for record in project.settings.records.values()]
    meanings = {name: what for what, names in _NAMES.items() for name in names} | dict.fromkeys(keys, "record")
    layout = read_layout(file, [*meanings, *_OWN])
    places: dict[str, int] = {}
    for place, name in enumerate(layout.header):
        if name in _OWN:
            continue
        if name not in meanings:
            hint = did_you_mean(name, meanings)
            raise SmpError(f"{file}: a target group has no column {name or '(empty name)'}\n    → {hint}")
        if (other := places.setdefault(meanings[name], place)) != place:
            raise SmpError(f"{file}: the columns {layout.header[other]} and {name} mean the same; leave one out")
    said = {"campaign": fixed.campaign, "number": fixed.number, "contact": None}
    if missing := [name for name, value in said.items() if name not in places and value is None]:
        remedy = "" if "contact" in missing else "\n    → name the campaign with --campaign, its step with --step"
        raise SmpError(f"{file}: there is no column {' and no column '.join(missing)}{remedy}")
    return _Reading(file, layout, places, fixed)


def _import(
    connection: Connection, project: LoadedProject, reading: _Reading, rejects: Path, now: datetime, by: str
) -> GroupImported:
    _stage(connection, project, reading)
    fixed = {name: sql.SQL("{}::text").format(sql.Literal(value)) for name, value in vars(reading.fixed).items()}
    connection.execute(sql.SQL(engine_sql("target/import_judge.sql")).format(**fixed))
    steps = connection.execute(
        "select distinct step from smp_group_judged where reason is null order by step"
    ).fetchall()
    for (step,) in steps:
        hold_group(connection, step)
    connection.execute(engine_sql("target/incoming.sql"))
    taken = connection.execute(engine_sql("target/import_take.sql"), {"source": f"file {reading.file.name}"}).rowcount
    done = apply_incoming(connection, now, by, None)
    for (step,) in steps:
        lay_down_by_hand(connection, project.step(step), now, by)
    rejected = _write_rejects(connection, reading, rejects)
    unchanged = taken - done.linked - done.unlinked
    return GroupImported(taken + rejected, done.linked, done.unlinked, unchanged, rejected, None)


def _stage(connection: Connection, project: LoadedProject, reading: _Reading) -> None:
    """Copy the rows of the file, and the steps that it may name, to temporary tables."""
    with connection.cursor() as cursor:
        cursor.execute(engine_sql("target/import_stage.sql"))
        with cursor.copy("copy smp_group_step (campaign, number, step, frozen, record) from stdin") as copy:
            for way in _steps(project):
                copy.write_row(way)
        names = [*_NAMES, "line", "fault", "original", "fields"]
        statement = sql.SQL("copy smp_group_row ({}) from stdin").format(sql.SQL(", ").join(map(sql.Identifier, names)))
        with cursor.copy(statement) as copy:
            for row in read_rows(reading.file, reading.layout):
                cells = [row.fields[reading.places[what]] if what in reading.places else None for what in _NAMES]
                kept = [row.fields[place] for place in reading.kept]
                original = row.text.replace("\0", "") if row.fault else None
                copy.write_row((*cells, row.line, row.fault, original, kept))
        cursor.execute("analyze smp_group_row")


def _steps(project: LoadedProject) -> Iterator[tuple[str, str, str, bool, str | None]]:
    """Every way to write campaign and step, in small letters: the folder's name or the campaign's, number or name.

    A folder's name and a step's number come first where two campaigns or steps could be meant.
    """
    known: dict[tuple[str, str], tuple[str, str, str, bool, str | None]] = {}
    ways = [
        (campaign, number)
        for campaign in (lambda ref: ref.campaign, lambda ref: project.campaigns[ref.campaign].name.strip().lower())
        for number in (lambda ref: str(project.campaigns[ref.campaign].numbers[ref.name]), lambda ref: ref.name)
    ]
    for campaign, number in ways:
        for ref in project.steps():
            key = campaign(ref), number(ref)
            known.setdefault(key, (*key, ref.key, ref.step.is_frozen, ref.step.record))
    yield from known.values()


def _write_rejects(connection: Connection, reading: _Reading, file: Path) -> int:
    """Write the rejected rows with line and reason, in the order of their lines, in the way the file was written."""
    query = "select line, reason, fields, original from smp_group_judged where reason is not null order by line"
    found = connection.execute(query).fetchall()
    broken = any(original is not None for *_rest, original in found)
    header = [reading.layout.header[place] for place in reading.kept]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as target:
        write = csv.writer(target, delimiter=reading.layout.separator, lineterminator="\n").writerow
        write(["line", "reason", *header, *(["original"] if broken else [])])
        for line, reason, fields, original in found:
            write([line, reason, *fields, *([original] if broken else [])])
    return len(found)
