"""Models: what people may write in smp.yaml and in a campaign.yaml, as frozen pydantic models.

Only what can be judged inside one field is checked here (a time is a time, a weekly schedule has
days). What needs other files, or a rule of the calendar, is in `checks`. Empty sender, subject,
content or selection is allowed here, because a step may exist before its content does (F39);
`checks` names each one that is missing (F16).
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from difflib import get_close_matches
from email.utils import getaddresses
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from babel import Locale, UnknownLocaleError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StringConstraints,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

NAME_PATTERN = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
"""Names of campaigns, steps, topics and records. No double underscore: it separates the parts of a slug."""

CONTEXT_NAMES = ("person", "organisation", "step", "campaign", "project", "preheader")
"""Names that templates already have; a linked record cannot be called so."""

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The days of the week in the order of `date.weekday()`."""


def refusal(message: str, remedy: str | None = None) -> PydanticCustomError:
    """Make an error for one field: what is wrong, and what to write instead."""
    # A literal brace would be read as a placeholder by pydantic; the texts go in as values.
    return PydanticCustomError("refused", "{text}", {"text": message, "remedy": remedy})


def _clock_time(value: object) -> object:
    if isinstance(value, time):
        return value
    if isinstance(value, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        return time.fromisoformat(value)
    raise refusal(f"'{value}' is not a time", 'write hours and minutes in 24 hours, like "09:00"')


def _local_moment(value: object) -> object:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d [0-2]\d:[0-5]\d", value):
        try:
            return datetime.strptime(value, "%Y-%m-%d %H:%M")  # noqa: DTZ007 - wall time, the zone is the project's
        except ValueError:
            pass
    raise refusal(f"'{value}' is not a moment", 'write date and time in local time, like "2026-12-01 10:00"')


def _calendar_date(value: object) -> object:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise refusal(f"'{value}' is not a date", "write year, month and day, like 2026-11-01")


def _address(value: str) -> str:
    """Accept one `Name <address>` or a bare address; empty means not filled in yet."""
    if not value:
        return value
    addresses = [address for _, address in getaddresses([value])]
    one = len(addresses) == 1 and re.fullmatch(r"[^@\s<>,;]+@[^@\s<>,;]+\.[^@\s<>,;]+", addresses[0])
    if not one or not value.isprintable():
        raise refusal(
            f"'{value}' is not a sender with one e-mail address",
            'write "Name <address>", e.g. "Kassa <kassa@example.nl>"',
        )
    return value


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Address = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_address)]
ClockTime = Annotated[
    time,
    BeforeValidator(_clock_time),
    WithJsonSchema({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "examples": ["09:00"]}),
]
CalendarDate = Annotated[date, BeforeValidator(_calendar_date)]
LocalMoment = Annotated[
    datetime,
    BeforeValidator(_local_moment),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}$",
            "examples": ["2026-12-01 10:00"],
        }
    ),
]


class FileModel(BaseModel):
    """What all models share: unknown keys are refused, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(FileModel):
    """When a continuous step is sent, in the project's local time (F19, F20)."""

    start: CalendarDate = Field(description="First day on which the step is sent")
    end: CalendarDate | None = Field(default=None, description="Last day; the day after, the step becomes stopped")
    frequency: Literal["daily", "weekly", "monthly"] = Field(
        description="Every day, on days of the week, or once a month"
    )
    days: tuple[Weekday, ...] = Field(default=(), validate_default=True, description="Days of the week; weekly only")
    day: Annotated[int, Field(ge=1, le=31, strict=True)] | None = Field(
        default=None, validate_default=True, description="Day of the month; monthly only. 31: only months with 31 days"
    )
    times: tuple[ClockTime, ...] = Field(min_length=1, description="Times of day, not between 23:00 and 06:00")

    @field_validator("days")
    @classmethod
    def _days_fit(cls, days: tuple[Weekday, ...], info: ValidationInfo) -> tuple[Weekday, ...]:
        frequency = info.data.get("frequency")
        if frequency == "weekly" and not days:
            raise refusal("a weekly schedule needs `days`", "e.g. `days: [mon, thu]`")
        if frequency in ("daily", "monthly") and days:
            raise refusal(f"a {frequency} schedule has no `days`", "leave `days` out, or write `frequency: weekly`")
        return days

    @field_validator("day")
    @classmethod
    def _day_fits(cls, day: int | None, info: ValidationInfo) -> int | None:
        frequency = info.data.get("frequency")
        if frequency == "monthly" and day is None:
            raise refusal("a monthly schedule needs `day`", "e.g. `day: 1`")
        if frequency in ("daily", "weekly") and day is not None:
            raise refusal(f"a {frequency} schedule has no `day`", "leave `day` out, or write `frequency: monthly`")
        return day


