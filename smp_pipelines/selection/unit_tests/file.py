"""The files of unit tests, `sql/selections/<name>.tests.yaml`: cases with given rows and the rows to expect.

Reading a file tells every name in it that does not exist, with its line and the nearest one that does; what the
selection makes of a case is for unit_tests.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from smp_pipelines.campaign.document import Document, Place, read_document
from smp_pipelines.campaign.fields import FileModel, Text, refusal
from smp_pipelines.campaign.wording import did_you_mean, validate
from smp_pipelines.crm.catalog import Catalog
from smp_pipelines.problems import Problem, ProjectError
from smp_pipelines.selection.compiler import Selection

SUFFIX = ".tests.yaml"

Value = str | int | bool | None
Row = Mapping[str, Value]


def _value(value: object) -> object:
    if value is None or isinstance(value, (str, int, bool)):
        return value
    raise refusal("a value is text, a number, true, false or null", "put it in quotes")


def _expected(value: object) -> object:
    return {"person_id": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _moment(value: object) -> object:
    try:
        return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise refusal(f"'{value}' is not a moment", 'write local time, like "2026-03-29 09:00"') from None


_VALUE = {"type": ["string", "number", "boolean", "null"]}
_ROW = {"type": "object", "additionalProperties": _VALUE}
_MOMENT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?([+-]\d\d:\d\d)?$"}
OneValue = Annotated[Any, BeforeValidator(_value), WithJsonSchema(_VALUE)]
ExpectedRow = Annotated[
    dict[str, OneValue], BeforeValidator(_expected), WithJsonSchema({"anyOf": [{"type": "integer"}, _ROW]})
]
Tables = dict[str, tuple[dict[str, OneValue], ...]]


class UnitTest(FileModel):
    """One case: at this moment, given these rows, the selection gives those."""

    name: Text = Field(description="What the case shows, in a few words")
    at: Annotated[datetime, BeforeValidator(_moment), WithJsonSchema(_MOMENT)] = Field(
        description="The moment of the run, local time; with an offset (+01:00) in the hour that comes twice"
    )
    given: Tables = Field(
        default_factory=dict,
        description="Rows by table: crm.person, smp.contact_moment, selections.x … A selection that is not given is "
        "computed; a column that is left out is null, or its default",
    )
    expect: tuple[ExpectedRow, ...] | None = Field(
        default=None, description="The rows that come out, in any order; a bare number is a person_id"
    )
    expect_count: Annotated[int, Field(ge=0, strict=True)] | None = Field(
        default=None, description="How many rows come out, instead of which"
    )

    @model_validator(mode="after")
    def _expects_something(self) -> UnitTest:
        if (self.expect is None) == (self.expect_count is None):
            raise refusal("a case says what it expects", "write either `expect:` or `expect_count:`")
        return self


class UnitTests(FileModel):
    """The unit tests of one selection."""

    given: Tables = Field(default_factory=dict, description="Rows that every case begins with")
    tests: tuple[UnitTest, ...] = Field(description="The cases")


@dataclass(frozen=True)
class Case:
    """A case that is ready to run: `now` is its moment, `given` has the rows that all cases of the file share too.

    `lines` tells where a place of the file stands, e.g. ("given", "crm.person", 0).
    """

    selection: str
    name: str
    file: Path
    line: int
    now: datetime
    given: Mapping[str, tuple[Row, ...]]
    expect: tuple[Row, ...] | None
    expect_count: int | None


def unit_test_files(folder: Path) -> dict[str, Path]:
    """The unit tests in a folder of selections, by the name of the selection."""
    return {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def read_cases(file: Path, catalog: Catalog, selections: Mapping[str, Selection], zone: ZoneInfo) -> list[Case]:
    """The cases of one file; `selections` are the compiled ones. Raises ProjectError with everything wrong in it."""
    name = file.name.removesuffix(SUFFIX)
    document = read_document(file)
    content = validate(UnitTests, document)
    columns = _columns(catalog, selections)
    problems = _unknown(document, ("given",), content.given, columns)
    seen: set[str] = set()
    for number, test in enumerate(content.tests):
        place = ("tests", number)
        problems += _unknown(document, (*place, "given"), test.given, columns)
        if name in selections:
            output = dict.fromkeys(selections[name].columns, False)
            problems += _unknown_columns(document, (*place, "expect"), test.expect or (), output, name)
        if test.name in seen:
            problems.append(Problem(file, document.line((*place, "name")), f"the name {test.name!r} occurs twice"))
        seen.add(test.name)
    if problems:
        raise ProjectError(problems)
    return [
        Case(
            selection=name,
            name=test.name,
            file=file,
            line=document.line(("tests", number)),
            now=test.at if test.at.tzinfo else test.at.replace(tzinfo=zone),
            given={
                table: (*content.given.get(table, ()), *test.given.get(table, ()))
                for table in {**content.given, **test.given}
            },
            expect=test.expect,
            expect_count=test.expect_count,
        )
        for number, test in enumerate(content.tests)
    ]


def _columns(catalog: Catalog, selections: Mapping[str, Selection]) -> dict[str, dict[str, bool]]:
    """The columns of every table that rows can be given of, with whether the CRM computes them."""
    tables = {
        name: {column.name: column.generated for column in table.columns.values()}
        for name, table in catalog.tables.items()
    }
    return tables | {
        f"selections.{name}": dict.fromkeys(selection.kept, False) for name, selection in selections.items()
    }


def _unknown(
    document: Document,
    place: Place,
    given: Mapping[str, tuple[dict[str, Any], ...]],
    tables: Mapping[str, Mapping[str, bool]],
) -> list[Problem]:
    problems = []
    for table, rows in given.items():
        if table in tables:
            problems += _unknown_columns(document, (*place, table), rows, tables[table], table)
        else:
            words = f"there is no table {table}"
            problems.append(
                Problem(document.file, document.line((*place, table)), words, did_you_mean(table, [*tables]))
            )
    return problems


def _unknown_columns(
    document: Document, place: Place, rows: tuple[Row, ...], known: Mapping[str, bool], table: str
) -> list[Problem]:
    problems = []
    for number, row in enumerate(rows):
        for column in row:
            line = document.line((*place, number, column))
            if column not in known:
                words = f"{table} has no column {column}"
                problems.append(Problem(document.file, line, words, did_you_mean(column, known)))
            elif known[column]:
                problems.append(Problem(document.file, line, f"{table}.{column} is computed", "leave it out"))
    return problems
