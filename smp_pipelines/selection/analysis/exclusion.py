"""The exclusion of a continuous send: does the selection leave out who already received the step? (F17, F21)

Read from the parsed query, not from a naming convention: `not in`, `<> all`, `not … = any`, `not exists`, EXCEPT,
ANTI JOIN or LEFT JOIN … IS NULL over smp.contact_moment (contacts.py), in the query itself or in a CTE, a subquery or
another selection that its rows come from. The person that is compared must be the one that comes out
(identity.py). What is not certain to exclude counts as no exclusion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

from sqlglot import exp

from smp_pipelines.problems import Problem
from smp_pipelines.selection.analysis.contacts import (
    ADDRESS,
    NEVER_NULL,
    PERSON,
    RECORD,
    Contacts,
    Names,
    conjuncts,
    contacts_joined,
    contacts_of,
    inner_query,
    is_null_test,
    names_of,
    resolve,
)
from smp_pipelines.selection.analysis.identity import Key, Rows
from smp_pipelines.selection.analysis.window import Window
from smp_pipelines.selection.compiler import Selection

_Pairs = Sequence[tuple[exp.Expr, str | None]]
"""Columns of a row with what of the contact moment each is compared with."""


@dataclass(frozen=True)
class Exclusion:
    """How a selection leaves out who received the step: with what SQL, for how long, and whether per linked record.

    `record` is the output column with that record, where it comes out. `partial`: it looks at the outcome, and
    not at `received`: a mail that is still planned, or whose outcome is unknown, may not count.
    """

    form: str
    window: Window
    by_record: bool
    record: str | None = None
    partial: bool = False

    @property
    def rank(self) -> tuple[bool, bool, tuple[bool, timedelta]]:
        """Sorts exclusions: the one that leaves most people out comes last."""
        return not self.by_record, not self.partial, self.window.rank


def excludes(query: exp.Query, step_key: str, selections: Mapping[str, exp.Query] | None = None) -> Exclusion | None:
    """How every row of the query is kept from people who already received the step; None when nothing does that.

    `selections` are the queries of the selections that this one may read.
    """
    return _of_rows(query, Names(step_key, {}, selections or {}), PERSON)


def check_continuous(
    selection: Selection,
    step_key: str,
    times: Sequence[time],
    record_key: str | None,
    selections: Mapping[str, Selection] | None = None,
    start: date | None = None,
) -> list[Problem]:
    """The problems of a continuous step with this selection: no exclusion (F17), one per record for a step without
    records, and as a warning several times a day without covering the day (F21). `times` are the local times of a day,
    `record_key` is the key of the step's linked record, `selections` are the
    compiled selections that this one may read, `start` is the first day of the step.
    """
    record = f', record="{record_key}"' if record_key else ""
    macro = f'and {{{{ not_received("{step_key}", within="30 days"{record}) }}}}'
    queries = {name: other.query for name, other in (selections or {}).items()}
    found = excludes(selection.query, step_key, queries)
    if found is None:
        words = f"the continuous step {step_key} needs a selection that leaves out who already received it"
        return [Problem(selection.path, None, words, f"add to the WHERE: {macro}")]
    if found.by_record and record_key is None:
        words = f"the selection leaves people out per record, but the step {step_key} has no record: nobody is left out"
        return [Problem(selection.path, None, words, "take `record` out of not_received, or give the step a record")]
    if found.by_record and found.record not in (None, record_key):
        words = f"the selection leaves people out per {found.record}, but the step {step_key} is about a {record_key}"
        return [Problem(selection.path, None, words, f"nobody is left out like that; write: {macro}")]
    if start and found.window.since and found.window.since.date() > start:
        words = (
            f"the selection leaves out who received it since {found.window.since.date()}, but it is sent from {start}"
        )
        return [Problem(selection.path, None, words, f"write a date not after {start}, or a period: {macro}")]
    return list(_doubts(found, selection, step_key, times, record_key))


def _doubts(
    found: Exclusion, selection: Selection, step_key: str, times: Sequence[time], record_key: str | None
) -> Iterator[Problem]:
    if len(times) > 1 and not found.window.covers(_span(times)):
        words = (
            f"the step {step_key} is sent {len(times)} times a day, but the selection is not sure to leave out "
            "who received it earlier that day"
        )
        yield Problem(selection.path, None, words, 'use within="today" or a day or more', warning=True)
    if found.by_record and found.record is None:
        words = (
            f"the selection leaves people out per record, but it cannot be followed whether that is the {record_key}"
        )
        remedy = f"give {record_key} in the SELECT, from the column that is compared with record_id"
        yield Problem(selection.path, None, words, remedy, warning=True)
    if found.partial:
        words = (
            f"the selection asks for an outcome: whose mail of {step_key} is still planned, has an unknown outcome "
            "or went to an address that they share may be in it again"
        )
        yield Problem(selection.path, None, words, "ask for `received` instead of `outcome`", warning=True)


def _span(times: Sequence[time]) -> timedelta:
    day = datetime(2000, 1, 1)  # noqa: DTZ001  a difference of local times on one day
    return datetime.combine(day, max(times)) - datetime.combine(day, min(times))


def _of_rows(query: exp.Expr, names: Names, want: str | int) -> Exclusion | None:
    """The exclusion that holds for the person in this output column (by name or position) of every row."""
    query = inner_query(query)
    names = names_of(query, names)
    if isinstance(query, exp.SetOperation):
        return _of_set(query, names, want)
    if isinstance(query, exp.Subquery):
        # LIMIT and the like around a query take rows away, no more
        plain = not query.args.get("joins") and not query.alias_column_names and not query.args.get("pivots")
        return _of_rows(query.this, names, want) if plain else None
    if not isinstance(query, exp.Select) or query.args.get("laterals"):
        return None
    rows = Rows(query, names)
    person = rows.output(want)
    if person is None:
        return None
    found = [*_in_conditions(rows, person), *_in_joins(rows, person), *_in_sources(rows, person)]
    return max(found, key=lambda each: each.rank, default=None)


def _of_set(query: exp.SetOperation, names: Names, want: str | int) -> Exclusion | None:
    place = _place(query, want)
    if query.args.get("by_name") or place is None:
        return None
    left, right = _of_rows(query.this, names, place), _of_rows(query.expression, names, place)
    if isinstance(query, exp.Union):
        return _either(left, right) if left and right else None
    found = [each for each in (left, right if isinstance(query, exp.Intersect) else None) if each]
    if isinstance(query, exp.Except) and query.args.get("distinct"):
        removed = contacts_of(query.expression, names)
        columns = [kind for _name, kind in removed.outputs] if removed and removed.exact and not removed.links else []
        rest = [kind for position, kind in enumerate(columns) if position != place]
        if removed and place < len(columns) and columns[place] == PERSON and rest in ([], [RECORD]):
            record = _name(query, columns.index(RECORD)) if rest else None
            by_record = bool(rest) or removed.of_records
            found.append(Exclusion("EXCEPT", removed.window, by_record, record, removed.partial))
    return max(found, key=lambda each: each.rank, default=None)


def _either(left: Exclusion, right: Exclusion) -> Exclusion:
    """What holds for the rows of both."""
    by_record = left.by_record or right.by_record
    named = {each.record for each in (left, right) if each.by_record}
    return replace(
        left,
        window=left.window.both(right.window),
        by_record=by_record,
        record=named.pop() if len(named) == 1 else None,
        partial=left.partial or right.partial,
    )


def _first(query: exp.Expr) -> exp.Expr:
    while isinstance(query, (exp.SetOperation, exp.Subquery, exp.Paren)):
        query = query.this
    return query


def _place(query: exp.SetOperation, want: str | int) -> int | None:
    """The position of an output of a set operation, whose names are those of its first query."""
    first = _first(query)
    if isinstance(want, int) or not isinstance(first, exp.Select):
        return want if isinstance(want, int) else None
    names = [each.output_name.lower() for each in first.selects]
    if any(each.is_star for each in first.selects):
        return None
    return names.index(want) if names.count(want) == 1 else None


def _name(query: exp.Expr, place: int) -> str | None:
    first = _first(query)
    if not isinstance(first, exp.Select) or any(each.is_star for each in first.selects):
        return None
    return str(first.selects[place].output_name.lower()) if place < len(first.selects) else None


def _in_conditions(rows: Rows, person: Key) -> Iterator[Exclusion]:
    clauses = [clause for key in ("where", "having", "qualify") if (clause := rows.select.args.get(key))]
    for clause in clauses:
        for condition in _demands(clause.this, negated=False):
            found = _of_condition(condition, rows, person)
            if found:
                yield found


def _demands(condition: exp.Expr, negated: bool) -> Iterator[exp.Expr]:
    """The conditions that all have to hold, with `not` only around what is no logic: not (a or b) is not a, not b."""
    condition = condition.unnest()
    if isinstance(condition, exp.Not):
        yield from _demands(condition.this, not negated)
    elif isinstance(condition, exp.Or if negated else exp.And):
        yield from _demands(condition.this, negated)
        yield from _demands(condition.expression, negated)
    else:
        yield exp.Not(this=condition.copy()) if negated else condition


def _of_condition(condition: exp.Expr, rows: Rows, person: Key) -> Exclusion | None:
    if isinstance(condition, exp.NEQ) and isinstance(condition.expression, exp.All):
        return _not_in(condition.this, condition.expression.this, "<> ALL", rows, person)
    if isinstance(condition, exp.In) and condition.args.get("query"):
        return _in_excluding(condition, rows, person)
    inner = condition.this.unnest() if isinstance(condition, exp.Not) else None
    if isinstance(inner, exp.In) and inner.args.get("query"):
        return _not_in(inner.this, inner.args["query"], "NOT IN", rows, person)
    if isinstance(inner, exp.EQ) and isinstance(inner.expression, exp.Any):
        return _not_in(inner.this, inner.expression.this, "NOT = ANY", rows, person)
    if isinstance(inner, exp.Exists):
        return _absent("NOT EXISTS", contacts_of(inner.this, rows.names), (), rows, person)
    return None


def _parts(left: exp.Expr) -> list[exp.Expr]:
    left = left.unnest()
    return list(left.expressions) if isinstance(left, exp.Tuple) else [left]


def _in_excluding(condition: exp.In, rows: Rows, person: Key) -> Exclusion | None:
    """Rows that are in a query which excludes are excluded too."""
    parts = _parts(condition.this)
    for place, part in enumerate(parts):
        if rows.is_person(part, PERSON, person):
            found = _of_rows(condition.args["query"], rows.names, place)
            # which of the columns has the record is not followed through IN
            return replace(found, record=None) if found else None
    return None


def _not_in(left: exp.Expr, query: exp.Expr, form: str, rows: Rows, person: Key) -> Exclusion | None:
    found, parts = contacts_of(query, rows.names), _parts(left)
    if found is None or not found.exact or len(found.outputs) != len(parts):
        return None
    pairs = [(part, kind) for part, (_name, kind) in zip(parts, found.outputs, strict=True)]
    return _absent(form, found, pairs, rows, person)


def _absent(form: str, found: Contacts | None, pairs: _Pairs, rows: Rows, person: Key) -> Exclusion | None:
    """The exclusion when no row equals a contact moment in all these columns, and in those that link it."""
    if found is None:
        return None
    compared = [*pairs, *((column, kind) for kind, column in found.links)]
    people = [(column, kind) for column, kind in compared if kind in (PERSON, ADDRESS)]
    records = [column for column, kind in compared if kind == RECORD]
    if len(people) + len(records) < len(compared) or not people or len(records) > 1:
        return None
    if not all(rows.is_person(column, str(kind), person) for column, kind in people):
        return None
    key = rows.key(records[0]) if records else None
    by_record = bool(records) or found.of_records
    return Exclusion(form, found.window, by_record, rows.output_name(key) if key else None, found.partial)


def _in_joins(rows: Rows, person: Key) -> Iterator[Exclusion]:
    for join in rows.joins:
        alias, kind = join.this.alias_or_name.lower(), join.kind.upper()
        if kind == "ANTI" and join.side.upper() in ("", "LEFT"):
            form = "ANTI JOIN"
        elif join.side.upper() == "LEFT" and kind in ("", "OUTER"):
            form = "LEFT JOIN … IS NULL"
        else:
            continue
        found = contacts_joined(join, rows.names)
        if found is None or (kind != "ANTI" and not _is_missing(rows, alias, found, join)):
            continue
        exclusion = _absent(form, found, (), rows, person)
        if exclusion:
            yield exclusion


def _is_missing(rows: Rows, alias: str, found: Contacts, join: exp.Join) -> bool:
    """Whether the WHERE asks that the joined contact moment is not there."""
    query, inside = resolve(join.this, rows.names)
    joined = contacts_of(query, inside) if query is not None else None
    linked = {kind for kind, _column in found.links}
    where = rows.select.args.get("where")
    for condition in conjuncts(where.this) if where else ():
        column = is_null_test(condition)
        if column is None or column.table.lower() != alias:
            continue
        name = column.name.lower()
        kind = joined.kind(name) if joined else name
        if kind in NEVER_NULL or (kind in (ADDRESS, RECORD) and kind in linked):
            return True
    return False


def _in_sources(rows: Rows, person: Key) -> Iterator[Exclusion]:
    """A person who comes from a source that excludes is excluded."""
    for alias, name in rows.all_equal(person):
        source = rows.sources.get(alias)
        query, inside = resolve(source, rows.names) if source is not None else (None, rows.names)
        found = _of_rows(query, inside, name) if query is not None else None
        if found:
            record = rows.output_name((alias, found.record)) if found.record else None
            yield replace(found, record=record)
