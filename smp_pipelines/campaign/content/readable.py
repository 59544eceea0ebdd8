"""Readable: what the templates of a step may read: names, the columns behind them, and rows to try them with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from smp_pipelines.campaign.blocks import ProductBlock
from smp_pipelines.campaign.content.inspection import Names
from smp_pipelines.campaign.content.links import LINK_NAMES, PAGE_LINK_NAMES, NoLinks
from smp_pipelines.campaign.models import Record
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.crm.catalog import Table

_SAMPLES: tuple[tuple[str, Any], ...] = (
    ("timestamp", datetime(2026, 1, 2, 19, 15, tzinfo=UTC)),
    ("date", date(2000, 2, 29)),
    ("bool", False),
    ("numeric", Decimal("12.50")),
    ("decimal", Decimal("12.50")),
    ("double", 12.5),
    ("real", 12.5),
    ("bigint", 7),
    ("int", 7),
    ("smallint", 7),
)
"""What a column holds in a trial, by the beginning of its type; anything else is text."""

FIXED_NAMES: Mapping[str, frozenset[str]] = {
    "step": frozenset(("name", "language")),
    "campaign": frozenset(("name",)),
    "project": frozenset(("name",)),
    "known": frozenset(),
    "site_url": frozenset(),
}
"""What every template reads whatever the step is about, with their attributes."""


def step_names(ref: StepRef, project: LoadedProject) -> dict[str, Any]:
    """What every reader's templates of a step read, whoever the reader is: names, and nothing where a row is missing.

    `site_url` is empty here: on a page addresses begin with /. Who makes a mail gives it in the context.
    """
    return {
        "organisation": None,
        "known": True,
        "site_url": "",
        "products": {},
        "step": {"name": ref.step.name, "language": project.language(ref).partition("_")[0]},
        "campaign": {"name": project.campaigns[ref.campaign].name},
        "project": {"name": project.settings.name},
    }


def tables(ref: StepRef, project: LoadedProject) -> dict[str, Table]:
    """Give the tables whose rows a template sees, by the name that it sees."""
    wanted = {"person": "crm.person", "organisation": "crm.organisation"}
    record = project.record(ref)
    if record is not None and ref.step.record is not None:
        wanted[ref.step.record] = record.table
    return {name: project.catalog.tables[table] for name, table in wanted.items() if table in project.catalog.tables}


def readable_names(ref: StepRef, project: LoadedProject) -> Names:
    """The names of a step's templates, and which of them can be empty: on a page all of a visitor nobody knows."""
    columns = tables(ref, project)
    attributes = {name: frozenset(table.columns) for name, table in columns.items()}
    attributes |= {**FIXED_NAMES, "links": _link_names(ref, project)}
    every = {f"{name}.{column.name}": column for name, table in columns.items() for column in table.columns.values()}
    return Names(
        attributes,
        empty=frozenset(name for name, column in every.items() if column.nullable) | {"organisation"},
        empty_when_unknown=frozenset(every if _has_strangers(ref, project) else ()),
        steps={name: other.step.is_mail for other in project.steps() for name in _written(other, ref)},
    )


def _link_names(ref: StepRef, project: LoadedProject) -> frozenset[str]:
    """What the step may ask of `links`: `next` only when there is a form or page that it can lead to."""
    following = next((other.step for other in project.steps() if other.key == ref.next_key), None)
    names = LINK_NAMES if ref.step.is_mail else PAGE_LINK_NAMES
    return names if following is not None and not following.is_mail else names - {"next"}


def _has_strangers(ref: StepRef, project: LoadedProject) -> bool:
    """Whether somebody may see this step who is nobody in the CRM: not a mail, nor a closed form (F12)."""
    form = project.form(ref)
    return not ref.step.is_mail and (form is None or form.access == "open")


def _written(other: StepRef, ref: StepRef) -> tuple[str, ...]:
    """How a step is written in a template of another one: its key, or its name in the same campaign."""
    return (other.key, other.name) if other.campaign == ref.campaign else (other.key,)


def trials(ref: StepRef, project: LoadedProject) -> dict[str, dict[str, Any]]:
    """Rows to try a step's templates with, by who they are of: one with all, one with little, and a stranger."""
    rows = tables(ref, project)
    common = {"links": NoLinks(), "products": _sample_products(ref, project)}
    full: dict[str, Any] = {name: _sample(table, full=True) for name, table in rows.items()}
    sparse: dict[str, Any] = {name: _sample(table, full=False) for name, table in rows.items()}
    found = {
        "everything filled in": full | common,
        "the fields empty that may be empty": sparse | {"organisation": None} | common,
    }
    if _has_strangers(ref, project):
        found["a visitor whom nobody knows"] = empty_rows(ref, project) | {"links": NoLinks()}
    return found


def empty_rows(ref: StepRef, project: LoadedProject) -> dict[str, Any]:
    """What a template reads of a visitor whom nobody knows: rows whose columns are all empty."""
    rows: dict[str, Any] = {name: dict.fromkeys(table.columns) for name, table in tables(ref, project).items()}
    return rows | {"organisation": None, "known": False}


def _sample(table: Table, full: bool) -> dict[str, Any]:
    row = {}
    for column in table.columns.values():
        fitting = (value for kind, value in _SAMPLES if column.type.startswith(kind))
        row[column.name] = next(fitting, column.name) if full or not column.nullable else None
    return row


def _sample_products(ref: StepRef, project: LoadedProject) -> Mapping[str, Any]:
    catalog = project.catalog.tables
    named = named_products(ref, project)
    return {each.key: _sample(catalog[each.record.table], full=True) for each in named if each.record.table in catalog}


@dataclass(frozen=True)
class NamedProduct:
    """A row that a product block names by its id: the same for every reader of the step."""

    key: str
    record: Record
    record_id: int


def named_products(ref: StepRef, project: LoadedProject) -> tuple[NamedProduct, ...]:
    """The rows that a step's blocks name, for `sending.context.read_products`."""
    blocks = [block for block in ref.step.blocks if isinstance(block, ProductBlock) and block.id is not None]
    records = project.settings.records
    return tuple(
        NamedProduct(product_key(block.record, block.id), records[block.record], block.id)
        for block in blocks
        if block.record in records and block.id is not None
    )


def product_key(record: str, record_id: int) -> str:
    """Under which name the row of a product block is in the context's `products`: performance/12."""
    return f"{record}/{record_id}"
