"""Table checks: whether the tables and columns that a flow names are there, and values fit into them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from smp_pipelines.campaign.flow.sources import DateSource, RecordSource, table_name
from smp_pipelines.campaign.form.columns import PERSON, shape
from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.crm.catalog import Catalog, Column, Table

Place = tuple[str | int, ...]
Fault = tuple[Place, str, str | None]
"""What is wrong: where in the flow's file, in what words, and what to do."""
FIRST_NUMBER = 1_000_000_000_000
"""Where the sequence smp.new_person_id begins, which gives new rows their keys."""
LISTS = {"crm.list": ("list_id", "name"), "crm.list_member": ("list_id", "person_id", "added_at")}


def is_moment(column: Column) -> bool:
    """Whether a column holds moments."""
    return column.type.startswith("timestamp")


def list_faults(catalog: Catalog, place: Place) -> Iterator[Fault]:
    """Lists are kept in two tables, which must be there."""
    for name, columns in LISTS.items():
        table = catalog.tables.get(name)
        missing = [column for column in columns if table is None or column not in table.columns]
        if missing:
            what = f"{name} has no {missing[0]}" if table else f"there is no table {name}"
            yield place, f"lists need a table that is not there: {what}", "see the sample's sql/schema"


def date_faults(catalog: Catalog, source: DateSource, place: Place) -> Iterator[Fault]:
    """A recurring date needs a column with dates, of people or of rows that belong to one."""
    where = (*place, "field")
    name, _, column = source.field.rpartition(".")
    table = yield from _table_of_people(catalog, name, where)
    if table is None:
        return
    known = {each.name: shape(each).kind for each in table.columns.values()}
    dates = [each for each, kind in known.items() if kind == "date"]
    if column not in known:
        yield where, f"{table.name} has no column {column}", did_you_mean(column, dates)
    elif column not in dates:
        remedy = did_you_mean(column, dates) or "choose a column of type date"
        yield where, f"{table.name}.{column} is {table.columns[column].type}, not a date", remedy


def record_faults(catalog: Catalog, source: RecordSource, place: Place) -> Iterator[Fault]:
    """A row that is written for somebody: its table, its moment, what its columns must hold."""
    table = yield from _table_of_people(catalog, source.table, (*place, "table"))
    if table is None:
        return
    moments = [column.name for column in table.columns.values() if is_moment(column)]
    if source.date is None and len(moments) != 1:
        what = "has no column with a moment" if not moments else f"has several moments: {', '.join(moments)}"
        remedy = f"say which one it is: `date: {moments[0]}`" if moments else "choose another table"
        yield (*place, "table"), f"{table.name} {what}", remedy
    elif source.date is not None and source.date not in moments:
        what = "is not a moment" if source.date in table.columns else "is not there"
        remedy = did_you_mean(source.date, moments) or "choose a column of type timestamptz"
        yield (*place, "date"), f"{table.name}.{source.date} {what}", remedy
    if source.amount is not None:
        numbers = [each.name for each in table.columns.values() if shape(each).kind in ("integer", "decimal")]
        if source.amount not in numbers:
            what = "is not a number" if source.amount in table.columns else "is not there"
            yield (*place, "amount"), f"{table.name}.{source.amount} {what}", did_you_mean(source.amount, numbers)
    yield from value_faults(table, source.equal, (*place, "equal"), is_stored=False)


def update_faults(catalog: Catalog, values: Mapping[str, object], place: Place) -> Iterator[Fault]:
    """What is changed of a person."""
    table = catalog.tables.get(PERSON)
    if table is None:
        yield place, f"there is no table {PERSON}", "add it to sql/schema"
        return
    yield from value_faults(table, values, (*place, "update"))


