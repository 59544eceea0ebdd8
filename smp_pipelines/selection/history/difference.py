"""The difference between a run of a selection and what its file gives now: who enters and leaves, and why (X1).

Who leaves is asked of the query as it is now: which of its predicates does not hold for them any more. Who enters is
asked of the run, its SQL on the lake as it read it: which predicate did not hold for them then. All of it is set-based;
what the two snapshots of the lake have to tell each other travels as a Parquet file of keys in the scratch folder.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import sqlglot
from sqlglot import exp

from smp_pipelines.problems import SmpError
from smp_pipelines.selection.gate import SELECTIONS, tables_of
from smp_pipelines.selection.history.comparing import Changes, count_sides, sides
from smp_pipelines.selection.history.past import keys_at, keys_query
from smp_pipelines.selection.predicates.judging import Question, failing_sql
from smp_pipelines.selection.predicates.tree import Node, Sides, Whole, take_apart
from smp_pipelines.selection.runs import SelectionRun
from smp_pipelines.stores.lake import Lake, current_pin, identifier, literal, rows
from smp_pipelines.stores.postgres import Connection, engine_sql

_CHANGED = "temp.changed"
_SIDES = "temp.sides"
_UPSTREAM = (
    "select distinct on (selection) selection, sql from smp.selection_run where selection = any (%s)"
    " and selection_run_id < %s and sql is not null order by selection, selection_run_id desc"
)


@dataclass(frozen=True)
class Evaluation:
    """A selection's SQL with its clock in it, its moment, and the SQL of the selections that it reads.

    afresh: those are computed on the way, not read from the lake's tables.
    """

    name: str
    sql: str
    moment: datetime
    upstream: Mapping[str, str] = field(default_factory=dict)
    afresh: bool = False

    def question(self, zone: ZoneInfo) -> Question:
        """What is asked about people."""
        trees = {name: _parsed(sql) for name, sql in self.upstream.items()}
        return Question(self.name, _parsed(self.sql), self.moment, zone, trees, afresh=self.afresh)


def evaluation_of(connection: Connection, run: SelectionRun) -> Evaluation | None:
    """The SQL of a run and of the selections that it read, as they stood before it; None when it noted no SQL."""
    if run.sql is None:
        return None
    upstream: dict[str, str] = {}
    wanted = _reads(run.sql)
    while wanted:
        found = connection.execute(_UPSTREAM, (list(wanted), run.selection_run_id)).fetchall()
        upstream |= dict(found)
        wanted = {name for _name, sql in found for name in _reads(sql)} - upstream.keys()
    return Evaluation(run.selection, run.sql, run.moment, upstream)


def _reads(sql: str) -> set[str]:
    """The selections that an SQL text reads."""
    prefix = f"{SELECTIONS}."
    return {name.removeprefix(prefix) for name in tables_of(_parsed(sql)) if name.startswith(prefix)}


def _parsed(sql: str) -> exp.Query:
    tree = sqlglot.parse_one(sql, dialect="duckdb")
    if not isinstance(tree, exp.Query):
        raise TypeError(f"a run noted SQL that is no query but {tree.key}")
    return tree


@dataclass(frozen=True)
class Cause:
    """How many entered or left because of one predicate, of the selection or of one that it reads, and the first few.

    No predicate: nothing in the SQL tells. `people` are rows of keys.
    """

    change: str
    selection: str | None
    predicate: str | None
    count: int
    people: list[tuple[object, ...]]


@dataclass(frozen=True)
class Edits:
    """What an edit of the file did: whether the SQL is another, and the predicates that came and went with that.

    changed: None when the SQL of the run is not known.
    """

    changed: bool | None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """What changed between a run and now. `notes` say in words what could not be told, and why."""

    run: SelectionRun
    keys: tuple[str, ...]
    changes: Changes
    causes: list[Cause]
    edits: Edits
    notes: list[str]

    def of(self, change: str) -> list[Cause]:
        """The causes of `entered` or `left`, the greatest first."""
        return [cause for cause in self.causes if cause.change == change]


@dataclass(frozen=True)
class Scope:
    """What is compared, by which keys: a run, its evaluation then (None: not known any more) and that of now.

    `rows` is the query for the rows of now.
    """

    run: SelectionRun
    then: Evaluation | None
    now: Evaluation
    rows: str
    keys: tuple[str, ...]
    zone: ZoneInfo


def compare(lake: Lake, scratch: Path, scope: Scope, limit: int, people: Path | None = None) -> Difference:
    """Tell what changed since a run, with `limit` people a cause; `people` is a CSV file for all of them.

    Raises SmpError when the lake does not keep the people of the run, or when the file cannot be written.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with lake.open_for_selections() as connection:
        pin = current_pin(connection)
    # pinned: what is asked about the people who left is asked of the very data that the new side was read from
    with tempfile.TemporaryDirectory(prefix="difference-", dir=scratch) as folder, lake.open_for_selections(pin) as now:
        work = _Work(Path(folder), *_common_keys(now, scope), scope.zone)
        relation = sides(keys_query(scope.run, work.keys), scope.rows, work.keys)
        now.execute(f"create temp table {_SIDES} as {relation}")
        changes = count_sides(now, f"from {_SIDES}")
        work.explain(now, scope.now, "left", f"from {_SIDES} where side = 1")
        now.execute(f"copy (from {_SIDES} where side = 2) to {work.file('new')} (format parquet)")
        now.execute(f"drop table {_SIDES}")
        _explain_entered(lake, now, scope, work)
        causes = work.causes(now, limit)
        if people is not None:
            work.write(now, people)
    return Difference(scope.run, work.keys, changes, causes, edits_of(scope), work.notes)