class OneOffSchedule(FileModel):
    """When a planned one-off step is sent: one local wall time."""

    at: LocalMoment = Field(description="The moment of the send, in local time")


def _schedule_kind(value: Any) -> str:
    planned = isinstance(value, OneOffSchedule) or (isinstance(value, dict) and "at" in value)
    return "one_off" if planned else "continuous"


AnySchedule = Annotated[
    Annotated[Schedule, Tag("continuous")] | Annotated[OneOffSchedule, Tag("one_off")], Discriminator(_schedule_kind)
]


class Internal(FileModel):
    """What makes a step an internal send: colleagues get another step's mail, for every record (F26)."""

    content: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)?$")] = Field(
        description="The step whose mail they get: its name, or campaign/step for one of another campaign"
    )
    records: Name = Field(description="Which records: a selection whose rows are records; it may look further ahead")


class Step(FileModel):
    """One step of a campaign: what is sent to whom, and when.

    An internal step leaves sender, subject, preheader and record out: loading a project takes them
    from the step whose mail it shows.
    """

    name: Text = Field(description="What colleagues call this step")
    description: str = Field(default="", description="Who gets this, and when; shown in every overview (F02)")
    channel: Literal["email"] = Field(default="email", description="How it is sent")
    send: Literal["one_off", "continuous", "trigger"] = Field(
        description="Once, again and again by a schedule, or after another step (F04)"
    )
    sender: Address = Field(default="", description='Sender address: "Name <address>" (F16)')
    reply_to: Address | None = Field(default=None, description="Where answers go, if not to the sender")
    subject: str = Field(default="", description="Subject line; may hold {{ … }} (F16)")
    preheader: str | None = Field(default=None, description="What an inbox shows after the subject; may hold {{ … }}")
    content: Annotated[str, StringConstraints(pattern=r"^([\w-]+\.(mjml|html))?$")] = Field(
        default="", description="Template file in the campaign's folder: *.mjml or *.html"
    )
    selection: Name | None = Field(default=None, description="Who gets it: the name of a file in sql/selections")
    record: Name | None = Field(default=None, description="What the mail is about: a name under `records` in smp.yaml")
    block: Name | None = Field(default=None, description="True-or-false column of the record that stops the send (F27)")
    topic: Name = Field(description="What people can say yes or no to: a name under `topics` in smp.yaml")
    deduplicate: StrictBool = Field(
        default=True, description="One mail per e-mail address (F24); an internal step: left out means no"
    )
    internal: Internal | None = Field(
        default=None, description="Makes this an internal send: `selection` names the colleagues (F26)"
    )
    at_night: Literal["hold", "drop"] = Field(
        default="hold",
        description="What is left of a send at 23:00: hold it until 06:00, or drop it with that reason (F22)",
    )
    late_minutes: Annotated[int, Field(ge=0, strict=True)] = Field(
        default=60, description="How many minutes late a missed moment is still sent"
    )
    next: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)?$")] | None = Field(
        default=None, description="The next step: its name, or campaign/step for one of another campaign (F01)"
    )
    schedule: AnySchedule | None = Field(default=None, validate_default=True, description="When it is sent")

    @model_validator(mode="before")
    @classmethod
    def _every_record_is_shown(cls, written: Any) -> Any:
        """Colleagues want to see the mail of every record, so an internal step does not de-duplicate by itself."""
        if isinstance(written, dict) and written.get("internal") is not None and "deduplicate" not in written:
            return {**written, "deduplicate": False}
        return written

    @property
    def purpose(self) -> Literal["live", "internal"]:
        """The key space of the step's sends: an internal send never counts as a contact moment (F26)."""
        return "live" if self.internal is None else "internal"

    @property
    def selections(self) -> tuple[str, ...]:
        """The selections that a send is planned from: who gets it and, for an internal step, about which records."""
        names = (self.selection, self.internal.records if self.internal else None)
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @field_validator("schedule")
    @classmethod
    def _schedule_fits(
        cls, schedule: Schedule | OneOffSchedule | None, info: ValidationInfo
    ) -> Schedule | OneOffSchedule | None:
        send = info.data.get("send")
        if send == "continuous" and not isinstance(schedule, Schedule):
            raise refusal(
                "a continuous step needs a `schedule` with start, frequency and times",
                'e.g. `schedule: {start: 2026-11-01, frequency: daily, times: ["09:00"]}`',
            )
        if send == "one_off" and isinstance(schedule, Schedule):
            raise refusal(
                "the `schedule` of a one-off step has only `at`",
                'e.g. `schedule: {at: "2026-12-01 10:00"}`, or write `send: continuous`',
            )
        if send == "trigger" and schedule is not None:
            raise refusal("a trigger step has no `schedule`: it follows another step", "leave `schedule` out")
        return schedule


