"""Compile selection files: template → SQL → gate → output contract, with file and line for whatever is wrong.

A selection is one file in sql/selections: SQL, or criteria in YAML (criteria.py), which become SQL and go the same
way. It may read other selections as `selections.<name>`; those are compiled first. What comes out is the SQL of a
run at a given moment, for counting, previews, tests and sends alike.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlglot import exp

from smp_pipelines.crm.catalog import Catalog
from smp_pipelines.problems import Problem, ProjectError
from smp_pipelines.selection.analysis.nulls import null_traps
from smp_pipelines.selection.binder import Binder
from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.criteria.file import read_criteria
from smp_pipelines.selection.gate import SELECTIONS, duckdb_sql, examine, tables_of
from smp_pipelines.selection.macros import render

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_COLUMN = re.compile(r"[a-z_][a-z0-9_]*")
_WHOLE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?$")
_KEPT = re.compile(rf"({_WHOLE.pattern}|DECIMAL\(.*\)$|DOUBLE$|FLOAT$|BOOLEAN$)")
_COMMENT = re.compile(r"\s*(?:--(?P<line>[^\n]*)(?:\n|$)|/\*(?P<block>.*?)\*/[ \t]*(?:\n|$))", re.DOTALL)


@dataclass(frozen=True)
class Selection:
    """A compiled selection. `query` is the checked tree with its clock still in it; `columns` maps each output
    column to its DuckDB type; `dependencies` are the tables it reads ("crm.person", "selections.x").
    """

    name: str
    path: Path
    description: str
    query: exp.Query = field(repr=False, compare=False)
    dependencies: tuple[str, ...]
    columns: Mapping[str, str]

    @property
    def kept(self) -> Mapping[str, str]:
        """The columns that are written to the lake: keys, numbers and truths.

        Old versions of the lake's tables are history. With no words and dates of people in them, whoever is erased
        from the CRM is a bare number there (invariant 9).
        """
        # Parquet has no whole numbers of 128 bits, which is what a sum of whole numbers is
        return {
            name: "DECIMAL(38,0)" if type_.endswith("HUGEINT") else type_
            for name, type_ in self.columns.items()
            if _KEPT.match(type_)
        }

    def sql(self, now: datetime, zone: ZoneInfo) -> str:
        """The SQL that DuckDB runs for a run at `now` (aware) in the project's zone.

        Casting a timestamptz to a date follows the session: the connection must `set TimeZone` to the same zone.
        """
        return duckdb_sql(rewrite_clock(self.query, now, zone))

    @property
    def written(self) -> str:
        """The SQL with its clock still in it: the same from run to run, as long as nobody edits the file."""
        return duckdb_sql(self.query.copy())


@dataclass(frozen=True)
class _Draft:
    """A selection that passed the gate, not bound yet: the ones that it reads come first."""

    path: Path
    description: str
    written: str
    query: exp.Query
    text: str

    @property
    def reads(self) -> set[str]:
        prefix = f"{SELECTIONS}."
        return {name.removeprefix(prefix) for name in tables_of(self.query) if name.startswith(prefix)}


def compile_selection(
    path: Path,
    catalog: Catalog,
    steps: Collection[str],
    record_keys: Collection[str] = (),
    selections: Mapping[str, Selection] | None = None,
) -> Selection:
    """Compile one file. `steps` are the step keys that macros may name, `record_keys` the columns that the steps
    which use this selection need besides person_id, `selections` the compiled ones that it may read.

    Raises ProjectError with all problems found.
    """
    others = selections or {}
    with Binder(catalog) as binder:
        for name, other in others.items():
            binder.add(name, other.kept)
        return _finish(_draft(path, catalog, steps, others), catalog, record_keys, binder)


def read_selections(
    folder: Path,
    catalog: Catalog,
    steps: Collection[str],
    record_keys: Mapping[str, Collection[str]] | None = None,
    of_records: Collection[str] = (),
) -> tuple[dict[str, Selection], list[Problem]]:
    """Compile every selection in a folder: the good ones by name, and the problems of all others.

    `record_keys` maps a selection's name to the columns that its steps need besides person_id;
    `of_records` are the selections of records only, which need no person_id (F26).
    """
    paths = selection_files(folder)
    drafts: dict[str, _Draft] = {}
    problems: list[Problem] = []
    for name, path in paths.items():
        try:
            _refuse_twice(path)
            drafts[name] = _draft(path, catalog, steps, paths)
        except ProjectError as error:
            problems += error.problems
    order, cycles = _order(drafts)
    problems += cycles
    found: dict[str, Selection] = {}
    with Binder(catalog) as binder:
        for name in order:
            broken = sorted(drafts[name].reads - found.keys())
            if broken:
                words = f"reads {SELECTIONS}.{broken[0]}, which has problems of its own"
                problems.append(Problem(drafts[name].path, None, words))
                continue
            try:
                keys = (record_keys or {}).get(name, ())
                found[name] = _finish(drafts[name], catalog, keys, binder, name in of_records)
            except ProjectError as error:
                problems += [_with_hint(problem, drafts[name], found) for problem in error.problems]
            else:
                binder.add(name, found[name].kept)
    return {name: found[name] for name in paths if name in found}, problems


def load_selections(
    folder: Path,
    catalog: Catalog,
    steps: Collection[str],
    record_keys: Mapping[str, Collection[str]] | None = None,
    of_records: Collection[str] = (),
) -> dict[str, Selection]:
    """Like read_selections, but raises ProjectError with the problems of all files when there are any."""
    selections, problems = read_selections(folder, catalog, steps, record_keys, of_records)
    if problems:
        raise ProjectError(problems)
    return selections


def selection_files(folder: Path) -> dict[str, Path]:
    """The file of each selection in a folder, by the selection's name, sorted.

    A name with a dot in it belongs to something beside a selection: x.checks.yaml, x.tests.yaml, x.overlap.sql.
    """
    files = sorted([*folder.glob("*.sql"), *folder.glob("*.yaml")])
    return {file.stem: file for file in sorted(files, key=lambda file: file.stem) if "." not in file.stem}


def describe(source: str) -> str:
    """The comments at the head of an SQL file, as one text; empty when it does not open with one."""
    parts: list[str] = []
    place = 0
    while found := _COMMENT.match(source, place):
        parts.append(found["line"] if found["line"] is not None else found["block"])
        place = found.end()
    return " ".join(" ".join(parts).split())


def _draft(path: Path, catalog: Catalog, steps: Collection[str], names: Collection[str]) -> _Draft:
    if not _NAME.fullmatch(path.stem):
        words = f"{path.name!r} is no name for a selection"
        raise ProjectError([Problem(path, None, words, "use small letters, digits and underscores")])
    if path.suffix == ".yaml":
        return _draft_of_criteria(path, catalog, steps, names)
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError([Problem(path, None, f"cannot be read: {error}")]) from error
    written = render(source, steps, path)
    query, text = examine(written, catalog, names, path)
    return _Draft(path, describe(source), written, query, text)


def _draft_of_criteria(path: Path, catalog: Catalog, steps: Collection[str], names: Collection[str]) -> _Draft:
    criteria = read_criteria(path, catalog, steps, names)
    try:
        query, text = examine(criteria.query.sql(dialect="duckdb", identify=True), catalog, names, path)
    except ProjectError as error:
        # the lines are those of the SQL that nobody wrote
        raise ProjectError([replace(problem, line=None) for problem in error.problems]) from error
    for node in query.walk():
        node.meta.pop("line", None)
    return _Draft(path, criteria.description, "", query, text)


def _refuse_twice(path: Path) -> None:
    other = path.with_suffix(".sql")
    if path.suffix == ".yaml" and other.is_file():
        words = f"there are two selections {path.stem}: {other.name} and {path.name}"
        raise ProjectError([Problem(path, None, words, "give one of them another name, or delete it")])


def _finish(
    draft: _Draft, catalog: Catalog, record_keys: Collection[str], binder: Binder, of_records: bool = False
) -> Selection:
    columns = binder.columns(draft.text, draft.written, draft.path)
    wanted = record_keys if of_records else ("person_id", *record_keys)
    problems = _contract(columns, wanted, draft.path) + null_traps(draft.query, catalog, draft.path)
    if not draft.description:
        words = "the selection does not say who is in it"
        problems.append(Problem(draft.path, 1, words, "open the file with a comment: -- everyone who …"))
    if problems:
        raise ProjectError(problems)
    return Selection(draft.path.stem, draft.path, draft.description, draft.query, tables_of(draft.query), columns)


def _with_hint(problem: Problem, draft: _Draft, found: Mapping[str, Selection]) -> Problem:
    """Say of a column that is not found that another selection has it, but does not keep it."""
    left_out = {column: name for name in draft.reads for column in found[name].columns.keys() - found[name].kept}
    named = next((column for column in left_out if f'"{column}"' in problem.message), None)
    if named is None:
        return problem
    remedy = f"selections.{left_out[named]} keeps keys, numbers and truths only: take {named} from the CRM's own table"
    return replace(problem, remedy=remedy)


def _contract(columns: Mapping[str, str], keys: Collection[str], path: Path) -> list[Problem]:
    """The keys come out (person_id, and that of the linked record where a step needs one); columns have names."""
    problems = []
    for key in keys:
        if key not in columns:
            why = "a selection gives person_id" if key == "person_id" else f"a step that uses it is about a {key}"
            todo = "say with `rows` what a row is" if path.suffix == ".yaml" else "add it to the SELECT"
            problems.append(Problem(path, None, f"the selection does not give {key}", f"{why}: {todo}"))
        elif not _WHOLE.match(columns[key]):
            problems.append(Problem(path, None, f"{key} is {columns[key]}, not a whole number"))
    problems += [
        Problem(path, None, f"the column {name!r} has no plain name", "name it with `as`")
        for name in columns
        if not _COLUMN.fullmatch(name)
    ]
    return problems


def _order(drafts: Mapping[str, _Draft]) -> tuple[list[str], list[Problem]]:
    """The names so that what a selection reads comes before it; selections that read each other are a problem."""
    graph = {name: {other for other in draft.reads if other in drafts} for name, draft in drafts.items()}
    problems: list[Problem] = []
    while True:
        try:
            return list(TopologicalSorter(graph).static_order()), problems
        except CycleError as error:
            ring = error.args[1][::-1]
            words = f"the selections read each other in a circle: {' → '.join(ring)}"
            problems.append(Problem(drafts[ring[0]].path, None, words, "let one of them read the tables instead"))
            graph = {name: others - set(ring) for name, others in graph.items() if name not in ring}
