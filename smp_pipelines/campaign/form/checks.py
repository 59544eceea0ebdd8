"""Form checks: whether the answers of a form fit where they go, and whether it can tell who somebody is (F06, F12)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from smp_pipelines.campaign.form.columns import PERSON, Kind, Shape, choice_value, record_columns, shape, split
from smp_pipelines.campaign.form.confirm_checks import double_opt_in_problems
from smp_pipelines.campaign.form.models import AddToList, Form, FormField
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.crm.catalog import Column, Table
from smp_pipelines.problems import Problem

_FITS: dict[str, tuple[Kind, ...]] = {
    "text": ("text",),
    "long_text": ("text",),
    "email": ("text",),
    "phone": ("text",),
    "postal_code": ("text",),
    "date": ("date",),
    "number": ("integer", "decimal"),
    "choice": ("text", "integer", "decimal"),
    "tick": ("boolean",),
}
"""Which kinds of columns take the answers of a type of field."""
_NOT_A_VISITORS = ("person_id", "blocked", "internal_test", "organisation_id", "created_at")
"""Columns of crm.person that no visitor may fill in: who somebody is, whom we never mail, who gets test mails, whose
mails somebody reads, and since when they are known. An address may be filled in: on an open form it is how somebody is
known, and by a personal link people correct their own."""
_FILLED = ("submission_id", "person_id", "submitted_at")
"""Columns of a form's table that are filled by themselves."""
EMAIL, LAST_NAME = f"{PERSON}.email", f"{PERSON}.last_name"


def form_problems(project: LoadedProject) -> list[Problem]:
    """Everything that is wrong with the project's forms, in the order of their files."""
    found: list[Problem] = []
    for name, form in project.forms.items():
        steps = [ref for ref in project.steps() if ref.step.form == name]
        check = _FormCheck(project, name, form, steps)
        for part in (check.fields, check.table, check.people, check.consents, check.lists, check.use):
            found += part()
        found += double_opt_in_problems(project, name, form, steps)
    return found