class Campaign(FileModel):
    """A campaign: the contents of one campaign.yaml."""

    name: Text = Field(description="What colleagues call this campaign")
    description: str = Field(default="", description="What the campaign is for")
    flow: StrictBool = Field(default=False, description="True: the steps follow one another (F01)")
    steps: dict[Name, Step] = Field(min_length=1, description="The steps, by their short name")


class Record(FileModel):
    """A table whose rows a step can be about: the linked record."""

    table: Text = Field(description="The table, e.g. crm.performance")
    key: Text = Field(description="Its key column; a selection for such a step has this column too")
    title: Text = Field(description="The column that names a row to people")


class Limit(FileModel):
    """How fast mails may leave, for all workers together."""

    per_second: Annotated[float, Field(gt=0, le=100_000)] | None = Field(default=None, description="Mails a second")
    connections: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = Field(
        default=None, description="Connections at once"
    )


class Limits(Limit):
    """The limits of the way out for mails, and of single recipient domains."""

    domains: dict[str, Limit] = Field(default_factory=dict, description="By the domain of the recipient, e.g. kpn.nl")


class FrequencyCap(FileModel):
    """How many mails somebody gets at most in a number of days."""

    mails: Annotated[int, Field(ge=1, le=1000, strict=True)] = Field(description="At most this many mails …")
    days: Annotated[int, Field(ge=1, le=366, strict=True)] = Field(description="… in this many days, per person")
    exempt: tuple[Name, ...] = Field(default=(), description="Topics that are always sent and do not count")


class Project(FileModel):
    """The settings of a project: the contents of smp.yaml."""

    name: Text = Field(description="The organisation that sends")
    time_zone: str = Field(description="IANA name of the local time zone, e.g. Europe/Amsterdam")
    language: str = Field(default="nl", description="Language of dates and amounts in mails, e.g. nl")
    topics: dict[Name, Literal["opt_in", "opt_out"]] = Field(
        min_length=1, description="opt_in: mailed only after a yes; opt_out: mailed unless there was a no"
    )
    records: dict[Name, Record] = Field(default_factory=dict, description="Tables whose rows a step can be about")
    frequency_cap: FrequencyCap | None = Field(default=None, description="How many mails somebody gets at most")
    limits: Limits = Field(default_factory=Limits, description="How fast mails may leave, for all workers together")

    @property
    def zone(self) -> ZoneInfo:
        """The local time zone of every schedule."""
        return ZoneInfo(self.time_zone)

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        if value not in available_timezones():
            near = get_close_matches(value, available_timezones(), n=1)
            raise refusal(
                f"'{value}' is not a time zone", f"did you mean {near[0]}?" if near else "e.g. Europe/Amsterdam"
            )
        return value

    @field_validator("language")
    @classmethod
    def _language_exists(cls, value: str) -> str:
        try:
            Locale.parse(value)
        except (UnknownLocaleError, ValueError) as error:
            raise refusal(f"'{value}' is not a language", "e.g. nl, en or nl_BE") from error
        return value

    @field_validator("records")
    @classmethod
    def _names_are_free(cls, records: dict[str, Record]) -> dict[str, Record]:
        for name in records:
            if name in CONTEXT_NAMES:
                raise refusal(
                    f"a record cannot be called '{name}': templates use that name already", "choose another name"
                )
        return records
