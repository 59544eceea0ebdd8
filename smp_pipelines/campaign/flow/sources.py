"""Sources: what happens to people that a flow reacts to, as its triggers (F42) and its goals (F34) name it."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from smp_pipelines.campaign.fields import ClockTime, FileModel, Name, StepName, Text, refusal

Amount = Annotated[Decimal, Field(max_digits=14, decimal_places=2)]
TableName = Annotated[str, StringConstraints(pattern=r"^(crm\.)?[a-z_][a-z0-9_]*$")]
ColumnName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]*$")]
Scalar = Annotated[str | int | bool, Field(union_mode="left_to_right")]
REACTIONS = ("opened", "clicked", "form_opened", "form_submitted", "page_seen", "confirmed", "unsubscribed")
"""The contact moments that people make themselves."""


class ListSource(FileModel):
    """Somebody was put on a list."""

    type: Literal["list"] = Field(description="What kind this is")
    list: Text = Field(description="The name of the list in crm.list")
    again: StrictBool = Field(default=False, description="Who was taken off and put on again enters anew")


class SelectionSource(FileModel):
    """Somebody is in a selection who was not before; those who are in it when the flow goes live do not count."""

    type: Literal["selection"] = Field(description="What kind this is")
    selection: Name = Field(description="The name of a file in sql/selections")
    again: StrictBool = Field(default=False, description="Who left it and is in it once more enters anew")
    ask_above: Annotated[int, Field(ge=0, strict=True)] = Field(
        default=1000, description="More people than this at once wait for a yes: `smp flow admit` (F44)"
    )
    every_minutes: Annotated[int, Field(ge=1, le=10_080, strict=True)] = Field(
        default=15, description="How often the selection is evaluated"
    )


class DateSource(FileModel):
    """A date of somebody comes near, or has passed by so many days; each year again, if so wanted."""

    type: Literal["date"] = Field(description="What kind this is")
    field: Annotated[str, StringConstraints(pattern=r"^(crm\.)?[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$")] = Field(
        description="A column with a date, e.g. person.birth_date or membership.ends_on"
    )
    days: Annotated[int, Field(ge=-3660, le=3660, strict=True)] = Field(
        default=0, description="Days after the date; below 0: before it"
    )
    yearly: StrictBool = Field(
        default=True, description="Each year again; 29 February is 28 February in years without it"
    )
    time: ClockTime = Field(default="09:00", validate_default=True, description="At this local time of that day")


def _or_donation(schema: dict[str, Any]) -> None:
    """Let editors know that `type: donation` with fund and action is possible as well."""
    properties = schema["properties"]
    properties["type"] = {**properties["type"], "enum": ["record", "donation"]}
    properties["type"].pop("const", None)
    texts = {"fund": "type donation: for this fund", "action": "type donation: because of this action"}
    properties |= {key: {"type": "string", "description": words} for key, words in texts.items()}
    schema["required"] = ["type"]


class RecordSource(FileModel):
    """A row was written for somebody: a donation, a ticket, an activity."""

    model_config = ConfigDict(json_schema_extra=_or_donation)

    type: Literal["record"] = Field(description="What kind this is")
    table: TableName = Field(description="A table with person_id, e.g. ticket")
    date: ColumnName | None = Field(
        default=None, description="The column with its moment; left out: the only timestamp of the table"
    )
    equal: dict[ColumnName, Scalar] = Field(default_factory=dict, description="What columns must hold")
    amount: ColumnName | None = Field(default=None, description="The column that `min` and `max` are about")
    min: Amount | None = Field(default=None, description="At least this amount")
    max: Amount | None = Field(default=None, description="At most this amount")

    @model_validator(mode="before")
    @classmethod
    def _donation(cls, written: Any) -> Any:
        """`type: donation` with fund, action, min and max is the row that it means (F42)."""
        if not isinstance(written, dict) or written.get("type") != "donation":
            return written
        rest = {key: value for key, value in written.items() if key not in ("type", "fund", "action")}
        equal = {key: written[key] for key in ("fund", "action") if written.get(key) is not None}
        return {"type": "record", "table": "donation", "amount": "amount", "equal": equal, **rest}

    @field_validator("max")
    @classmethod
    def _range_fits(cls, most: Decimal | None, info: Any) -> Decimal | None:
        least = info.data.get("min")
        if (most is not None or least is not None) and info.data.get("amount") is None:
            raise refusal("`min` and `max` of what?", "add `amount: …`, a column with a number")
        if most is not None and least is not None and most < least:
            raise refusal(f"no amount is at least {least} and at most {most}", "swap `min` and `max`")
        return most


class FormSource(FileModel):
    """A form was submitted; with double opt-in, once it is confirmed."""

    type: Literal["form"] = Field(description="What kind this is")
    step: StepName = Field(description="The form step: its name, or campaign/step")


class ClickSource(FileModel):
    """A link in a mail was clicked, by a person and not by a scanner."""

    type: Literal["click"] = Field(description="What kind this is")
    step: StepName = Field(description="The mail: its step's name, or campaign/step")
    link: Text | None = Field(default=None, description="The address as it is in the mail; left out: any link")


class MomentSource(FileModel):
    """A contact moment that somebody made: a mail opened, a page seen."""

    type: Literal["contact_moment"] = Field(description="What kind this is")
    step: StepName = Field(description="The step: its name, or campaign/step")
    kind: Literal["opened", "clicked", "form_opened", "form_submitted", "page_seen", "confirmed", "unsubscribed"] = (
        Field(description="What happened")
    )


class ManualSource(FileModel):
    """By hand: `smp flow enrol`, with a person or a selection."""

    type: Literal["manual"] = Field(description="What kind this is")


class PersonSource(FileModel):
    """Goals only: somebody meets a condition, e.g. became a member."""

    type: Literal["person"] = Field(description="What kind this is")
    where: dict[str, Any] = Field(description="A condition as in a criteria file, e.g. {has: membership}")


def table_name(written: str) -> str:
    """A table's full name: `ticket` is crm.ticket."""
    return written if "." in written else f"crm.{written}"


def source_type(value: Any) -> str | None:
    """The kind of a source as written; a donation is a record."""
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "record" if kind == "donation" else kind


Event = (
    Annotated[ListSource, Tag("list")]
    | Annotated[RecordSource, Tag("record")]
    | Annotated[FormSource, Tag("form")]
    | Annotated[ClickSource, Tag("click")]
    | Annotated[MomentSource, Tag("contact_moment")]
)
"""What happens at one moment to one person: triggers and goals alike."""
Trigger = Annotated[
    Event
    | Annotated[SelectionSource, Tag("selection")]
    | Annotated[DateSource, Tag("date")]
    | Annotated[ManualSource, Tag("manual")],
    Discriminator(source_type),
]
Goal = Annotated[Event | Annotated[PersonSource, Tag("person")], Discriminator(source_type)]
