"""Audience tests: what people may write in `sql/selections/<name>.checks.yaml`, as frozen pydantic models (X5).

Each test says in one key what it looks at; the rest of its keys belong to that kind. Only what can be judged inside
one field is checked here. Whether a table, a topic or another selection exists is for `selection.audience_tests`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    WithJsonSchema,
    model_validator,
)

from smp_pipelines.campaign.fields import FileModel, Name, Text, refusal

_PERIOD = r"^[1-9][0-9]{0,4} (minute|hour|day|week|month|year)s?$"
_RUNS = r"^last (?:([1-9][0-9]?) )?runs?$"
_SHARE = r"^[0-9]{1,6}(\.[0-9]{1,3})?%$"


def _share(value: object) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, str) and re.fullmatch(_SHARE, value):
        return float(value.removesuffix("%")) / 100
    raise refusal(f"'{value}' is not a percentage", "write e.g. 95%")


def _runs(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    found = re.fullmatch(_RUNS, value) if isinstance(value, str) else None
    if found is None:
        raise refusal(f"'{value}' says not what to compare with", "write e.g. `last 5 runs`, or `last run`")
    return int(found[1] or 1)


def _period(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(_PERIOD, value):
        return value
    raise refusal(f"'{value}' is no period", "write e.g. `2 days`, or `12 hours`")


def _pattern(pattern: str, remedy: str) -> BeforeValidator:
    """Refuse what does not look as it should, with an example in the place of the pattern."""

    def check(value: object) -> object:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise refusal(f"'{value}' cannot be looked up", remedy)
        return value

    return BeforeValidator(check)


_COLUMN = r"^(person\.)?[a-z_][a-z0-9_]*$"
_TABLE_COLUMN = r"^crm\.[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$"
_OTHER = r"^(selections\.[a-z][a-z0-9_]*|[a-z][a-z0-9_]*/[a-z][a-z0-9_]*)$"

Share = Annotated[float, BeforeValidator(_share), WithJsonSchema({"type": "string", "pattern": _SHARE})]
Period = Annotated[str, BeforeValidator(_period), WithJsonSchema({"type": "string", "pattern": _PERIOD})]
Runs = Annotated[
    int,
    BeforeValidator(_runs),
    WithJsonSchema({"type": "string", "pattern": _RUNS, "examples": ["last 5 runs", "last run"]}),
]
Count = Annotated[int, Field(ge=0, strict=True)]


class Rows(FileModel):
    """A number of rows that is in order."""

    at_least: Count | None = Field(default=None, description="So many rows, or more")
    at_most: Count | None = Field(default=None, description="So many rows, or fewer")

    @model_validator(mode="after")
    def _says_something(self) -> Rows:
        if self.at_least is None and self.at_most is None:
            raise refusal("`rows` names no number", "add `at_least: …`, `at_most: …` or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise refusal(f"at least {self.at_least} and at most {self.at_most} cannot be", "swap the two")
        return self

    def __str__(self) -> str:
        low = None if self.at_least is None else f"at least {self.at_least:,}"
        high = None if self.at_most is None else f"at most {self.at_most:,}"
        return " and ".join(each for each in (low, high) if each)


class _Test(FileModel):
    """What every audience test has."""

    blocking: StrictBool = Field(default=False, description="True: when this test fails, nothing is sent")
    words: Text | None = Field(default=None, description="What is wrong when it fails, for whoever reads why not")


class RowsTest(_Test):
    """The number of rows is in a band of its own."""

    rows: Rows = Field(description="How many rows the selection has")

    @property
    def finding(self) -> str:
        """What is wrong when this test fails."""
        return f"The number of rows is not as it should be: {self.rows}"


class VolumeTest(_Test):
    """The number of rows is in a band around the median of earlier runs."""

    between: tuple[Share, Share] = Field(description="The least and the most, against the median, e.g. [50%, 200%]")
    of: Runs = Field(description="Which runs: `last run`, `last 5 runs`")
    judged_from: Count = Field(default=0, description="A median of fewer rows is not judged")

    @model_validator(mode="after")
    def _is_a_band(self) -> VolumeTest:
        if self.between[0] > self.between[1]:
            raise refusal(f"between {self.between[0]:.0%} and {self.between[1]:.0%} is nothing", "swap the two")
        return self

    @property
    def finding(self) -> str:
        """What is wrong when this test fails."""
        low, high = self.between
        runs = "run before" if self.of == 1 else f"{self.of} runs before"
        return f"The number of rows is not between {low:.0%} and {high:.0%} of that of the {runs}"


class NoOptOutTest(_Test):
    """Nobody said no to a topic."""

    no_opt_out: Name = Field(description="The topic (smp.yaml) to which nobody may have said no")
    channel: Literal["email"] = Field(default="email", description="By which channel")

    @property
    def finding(self) -> str:
        """What is wrong when this test fails."""
        return f"People who said no to {self.no_opt_out}"


class FilledTest(_Test):
    """A field is filled in, for all or for a share of the rows."""

    filled: Annotated[str, _pattern(_COLUMN, "write e.g. person.salutation, or a column that the selection gives")] = (
        Field(
            description="person.<column>, or a column that the selection gives", json_schema_extra={"pattern": _COLUMN}
        )
    )
    at_least: Share = Field(
        default=1.0, description="The share of rows in which it is filled in", json_schema_extra={"default": "100%"}
    )

    @property
    def person_column(self) -> str | None:
        """The column of crm.person; None for a column that the selection gives."""
        table, _, column = self.filled.partition(".")
        return column or None if table == "person" else None

    @property
    def finding(self) -> str:
        """What is wrong when this test fails."""
        few = "" if self.at_least >= 1 else f": more than {1 - self.at_least:.0%} of the rows"
        return f"People without {self.filled.rpartition('.')[2]}{few}"


class FreshTest(_Test):
    """A table has a row that is new enough at the moment of the run."""

    fresh: Annotated[str, _pattern(_TABLE_COLUMN, "write table and column, e.g. crm.ticket.bought_at")] = Field(
        description="Table and column that tell how new a row is, e.g. crm.ticket.bought_at",
        json_schema_extra={"pattern": _TABLE_COLUMN},
    )
    within: Period = Field(description="How old the newest row may be, e.g. 2 days")

    @property
    def table(self) -> str:
        """The table, e.g. crm.ticket."""
        return self.fresh.rpartition(".")[0]

    @property
    def column(self) -> str:
        """The column that tells how new a row is."""
        return self.fresh.rpartition(".")[2]

    @property
    def finding(self) -> str:
        """What is wrong when this test fails."""
        return f"{self.table} is not fresh: no {self.column} in the past {self.within}"


class NoOverlapTest(_Test):
    """Nobody is in another selection as well, or received a step."""

    no_overlap_with: Annotated[
        str, _pattern(_OTHER, "write selections.<name>, or campaign/step for whoever received that step")
    ] = Field(
        description="selections.<name>, or campaign/step for whoever received that step",
        json_schema_extra={"pattern": _OTHER},
    )

    @property
    def selection(self) -> str | None:
        """The name of the other selection, when it is one."""
        return self.no_overlap_with.removeprefix("selections.") if "/" not in self.no_overlap_with else None

    @property
    def step(self) -> str | None:
        """The key of the step, when it is one."""
        return self.no_overlap_with if "/" in self.no_overlap_with else None

    @property
    def finding(self) -> str:
        """What is wrong when this test fails."""
        return f"People who received {self.step}" if self.step else f"People who are in {self.no_overlap_with} as well"


class UniqueTest(_Test):
    """Nobody (with the same linked record) is in the selection twice."""

    unique: Literal[True] = Field(description="true")

    @property
    def finding(self) -> str:
        """What is wrong when this test fails."""
        return "Rows that are there more than once"


_KINDS: dict[str, str] = {
    "rows": "rows", "between": "between", "of": "between", "no_opt_out": "no_opt_out", "filled": "filled",
    "fresh": "fresh", "within": "fresh", "no_overlap_with": "no_overlap_with", "unique": "unique",
}  # fmt: skip
"""By each key that tells what a test looks at: its kind."""


def _kind(value: Any) -> str | None:
    """The kind of a test by its keys, or by the nearest key when one is misspelt; None when it has no such key."""
    if isinstance(value, FileModel):
        return next((kind for kind in _KINDS.values() if hasattr(value, kind)), None)
    keys = [str(key) for key in value] if isinstance(value, Mapping) else []
    for key in keys:
        if key in _KINDS:
            return _KINDS[key]
    for key in keys:
        if key not in _Test.model_fields and (near := get_close_matches(key, _KINDS, n=1)):
            return _KINDS[near[0]]
    return None


_NO_KIND = {
    "text": "this audience test does not say what it looks at",
    "remedy": f"add one of: {', '.join(dict.fromkeys(_KINDS.values()))}",
}

AnyTest: TypeAlias = RowsTest | VolumeTest | NoOptOutTest | FilledTest | FreshTest | NoOverlapTest | UniqueTest


class AudienceTests(FileModel):
    """The audience tests of a selection: the contents of `<name>.checks.yaml`."""

    audience_tests: dict[
        Name,
        Annotated[
            Annotated[RowsTest, Tag("rows")]
            | Annotated[VolumeTest, Tag("between")]
            | Annotated[NoOptOutTest, Tag("no_opt_out")]
            | Annotated[FilledTest, Tag("filled")]
            | Annotated[FreshTest, Tag("fresh")]
            | Annotated[NoOverlapTest, Tag("no_overlap_with")]
            | Annotated[UniqueTest, Tag("unique")],
            Discriminator(
                _kind, custom_error_type="refused", custom_error_message="{text}", custom_error_context=_NO_KIND
            ),
        ],
    ] = Field(min_length=1, description="The tests, by their short name")


BUILT_IN: dict[str, AnyTest] = {
    "key_unique": UniqueTest(
        unique=True, words="No person (with the same linked record), or no record, is in the selection twice"
    ),
    "address_share": FilledTest(
        filled="person.email_key", at_least=0.5, words="At least half of the people have an e-mail address"
    ),
    "volume": VolumeTest(
        between=(0.5, 2.0),
        of=1,
        judged_from=100,
        words="The selection is between half and twice the size it had the time before",
    ),
}
"""The tests that every selection has without a file; a test of the same name in its file takes the place of one."""
