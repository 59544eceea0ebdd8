"""Criteria files: a selection written as YAML, compiled to the same kind of query as one written in SQL (F51, F58).

The tree is built node by node; what comes out is checked, bound and judged like any SQL (gate.py, compiler.py).
Negations are pushed down to the single conditions, so that `not: {received: …}` is the NOT IN that exclusion.py
looks for, and every condition is true or false, never unknown (values.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlglot
from sqlglot import exp

from smp_pipelines.campaign.document import Document, Place, read_document
from smp_pipelines.crm.catalog import Catalog, Table
from smp_pipelines.problems import Problem, ProjectError, SmpError
from smp_pipelines.selection.criteria.query import (
    having_many_records,
    having_records,
    in_selection,
    is_filled,
    is_null,
    parts,
)
from smp_pipelines.selection.criteria.scope import PERSON, Names, Scope, find_table, nearest
from smp_pipelines.selection.criteria.values import (
    DATES,
    NUMBERS,
    OPERATORS,
    WORDS,
    Operand,
    RefusedError,
    condition,
    holds_for_zero,
)
from smp_pipelines.selection.criteria.vocabulary import CONDITIONS, FILE, MEASURES
from smp_pipelines.selection.macros import received_condition

_DEEPEST = 60
"""Keys and positions from the top of the file to a condition; more is a mistake, or meant to exhaust the stack."""
_MEANT = {
    "on": "during", "at": "during", "from": "since", "like": "contains", "and": "all", "or": "any", "equals": "is",
    "=": "is", "!=": "is_not", ">": "more_than", ">=": "at_least", "<": "less_than", "<=": "at_most",
}  # fmt: skip


@dataclass(frozen=True)
class Criteria:
    """What a criteria file says: who is in the selection, in words and as a query with the clock still in it."""

    description: str
    query: exp.Select


def read_criteria(path: Path, catalog: Catalog, steps: Collection[str], selections: Collection[str]) -> Criteria:
    """Read and compile one criteria file. `steps` are the step keys and `selections` the names that it may use.

    Raises ProjectError with every problem found, each with its line.
    """
    try:
        return _Compiler(read_document(path), catalog, steps, selections).compile()
    except RecursionError as error:
        raise ProjectError([Problem(path, None, "these criteria are nested too deeply")]) from error


def read_condition(
    document: Document, place: Place, catalog: Catalog, steps: Collection[str], selections: Collection[str]
) -> exp.Select:
    """Compile a condition that stands in another file, at this place: the people who meet it, with the clock still in.

    Raises ProjectError with every problem found, each with its line.
    """
    alone = document.part(place, "where")
    alone.value["description"] = "Whoever meets it"
    try:
        return _Compiler(alone, catalog, steps, selections).compile().query
    except RecursionError as error:
        words = "this condition is nested too deeply"
        raise ProjectError([Problem(document.file, document.line(place), words)]) from error


class _Compiler:
    """Walks a document; a part that is wrong becomes a problem, and the walk goes on."""

    def __init__(
        self, document: Document, catalog: Catalog, steps: Collection[str], selections: Collection[str]
    ) -> None:
        self._document = document
        self._catalog = catalog
        self._steps = steps
        self._selections = selections
        self._names = Names()
        self._problems: list[Problem] = []

    def compile(self) -> Criteria:
        """The whole file."""
        top = self._document.value
        self._known_keys(top, FILE, ())
        description = top.get("description")
        if not isinstance(description, str) or not description.strip():
            remedy = "add `description: Everyone who …`"
            self._problem(("description",), "the selection does not say who is in it", remedy)
        table = self._table(top.get("rows", "person"), ("rows",))
        if "where" not in top:
            self._problem((), "`where` is missing: who is in this selection", "add `where:` with a condition")
        query = None
        if table is not None:
            scope = Scope(table, self._catalog, self._names)
            found = self._condition(top["where"], ("where",), scope, False) if "where" in top else exp.true()
            query = self._select(top, scope, found)
        if self._problems or query is None:
            raise ProjectError(sorted(dict.fromkeys(self._problems), key=lambda problem: problem.line or 0))
        return Criteria(" ".join(str(description).split()), query)

    def _select(self, top: dict[str, Any], scope: Scope, where: exp.Expr) -> exp.Select | None:
        try:
            keys = self._row_keys(top, scope)
        except RefusedError as error:
            self._problem(("record",) if "record" in top else ("rows",), error.message, error.remedy)
            return None
        outputs = [
            column if column.name == name else exp.alias_(column, name)
            for name, operand in keys.items()
            for column in [operand.expression.copy()]
        ]
        filled = [is_filled(operand) for operand in keys.values() if operand.nullable]
        query = scope.add_sources(exp.select(*outputs)).where(*parts(where), *filled, copy=False)
        unique = len(scope.table.key) == 1 and scope.table.key[0] in keys
        return query if unique else query.distinct(copy=False)

    def _row_keys(self, top: dict[str, Any], scope: Scope) -> dict[str, Operand]:
        """The columns that a row gives: the person, and the linked record for rows that are no people."""
        person = scope.person()
        keys = {"person_id": person} if person else {}
        if "record" in top:
            table = self._table(top["record"], ("record",))
        elif scope.table.name == PERSON:
            table = None
        else:
            table = self._only_record(scope, bool(person))
        if table is None:
            return keys
        record = scope.record(table)
        if record is None:
            words = f"a {scope.table.short_name} does not refer to one {table.short_name}"
            raise RefusedError(words, f"choose from: {', '.join(_short(scope.records()))}")
        return {**keys, table.key[0]: record}

    def _only_record(self, scope: Scope, of_people: bool) -> Table | None:
        """The record that rows are about when the file does not say: the only one they refer to, else themselves."""
        records = scope.records() if of_people else []
        if len(records) > 1:
            names = _short(records)
            words = f"a {scope.table.short_name} refers to {' and '.join(names)}"
            raise RefusedError(words, f"say which one a row is about, e.g. `record: {names[0]}`")
        if records:
            return self._catalog.tables[records[0]]
        return scope.table if len(scope.table.key) == 1 else None

    def _condition(self, value: object, place: Place, scope: Scope, negated: bool) -> exp.Expr:
        """A condition of any kind, or its opposite; `true` in place of one that is wrong."""
        kind = self._kind(value, place)
        if kind is None or not isinstance(value, dict):
            return exp.true()
        self._known_keys(value, CONDITIONS[kind], place)
        compilers: dict[str, Callable[[dict[str, Any], Place, Scope, bool], exp.Expr]] = {
            "all": self._group,
            "any": self._group,
            "not": self._not,
            "field": self._field,
            "selection": self._selection,
            "has": self._has,
            "has_not": self._has,
            "received": self._received,
            "not_received": self._received,
        }
        try:
            return compilers[kind](value, place, scope, negated)
        except RefusedError as error:
            self._problem((*place, kind), error.message, error.remedy)
            return exp.true()

    def _kind(self, value: object, place: Place) -> str | None:
        """Which condition this is, by its key; a problem and None when that is not clear."""
        if len(place) > _DEEPEST:
            self._problem(place, "the conditions are nested too deeply", "make a part of them a selection of its own")
            return None
        if not isinstance(value, dict) or not value:
            shape = "a condition is a group of keys, like {field: person.city, is: Utrecht}"
            self._problem(place, shape, "put several under `all:` or `any:`" if isinstance(value, list) else None)
            return None
        kinds = [kind for kind in CONDITIONS if kind in value]
        if len(kinds) > 1:
            words = f"`{kinds[0]}` and `{kinds[1]}` are two conditions"
            self._problem((*place, kinds[1]), words, "put each on a line of its own under `all:` or `any:`")
            return None
        if not kinds:
            key = next((key for key in value if _suggestion(key, CONDITIONS)), next(iter(value)))
            remedy = _suggestion(key, CONDITIONS) or f"a condition has one of: {', '.join(CONDITIONS)}"
            self._problem((*place, key), f"`{key}` begins no condition", remedy)
            return None
        return kinds[0]

    def _group(self, value: dict[str, Any], place: Place, scope: Scope, negated: bool) -> exp.Expr:
        kind = "all" if "all" in value else "any"
        items = value[kind]
        if not isinstance(items, list) or not items:
            raise RefusedError(f"`{kind}` takes a list of conditions", "start each with a dash on a line of its own")
        tests = [self._condition(item, (*place, kind, at), scope, negated) for at, item in enumerate(items)]
        if (kind == "all") == negated:
            return exp.or_(*tests, copy=False)
        return exp.and_(*(part for test in tests for part in parts(test)), copy=False)

    def _not(self, value: dict[str, Any], place: Place, scope: Scope, negated: bool) -> exp.Expr:
        return self._condition(value["not"], (*place, "not"), scope, not negated)

    def _field(self, value: dict[str, Any], place: Place, scope: Scope, negated: bool) -> exp.Expr:
        operators = [key for key in value if key != "field" and key in CONDITIONS["field"]]
        operand = scope.field(_text(value["field"], "field"))
        if not operators:
            if len(value) == 1:
                words = f"this says nothing of {operand.label}"
                raise RefusedError(words, f"add one of: {', '.join(OPERATORS[operand.kind])}")
            return exp.true()
        tests = [self._test(key, value[key], operand, (*place, key), negated) for key in operators]
        return exp.or_(*tests, copy=False) if negated else exp.and_(*tests, copy=False)

    def _test(self, operator: str, value: object, operand: Operand, place: Place, negated: bool) -> exp.Expr:
        try:
            if operator not in OPERATORS[operand.kind]:
                words = f"`{operator}` cannot be asked of {operand.label}, which is {WORDS[operand.kind]}"
                raise RefusedError(words, f"choose from: {', '.join(OPERATORS[operand.kind])}")
            return condition(operator, value, operand, negated)
        except RefusedError as error:
            self._problem(place, error.message, error.remedy)
            return exp.true()

    def _selection(self, value: dict[str, Any], _place: Place, scope: Scope, negated: bool) -> exp.Expr:
        name = _text(value["selection"], "selection")
        if name not in self._selections:
            remedy = nearest(name, self._selections) or "name a file in sql/selections, without .sql or .yaml"
            raise RefusedError(f"there is no selection {name}", remedy)
        own = scope.person() or scope.key()
        if own is None:
            raise RefusedError(f"a {scope.table.short_name} has no key to look up in a selection")
        key = "person_id" if scope.person() else own.label
        return in_selection(name, self._names.take(name), own, key, negated)

    def _received(self, value: dict[str, Any], place: Place, scope: Scope, negated: bool) -> exp.Expr:
        kind = "received" if "received" in value else "not_received"
        operator: Literal["in", "not in"] = "in" if (kind == "received") != negated else "not in"
        step = _text(value[kind], kind)
        person = scope.person()
        if person is None:
            raise RefusedError(f"a {scope.table.short_name} receives nothing; people do")
        record = self._received_record(value, place, scope)
        options = {key: _text(value[key], key) for key in ("within", "by") if key in value}
        try:
            named = "record_id" if record else None
            sql = received_condition(operator, self._steps)(step, record=named, **options)
        except SmpError as error:
            message, _, remedy = str(error).partition("; ")
            raise RefusedError(message, remedy or None) from error
        found = sqlglot.parse_one(sql, dialect="duckdb")
        members = found.find(exp.In)
        if members is not None:
            own = [person.expression, record.expression] if record else [person.expression]
            members.set("this", exp.Tuple(expressions=own) if record else own[0])
        nobody = [is_null(each) for each in (person, record) if each and each.nullable and operator == "not in"]
        return exp.or_(*nobody, found, copy=False)

    def _received_record(self, value: dict[str, Any], place: Place, scope: Scope) -> Operand | None:
        table = self._table(value["record"], (*place, "record")) if "record" in value else None
        if table is None:
            return None
        record = scope.record(table)
        if record is None or scope.table.name == PERSON:
            words = f"a {scope.table.short_name} does not refer to one {table.short_name}"
            raise RefusedError(words, "leave `record` out, or choose `rows` that refer to it")
        return record

    def _has(self, value: dict[str, Any], place: Place, scope: Scope, negated: bool) -> exp.Expr:
        kind = "has" if "has" in value else "has_not"
        negated = negated != (kind == "has_not")
        table = self._table(value[kind], (*place, kind))
        if table is None:
            return exp.true()
        link = scope.link(table, _text(value["by"], "by") if "by" in value else None)
        conditions = []
        if "where" in value:
            conditions += parts(self._condition(value["where"], (*place, "where"), link.inner, False))
        conditions += self._dated(value, place, link.inner)
        having, of_zero = self._measures(value, place, link.inner)
        if having is None:
            return having_records(link, conditions, negated)
        return having_many_records(link, conditions, having, negated != of_zero)

    def _dated(self, value: dict[str, Any], place: Place, scope: Scope) -> list[exp.Expr]:
        """The conditions of since, until … on the record's date."""
        asked = [key for key in DATES if key in value]
        if not asked:
            return []
        if "date" in value:
            operand = scope.field(_text(value["date"], "date"))
            if operand.kind not in ("date", "moment"):
                self._problem((*place, "date"), f"{operand.label} is no date but {WORDS[operand.kind]}")
                return []
        else:
            operand = self._only_date(scope, asked[0])
        found = [self._test(key, value[key], operand, (*place, key), False) for key in asked]
        return [part for each in found for part in parts(each)]

    def _only_date(self, scope: Scope, asked: str) -> Operand:
        dates = [name for name in scope.table.columns if scope.field(name).kind in ("date", "moment")]
        if len(dates) != 1:
            words = f"a {scope.table.short_name} has {'several dates' if dates else 'no date'}"
            remedy = f"add e.g. `date: {dates[0]}`, from: {', '.join(dates)}" if dates else f"leave `{asked}` out"
            raise RefusedError(words, remedy)
        return scope.field(dates[0])

    def _measures(self, value: dict[str, Any], place: Place, scope: Scope) -> tuple[exp.Expr | None, bool]:
        """The condition on the count and the sum, and whether it is to be met by who is out.

        People without any record are in no group. When they meet the condition too, the groups that do not meet it
        are sought, to be taken out.
        """
        asked = [
            (operator, number, operand, (*place, name, operator))
            for name in MEASURES
            if name in value and (operand := self._measured(name, value[name], (*place, name), scope))
            for operator, number in value[name].items()
            if operator in NUMBERS
        ]
        before = len(self._problems)
        tests = [self._test(*each, negated=False) for each in asked]
        if not tests or len(self._problems) > before:
            return None, False
        if all(holds_for_zero(operator, number) for operator, number, *_ in asked):
            return exp.or_(*(self._test(*each, negated=True) for each in asked), copy=False), True
        return exp.and_(*tests, copy=False), False

    def _measured(self, name: str, given: Any, place: Place, scope: Scope) -> Operand | None:
        keys = given.keys() if isinstance(given, dict) else {}.keys()
        self._known_keys(keys, MEASURES[name], place)
        if not keys & set(NUMBERS):
            if keys <= set(MEASURES[name]):
                example = {"count": "{at_least: 2}", "sum": "{of: amount, at_least: 100}"}[name]
                self._problem(place, f"`{name}` compares with no number", f"write e.g. `{name}: {example}`")
            return None
        try:
            field = scope.field(_text(given["of"], "of")) if "of" in given else None
            if name == "count":
                what = exp.Distinct(expressions=[field.expression]) if field else exp.Star()
                return Operand(exp.Count(this=what, big_int=True), "number", False, "a count")
            if field is None or field.kind != "number":
                words = f"{field.label} is {WORDS[field.kind]}, which has no sum" if field else "a sum of what?"
                raise RefusedError(words, "add `of:` with a field that is a number")
            total = exp.func("coalesce", exp.Sum(this=field.expression), exp.Literal.number(0))
            return Operand(total, "number", False, "a sum")
        except RefusedError as error:
            self._problem((*place, "of"), error.message, error.remedy)
            return None

    def _table(self, name: object, place: Place) -> Table | None:
        found = find_table(name, self._catalog) if isinstance(name, str) else None
        if found is None:
            names = [table.short_name for table in self._catalog.tables.values()]
            remedy = nearest(str(name), names) or f"choose from: {', '.join(names)}"
            self._problem(place, f"there is no table {name}", remedy)
        return found

    def _known_keys(self, value: Iterable[str], known: Collection[str], place: Place) -> None:
        for key in value:
            if key not in known:
                remedy = _suggestion(key, known) or f"choose from: {', '.join(known)}"
                self._problem((*place, key), f"unknown key `{key}`", remedy)

    def _problem(self, place: Place, message: str, remedy: str | None = None) -> None:
        self._problems.append(Problem(self._document.file, self._document.line(place), message, remedy))


def _text(value: object, key: str) -> str:
    if not isinstance(value, str) or not value:
        raise RefusedError(f"`{key}` must be a name, not {value!r}")
    return value


def _suggestion(key: str, known: Collection[str]) -> str | None:
    if key in MEASURES and "has_not" in known:
        return f"`has` has a {key}: write e.g. `has: …` with `count: {{at_most: 1}}`"
    meant = _MEANT.get(key.lower())
    return f"did you mean {meant}?" if meant is not None and meant in known else nearest(key, known)


def _short(names: list[str]) -> list[str]:
    return [name.partition(".")[2] for name in names]