def _explain_entered(lake: Lake, now: duckdb.DuckDBPyConnection, scope: Scope, work: _Work) -> None:
    """Ask the run's own SQL, on the lake as the run read it, why those who are new were not in it."""
    source = f"from read_parquet({work.file('new')})"
    if scope.then is None or scope.run.pin is None:
        work.leave_unexplained(now, "entered", source, "the run did not note what it read")
        return
    try:
        with lake.open_for_selections(scope.run.pin) as past:
            work.explain(past, scope.then, "entered", source)
    except SmpError as error:
        work.leave_unexplained(now, "entered", source, str(error))


def _common_keys(connection: duckdb.DuckDBPyConnection, scope: Scope) -> tuple[tuple[str, ...], list[str]]:
    """The keys that both sides have, and a note when that is not all of them."""
    number, found = scope.run.selection_run_id, keys_at(connection, scope.run, scope.keys)
    if found[0] != scope.keys[0]:
        raise SmpError(f"run {number} had no {scope.keys[0]}: it cannot be compared with what the file gives now")
    missing = [key for key in scope.keys if key not in found]
    note = f"run {number} had no {' and no '.join(missing)}: compared by {', '.join(found)} only"
    return found, [note] if missing else []


def edits_of(scope: Scope) -> Edits:
    """How the SQL differs from that of the run, the clock left aside: which predicates are new, which are gone."""
    if scope.then is None:
        return Edits(None)
    then, now = scope.then.question(scope.zone), scope.now.question(scope.zone)
    if then.query == now.query:
        return Edits(False)
    before, after = (_labels(take_apart(each.name, each.query, {}, scope.keys[:1])) for each in (then, now))
    added = tuple(label for label in after if label not in before)
    return Edits(True, added, tuple(label for label in before if label not in after))


def _labels(node: Node | None) -> list[str]:
    """The predicates of a query and of what is inside it, in its order, each once."""
    if node is None:
        return []
    if isinstance(node, Sides):
        return list(dict.fromkeys([*_labels(node.left), *_labels(node.right)]))
    if isinstance(node, Whole):
        return [node.label]
    labels = [label for source in node.sources for label in _labels(source.node)]
    labels += [f"has a row in {source.label}" for source in node.sources if source.node is None]
    for predicate in (*node.wheres, *node.havings):
        labels += [predicate.label, *_labels(predicate.source)]
    return list(dict.fromkeys([*labels, *([node.rest] if node.rest else [])]))


@dataclass(frozen=True)
class _Work:
    """The folder of one comparison: a Parquet file for who left, one for who entered, each row with its predicate."""

    folder: Path
    keys: tuple[str, ...]
    notes: list[str]
    zone: ZoneInfo

    @property
    def names(self) -> str:
        """The keys, quoted, for a SELECT."""
        return ", ".join(identifier(key) for key in self.keys)

    def file(self, name: str) -> str:
        """A Parquet file of the folder, as a literal."""
        return literal(str(self.folder / f"{name}.parquet"))

    def explain(self, connection: duckdb.DuckDBPyConnection, evaluation: Evaluation, change: str, source: str) -> None:
        """Write the rows of a query with the first predicate of the evaluation that does not hold for each."""
        connection.execute(f"create or replace temp table {_CHANGED} as select {self.names} from ({source})")
        try:
            self._keep(connection, change, failing_sql(evaluation.question(self.zone), _CHANGED, self.keys))
        except (duckdb.Error, SmpError) as error:
            self.leave_unexplained(connection, change, source, str(error))
        connection.execute(f"drop table {_CHANGED}")

    def leave_unexplained(self, connection: duckdb.DuckDBPyConnection, change: str, source: str, why: str) -> None:
        """Write the rows of a query without predicates, and note why nobody can tell them."""
        self.notes.append(f"because of which predicate people {change} cannot be told: {why.splitlines()[0]}")
        nothing = "null::varchar as selection, null::varchar as predicate"
        self._keep(connection, change, f"select {self.names}, {nothing} from ({source})")

    def _keep(self, connection: duckdb.DuckDBPyConnection, change: str, query: str) -> None:
        rows_of_it = f"select {self.names}, {literal(change)} as change, selection, predicate from ({query})"
        connection.execute(f"copy ({rows_of_it}) to {self.file(change)} (format parquet)")

    @property
    def _changed(self) -> str:
        return f"read_parquet([{self.file('left')}, {self.file('entered')}])"

    def causes(self, connection: duckdb.DuckDBPyConnection, limit: int) -> list[Cause]:
        """How many entered and left by each predicate, with the first `limit` of them."""
        parts = {"keys": self.names, "changed": self._changed, "limit": max(limit, 1)}
        found = rows(connection, engine_sql("selection/causes.sql").format(**parts))
        return [
            Cause(change, selection, predicate, count, people[:limit])
            for change, selection, predicate, count, people in found
        ]

    def write(self, connection: duckdb.DuckDBPyConnection, target: Path) -> None:
        """Write everybody who entered or left to a CSV file. The lake's connection reaches the scratch folder only."""
        made = self.folder / "people.csv"
        query = f"select {self.names}, change, selection, predicate from {self._changed} order by change, {self.names}"
        connection.execute(f"copy ({query}) to {literal(str(made))} (format csv, header)")
        try:
            shutil.copyfile(made, target)
        except OSError as error:
            raise SmpError(f"{target} cannot be written: {error.strerror}") from None