def create_faults(catalog: Catalog, name: str, values: Mapping[str, object], place: Place) -> Iterator[Fault]:
    """A row that is made: it gets its key, the person, and now where a moment must be filled and nothing is said."""
    where = (*place, "create", "table")
    table = yield from _table_of_people(catalog, name, where)
    if table is None:
        return
    if table.name == PERSON:
        yield where, "a participant is a person already", "write `update: …` to change the person"
        return
    key = table.columns.get(table.key[0])
    if len(table.key) != 1 or key is None or shape(key).kind != "integer" or key.name == "person_id":
        words = f"the key of {table.name} is {', '.join(table.key)}: no number that a new row can get"
        yield where, words, "choose a table whose key is one column of whole numbers, e.g. activity"
        return
    if (shape(key).most or 0) < FIRST_NUMBER:
        words = f"{table.name}.{key.name} is {key.type}, too small for the numbers that new rows get"
        yield where, words, f"make it a bigint, or choose another table: they begin at {FIRST_NUMBER}"
        return
    yield from value_faults(table, values, (*place, "create", "values"))
    by_itself = {"person_id", *table.key, *values}
    for column in table.columns.values():
        filled = column.nullable or column.generated or column.has_default or is_moment(column)
        if not filled and column.name not in by_itself:
            words = f"{table.name}.{column.name} may not be empty"
            yield (*place, "create"), words, f"add `{column.name}: …` under `values`"


def value_faults(
    table: Table, values: Mapping[str, object], place: Place, *, is_stored: bool = True
) -> Iterator[Fault]:
    """Values for columns of a table: stored there, or compared with what is there."""
    for name, value in values.items():
        where, column = (*place, name), table.columns.get(name)
        if column is None:
            yield where, f"{table.name} has no column {name}", did_you_mean(name, table.columns)
            continue
        fixed = _fixed(table, column) if is_stored else None
        if fixed is not None:
            yield where, f"{table.name}.{name} cannot be given a value: {fixed}", f"leave `{name}` out"
        elif value is None:
            if not column.nullable:
                yield where, f"{table.name}.{name} may not be empty", "give it a value"
        elif wanted := _unfit(column, value):
            kind = "text" if isinstance(value, str) else "true or false" if isinstance(value, bool) else "a number"
            yield where, f"{table.name}.{name} is {column.type}, and {_shown(value)} is {kind}", wanted


def _table_of_people(catalog: Catalog, name: str, place: Place) -> Generator[Fault, None, Table | None]:
    """A table whose rows belong to a person; None, with what is wrong, when it is none."""
    table = catalog.tables.get(table_name(name))
    if table is None:
        short = [each.short_name for each in catalog.crm() if "person_id" in each.columns]
        yield place, f"there is no table {table_name(name)}", did_you_mean(name.removeprefix("crm."), short)
    elif "person_id" not in table.columns:
        yield place, f"{table.name} has no person_id, so its rows are of nobody", "choose a table of people's rows"
        return None
    return table


def _fixed(table: Table, column: Column) -> str | None:
    if column.name in table.key:
        return "it is the key"
    if column.name == "person_id":
        return "it is the participant"
    return "it is computed" if column.generated else None


def _unfit(column: Column, value: object) -> str | None:
    """What a value must be to fit into a column; None when it does."""
    found = shape(column)
    if found.kind == "text":
        if not isinstance(value, str):
            return f'put it in quotes: "{_shown(value)}"'
        return f"at most {found.most} letters" if found.most is not None and len(value) > found.most else None
    if found.kind == "boolean":
        return None if isinstance(value, bool) else "write true or false"
    if found.kind in ("integer", "decimal"):
        number = _number(value)
        if number is None or (found.kind == "integer" and number != int(number)):
            return "write a whole number" if found.kind == "integer" else "write a number, like 10 or 12.50"
        return None if found.most is None or abs(number) <= found.most else f"write at most {found.most}"
    if found.kind == "date":
        return None if _is_iso(date, value) else "write a date, like 2026-01-31"
    if is_moment(column):
        return None if _is_iso(datetime, value) else 'write a moment, like "2026-01-31 10:00"'
    return "choose another column: a flow knows text, numbers, true or false, dates and moments"


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _is_iso(kind: type[date], value: object) -> bool:
    try:
        kind.fromisoformat(str(value))
    except ValueError:
        return False
    return isinstance(value, str)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
