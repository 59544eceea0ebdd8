"""Models: what people may write in a campaign's flow.yaml, as frozen pydantic models (F31 to F49).

A flow is a tree of named steps, each with one key that says what it does (`mail`, `wait`, `if` …). What needs other
files (steps, tables, lists, conditions) is judged by `smp_pipelines.flow.checks`.
"""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from smp_pipelines.campaign.fields import ClockTime, FileModel, LocalMoment, Name, StepName, Text, refusal
from smp_pipelines.campaign.flow.sources import ColumnName, Goal, Scalar, TableName, Trigger
from smp_pipelines.campaign.models import WEEKDAYS, Weekday

_DURATION = re.compile(r"(\d{1,5}) (minute|hour|day|week)s?")
Condition = Annotated[dict[str, Any], Field(min_length=1)]
"""A condition as in a criteria file: {has: membership}, {selection: name}, {all: […]} …"""


class Duration(FileModel):
    """A length of time as written, e.g. 3 days: minutes and hours are absolute, days and weeks follow the calendar."""

    count: Annotated[int, Field(ge=0, le=99_999)]
    unit: Literal["minute", "hour", "day", "week"]

    @property
    def days(self) -> int:
        """Whole calendar days; 0 for minutes and hours."""
        return self.count * {"day": 1, "week": 7}.get(self.unit, 0)

    @property
    def exact(self) -> timedelta:
        """The absolute part; 0 for days and weeks."""
        return timedelta(minutes=self.count * {"minute": 1, "hour": 60}.get(self.unit, 0))

    def __str__(self) -> str:
        return f"{self.count} {self.unit}{'' if self.count == 1 else 's'}"


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise refusal(f"'{value}' is not a length of time", "e.g. 30 minutes, 4 hours, 3 days or 2 weeks")
    return {"count": int(found[1]), "unit": found[2]}


Length = Annotated[
    Duration,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["3 days", "4 hours"]}),
]


class Window(FileModel):
    """Times of day and days of the week, in local time; `until` before `from` means the morning after (F45)."""

    days: tuple[Weekday, ...] = Field(default=WEEKDAYS, min_length=1, description="On these days, e.g. [mon, tue]")
    from_: ClockTime = Field(default=time(0), alias="from", description="From this local time …")
    until: ClockTime = Field(default=time(0), description="… up to this; 00:00 is the end of the day")

    @property
    def is_over_midnight(self) -> bool:
        """Whether it begins on one of its days and ends on the next."""
        return time(0) < self.until <= self.from_


class _Step(FileModel):
    """What every step of a flow has."""

    name: Text | None = Field(default=None, description="What colleagues call it; left out: its key")
    description: str = Field(default="", description="What it is for (F02)")


class MailStep(_Step):
    """Send a trigger mail of this campaign, or campaign/step."""

    mail: StepName = Field(description="A trigger step of a campaign")
    refused: Literal["go_on", "leave"] = Field(
        default="go_on", description="Who may not get it: goes on without, or leaves the flow with that reason"
    )


class FormStep(_Step):
    """Wait until the form is submitted by a participant, at most so long (F01)."""

    form: StepName = Field(description="A form step")
    at_most: Length | None = Field(default=None, description="Go on after this time; left out: wait for ever")


class PageStep(_Step):
    """Wait until the page is seen by a participant, at most so long."""

    page: StepName = Field(description="A page step")
    at_most: Length | None = Field(default=None, description="Go on after this time; left out: wait for ever")


class WaitStep(_Step):
    """Wait a time."""

    wait: Length = Field(description="e.g. 4 hours, 3 days, 2 weeks")


class WaitUntilStep(_Step):
    """Wait until a date and time; once that is past everybody goes on at once."""

    wait_until: LocalMoment = Field(description="Local time, e.g. 2026-12-01 10:00")


class WindowStep(_Step):
    """Wait for a window: who arrives inside goes on at once."""

    window: Window = Field(description="Days and times")


class IfStep(_Step):
    """Two ways: judged at the moment of arrival."""

    if_: Condition = Field(alias="if", description="A condition as in a criteria file")
    then: dict[Name, FlowStep] = Field(default_factory=dict, description="The steps of who meets it")
    else_: dict[Name, FlowStep] = Field(default_factory=dict, alias="else", description="The steps of who does not")


class Share(FileModel):
    """One way of a split."""

    percent: Annotated[int, Field(ge=1, le=99, strict=True)] = Field(description="Of the participants")
    steps: dict[Name, FlowStep] = Field(default_factory=dict, description="The steps of this part")


class SplitStep(_Step):
    """Several ways by chance: the same person goes the same way each time."""

    split: tuple[Share, ...] = Field(min_length=2, description="The parts; together 100 percent")

    @field_validator("split")
    @classmethod
    def _is_whole(cls, shares: tuple[Share, ...]) -> tuple[Share, ...]:
        total = sum(share.percent for share in shares)
        if total != 100:
            raise refusal(f"the parts of a split are {total} percent together", "make it 100")
        return shares


