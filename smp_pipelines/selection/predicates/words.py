"""The words of predicates: a condition of a selection on one short line, macros by what they mean.

A macro is known by its SQL (macros.py writes it), so a query that ran in the past is told in the same words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import sqlglot
from sqlglot import exp

from smp_pipelines.selection.analysis.contacts import conjuncts
from smp_pipelines.selection.macros import By, render

_LONGEST = 160  # characters
_STRINGS = re.compile(r"('(?:[^']|'')*')")
_SPELLINGS = (
    (re.compile(r"\bcast\(((?:[^()]|\([^()]*\))+) as ([a-z]+)\)"), r"\1::\2"),
    (re.compile(r"\bnot ([\w.]+) is null\b"), r"\1 is not null"),
    (re.compile(r"\bnot ([\w.]+|\([\w., ]+\)) in \("), r"\1 not in ("),
)
_ANY_STEP = "*"


@dataclass(frozen=True)
class Macro:
    """A condition that `received` or `not_received` wrote: of which step, how far back, matched by what."""

    negated: bool
    step: str
    within: str
    by: By
    person: exp.Expr
    record: exp.Expr | None

    def __str__(self) -> str:
        about = f" about this {_text(self.record)}" if self.record is not None else ""
        return f"{'not received' if self.negated else 'received'} {self.step}{self.within}{about}"


def short(condition: exp.Expr) -> str:
    """A condition or a query as one short line of SQL, or in words where it is a macro or names a selection."""
    macro = macro_of(condition)
    if macro:
        return str(macro)
    negated, members = membership(condition)
    if members is not None:
        source = only_source(members)
        if source is not None:
            return f"is {'not ' if negated else ''}in {source.db}.{source.name}".lower()
    return clipped(_text(condition))


def clipped(text: str) -> str:
    """A text with its end left off where it is long."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 2].rstrip() + " …"


def membership(condition: exp.Expr) -> tuple[bool, exp.Expr | None]:
    """Whether a condition is `x [not] in (query)`: negated or not, and the query; None for any other condition."""
    condition = condition.unnest()
    negated = isinstance(condition, exp.Not)
    inner = condition.this.unnest() if negated else condition
    return negated, inner.args.get("query") if isinstance(inner, exp.In) else None


def macro_of(condition: exp.Expr) -> Macro | None:
    """The macro that wrote a condition; None when a person wrote it."""
    negated, members = membership(condition)
    if members is None:
        return None
    members = members.copy()
    moments = next(_selects_of_moments(members), None)
    if moments is None:
        return None
    step, within = _loosen(moments)
    shape = _shapes().get(_shape(members))
    if shape is None or step is None:
        return None
    left = condition.find(exp.In).this.unnest()  # type: ignore[union-attr]
    by, by_record = shape
    person, record = left.expressions if by_record and isinstance(left, exp.Tuple) else (left, None)
    return Macro(negated, step, within, by, person, record)


def steps_in(condition: exp.Expr) -> tuple[str, ...]:
    """The steps whose contact moments a condition looks at, as far as they are named in it."""
    steps = [
        found.expression.this
        for select in _selects_of_moments(condition)
        for found in select.find_all(exp.EQ)
        if isinstance(found.this, exp.Column)
        and found.this.name.lower() == "step"
        and isinstance(found.expression, exp.Literal)
    ]
    return tuple(dict.fromkeys(steps))


def _selects_of_moments(query: exp.Expr) -> Iterator[exp.Select]:
    for select in query.find_all(exp.Select):
        start = select.args.get("from_")
        source = start.this if start else None
        if isinstance(source, exp.Table) and f"{source.db}.{source.name}".lower() == "smp.contact_moment":
            yield select


def _loosen(moments: exp.Select) -> tuple[str | None, str]:
    """Take the step and the window out of the WHERE of a macro, so that its shape is left: which they were."""
    step, within = None, ""
    where = moments.args.get("where")
    kept: list[exp.Expr] = []
    for part in conjuncts(where.this) if where else ():
        column = part.this.name.lower() if isinstance(part.this, exp.Column) else ""
        if isinstance(part, exp.EQ) and column == "step" and isinstance(part.expression, exp.Literal):
            step = str(part.expression.this)
            part.expression.replace(exp.Literal.string(_ANY_STEP))
            kept.append(part)
        elif isinstance(part, (exp.GT, exp.GTE)) and column == "happened_at":
            interval = part.find(exp.Interval)
            within = f" within {interval.name} {interval.text('unit').lower()}" if interval else " today"
        else:
            kept.append(part)
    if where:
        where.set("this", exp.and_(*kept))
    return step, within


@cache
def _shapes() -> dict[str, tuple[By, bool]]:
    found: dict[str, tuple[By, bool]] = {}
    kinds: tuple[By, ...] = ("address", "person")
    for by in kinds:
        for record in (False, True):
            about = ', record="r"' if record else ""
            text = render(f'{{{{ received("{_ANY_STEP}", by="{by}"{about}) }}}}', [_ANY_STEP])
            _negated, members = membership(sqlglot.parse_one(text, dialect="duckdb"))
            if members is not None:
                moments = members.copy()
                for select in _selects_of_moments(moments):
                    _loosen(select)
                    break
                found[_shape(moments)] = (by, record)
    return found


def _shape(query: exp.Expr) -> str:
    return query.sql(dialect="duckdb", identify=True, comments=False).lower()


def only_source(members: exp.Expr) -> exp.Table | None:
    """The selection in `(select person_id from selections.x)`; None when the query does anything else."""
    query = members.unnest()
    if not isinstance(query, exp.Select) or any(
        query.args.get(key) for key in ("where", "joins", "group", "having", "qualify", "limit", "with_")
    ):
        return None
    start = query.args.get("from_")
    source = start.this if start else None
    return source if isinstance(source, exp.Table) and source.db.lower() == "selections" else None


def _text(node: exp.Expr) -> str:
    """SQL on one line as people write it: small letters, names without quotes, casts with `::`, `x is not null`."""
    plain = node.copy()
    for name in plain.find_all(exp.Identifier):
        name.set("quoted", False)
    text = " ".join(plain.sql(dialect="duckdb", comments=False).split())
    text = "".join(part if part.startswith("'") else part.lower() for part in _STRINGS.split(text))
    before = ""
    while before != text:
        before = text
        for pattern, written in _SPELLINGS:
            text = pattern.sub(written, text)
    return text
