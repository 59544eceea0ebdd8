"""Statements: the SQL of one form that differs by form, put together once from its file and the catalogue (F06).

Tables and columns come from the project's own files, as quoted identifiers; answers are read from smp.submission and
cast to the column's type, so no value is ever part of a statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString, cast

from psycopg import sql

from smp_pipelines.campaign.form.columns import PERSON, record_columns, shape, split
from smp_pipelines.campaign.form.models import Form
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.crm.catalog import Column, Table
from smp_pipelines.stores.postgres import engine_sql


def fill_statement(name: str, form: Form, project: LoadedProject) -> str:
    """The statement that fills the CRM's tables from submissions of a form that `form_checks` found nothing wrong with.

    Its new people, people who were known, and the form's own table, in one. Parameter: `keys`.
    """
    person = project.catalog.tables[PERSON]
    of_person = _mapped(form, person)
    parts = [_create(of_person, person)]
    if of_person:
        parts.append(_update(of_person))
    if form.table:
        parts.append(_rows(name, form, project, project.catalog.tables[form.table]))
    return _together(parts).as_string()


Mapped = Mapping[str, tuple[Column, sql.Composed]]
"""Per column of a table: the column, and the SQL of the answer that goes there."""


def _mapped(form: Form, table: Table) -> Mapped:
    found: dict[str, tuple[Column, sql.Composed]] = {}
    for name, field in form.fields.items():
        place, column = split(field.to or "")
        if place == table.name:
            found[column] = table.columns[column], _answer(name, table.columns[column])
    return found


def _answer(name: str, column: Column) -> sql.Composed:
    # a type is a word of the project's own schema file
    kind: LiteralString = cast("Any", column.type)
    return sql.SQL("(s.answers ->> {name})::{kind}").format(name=sql.Literal(name), kind=sql.SQL(kind))


def _together(parts: Sequence[sql.Composed]) -> sql.Composed:
    """One statement of several that do not read what the others write; foreign keys are checked when all is done."""
    *before, last = parts
    if not before:
        return last
    named = [
        sql.SQL("{} as (\n{})").format(sql.Identifier(f"part_{number}"), part) for number, part in enumerate(before)
    ]
    return sql.SQL("with {}\n{}").format(sql.SQL(", ").join(named), last)


def _create(mapped: Mapped, person: Table) -> sql.Composed:
    values: dict[str, sql.Composable] = {"person_id": sql.SQL("s.person_id")}
    own: dict[str, sql.Composable] = {"created_at": sql.SQL("s.submitted_at"), "language": sql.SQL("s.language")}
    values |= {name: value for name, value in own.items() if name in person.columns}
    values |= {name: value for name, (_, value) in mapped.items()}
    return sql.SQL(engine_sql("submission/create.sql")).format(
        columns=_names(values), values=sql.SQL(", ").join(values.values())
    )


def _update(mapped: Mapped) -> sql.Composed:
    return sql.SQL(engine_sql("submission/update.sql")).format(
        assignments=sql.SQL(", ").join(
            sql.SQL("{} = n.{}").format(sql.Identifier(name), sql.Identifier(name)) for name in mapped
        ),
        news=sql.SQL(", ").join(_new(column, value) for column, value in mapped.values()),
        was=_names(mapped, "p"),
        becomes=_names(mapped, "n"),
    )


def _new(column: Column, value: sql.Composed) -> sql.Composed:
    name = sql.Identifier(column.name)
    present = sql.SQL("nullif(p.{}, '')" if shape(column).kind == "text" else "p.{}").format(name)
    return sql.SQL("case when s.identified = 'link' then {v} else coalesce({present}, {v}) end as {name}").format(
        v=value, present=present, name=name
    )


def _rows(form_name: str, form: Form, project: LoadedProject, table: Table) -> sql.Composed:
    values: dict[str, sql.Composable] = {
        "submission_id": sql.SQL("s.submission_id"),
        "person_id": sql.SQL("s.person_id"),
    }
    if "submitted_at" in table.columns:
        values["submitted_at"] = sql.SQL("s.submitted_at")
    for key, steps in record_columns(form_name, form, project).items():
        values[key] = sql.SQL("case when s.step = any ({}) then s.record_id end").format(sql.Literal(steps))
    values |= {name: value for name, (_, value) in _mapped(form, table).items()}
    return sql.SQL(engine_sql("submission/rows.sql")).format(
        table=sql.Identifier(*table.name.split(".")),
        columns=_names(values),
        values=sql.SQL(", ").join(values.values()),
    )


def _names(names: Iterable[str], table: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(table, name) if table else sql.Identifier(name) for name in names)
