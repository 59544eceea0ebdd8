"""Running audience tests: each is one set-based query in the lake, over the rows of a run and the mirror (X5).

A test that does not run counts as failed: what cannot be told to be right does not go out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from zoneinfo import ZoneInfo

import duckdb
from sqlglot import exp

from smp_pipelines.selection.audience_tests.files import AudienceTest
from smp_pipelines.selection.audience_tests.models import (
    FilledTest,
    FreshTest,
    NoOptOutTest,
    NoOverlapTest,
    RowsTest,
    UniqueTest,
    VolumeTest,
)
from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.gate import duckdb_sql
from smp_pipelines.selection.inlining import point
from smp_pipelines.stores.lake import identifier, literal, rows, scalar, transaction, words_of
from smp_pipelines.stores.postgres import engine_sql

SHOWN = 20
"""So many people are named with a test that failed."""

History = Callable[[AudienceTest, int], Sequence[int]]
"""The row counts of at most so many runs before, newest first, that a test may compare with."""


@dataclass(frozen=True)
class Result:
    """What a test found: whether it passed, how many rows offend, the ids of the first people, and the figures.

    `words` say what is wrong when it failed; `detail` holds figures only.
    """

    selection: str
    test: str
    words: str
    passed: bool
    blocking: bool
    offending: int
    detail: str
    person_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Found:
    passed: bool
    detail: str
    offending: int = 0
    person_ids: tuple[int, ...] = ()


def run_audience_tests(
    connection: duckdb.DuckDBPyConnection,
    tests: Sequence[AudienceTest],
    query: str,
    keys: Sequence[str],
    now: datetime,
    zone: ZoneInfo,
    history: History,
) -> list[Result]:
    """Run the tests of a selection over the rows of a query (`keys` tell them apart) at the run's moment."""
    connection.execute(f"create or replace temp table chosen as {query}")
    judge = _Judge(connection, keys, now, zone, history)
    results = [judge.result(test) for test in tests]
    connection.execute("drop table temp.chosen")
    return results


class _Judge:
    """Runs one test after another over the same rows, which are in temp.chosen.

    Names and moments go into the texts as literals: binding a parameter would load pandas, which takes seconds.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        keys: Sequence[str],
        now: datetime,
        zone: ZoneInfo,
        history: History,
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._now = now
        self._zone = zone
        self._history = history
        self._count = int(scalar(connection, "select count(*) from temp.chosen"))
        self._person = "person_id" if "person_id" in keys else "null::bigint"

    def result(self, test: AudienceTest) -> Result:
        """What a test finds."""
        try:
            with transaction(self._connection):
                found = self._found(test)
        except duckdb.Error as error:
            found = _Found(False, f"it does not run: {words_of(error)}")
        return Result(test.selection, test.name, test.words, blocking=test.blocking, **vars(found))

    def _found(self, test: AudienceTest) -> _Found:
        match test.rule:
            case None:
                return _Found(False, "its file has problems")
            case RowsTest(rows=band):
                low, high = band.at_least or 0, band.at_most
                passed = low <= self._count and (high is None or self._count <= high)
                return _Found(passed, f"{self._count:,} rows; {band}")
            case VolumeTest():
                return self._volume(test.rule, self._history(test, test.rule.of))
            case FreshTest():
                return self._fresh(test.rule)
            case UniqueTest():
                keys = ", ".join(identifier(key) for key in self._keys)
                return self._rows(_sql("unique", person=self._person, keys=keys))
            case NoOptOutTest(no_opt_out=topic, channel=channel):
                return self._rows(_sql("no_opt_out", topic=literal(topic), channel=literal(channel)))
            case NoOverlapTest(step=None, selection=other):
                return self._rows(_sql("overlap_selection", other=f"smp.selections.{identifier(str(other))}"))
            case NoOverlapTest(step=step):
                return self._rows(_sql("overlap_step", step=literal(str(step))))
            case FilledTest():
                return self._filled(test.rule)
            case query:
                return self._written(test, query)

    def _rows(self, query: str, person: str = "person_id") -> _Found:
        """No row may come out of this query."""
        text = _sql("offending", query=query, person=person, limit=str(SHOWN))
        ((offending, people),) = rows(self._connection, text)
        return _Found(offending == 0, f"{offending:,} of {self._count:,} rows", offending, tuple(people))

    def _written(self, test: AudienceTest, query: exp.Query) -> _Found:
        """The rows that a SELECT of the project gives; the selection in it is the run that is tested."""
        tree = rewrite_clock(query, self._now, self._zone)
        point(tree, {test.selection: exp.to_table("temp.main.chosen")})
        text = duckdb_sql(tree)
        columns = [str(row[0]).lower() for row in rows(self._connection, f"describe {text}")]
        person = "try_cast(person_id as bigint)" if "person_id" in columns else "null::bigint"
        found = self._rows(text, person)
        return _Found(found.passed, f"{found.offending:,} rows", found.offending, found.person_ids)

    def _filled(self, rule: FilledTest) -> _Found:
        column = rule.person_column
        if column is None:
            query = _sql("filled_column", person=self._person, column=identifier(rule.filled))
        else:
            query = _sql("filled_person", column=identifier(column))
        found = self._rows(query)
        share = 1 - found.offending / self._count if self._count else 1.0
        told = f"{share:.1%} of {self._count:,} rows have it; {rule.at_least:.0%} should"
        return _Found(share >= rule.at_least, told, found.offending, found.person_ids)

    def _volume(self, rule: VolumeTest, history: Sequence[int]) -> _Found:
        if not history:
            return _Found(True, f"{self._count:,} rows; no run before to compare with")
        usual = median(history)
        low, high = (share * usual for share in rule.between)
        before = (
            f"{usual:,.0f} the time before" if rule.of == 1 else f"{usual:,.0f} in the median of {len(history)} runs"
        )
        passed = usual < rule.judged_from or low <= self._count <= high
        return _Found(passed, f"{self._count:,} rows, {before}")

    def _fresh(self, rule: FreshTest) -> _Found:
        schema, _, table = rule.table.partition(".")
        text = _sql(
            "fresh",
            table=f"{identifier(schema)}.{identifier(table)}",
            column=identifier(rule.column),
            now=f"timestamptz {literal(self._now.isoformat())}",
            within=literal(rule.within),
        )
        ((newest, fresh),) = rows(self._connection, text)
        return _Found(bool(fresh), f"newest {rule.column}: {newest or 'none'}")


def _sql(name: str, **parts: str) -> str:
    return engine_sql(f"tests/{name}.sql").format(**parts)
