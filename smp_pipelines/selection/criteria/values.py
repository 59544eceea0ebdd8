"""Operators and values of criteria: `is: Utrecht`, `since: 1 year ago`, `at_least: 10`, as conditions on a column.

Every condition is true or false, never unknown: an empty field meets no condition, and so it meets the opposite
of every condition. That is why `is_not: Utrecht` holds for people without a city.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Literal

from sqlglot import exp
from sqlglot.errors import SqlglotError

Kind = Literal["text", "number", "truth", "date", "moment", "other"]

DATES = ("during", "before", "after", "since", "until", "between")
"""The operators of dates; a `has` may carry them itself."""
NUMBERS = ("is", "more_than", "at_least", "less_than", "at_most", "between")
"""The operators of a count or a sum."""
_FILLED = ("empty", "filled")
OPERATORS: dict[Kind, tuple[str, ...]] = {
    "text": ("is", "is_not", "in", "not_in", "contains", "starts_with", "ends_with", *_FILLED),
    "number": (*NUMBERS, "is_not", "in", "not_in", *_FILLED),
    "truth": ("is", "is_not", *_FILLED),
    "date": (*DATES, "anniversary", *_FILLED),
    "moment": (*DATES, "anniversary", *_FILLED),
    "other": _FILLED,
}
"""What may be asked of a column, by the kind of its values."""
WORDS: dict[Kind, str] = {
    "text": "text",
    "number": "a number",
    "truth": "true or false",
    "date": "a date",
    "moment": "a date with a time",
    "other": "neither text, number nor date",
}

_OPPOSITES = {"is_not": "is", "not_in": "in", "filled": "empty"}
_COMPARISONS: dict[str, tuple[type[exp.Binary], type[exp.Binary]]] = {
    "is": (exp.EQ, exp.NEQ),
    "more_than": (exp.GT, exp.LTE),
    "at_least": (exp.GTE, exp.LT),
    "less_than": (exp.LT, exp.GTE),
    "at_most": (exp.LTE, exp.GT),
}
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,9})?", re.ASCII)
_UNIT = "(minute|hour|day|week|month|year)s?"
_AGO = re.compile(rf"([0-9]{{1,4}}) {_UNIT} ago", re.ASCII)
_AHEAD = re.compile(rf"in ([0-9]{{1,4}}) {_UNIT}", re.ASCII)
_PERIOD = re.compile(r"(?:(start|end) of )?(this|last|next) (week|month|quarter|year)")
_DAY = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}", re.ASCII)
_MOMENT = re.compile(rf"({_DAY.pattern}) ([0-9]{{2}}:[0-9]{{2}})", re.ASCII)
_DATE_REMEDY = 'write e.g. 2026-01-31, today, 30 days ago, in 2 days, this month, "12 hours ago" or "2026-01-31 10:00"'


class RefusedError(Exception):
    """A field or a value that is not possible: what is wrong and what to do."""

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True)
class Operand:
    """What a condition is about: an expression, the kind of its values, whether it may be empty, its name in words."""

    expression: exp.Expr
    kind: Kind
    nullable: bool
    label: str


@dataclass(frozen=True)
class _Span:
    """From a start up to, not including, an end; a moment has no end."""

    start: exp.Expr
    end: exp.Expr | None


@cache
def kind_of(postgres_type: str) -> Kind:
    """The kind of a column's values, from its Postgres type."""
    try:
        type_ = exp.DataType.build(postgres_type, dialect="postgres").this
    except SqlglotError:
        return "other"
    if type_ in exp.DataType.TEXT_TYPES:
        return "text"
    if type_ in exp.DataType.NUMERIC_TYPES:
        return "number"
    if type_ == exp.DataType.Type.BOOLEAN:
        return "truth"
    if type_ == exp.DataType.Type.DATE:
        return "date"
    moments = (exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPTZ)
    return "moment" if type_ in moments else "other"


def condition(operator: str, value: object, operand: Operand, negated: bool) -> exp.Expr:
    """One condition on an operand, or its opposite. Raises RefusedError for a value that the operand cannot have."""
    if operator in _OPPOSITES:
        return condition(_OPPOSITES[operator], value, operand, not negated)
    if operator == "empty":
        return _empty(value, operand, negated)
    if operand.kind == "truth":
        return _truth(value, operand, negated)
    if operand.kind in ("date", "moment"):
        found = _anniversary(value, operand) if operator == "anniversary" else _in_time(operator, value, operand)
        return _opposite(found, operand) if negated else found
    if operator == "in":
        choices = [_literal(each, operand) for each in _list(operator, value)]
        found = exp.In(this=operand.expression.copy(), expressions=choices)
        return _opposite(found, operand) if negated else found
    if operator == "between":
        low, high = (_literal(each, operand) for each in _pair(value))
        found = exp.Between(this=operand.expression.copy(), low=low, high=high)
        return _opposite(found, operand) if negated else found
    if operator in _COMPARISONS:
        return _comparison(operator, _literal(value, operand), operand, negated)
    found = _part_of_text(operator, value, operand)
    return _opposite(found, operand) if negated else found


