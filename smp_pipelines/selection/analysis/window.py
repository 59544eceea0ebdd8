"""Windows: how far back contact moments count, read from a condition on `happened_at` (F17, F21).

Conservative: a spelling that is not understood is no window, and what is uncertain makes a window shorter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlglot import exp

from smp_pipelines.selection.clock import clock_kind

FOR_EVER = timedelta.max
_DAY = timedelta(days=1)
_LONGEST_DAY = timedelta(hours=25)
"""The night in which summer time ends makes a day this long."""
_UNITS = {
    "MINUTE": timedelta(minutes=1),
    "HOUR": timedelta(hours=1),
    "DAY": _DAY,
    "WEEK": timedelta(weeks=1),
    "MONTH": timedelta(days=28),
    "YEAR": timedelta(days=365),
}
_WHOLE_DAYS = {"DAY", "WEEK", "MONTH", "QUARTER", "YEAR"}


@dataclass(frozen=True)
class Window:
    """How far back contact moments count: a length, from the run's moment or from local midnight (`whole_day`).

    A length of timedelta.max is for ever, or since the fixed moment `since`.
    """

    length: timedelta
    whole_day: bool = False
    since: datetime | None = None

    def covers(self, span: timedelta) -> bool:
        """Whether somebody who received it `span` earlier on the same day is still inside."""
        return self.whole_day or self.length > span

    @property
    def rank(self) -> tuple[bool, timedelta]:
        """Sorts windows: those that cover a whole day last, then by length."""
        return self.covers(_DAY), self.length

    def both(self, other: Window) -> Window:
        """What is certain to lie in this window and in the other."""
        if self.length == FOR_EVER and other.length == FOR_EVER:
            moments = [each.since for each in (self, other) if each.since]
            return Window(FOR_EVER, since=max(moments, key=lambda each: each.replace(tzinfo=None), default=None))
        long, short = sorted((self, other), key=lambda each: each.length, reverse=True)
        since = long.since or short.since
        if long.length == FOR_EVER or long.length - _LONGEST_DAY >= short.length or long.whole_day:
            # Local midnight is at most a day before the moment: the longer window begins before the shorter one.
            return replace(short, since=since)
        return Window(short.length, since=since)


def window_of(condition: exp.Expr) -> tuple[exp.Column, Window] | None:
    """The column and the window of `happened_at > …` in its spellings; None for anything else, so for an upper bound.

    That the column is the moment of a contact is for the caller to find out.
    """
    if isinstance(condition, exp.Between):
        upper = _bound(condition.args["high"])
        today = _is_day(condition.this.unnest())
        recent = upper is not None and upper.length == timedelta() and upper.whole_day in (False, today)
        return _since(condition.this, _bound(condition.args["low"]), False) if recent else None
    if isinstance(condition, (exp.GT, exp.GTE)):
        return _since(condition.this, _bound(condition.expression), isinstance(condition, exp.GT))
    if isinstance(condition, (exp.LT, exp.LTE)):
        return _since(condition.expression, _bound(condition.this), isinstance(condition, exp.LT))
    if isinstance(condition, exp.EQ):
        bound = _bound(condition.expression)
        today = bound == Window(timedelta(), True)
        return _since(condition.this, bound, False) if today and _is_day(condition.this.unnest()) else None
    return None


def _since(node: exp.Expr, bound: Window | None, strict: bool) -> tuple[exp.Column, Window] | None:
    """`strict` is for `>`, which of days leaves the first one out."""
    node = node.unnest()
    if bound is None:
        return None
    if isinstance(node, exp.Column):
        return node, bound
    if isinstance(node, exp.Cast) and node.to.this == exp.DataType.Type.TIMESTAMPTZ:
        return _since(node.this, bound, strict)
    if not _is_day(node) or not isinstance(node.this.unnest(), exp.Column):
        return None
    # The day of a moment begins before it: only a bound that is a midnight itself says when the window opens.
    length = bound.length
    if length != FOR_EVER:
        if not bound.whole_day or length % _DAY:
            return None
        length -= _DAY if strict else timedelta()
    elif bound.since is not None:
        bound = replace(bound, since=bound.since + _LONGEST_DAY)
    return (node.this.unnest(), replace(bound, length=length)) if length >= timedelta() else None


def _is_day(node: exp.Expr) -> bool:
    """Whether this is something's local day, as a date or as its first moment."""
    if isinstance(node, exp.Cast):
        return bool(node.to.this == exp.DataType.Type.DATE)
    return isinstance(node, (exp.TimestampTrunc, exp.DateTrunc)) and _unit(node) == "DAY"


def _unit(node: exp.Expr) -> str:
    unit = node.args.get("unit")
    return str(unit.name if isinstance(unit, exp.Expr) else unit).upper().removesuffix("S")


def _bound(node: exp.Expr) -> Window | None:
    """A moment in the past as a window: now() - interval '30 days', current_date, a fixed date."""
    node = node.unnest()
    kind = clock_kind(node)
    if kind:
        return Window(timedelta(), whole_day=kind == "date") if kind in ("date", "timestamptz") else None
    if isinstance(node, (exp.TimestampTrunc, exp.DateTrunc)):
        return _midnight(_bound(node.this)) if _unit(node) in _WHOLE_DAYS else None
    if isinstance(node, exp.Cast):
        return _cast(node)
    if isinstance(node, exp.Sub):
        base, length = _bound(node.this), _length(node.expression)
        if base is None or length is None or base.length == FOR_EVER:
            return None
        return replace(base, length=base.length + length)
    return None


def _cast(node: exp.Cast) -> Window | None:
    if node.to.this not in (exp.DataType.Type.DATE, exp.DataType.Type.TIMESTAMPTZ, exp.DataType.Type.TIMESTAMP):
        return None
    if isinstance(node.this, exp.Literal):
        try:
            return Window(FOR_EVER, since=datetime.fromisoformat(node.this.this))
        except ValueError:
            return None  # 'infinity', 'epoch'
    inner = _bound(node.this)
    return _midnight(inner) if node.to.this == exp.DataType.Type.DATE else inner


def _midnight(window: Window | None) -> Window | None:
    """The window from the beginning of its first day: whole days before the last midnight, at least."""
    if window is None or window.length == FOR_EVER or window.whole_day:
        return window
    return Window(window.length // _DAY * _DAY, whole_day=True)


def _length(node: exp.Expr) -> timedelta | None:
    node = node.unnest()
    if isinstance(node, exp.Literal) and not node.is_string and node.this.isdigit():
        return timedelta(days=int(node.this))
    if isinstance(node, exp.Interval) and isinstance(node.this, exp.Literal) and node.this.this.isdigit():
        unit = _UNITS.get(str(node.unit).upper().removesuffix("S"))
        return int(node.this.this) * unit if unit else None
    return None
