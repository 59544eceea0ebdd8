"""Predicates: which condition of a selection keeps somebody out, with the values found (X1, X4).

Judged for a whole set of people at once: a query or two per SELECT of the selection, never one per person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import duckdb
from sqlglot import exp

from smp_pipelines.selection.predicates.failing import failing_sql
from smp_pipelines.selection.predicates.moments import Received, moments_of
from smp_pipelines.selection.predicates.scoring import Asked, Builder, Question, full, holds
from smp_pipelines.selection.predicates.tree import Node, Predicate, Rows, Sides, Whole, take_apart
from smp_pipelines.stores.lake import rows as fetch

__all__ = ["Finding", "Judgement", "Question", "failing_sql", "judge", "rows_of"]


@dataclass(frozen=True)
class Finding:
    """A predicate of a selection, whether it holds, and the values found in the row that meets most predicates."""

    selection: str
    predicate: str
    holds: bool
    found: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """Whether somebody is in a selection, and every predicate of it. `row` has other columns of the same row."""

    person_id: int
    is_in: bool
    findings: tuple[Finding, ...]
    row: Mapping[str, object] = field(default_factory=dict)


def judge(
    connection: duckdb.DuckDBPyConnection,
    question: Question,
    people: Collection[int],
    shown: Sequence[str] = (),
    *,
    near: bool = False,
) -> dict[int, Judgement]:
    """Judge people by a selection. Whoever is out has at least one finding that does not hold.

    `shown` are output columns to give along. `near`: `gather_near` was called for these people, and perhaps others.
    """
    if not people:
        return {}
    node = take_apart(question.name, question.query, question.selections)
    judge_ = _Judge(connection, question, tuple(shown), near)
    return judge_.of(node, tuple(people))


def rows_of(
    connection: duckdb.DuckDBPyConnection,
    question: Question,
    people: Collection[int],
    columns: Sequence[str] = (),
    *,
    near: bool = False,
) -> list[tuple[int, ...]]:
    """The rows of a selection that are about these people: person_id and these columns, each once, in that order."""
    if not people:
        return []
    node = take_apart(question.name, question.query, question.selections)
    builder = Builder(question, Asked(ids=tuple(people), near=near))
    return sorted(fetch(connection, builder.members(node, columns)), key=str)


class _Judge:
    """Judges the nodes of one question."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        question: Question,
        shown: tuple[str, ...],
        near: bool,
    ) -> None:
        self._connection = connection
        self._question = question
        self._shown = shown
        self._near = near

    def of(self, node: Node, people: tuple[int, ...]) -> dict[int, Judgement]:
        if not people:
            return {}
        if isinstance(node, Sides):
            return self._of_sides(node, people)
        if isinstance(node, Rows):
            try:
                return self._of_rows(node, people)
            except (duckdb.BinderException, duckdb.NotImplementedException):
                # taken apart, DuckDB cannot run it (a correlated subquery of a rare kind): told as a whole
                node = Whole(node.selection, node.select, node.names, "is among the rows of the selection")
        present = self._members(node, people)
        return {
            person: Judgement(person, person in present, (Finding(node.selection, node.label, person in present),))
            for person in people
        }

    def _builder(self, people: tuple[int, ...]) -> Builder:
        return Builder(self._question, Asked(ids=people, near=self._near))

    def _members(self, node: Node, people: tuple[int, ...]) -> set[int]:
        return {person for (person,) in fetch(self._connection, self._builder(people).members(node))}

    def _of_sides(self, sides: Sides, people: tuple[int, ...]) -> dict[int, Judgement]:
        left, right = self.of(sides.left, people), self.of(sides.right, people)
        present = None if sides.exact else self._members(sides, people)
        return {person: _together(sides, left[person], right[person], present) for person in people}

    def _of_rows(self, rows: Rows, people: tuple[int, ...]) -> dict[int, Judgement]:
        builder = self._builder(people)
        shown = _shown(rows, self._shown)
        scored = self._scores(builder.row_scores, rows, rows.wheres, shown)
        found = {
            person: self._judgement(rows, person, score, rows.wheres, values, shown)
            for person, (score, values) in scored.items()
        }
        if rows.havings:
            passed = tuple(person for person, one in found.items() if one.is_in)
            if passed:
                groups = self._scores(self._builder(passed).group_scores, rows, rows.havings, {})
                for person, (score, values) in groups.items():
                    more = self._judgement(rows, person, score, rows.havings, values, {})
                    before = found[person]
                    found[person] = replace(before, is_in=more.is_in, findings=before.findings + more.findings)
        found |= self._absent(rows, tuple(person for person in people if person not in found))
        if rows.rest is not None:
            found = self._left_over(rows, found)
        return self._told_when(rows, self._upstream(rows, found))

    def _scores(
        self,
        query: Callable[[Rows, Sequence[exp.Expr]], str],
        rows: Rows,
        predicates: Sequence[Predicate],
        shown: Mapping[str, exp.Expr],
    ) -> dict[int, tuple[int, Mapping[str, object]]]:
        values = {name: one for predicate in predicates for name, one in predicate.values.items()} | dict(shown)
        text = query(rows, list(values.values()))
        found: dict[int, tuple[int, Mapping[str, object]]] = {}
        for person, score, *near in fetch(self._connection, text):
            found[person] = (score, dict(zip(values, near[0].values(), strict=True)) if near else {})
        return found

    def _judgement(
        self,
        rows: Rows,
        person: int,
        score: int,
        predicates: Sequence[Predicate],
        values: Mapping[str, object],
        shown: Mapping[str, exp.Expr],
    ) -> Judgement:
        findings = tuple(
            Finding(
                rows.selection,
                one.label,
                holds(score, place, len(predicates)),
                {name: values[name] for name in one.values},
            )
            for place, one in enumerate(predicates)
        )
        row = {name.removeprefix("="): values[name] for name in shown}
        return Judgement(person, score == full(predicates), findings, row)

    def _absent(self, rows: Rows, people: tuple[int, ...]) -> dict[int, Judgement]:
        """Those who have no row at all: the first source that loses them, and what keeps them out of that one."""
        lost = dict(self._lost(rows, people)) if people else {}
        found: dict[int, Judgement] = {}
        by_place: dict[int | None, list[int]] = defaultdict(list)
        for person in people:
            by_place[lost.get(person)].append(person)
        for place, group in by_place.items():
            finding = Finding(rows.selection, _absence(rows, place), holds=False)
            node = rows.sources[place].node if place is not None else None
            inside = self.of(node, tuple(group)) if node is not None else {}
            for person in group:
                more = inside[person].findings if person in inside and not inside[person].is_in else ()
                found[person] = Judgement(person, False, (finding, *more))
        return found

    def _lost(self, rows: Rows, people: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        """Each of these people with the place of the first source with which they have no row."""
        left = set(people)
        for place in range(len(rows.sources)):
            try:
                present = fetch(self._connection, self._builder(tuple(left)).present(rows, place))
            except duckdb.BinderException:
                continue  # the person comes from a source that is joined later
            lost = left - {person for (person,) in present}
            yield from ((person, place) for person in lost)
            left -= lost
            if not left:
                return

    def _left_over(self, rows: Rows, found: dict[int, Judgement]) -> dict[int, Judgement]:
        """The same, after what else thins out the rows: who passed everything else and is not in the whole query."""
        passed = tuple(person for person, one in found.items() if one.is_in)
        if not passed:
            return found
        present = self._members(rows, passed)
        for person in passed:
            finding = Finding(rows.selection, str(rows.rest), person in present)
            one = found[person]
            found[person] = replace(one, is_in=person in present, findings=(*one.findings, finding))
        return found

    def _upstream(self, rows: Rows, found: dict[int, Judgement]) -> dict[int, Judgement]:
        """The same; whoever is out because they are not in another query gets the findings of that one as well."""
        for predicate in (*rows.wheres, *rows.havings):
            if predicate.source is None:
                continue
            out = tuple(person for person, one in found.items() if _fails(one, predicate))
            for person, inside in self.of(predicate.source, out).items():
                if not inside.is_in:
                    one = found[person]
                    found[person] = replace(one, findings=one.findings + inside.findings)
        return found

    def _told_when(self, rows: Rows, found: dict[int, Judgement]) -> dict[int, Judgement]:
        """The same; a predicate about contact moments that fails tells which step was received, when and by whom."""
        for predicate in rows.wheres:
            out = [person for person, one in found.items() if predicate.steps and _fails(one, predicate)]
            if not out:
                continue
            received = moments_of(self._connection, out, predicate.steps, sharing=predicate.sharing, near=self._near)
            for person in out:
                one = found[person]
                findings = tuple(_with_moment(each, predicate, received.get(person, ())) for each in one.findings)
                found[person] = replace(one, findings=findings)
        return found


def _shown(rows: Rows, names: Sequence[str]) -> dict[str, exp.Expr]:
    """The expressions of output columns; under a name that no value of a predicate has."""
    found = {projection.output_name.lower(): projection.unalias() for projection in rows.select.selects}
    starred = rows.select.is_star
    known = {name: found.get(name) or (exp.column(name) if starred else None) for name in names}
    return {f"={name}": one for name, one in known.items() if one is not None and not one.find(exp.AggFunc)}


def _fails(judgement: Judgement, predicate: Predicate) -> bool:
    return any(each.predicate == predicate.label and not each.holds for each in judgement.findings)


def _absence(rows: Rows, place: int | None) -> str:
    if place is None:
        return "has a row in " + " with ".join(source.label for source in rows.sources)
    joins = rows.select.args.get("joins") or []
    anti = place > 0 and joins[place - 1].kind.upper() == "ANTI"
    return f"has {'no' if anti else 'a'} row in {rows.sources[place].label}"


def _with_moment(finding: Finding, predicate: Predicate, received: Sequence[Received]) -> Finding:
    if finding.predicate != predicate.label or finding.holds:
        return finding
    if predicate.record is not None:
        about = finding.found.get(predicate.record)
        received = [each for each in received if each.record_id == about]
    if not received:
        return finding
    last = max(received, key=lambda each: (each.happened_at, each.by == each.person_id))
    by = {} if last.by == last.person_id else {"by person": last.by}
    return replace(finding, found={**finding.found, f"received {last.step}": last.happened_at, **by})


def _together(sides: Sides, left: Judgement, right: Judgement, present: set[int] | None) -> Judgement:
    """What two sides say of somebody; `present` are those in the whole query, where the sides cannot tell."""
    person = left.person_id
    if sides.kind == "union":
        is_in = left.is_in or right.is_in
        best = left if left.is_in or not right.is_in else right
        return replace(best, is_in=is_in, findings=best.findings if is_in else left.findings + right.findings)
    if sides.kind == "intersect":
        is_in = left.is_in and right.is_in
        findings = left.findings + right.findings
    else:
        is_in = left.is_in and not right.is_in
        met = {name: value for each in right.findings for name, value in each.found.items()} if right.is_in else {}
        findings = (*left.findings, Finding(sides.selection, f"is not among: {sides.label}", not right.is_in, met))
    if present is not None:
        is_in = person in present
        if is_in:  # another record of theirs may be the one that the right side has
            findings = tuple(each for each in findings if each.holds)
        if not is_in and all(each.holds for each in findings):
            findings = (*findings, Finding(sides.selection, f"is among the rows of the {sides.kind}", holds=False))
    return replace(left, is_in=is_in, findings=findings)