def holds_for_zero(operator: str, value: object) -> bool:
    """Whether a condition on a count or a sum holds for nobody's records: none counted, nothing summed."""
    if operator == "between":
        low, high = (_decimal(each) for each in _pair(value))
        return low <= 0 <= high
    number = _decimal(value)
    return {
        "is": number == 0,
        "more_than": number < 0,
        "at_least": number <= 0,
        "less_than": number > 0,
        "at_most": number >= 0,
    }[operator]


def _opposite(found: exp.Expr, operand: Operand) -> exp.Expr:
    """The opposite of a condition, which an empty field meets."""
    opposite = exp.not_(found, copy=False)
    return exp.or_(_is_null(operand), opposite, copy=False) if operand.nullable else opposite


def _is_null(operand: Operand) -> exp.Is:
    return exp.Is(this=operand.expression.copy(), expression=exp.null())


def _comparison(operator: str, literal: exp.Expr, operand: Operand, negated: bool) -> exp.Expr:
    plain, opposite = _COMPARISONS[operator]
    if negated and operand.nullable:
        if operator == "is":
            return exp.NullSafeNEQ(this=operand.expression.copy(), expression=literal)
        return exp.or_(_is_null(operand), opposite(this=operand.expression.copy(), expression=literal), copy=False)
    return (opposite if negated else plain)(this=operand.expression.copy(), expression=literal)


def _empty(value: object, operand: Operand, negated: bool) -> exp.Expr:
    if not isinstance(value, bool):
        raise RefusedError(f"this must be true or false, not {_shown(value)}")
    wanted = value != negated
    if operand.kind == "text":
        # a text of spaces says as little as none at all
        text = exp.func("coalesce", exp.func("trim", operand.expression.copy()), exp.Literal.string(""))
        return (exp.EQ if wanted else exp.NEQ)(this=text, expression=exp.Literal.string(""))
    return _is_null(operand) if wanted else exp.not_(_is_null(operand), copy=False)


def _truth(value: object, operand: Operand, negated: bool) -> exp.Expr:
    if not isinstance(value, bool):
        raise RefusedError(f"{operand.label} is true or false, not {_shown(value)}", "write true or false")
    column = operand.expression.copy()
    if negated and operand.nullable:
        return exp.not_(exp.Is(this=column, expression=exp.Boolean(this=value)), copy=False)
    return column if value != negated else exp.not_(column, copy=False)


def _part_of_text(operator: str, value: object, operand: Operand) -> exp.Expr:
    function = {"contains": "contains", "starts_with": "starts_with", "ends_with": "ends_with"}[operator]
    return exp.func(function, exp.func("lower", operand.expression.copy()), exp.func("lower", _literal(value, operand)))


