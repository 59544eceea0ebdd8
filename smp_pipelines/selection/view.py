"""DuckDB's own view of a query: which functions, tables and kinds of clauses its parser sees in the text.

sqlglot reads SQL as well, but DuckDB runs it. What DuckDB's parser (`json_serialize_sql`, which takes SELECT
only) reports is compared with allow-lists, so a difference between the two parsers cannot open the gate.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

import duckdb
from sqlglot import exp

from smp_pipelines.selection.functions import FUNCTIONS, NAMES_THAT_ARE_FUNCTIONS, TABLE_FUNCTIONS

_QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE"}
_TABLES = {"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY"}
_MODIFIERS = {"ORDER_MODIFIER", "LIMIT_MODIFIER", "DISTINCT_MODIFIER"}
_ORDERS = {"ORDER_DEFAULT", "ASCENDING", "DESCENDING"}
_CASTS = {"DECIMAL_TYPE_INFO", "LIST_TYPE_INFO", "ARRAY_TYPE_INFO", "STRUCT_TYPE_INFO"}
_TYPES = _QUERIES | _TABLES | _MODIFIERS | _ORDERS | _CASTS
_CLASSES = {
    "COLUMN_REF", "CONSTANT", "FUNCTION", "WINDOW", "OPERATOR", "COMPARISON", "CONJUNCTION", "BETWEEN", "CASE",
    "CAST", "SUBQUERY", "STAR", "LAMBDA", "TYPE",
}  # fmt: skip
_JOINS = {"REGULAR", "CROSS", "NATURAL", "ASOF"}
_OF_DUCKDB = ("", "main", "system", "pg_catalog")


@dataclass(frozen=True)
class Refusal:
    """What DuckDB's parser saw that a selection may not hold; `word` is what to look for in the text."""

    word: str
    message: str
    remedy: str | None = None


def refusals(sql: str, tables: Collection[str]) -> list[Refusal]:
    """What in this SQL is not allowed; `tables` are the known tables, as "crm.person" or "smp.selections.x"."""
    answer = json.loads(_serialise(sql))
    if answer["error"]:
        return [Refusal("", f"DuckDB cannot parse this: {answer['error_message']}")]
    if len(answer["statements"]) != 1:
        return [Refusal("", f"a selection is one SELECT; DuckDB sees {len(answer['statements'])} statements")]
    nodes = list(_walk(answer))
    ctes = {cte["key"].lower() for node in nodes if "cte_map" in node for cte in node["cte_map"]["map"]}
    return [refusal for node in nodes if (refusal := _refuse(node, tables, ctes))]


def unknown_function(name: str) -> tuple[str, str | None]:
    """The words for a function that a selection may not use, and the nearest that it may."""
    nearest = get_close_matches(name, FUNCTIONS, n=1, cutoff=0.8)
    return f"the function {name} is not allowed in a selection", f"did you mean {nearest[0]}?" if nearest else None


def _serialise(sql: str) -> str:
    # A quoted literal and not a parameter: binding one makes duckdb import pandas, which takes seconds.
    question = exp.select(exp.func("json_serialize_sql", exp.Literal.string(sql), dialect="duckdb"))
    row = _parser(os.getpid()).cursor().execute(question.sql(dialect="duckdb")).fetchone()
    return str(row[0]) if row else ""


@cache
def _parser(_process: int) -> duckdb.DuckDBPyConnection:
    """An empty, locked DuckDB that only parses; one per process, for a connection does not survive a fork."""
    return duckdb.connect(
        config={
            "threads": 1,
            "enable_external_access": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "lock_configuration": True,
        }
    )


def _walk(value: Any) -> Iterator[dict[str, Any]]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _refuse(node: dict[str, Any], tables: Collection[str], ctes: Collection[str]) -> Refusal | None:
    if node.get("sample") or node.get("at_clause") or node.get("named_param_map"):
        return Refusal("", "samples, parameters and other versions of a table are not allowed in a selection")
    if "class" in node:
        return _refuse_expression(node)
    kind = node.get("type")
    if isinstance(kind, str) and kind not in _TYPES:
        return Refusal("", f"{kind} is not allowed in a selection")
    if kind == "BASE_TABLE":
        return _refuse_table(node, tables, ctes)
    if kind == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "")).lower()
        return None if name in TABLE_FUNCTIONS else Refusal(name, f"{name}(…) is not allowed after FROM")
    if kind == "JOIN" and node["ref_type"] not in _JOINS:
        return Refusal(node["ref_type"], f"a {node['ref_type']} JOIN is not allowed in a selection")
    return None


def _refuse_table(node: dict[str, Any], tables: Collection[str], ctes: Collection[str]) -> Refusal | None:
    parts = [node["catalog_name"], node["schema_name"], node["table_name"]]
    name = ".".join(part for part in parts if part).lower()
    known = name in tables if node["schema_name"] else name in ctes
    return None if known else Refusal(node["table_name"], f"there is no table {name!r}")


def _refuse_expression(node: dict[str, Any]) -> Refusal | None:
    kind = node["class"]
    if kind not in _CLASSES:
        return Refusal("", f"{kind} is not allowed in a selection")
    if kind in ("FUNCTION", "WINDOW"):
        name = str(node["function_name"]).lower()
        if name not in FUNCTIONS or node["schema"] not in _OF_DUCKDB or node["catalog"] not in _OF_DUCKDB:
            return Refusal(name, *unknown_function(name))
    if kind == "STAR" and node["columns"] and node["expr"]:
        return Refusal("columns", "COLUMNS(…) is not allowed in a selection", "name the columns")
    if kind == "COLUMN_REF" and len(node["column_names"]) == 1:
        name = node["column_names"][0]
        if name.lower() in NAMES_THAT_ARE_FUNCTIONS:
            return Refusal(name, f"{name} as a column is read by DuckDB as a function")
    return None
