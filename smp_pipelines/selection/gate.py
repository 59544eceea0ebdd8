"""The gate: a selection is one read-only SELECT over known tables, or it does not run (invariant 4).

Two parsers have to agree. First sqlglot: one statement, only the node classes in an allow-list, only known
tables, where a name without a schema must be a CTE that is visible there. Then the SQL is written anew from the
tree (every name quoted, no comments), the way it will run, and DuckDB's own parser says which functions and
tables it sees in that text (view.py): what is not in the allow-lists is refused, whichever way it was spelt.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias
from zoneinfo import ZoneInfo

import sqlglot
from sqlglot import exp

from smp_pipelines.crm.catalog import Catalog
from smp_pipelines.problems import Problem, ProjectError
from smp_pipelines.selection import view
from smp_pipelines.selection.clock import CLOCK_FUNCTIONS, rewrite_clock
from smp_pipelines.selection.functions import FUNCTIONS, NAMES_THAT_ARE_FUNCTIONS

_Refusal: TypeAlias = tuple[str, str | None] | None  # why something is refused, and the remedy

# What sqlglot cannot parse it logs and wraps in a Command; the gate refuses that and says so itself.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

SELECTIONS = "selections"
_SOME_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_LONGEST = 200_000  # characters
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.IGNORECASE | re.ASCII)

_STATEMENT = {exp.Select, exp.Union, exp.Except, exp.Intersect, exp.Subquery}
_CLAUSES = {
    exp.With, exp.CTE, exp.TableAlias, exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.Qualify,
    exp.Order, exp.Ordered, exp.Limit, exp.Offset, exp.Distinct, exp.Window, exp.WindowSpec, exp.Filter,
    exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls, exp.Rollup, exp.Cube, exp.GroupingSets,
}  # fmt: skip
_SOURCES = {exp.Table, exp.Values, exp.Unnest, exp.GenerateSeries, exp.Lateral}
_EXPRESSIONS = {
    exp.Alias, exp.Column, exp.Identifier, exp.Star, exp.Literal, exp.Null, exp.Boolean, exp.Paren, exp.Tuple,
    exp.Neg, exp.Not, exp.And, exp.Or, exp.Xor, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In,
    exp.Between, exp.Like, exp.ILike, exp.SimilarTo, exp.Glob, exp.Escape, exp.NullSafeEQ, exp.NullSafeNEQ,
    exp.Any, exp.All, exp.Exists, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.DPipe,
    exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor, exp.BitwiseNot, exp.BitwiseLeftShift, exp.BitwiseRightShift,
    exp.Case, exp.If, exp.Cast, exp.TryCast, exp.DataType, exp.DataTypeParam, exp.Interval, exp.IntervalSpan,
    exp.Var, exp.AtTimeZone, exp.Extract, exp.Bracket, exp.Slice, exp.PropertyEQ, exp.Lambda, exp.Dot,
    exp.JSONExtract, exp.JSONExtractScalar, exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey, exp.JSONPathSubscript,
}  # fmt: skip
_ALLOWED = frozenset(_STATEMENT | _CLAUSES | _SOURCES | _EXPRESSIONS)
# Functions pass sqlglot's half of the gate as a class: DuckDB's half looks at each by name.
_NEVER = (exp.Columns, exp.Command, exp.DML, exp.DDL)


def check_query(sql: str, catalog: Catalog, selections: Collection[str], file: Path | None = None) -> exp.Query:
    """The parsed query, when it may run as a selection; `selections` are the names that `selections.<name>` may take.

    Raises ProjectError with all problems, each with its line in `sql`.
    """
    return examine(sql, catalog, selections, file)[0]


def examine(sql: str, catalog: Catalog, selections: Collection[str], file: Path | None = None) -> tuple[exp.Query, str]:
    """Like check_query; also gives the text that was checked, with some moment as the clock."""
    query = _parse(sql, file)
    tables = {name.lower() for name in catalog.tables} | {f"{SELECTIONS}.{name.lower()}" for name in selections}
    problems = [problem for node in query.walk(bfs=False) for problem in _problems(node, tables, file)]
    if problems:
        raise ProjectError(list(dict.fromkeys(problems)))
    text = duckdb_sql(rewrite_clock(query, _SOME_MOMENT, ZoneInfo("UTC")), pretty=False)
    known = {f"smp.{name}" if name.startswith(f"{SELECTIONS}.") else name for name in tables}
    refusals = [
        Problem(file, _line_with(sql, refusal.word), refusal.message, refusal.remedy)
        for refusal in view.refusals(text, known)
    ]
    if refusals:
        raise ProjectError(list(dict.fromkeys(refusals)))
    return query, text


def duckdb_sql(query: exp.Query, pretty: bool = True) -> str:
    """The text that DuckDB runs: every name quoted, no comments, `selections.x` as the lake calls it.

    Changes the tree that it is given. Pretty or not, the text means the same.
    """
    for table in query.find_all(exp.Table):
        if table.db.lower() == SELECTIONS and not table.catalog:
            table.set("catalog", exp.to_identifier("smp"))
    return query.sql(dialect="duckdb", identify=True, comments=False, pretty=pretty)


def tables_of(query: exp.Query) -> tuple[str, ...]:
    """The tables and selections that a checked query reads, as "crm.person" or "selections.x", sorted."""
    names = {f"{table.db}.{table.name}".lower() for table in query.find_all(exp.Table) if table.db}
    return tuple(sorted(names))


def line_of(node: exp.Expr) -> int | None:
    """The line of a node: its own, else that of the first node in it or the nearest one around it that has one."""
    for found in (*node.walk(bfs=False), *_ancestors(node)):
        if found.meta.get("line"):
            return int(found.meta["line"])
    return None


def _parse(sql: str, file: Path | None) -> exp.Query:
    if len(sql) > _LONGEST:
        raise ProjectError([Problem(file, None, f"this selection has more than {_LONGEST} characters")])
    if odd := _CONTROL.search(sql):
        # the two parsers need not agree on where a text ends that has a NUL in it
        words = f"this selection has a control character in it: {odd.group()!r}"
        raise ProjectError([Problem(file, sql.count("\n", 0, odd.start()) + 1, words)])
    try:
        parsed = sqlglot.parse(sql, dialect="duckdb")
    except sqlglot.errors.ParseError as error:
        first = error.errors[0] if error.errors else {}
        words = f"this SQL does not parse: {first.get('description', error)} near {first.get('highlight', '')!r}"
        raise ProjectError([Problem(file, first.get("line"), words)]) from error
    except sqlglot.errors.SqlglotError as error:
        raise ProjectError([Problem(file, None, f"this SQL does not parse: {error}")]) from error
    except TypeError as error:
        # sqlglot's compiled parser trips over some texts that are no SQL at all
        raise ProjectError([Problem(file, None, "this is no SQL that can be read")]) from error
    except RecursionError as error:
        raise ProjectError([Problem(file, None, "this SQL is nested too deeply")]) from error
    statements = [one for one in parsed if one is not None and not isinstance(one, exp.Semicolon)]
    if len(statements) != 1:
        words = f"a selection is one SELECT; here are {len(statements)} statements"
        raise ProjectError([Problem(file, line_of(statements[1]) if statements else None, words)])
    query = statements[0]
    if type(query) not in _STATEMENT or not isinstance(query, exp.Query):
        words = f"a selection is one SELECT; this is {_kind(query)}"
        raise ProjectError([Problem(file, line_of(query), words, "write a SELECT that gives person_id")])
    return query


def _problems(node: exp.Expr, tables: Collection[str], file: Path | None) -> Iterator[Problem]:
    refusal: _Refusal = None
    if isinstance(node, _NEVER) or (type(node) not in _ALLOWED and not isinstance(node, exp.Func)):
        refusal = (f"{_kind(node)} is not allowed in a selection", None)
    elif isinstance(node, exp.Table):
        refusal = _refuse_table(node, tables)
    elif isinstance(node, (exp.Anonymous, exp.Dot)):
        refusal = _refuse_function(node)
    elif isinstance(node, (exp.With, exp.CTE, exp.Column, exp.DataType, exp.Var)):
        refusal = _refuse_name(node)
    if refusal:
        yield Problem(file, line_of(node), *refusal)


def _refuse_function(node: exp.Anonymous | exp.Dot) -> _Refusal:
    if isinstance(node, exp.Dot):
        dotted = isinstance(node.expression, exp.Func)
        words = "a function with a dot before its name is not allowed"
        return (words, "write f(x) instead of x.f()") if dotted else None
    name = node.name.lower()
    return None if name in FUNCTIONS or name in CLOCK_FUNCTIONS else view.unknown_function(name)


def _refuse_name(node: exp.Expr) -> _Refusal:
    if isinstance(node, exp.With) and node.args.get("recursive"):
        return ("WITH RECURSIVE is not allowed in a selection", None)
    if isinstance(node, exp.CTE) and not _PLAIN.fullmatch(node.alias):
        return (f"{node.alias!r} is no name for a CTE", "use letters, digits and underscores")
    if isinstance(node, exp.Column) and not node.table and node.name.lower() in NAMES_THAT_ARE_FUNCTIONS:
        return (f"{node.name} as a column is read by DuckDB as a function", "give the column another name")
    if isinstance(node, exp.Column) and node.name.lower() == "rowid":
        # DuckDB gives every table one: the place of a row in the mirror's files, which differs after the next copy
        return ("rowid is not a column: it changes when a table is mirrored anew", "use the table's own key")
    if isinstance(node, exp.DataType) and node.this == exp.DataType.Type.USERDEFINED:
        return ("this type is not known", None)
    if isinstance(node, exp.Var) and not _PLAIN.fullmatch(node.name):
        return (f"{node.name!r} is not allowed here", None)
    return None


def _refuse_table(table: exp.Table, tables: Collection[str]) -> _Refusal:
    """Why this table may not be read, with the remedy; None when it may."""
    if isinstance(table.this, exp.GenerateSeries):
        return None
    if not isinstance(table.this, exp.Identifier):
        what = table.this.name or table.this.key
        return (
            f"{what}(…) is not allowed after FROM",
            "a selection reads crm tables, smp.contact_moment and selections",
        )
    name = ".".join(part.name for part in table.parts)
    if not table.db and name.lower() in _visible_ctes(table):
        return None
    if table.db and not table.catalog and name.lower() in tables:
        return None
    nearest = get_close_matches(name.lower(), sorted(tables), n=1, cutoff=0.5)
    if f"crm.{name.lower()}" in tables:
        nearest = [f"crm.{name.lower()}"]
    return f"there is no table {name!r}", f"did you mean {nearest[0]}?" if nearest else None


def _visible_ctes(table: exp.Table) -> set[str]:
    """The names of the CTEs that a table reference can see: those of every query around it, but inside a CTE's
    own definition only the ones before it. A name that is not visible would be looked up as a file or a variable.
    """
    visible: set[str] = set()
    inside: exp.Expr = table
    for around in _ancestors(table):
        if isinstance(around, exp.With):
            for cte in around.expressions:
                if cte is inside:
                    break
                visible.add(cte.alias.lower())
        else:
            clause = around.args.get("with_")
            if clause is not None and clause is not inside:
                visible |= {cte.alias.lower() for cte in clause.expressions}
        inside = around
    return visible


def _ancestors(node: exp.Expr) -> Iterator[exp.Expr]:
    while node.parent is not None:
        node = node.parent
        yield node


def _kind(node: exp.Expr) -> str:
    return str(node.this).upper() if isinstance(node, exp.Command) else node.key.upper()


def _line_with(sql: str, word: str) -> int | None:
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", sql, re.IGNORECASE) if word else None
    return sql.count("\n", 0, found.start()) + 1 if found else None