class _FormCheck:
    """The checks of one form; each yields its problems."""

    def __init__(self, project: LoadedProject, name: str, form: Form, steps: list[StepRef]) -> None:
        self.project = project
        self.tables = project.catalog.tables
        self.name = name
        self.form = form
        self.steps = steps

    def problem(self, place: str, message: str, remedy: str | None = None, warning: bool = False) -> Problem:
        """A problem on the line of one of the form's parts, e.g. `fields.email.to`."""
        file, line = self.project.form_line(self.name, place)
        return Problem(file, line, f"form {self.name}: {message}", remedy, warning)

    def fields(self) -> Iterator[Problem]:
        """Check where each answer goes, and that it fits there."""
        taken: dict[str, str] = {}
        for name, field in self.form.fields.items():
            yield from self._limits(name, field)
            if field.to is None:
                continue
            if (other := taken.setdefault(field.to, name)) != name:
                remedy = "give each a column of its own"
                yield self.problem(f"fields.{name}.to", f"{other} and {name} go to the same column {field.to}", remedy)
            yield from self._place(name, field, field.to)

    def _place(self, name: str, field: FormField, to: str) -> Iterator[Problem]:
        place = f"fields.{name}.to"
        table_name, column_name = split(to)
        if table_name not in (PERSON, self.form.table):
            remedy = f"answers go to {PERSON}" + (
                f" or {self.form.table}" if self.form.table else ", or add `table: …`"
            )
            yield self.problem(place, f"the answer of {name} would go to {table_name}", remedy)
            return
        table = self.tables.get(table_name)
        if table is None:
            if table_name == PERSON:  # the form's own table is told once
                yield self.problem(place, f"there is no table {PERSON}", "add it to sql/schema")
            return
        column = table.columns.get(column_name)
        if column is None:
            yield self.problem(
                place, f"{table_name} has no column {column_name}", did_you_mean(column_name, table.columns)
            )
            return
        reason = _refused(table, column)
        if reason is not None:
            yield self.problem(place, f"no visitor may fill in {to}: {reason}", "choose another column")
            return
        yield from self._fits(name, field, to, column)

    def _fits(self, name: str, field: FormField, to: str, column: Column) -> Iterator[Problem]:
        found = shape(column)
        if found.kind not in _FITS.get(field.type, ()):
            types = [each for each, kinds in _FITS.items() if found.kind in kinds]
            remedy = f"write `type: {types[0]}`, or choose another column" if types else "choose another column"
            message = f"{to} is {column.type}, which does not take an answer of type {field.type}"
            yield self.problem(f"fields.{name}.to", message, remedy)
            return
        if not column.nullable and not field.required and field.type != "tick":
            message = f"{to} may not be empty, and {name} may be left empty"
            yield self.problem(f"fields.{name}", message, "add `required: true`")
        for choice in field.choices:
            if not _is_value(choice, found):
                message = f"'{choice}' does not fit into {to}, which is {column.type}"
                yield self.problem(f"fields.{name}.choices.{choice}", message, "the key of a choice is what is stored")

    def _limits(self, name: str, field: FormField) -> Iterator[Problem]:
        for key in ("minimum", "maximum"):
            limit: Any = getattr(field, key)
            if limit is None:
                continue
            if field.type not in ("number", "date"):
                yield self.problem(f"fields.{name}.{key}", f"{name} is no number and no date", f"leave `{key}` out")
            elif isinstance(limit, date) != (field.type == "date"):
                remedy = "write a date, like 1900-01-01" if field.type == "date" else "write a number"
                yield self.problem(f"fields.{name}.{key}", f"`{key}` of {name} cannot be {limit}", remedy)
        if field.max_length is not None and field.type not in ("text", "long_text"):
            remedy = "leave `max_length` out"
            yield self.problem(f"fields.{name}.max_length", f"{name} is no text that is typed", remedy)

    def table(self) -> Iterator[Problem]:
        """Check the table that gets one row per submission."""
        name = self.form.table
        if name is None:
            return
        table = self.tables.get(name)
        if table is None or name == PERSON:
            crm = [each.name for each in self.project.catalog.crm() if each.name != PERSON]
            message = f"there is no table {name}" if table is None else f"{PERSON} has no row per submission"
            yield self.problem("table", message, did_you_mean(name, crm))
            return
        if table.key != ("submission_id",):
            key = ", ".join(table.key)
            remedy = "make `submission_id bigint primary key`: then a form that is sent twice is one row"
            yield self.problem("table", f"the key of {name} is {key}, not submission_id", remedy)
        for column in ("submission_id", "person_id"):
            if column not in table.columns or shape(table.columns[column]).kind != "integer":
                remedy = f"add `{column} bigint` in sql/schema"
                yield self.problem("table", f"{name} has no column {column} of whole numbers", remedy)
        yield from self._unfilled(table)

    def _unfilled(self, table: Table) -> Iterator[Problem]:
        mapped = {
            split(field.to)[1] for field in self.form.fields.values() if field.to and split(field.to)[0] == table.name
        }
        records = record_columns(self.name, self.form, self.project)
        for column in table.columns.values():
            if column.nullable or column.generated or column.name in mapped or column.name in _FILLED:
                continue
            if column.name in records:
                about = set(records[column.name]) == {ref.key for ref in self.steps} and self.form.access == "closed"
                if not about:
                    message = (
                        f"{table.name}.{column.name} may not be empty, and not every visitor comes by a link with one"
                    )
                    yield self.problem("table", message, f"take `not null` from {column.name} in sql/schema")
            elif not column.has_default:
                message = f"nothing fills {table.name}.{column.name}, which may not be empty"
                yield self.problem("table", message, f"add a required field with `to: {table.name}.{column.name}`")

    def people(self) -> Iterator[Problem]:
        """Check that an open form can tell who somebody is, and can make a person of somebody new (F12)."""
        person = self.tables.get(PERSON)
        if person is None or self.form.access == "closed":
            return
        required = {field.to for field in self.form.fields.values() if field.required}
        needs = {"never": (), "email": (EMAIL,), "email_and_last_name": (EMAIL, LAST_NAME)}[self.form.match]
        for place in needs:
            if place not in required:
                remedy = f"add a required field with `to: {place}`, or write `match: never`"
                yield self.problem("match", f"`match: {self.form.match}` needs {place} from everybody", remedy)
        columns = person.columns.values()
        by_itself = ("person_id", "created_at", "language")
        for column in columns:
            if column.nullable or column.generated or column.has_default or column.name in by_itself:
                continue
            if f"{PERSON}.{column.name}" not in required:
                remedy = f"add a required field with `to: {PERSON}.{column.name}`, or write `access: closed`"
                yield self.problem("access", f"a new person cannot be stored without {column.name}", remedy)

    def consents(self) -> Iterator[Problem]:
        """Check the topics of consents."""
        topics = self.project.settings.topics
        asked: dict[str, str] = {}
        for name, field in self.form.fields.items():
            if field.topic is None:
                continue
            if field.topic not in topics:
                remedy = did_you_mean(field.topic, topics)
                yield self.problem(f"fields.{name}.topic", f"there is no topic {field.topic} in smp.yaml", remedy)
            if (other := asked.setdefault(field.topic, name)) != name:
                message = f"{other} and {name} both ask about {field.topic}"
                yield self.problem(f"fields.{name}.topic", message, "ask it once")
        if asked and self.form.access == "open" and not self.form.double_opt_in:
            message = "anybody can say yes here for somebody else's address"
            yield self.problem(
                "fields", message, "write `double_opt_in: true`, with a mail that confirms", warning=True
            )

    def lists(self) -> Iterator[Problem]:
        """Check that lists can be kept."""
        needed = {"crm.list": ("list_id", "name"), "crm.list_member": ("list_id", "person_id", "added_at")}
        for position, each in enumerate(self.form.processing):
            for table, columns in needed.items():
                found = self.tables.get(table)
                missing = [column for column in columns if found is None or column not in found.columns]
                if missing:
                    what = f"{table} has no {missing[0]}" if found else f"there is no table {table}"
                    kind = "add_to_list" if isinstance(each, AddToList) else "remove_from_list"
                    yield self.problem(f"processing.{position}", f"{kind}: {what}", "see the sample's sql/schema")

    def use(self) -> Iterator[Problem]:
        """Warn of a form that nobody can see."""
        if not self.steps:
            yield self.problem("name", "no step shows this form", f"add a step with `form: {self.name}`", warning=True)


def _refused(table: Table, column: Column) -> str | None:
    """Why no visitor may fill in a column; None when one may."""
    if column.name in table.key:
        return "it is the key"
    if column.generated:
        return "it is computed"
    if table.name == PERSON and column.name in _NOT_A_VISITORS:
        return "it is for colleagues, or is filled by itself"
    if table.name != PERSON and column.name in _FILLED:
        return "it is filled by itself"
    reference = next((key for key in table.foreign_keys if key.column == column.name), None)
    return f"it is the key of a row of {reference.table}" if reference else None


def _is_value(choice: str, found: Shape) -> bool:
    try:
        choice_value(choice, found)
    except (ValueError, ArithmeticError):
        return False
    return True
