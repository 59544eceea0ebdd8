"""Cells: how the text in a file becomes a value of a column, and what to say when it does not.

Dutch habits (ja/nee, 31-12-2026, 12,50) count only where there is no doubt what is meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from smp_pipelines.crm.catalog import Column
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.lake import identifier, literal

_ENDLESS = 2**31 - 1


@dataclass(frozen=True)
class Cell:
    """A column of a file: `value` is a DuckDB expression over the raw text, null when that is no value."""

    column: Column
    raw: str
    value: str
    wanted: str

    @property
    def fault(self) -> str:
        """A DuckDB expression over the raw text and the value under the column's name: what is wrong, or null."""
        raw = identifier(self.raw)
        cases = [
            f"when cell({raw}) is not null and {identifier(self.column.name)} is null then "
            f"{literal(f'{self.column.name}: ')} || left({raw}, 60) || {literal(f' is not {self.wanted}')}"
        ]
        if not self.column.nullable:
            cases.append(
                f"when cell({raw}) is null then {literal(f'{self.column.name} is empty, but must have a value')}"
            )
        return f"case {' '.join(cases)} end"


def read_cell(column: Column, raw: str, *, comma: bool) -> Cell:
    """How to read column `column` from the raw text column `raw`; with `comma`, 12,50 is a decimal too.

    Raises SmpError for a type that files cannot fill.
    """
    name, _, arguments = column.type.partition("(")
    sizes = [int(number) for number in re.findall(r"\d+", arguments)]
    text = identifier(raw)
    if name.strip() in ("numeric", "decimal"):
        value, wanted = _decimal(text, sizes, comma=comma)
    elif name.strip() in ("text", "varchar", "char", "character varying"):
        longest = sizes[0] if sizes else _ENDLESS
        value = f"cell_text({text}, {longest})"
        wanted = f"text of at most {longest} characters" if sizes else "text (it contains a NUL character)"
    elif name.strip() in _SIMPLE:
        value, wanted = _SIMPLE[name.strip()]
        value = value.format(text)
    else:
        raise SmpError(f"column {column.name} has the type {column.type}, which files cannot fill; leave it out")
    return Cell(column, raw, value, wanted)


_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_SIMPLE = {
    "bigint": ("try_cast(cell_integer({}) as bigint)", "a whole number"),
    "int": ("try_cast(cell_integer({}) as integer)", "a whole number"),
    "integer": ("try_cast(cell_integer({}) as integer)", "a whole number"),
    "smallint": ("try_cast(cell_integer({}) as smallint)", "a small whole number"),
    "double precision": (f"try_cast(cell_decimal({{}}, false, '{_NUMBER}') as double)", "a number"),
    "real": (f"try_cast(cell_decimal({{}}, false, '{_NUMBER}') as real)", "a number"),
    "boolean": ("cell_boolean({})", "ja or nee (or true, false, 1, 0)"),
    "date": ("cell_date({})", "a date (2026-01-31 or 31-01-2026)"),
    "timestamp": ("cell_local({})", "a moment (2026-01-31 20:15)"),
    "timestamptz": ("cell_moment({})", "a moment (2026-01-31 20:15, or with an offset where the clock changes)"),
    "time": ("try_cast(trim({}) as time)", "a time (20:15)"),
    "uuid": ("try_cast(trim({}) as uuid)", "a uuid"),
    "jsonb": ("case when json_valid({0}) then {0} end", "JSON"),
}


def _decimal(text: str, sizes: list[int], *, comma: bool) -> tuple[str, str]:
    precision, scale = (sizes[0], sizes[1] if len(sizes) > 1 else 0) if sizes else (None, None)
    fraction = r"(\.\d+)?" if scale is None else rf"(\.\d{{1,{scale}}})?" if scale else ""
    pattern = literal(r"[+-]?\d+" + fraction)
    checked = f"cell_decimal({text}, {str(comma).lower()}, {pattern})"
    if precision is None or precision > 38:
        return checked, "a number"  # more digits than DuckDB has: as text, which Postgres reads exactly
    return f"try_cast({checked} as decimal({precision}, {scale}))", f"a number with at most {scale} decimals"
