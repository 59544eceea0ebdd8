"""The clock of a selection: whatever asks for the present moment gets the run's moment instead (invariant 3).

`now()`, `current_date` and their like become literals in the project's time zone, so that a run for a past or
a future moment, a preview and a repeated run all select the same people. gate.py refuses what is left over.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlglot import exp

_KINDS: dict[type[exp.Expr], str] = {
    exp.CurrentTimestamp: "timestamptz",
    exp.CurrentDate: "date",
    exp.CurrentTime: "timetz",
    exp.Localtimestamp: "timestamp",
    exp.Localtime: "time",
}
_NAMES = {
    "now": "timestamptz",
    "get_current_timestamp": "timestamptz",
    "transaction_timestamp": "timestamptz",
    "today": "date",
    "get_current_time": "timetz",
    "current_localtimestamp": "timestamp",
    "current_localtime": "time",
}
_TEXT: dict[str, Callable[[datetime], str]] = {
    "timestamptz": lambda local: local.isoformat(" "),
    "timestamp": lambda local: local.replace(tzinfo=None).isoformat(" "),
    "date": lambda local: local.date().isoformat(),
    "timetz": lambda local: local.timetz().replace(tzinfo=None).isoformat() + local.isoformat()[-6:],
    "time": lambda local: local.time().isoformat(),
}

CLOCK_FUNCTIONS = frozenset(_NAMES)


def clock_kind(node: exp.Expr) -> str | None:
    """The type of the moment that this node asks for ("date", "timestamptz", …), or None when it asks for none."""
    if isinstance(node, exp.Anonymous) and not node.expressions:
        return _NAMES.get(node.name.lower())
    kind = _KINDS.get(type(node))
    return kind if kind and not node.this else None


def rewrite_clock(query: exp.Query, now: datetime, zone: ZoneInfo) -> exp.Query:
    """A copy of the query in which the present moment is `now`, seen in `zone`. ValueError when `now` is naive."""
    if now.utcoffset() is None:
        raise ValueError("the moment of a selection needs a time zone")
    local = now.astimezone(zone)
    return replace_clock(query, lambda kind: _literal(kind, local))


def replace_clock(query: exp.Query, moment: Callable[[str], exp.Expr]) -> exp.Query:
    """A copy of the query in which whatever asks for the present is `moment` of the type that it asks for."""
    copy = query.copy()
    for node in list(copy.walk()):
        kind = clock_kind(node)
        if kind:
            node.replace(moment(kind))
        elif isinstance(node, exp.Anonymous) and node.name.lower() == "age" and len(node.expressions) == 1:
            # age(x) counts from midnight today.
            node.set("expressions", [moment("date"), node.expressions[0]])
    return copy


def _literal(kind: str, local: datetime) -> exp.Cast:
    return exp.cast(exp.Literal.string(_TEXT[kind](local)), kind, dialect="duckdb")