class GoToStep(_Step):
    """Go on at a later step: inside `then`, `else` or a split only, so that there are no loops."""

    go_to: Name = Field(description="A step further down")


class UpdateStep(_Step):
    """Change the person in the CRM."""

    update: dict[ColumnName, Scalar | None] = Field(min_length=1, description="Columns of crm.person and their values")


class Row(FileModel):
    """A row to be written for a participant."""

    table: TableName = Field(description="A table with person_id, e.g. activity")
    values: dict[ColumnName, Scalar] = Field(default_factory=dict, description="Its other columns")


class CreateStep(_Step):
    """Write a row for the person: an activity, a request."""

    create: Row = Field(description="The table and the values")


class AddToListStep(_Step):
    """Put the person on a list, which is made when it is not there."""

    add_to_list: Text = Field(description="The name of the list")


class RemoveFromListStep(_Step):
    """Take the person off a list."""

    remove_from_list: Text = Field(description="The name of the list")


class MoveToStep(_Step):
    """Leave this flow for another one."""

    move_to: Name = Field(description="The flow: its campaign's name")


class EndStep(_Step):
    """Leave the flow here."""

    end: Text = Field(description="What this end is called in figures, e.g. thanked")


_KINDS: dict[str, type[_Step]] = {
    "mail": MailStep, "form": FormStep, "page": PageStep, "wait": WaitStep, "wait_until": WaitUntilStep,
    "window": WindowStep, "if": IfStep, "split": SplitStep, "go_to": GoToStep, "update": UpdateStep,
    "create": CreateStep, "add_to_list": AddToListStep, "remove_from_list": RemoveFromListStep,
    "move_to": MoveToStep, "end": EndStep,
}  # fmt: skip
KINDS = tuple(_KINDS)
"""The keys that say what a step does."""


def kind_of(value: Any) -> str | None:
    """Which kind of step this is, by its key; None when it has none of them."""
    if isinstance(value, dict):
        return next((kind for kind in KINDS if kind in value), None)
    return next((kind for kind, model in _KINDS.items() if isinstance(value, model)), None)


FlowStep = Annotated[
    Annotated[MailStep, Tag("mail")]
    | Annotated[FormStep, Tag("form")]
    | Annotated[PageStep, Tag("page")]
    | Annotated[WaitStep, Tag("wait")]
    | Annotated[WaitUntilStep, Tag("wait_until")]
    | Annotated[WindowStep, Tag("window")]
    | Annotated[IfStep, Tag("if")]
    | Annotated[SplitStep, Tag("split")]
    | Annotated[GoToStep, Tag("go_to")]
    | Annotated[UpdateStep, Tag("update")]
    | Annotated[CreateStep, Tag("create")]
    | Annotated[AddToListStep, Tag("add_to_list")]
    | Annotated[RemoveFromListStep, Tag("remove_from_list")]
    | Annotated[MoveToStep, Tag("move_to")]
    | Annotated[EndStep, Tag("end")],
    Discriminator(kind_of),
]


for _model in (IfStep, Share, SplitStep):
    _model.model_rebuild()


class MoveOn(FileModel):
    """On success: move to another flow."""

    move_to: Name = Field(description="The flow: its campaign's name")


class ReentryAfter(FileModel):
    """Somebody may enter again so long after leaving."""

    after: Length = Field(description="e.g. 30 days")


class Flow(FileModel):
    """A flow: the contents of a campaign's flow.yaml."""

    name: Text = Field(description="What colleagues call this flow")
    description: str = Field(default="", description="What it is for (F02)")
    triggers: tuple[Trigger, ...] = Field(min_length=1, description="WHEN somebody enters (F31, F42)")
    filter: Condition | None = Field(default=None, description="WHO of them enters: a condition (F31)")
    exclude: Condition | None = Field(
        default=None, description="Who does not enter, and leaves before the next action when it comes to hold (F33)"
    )
    record: Name | None = Field(default=None, description="What it is about: a name under `records` in smp.yaml")
    reentry: Literal["never", "after_leaving"] | ReentryAfter = Field(
        default="never", description="Whether somebody may enter again: never, after_leaving, or {after: 30 days} (F43)"
    )
    goals: tuple[Goal, ...] = Field(default=(), description="What counts as success (F34)")
    on_success: Literal["stop", "go_on"] | MoveOn = Field(
        default="stop", description="What happens then: stop, go_on or {move_to: flow} (F34)"
    )
    hours: Window | None = Field(default=None, description="Mails of this flow leave in these hours only (F49)")
    steps: dict[Name, FlowStep] = Field(min_length=1, description="The steps, by their short name")

    @model_validator(mode="after")
    def _no_trigger_twice(self) -> Flow:
        for place, trigger in enumerate(self.triggers):
            if trigger in self.triggers[:place]:
                raise refusal(f"the trigger `{trigger.type}` is there twice, the same", "leave one of the two out")
        return self