def _literal(value: object, operand: Operand) -> exp.Expr:
    if operand.kind == "text":
        if isinstance(value, (bool, int)):
            raise RefusedError(f"{operand.label} is text, not {_shown(value)}", f'put it in quotes: "{_plain(value)}"')
        if not isinstance(value, str) or not value:
            remedy = "write `empty: true` for a field without a value" if value in (None, "") else "write one text"
            raise RefusedError(f"{operand.label} is text, not {_shown(value)}", remedy)
        return exp.Literal.string(value)
    number = str(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not _NUMBER.fullmatch(number):
        raise RefusedError(f"{operand.label} is a number, not {_shown(value)}", "write a number, like 10 or 12.50")
    positive = exp.Literal.number(number.removeprefix("-"))
    return exp.Neg(this=positive) if number.startswith("-") else positive


def _decimal(value: object) -> Decimal:
    return Decimal(str(value))


def _list(operator: str, value: object) -> Sequence[object]:
    if not isinstance(value, list) or not value:
        raise RefusedError(f"`{operator}` takes a list, not {_shown(value)}", f"write `{operator}: [a, b]`")
    return value


def _pair(value: object) -> Sequence[object]:
    if not isinstance(value, list) or len(value) != 2:
        raise RefusedError(f"`between` takes two values, not {_shown(value)}", "write `between: [lowest, highest]`")
    return value


def _in_time(operator: str, value: object, operand: Operand) -> exp.Expr:
    if operator == "between":
        first, last = _pair(value)
        low, high = _span(first, operand), _span(last, operand)
        return exp.and_(_from(operand, low), _up_to(operand, high), copy=False)
    span = _span(value, operand)
    if operator == "since":
        return _from(operand, span)
    if operator == "until":
        return _up_to(operand, span)
    column = operand.expression.copy()
    if operator == "before":
        return exp.LT(this=column, expression=span.start)
    if operator == "after":
        return _from(operand, _Span(span.end, None)) if span.end else exp.GT(this=column, expression=span.start)
    if span.end is None:
        raise RefusedError(
            f"`during` takes a day or a period, not {_shown(value)}", "write e.g. today, 2026-01-31 or this month"
        )
    return exp.and_(_from(operand, span), _up_to(operand, span), copy=False)


def _from(operand: Operand, span: _Span) -> exp.Expr:
    return exp.GTE(this=operand.expression.copy(), expression=span.start.copy())


def _up_to(operand: Operand, span: _Span) -> exp.Expr:
    if span.end is None:
        return exp.LTE(this=operand.expression.copy(), expression=span.start.copy())
    return exp.LT(this=operand.expression.copy(), expression=span.end.copy())


def _anniversary(value: object, operand: Operand) -> exp.Expr:
    """The same day and month in the year that is asked for; who was born on 29 February has it on the 28th else."""
    span = _span(value, operand)
    if span.end is None or (isinstance(value, str) and _PERIOD.fullmatch(value) and " of " not in value):
        raise RefusedError(f"`anniversary` takes one day, not {_shown(value)}", "write e.g. today or in 7 days")
    day = exp.cast(span.start, "date", dialect="duckdb")
    born = exp.cast(operand.expression.copy(), "date", dialect="duckdb")
    years = exp.Sub(this=exp.func("year", day, dialect="duckdb"), expression=exp.func("year", born, dialect="duckdb"))
    length = exp.func("to_years", exp.cast(years, "integer", dialect="duckdb"), dialect="duckdb")
    return exp.EQ(this=exp.Add(this=born.copy(), expression=length), expression=day.copy())


def _span(value: object, operand: Operand) -> _Span:
    span = _relative(value) or _fixed(value)
    if span is None:
        raise RefusedError(f"{_shown(value)} is no date that can be read", _DATE_REMEDY)
    if span.end is None and operand.kind == "date":
        raise RefusedError(f"{operand.label} has no time of day, so it cannot be compared with {_shown(value)}")
    return span


def _relative(value: object) -> _Span | None:
    """today, 2 days ago, in 3 weeks, this month, start of next year; a span of a day unless a period is named."""
    text = str(value)
    if text == "now":
        return _Span(exp.CurrentTimestamp(), None)
    if text in ("today", "yesterday", "tomorrow"):
        return _day(_moved(exp.CurrentDate(), {"today": 0, "yesterday": -1, "tomorrow": 1}[text], "day"))
    for pattern, sign in ((_AGO, -1), (_AHEAD, 1)):
        if found := pattern.fullmatch(text):
            length, unit = sign * int(found[1]), found[2]
            if unit in ("minute", "hour"):
                return _Span(_moved(exp.CurrentTimestamp(), length, unit), None)
            return _day(_moved(exp.CurrentDate(), length, unit))
    return _period(*found.groups()) if (found := _PERIOD.fullmatch(text)) else None


def _period(edge: str | None, which: str, unit: str) -> _Span:
    this = exp.func("date_trunc", exp.Literal.string(unit), exp.CurrentDate(), dialect="duckdb")
    length, unit = (3, "month") if unit == "quarter" else (1, unit)
    start = _moved(this, {"this": 0, "last": -length, "next": length}[which], unit)
    end = _moved(start, length, unit)
    if edge == "start":
        return _day(start)
    return _day(_moved(end, -1, "day")) if edge == "end" else _Span(start, end)


def _day(start: exp.Expr) -> _Span:
    return _Span(start, _moved(start, 1, "day"))


def _moved(start: exp.Expr, length: int, unit: str) -> exp.Expr:
    if not length:
        return start.copy()
    interval = exp.Interval(this=exp.Literal.string(str(abs(length))), unit=exp.var(unit.upper()))
    return (exp.Sub if length < 0 else exp.Add)(this=start.copy(), expression=interval)


def _fixed(value: object) -> _Span | None:
    """2026-01-31 as a day, "2026-01-31 10:00" as a moment in local time."""
    text = str(value)
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            return _Span(*(_cast(each.isoformat(), "date") for each in (day, day + timedelta(days=1))))
        if _MOMENT.fullmatch(text):
            return _Span(_cast(datetime.fromisoformat(text).isoformat(" "), "timestamp"), None)
    except ValueError:
        return None
    return None


def _cast(text: str, type_: str) -> exp.Cast:
    return exp.cast(exp.Literal.string(text), type_, dialect="duckdb")


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a group of keys"
    return f"'{_plain(value)}'"
