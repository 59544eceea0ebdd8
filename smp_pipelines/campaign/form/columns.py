"""Columns: what a column of the CRM can hold, as far as an answer of a form must know it (F06)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from smp_pipelines.campaign.form.models import Form
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.crm.catalog import Catalog, Column

Kind = Literal["text", "integer", "decimal", "boolean", "date", "other"]

_KINDS: tuple[tuple[str, Kind], ...] = (
    (r"text|(?:var)?char.*|character.*|citext|bpchar.*", "text"),
    (r"smallint|int2|int|int4|integer|bigint|int8", "integer"),
    (r"numeric.*|decimal.*|real|float.*|double precision", "decimal"),
    (r"bool|boolean", "boolean"),
    (r"date", "date"),
)
_BITS = {"smallint": 15, "int2": 15, "bigint": 63, "int8": 63}
_NUMBERS = re.compile(r"\((\d+)(?:\s*,\s*(\d+))?\)")
PERSON = "crm.person"


@dataclass(frozen=True)
class Shape:
    """What fits into a column. most: of an integer or decimal, the largest value; of a text, its letters."""

    kind: Kind
    most: int | None = None
    decimals: int | None = None


def shape(column: Column) -> Shape:
    """The shape of a column, by its Postgres type."""
    kinds: list[Kind] = [kind for pattern, kind in _KINDS if re.fullmatch(pattern, column.type)]
    kind: Kind = kinds[0] if kinds else "other"
    numbers = _NUMBERS.search(column.type)
    if kind == "integer":
        return Shape(kind, 2 ** _BITS.get(column.type, 31) - 1, 0)
    if kind == "text" and numbers:
        return Shape(kind, int(numbers[1]))
    if kind == "decimal" and numbers:
        scale = int(numbers[2] or 0)
        return Shape(kind, 10 ** (int(numbers[1]) - scale) - 1, scale)
    return Shape(kind)


def split(place: str) -> tuple[str, str]:
    """Table and column of `crm.table.column`."""
    table, _, column = place.rpartition(".")
    return table, column


def find(catalog: Catalog, place: str | None) -> Column | None:
    """The column that an answer goes to; None when there is none."""
    if place is None:
        return None
    table, column = split(place)
    return catalog.tables[table].columns.get(column) if table in catalog.tables else None


def choice_value(choice: str, shape: Shape) -> Any:
    """The value of a choice as its column takes it. Raises ValueError when it does not fit."""
    if shape.kind == "integer":
        value = int(choice)
        if shape.most is not None and abs(value) > shape.most:
            raise ValueError(choice)
        return value
    if shape.kind == "decimal":
        return Decimal(choice)
    if shape.kind == "text" and shape.most is not None and len(choice) > shape.most:
        raise ValueError(choice)
    return choice


def record_columns(form_name: str, form: Form, project: LoadedProject) -> dict[str, list[str]]:
    """The columns of a form's table that hold the key of a linked record, each with the steps that are about one."""
    table = project.catalog.tables.get(form.table or "")
    mapped = {field.to for field in form.fields.values()}
    found: dict[str, list[str]] = {}
    for ref in project.steps():
        record = project.record(ref)
        if table is None or record is None or ref.step.form != form_name or record.key not in table.columns:
            continue
        if f"{table.name}.{record.key}" not in mapped:
            found.setdefault(record.key, []).append(ref.key)
    return found
