"""Models: what people may write in smp.yaml and in a campaign.yaml, as frozen pydantic models.

Only what can be judged inside one field is checked here (a time is a time, a weekly schedule has
days). What needs other files, or a rule of the calendar, is in `checks`. Empty sender, subject,
content or selection is allowed here, because a step may exist before its content does (F39);
`checks` names each one that is missing (F16).
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    Discriminator,
    Field,
    StrictBool,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from smp_pipelines.campaign.blocks import Block, Redirect
from smp_pipelines.campaign.fields import (
    CONTEXT_NAMES,
    Address,
    CalendarDate,
    ClockTime,
    FileModel,
    Language,
    LocalMoment,
    Name,
    StepName,
    Text,
    refusal,
)
from smp_pipelines.campaign.policy import FrequencyCap, Limits, Tracking

Channel = Literal["email", "form", "page"]

_EVERY_CHANNEL = frozenset(("name", "description", "channel", "language", "number", "blocks", "next"))
_ON_THE_SITE = _EVERY_CHANNEL | {"record"}
_KEYS = {"form": _ON_THE_SITE | {"form"}, "page": _ON_THE_SITE | {"redirect"}}
"""What a step on the site may say; a mail may say everything but `form` and `redirect`."""

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The days of the week in the order of `date.weekday()`."""


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


class TargetGroup(FileModel):
    """Who gets a step, when that is more than one selection as it is at each send (F52 to F57)."""

    selections: tuple[Name, ...] = Field(default=(), description="Names of files in sql/selections; each at most once")
    evaluate: Literal["each_send", "once"] = Field(
        description="each_send: the selections as they are at each send. once: frozen when it is linked (`smp group "
        "link`), with its date; nobody gets the step twice, whoever is linked later gets it at the next send"
    )
    copy_of: StepName | None = Field(
        default=None,
        description="Taken over when it is linked from this step (or campaign/step): copied, not evaluated anew (F53)",
    )
    not_used_in_campaign: StrictBool = Field(
        default=False, description="Leaves out whom another step of this campaign used already, e.g. a pilot (F55)"
    )

    @field_validator("copy_of")
    @classmethod
    def _copied_once(cls, copy_of: str | None, info: ValidationInfo) -> str | None:
        if copy_of is not None and info.data.get("evaluate") == "each_send":
            raise refusal("a group that is taken over is copied once, not at each send", "write `evaluate: once`")
        return copy_of

    @property
    def is_plain(self) -> bool:
        """Whether it is one selection at each send and nothing else, as `selection: name` says shorter."""
        return self.evaluate == "each_send" and len(self.selections) == 1 and not self.not_used_in_campaign


class Internal(FileModel):
    """What makes a step an internal send: colleagues get another step's mail, for every record (F26)."""

    content: StepName = Field(
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
    channel: Channel = Field(
        default="email", description="email: it is sent; form: a web form; page: a landing or thank-you page (F03)"
    )
    send: Literal["one_off", "continuous", "trigger"] | None = Field(
        default=None,
        description="email only: once, again and again by a schedule, or after another step (F04)",
    )
    language: Language | None = Field(
        default=None, description="Language of this step, e.g. en; left out: the project's"
    )
    sender: Address = Field(default="", description='Sender address: "Name <address>" (F16)')
    reply_to: Address | None = Field(default=None, description="Where answers go, if not to the sender")
    subject: str = Field(default="", description="Subject line; may hold {{ … }} (F16)")
    preheader: str | None = Field(default=None, description="What an inbox shows after the subject; may hold {{ … }}")
    content: Annotated[str, StringConstraints(pattern=r"^([\w-]+\.(mjml|html))?$")] = Field(
        default="", description="email only: template file in the campaign's folder: *.mjml or *.html"
    )
    blocks: tuple[Block, ...] = Field(
        default=(), description="The content blocks from top to bottom; in a mail instead of `content` (F07, F13)"
    )
    form: Name | None = Field(default=None, description="form only: the name of a file in forms/ (F06)")
    redirect: Redirect | None = Field(default=None, description="page only: where it leads by itself (F14)")
    number: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        default=None,
        description="The step's number in its campaign, which imports use; left out: its place in the file",
    )
    selection: Name | None = Field(default=None, description="Who gets it: the name of a file in sql/selections")
    target_group: TargetGroup | None = Field(
        default=None, description="Who gets it, instead of `selection`: several selections, a frozen group, a copy"
    )
    record: Name | None = Field(default=None, description="What the mail is about: a name under `records` in smp.yaml")
    block: Name | None = Field(default=None, description="True-or-false column of the record that stops the send (F27)")
    topic: Name = Field(
        default="",
        description="email only: what people can say yes or no to: a name under `topics` in smp.yaml",
    )
    deduplicate: StrictBool = Field(
        default=True, description="One mail per e-mail address (F24); an internal or trigger step: left out means no"
    )
    internal: Internal | None = Field(
        default=None, description="Makes this an internal send: `selection` names the colleagues (F26)"
    )
    at_night: Literal["hold", "drop", "send"] = Field(
        default="hold",
        description="What is left of a send at 23:00: hold it until 06:00, or drop it with that reason (F22); send: "
        "a trigger step that leaves at any hour, since somebody is waiting for it (F05)",
    )
    late_minutes: Annotated[int, Field(ge=0, strict=True)] = Field(
        default=60, description="How many minutes late a missed moment is still sent"
    )
    next: StepName | None = Field(
        default=None, description="The next step: its name, or campaign/step for one of another campaign (F01)"
    )
    schedule: AnySchedule | None = Field(default=None, validate_default=True, description="When it is sent")

    @model_validator(mode="before")
    @classmethod
    def _every_record_is_shown(cls, written: Any) -> Any:
        """An internal step shows the mail of every record, and a trigger step answers everybody who asked.

        So these do not de-duplicate by themselves: who else happened to ask at the same moment must not matter.
        """
        if not isinstance(written, dict) or "deduplicate" in written:
            return written
        if written.get("internal") is not None or written.get("send") == "trigger":
            return {**written, "deduplicate": False}
        return written

    @field_validator("at_night")
    @classmethod
    def _only_an_answer_leaves_at_night(cls, at_night: str, info: ValidationInfo) -> str:
        if at_night == "send" and info.data.get("send") != "trigger":
            raise refusal("only a trigger step may be sent at night", "write `at_night: hold` or `drop`")
        return at_night

    @model_validator(mode="after")
    def _fits_its_channel(self) -> Step:
        """Refuse keys of another channel, and name what a channel cannot do without."""
        allowed = _KEYS.get(self.channel, frozenset(type(self).model_fields) - {"form", "redirect"})
        foreign = sorted(self.model_fields_set - allowed)
        if foreign:
            raise refusal(f"a step with `channel: {self.channel}` has no `{foreign[0]}`", f"leave `{foreign[0]}` out")
        needed = {"email": ("send", "topic"), "form": ("form",), "page": ()}[self.channel]
        for key in needed:
            if not getattr(self, key):
                about = type(self).model_fields[key].description or ""
                raise refusal(f"`{key}` is missing", f"add `{key}: …`: {about.removeprefix(f'{self.channel} only: ')}")
        return self

    @property
    def is_mail(self) -> bool:
        """Whether it is sent; otherwise it is a form or a page on the site."""
        return self.channel == "email"

    @property
    def purpose(self) -> Literal["live", "internal"]:
        """The key space of the step's sends: an internal send never counts as a contact moment (F26)."""
        return "live" if self.internal is None else "internal"

    @property
    def people(self) -> tuple[str, ...]:
        """The selections of the people who get it."""
        if self.target_group is not None:
            return tuple(dict.fromkeys(self.target_group.selections))
        return () if self.selection is None else (self.selection,)

    @property
    def selections(self) -> tuple[str, ...]:
        """The selections that a send is planned from: who gets it and, for an internal step, about which records."""
        records = (self.internal.records,) if self.internal else ()
        return tuple(dict.fromkeys((*self.people, *records)))

    @property
    def has_group(self) -> bool:
        """Whether the step says who gets it: by a selection or a target group, not one by one as what triggers it."""
        return self.selection is not None or self.target_group is not None

    @property
    def own_group(self) -> TargetGroup | None:
        """The target group that is written to the lake as the step's own; None: it is planned from one selection."""
        return None if self.target_group is None or self.target_group.is_plain else self.target_group

    @property
    def is_frozen(self) -> bool:
        """Whether who gets it was laid down when the group was linked (F57)."""
        return self.target_group is not None and self.target_group.evaluate == "once"

    @field_validator("target_group")
    @classmethod
    def _one_way(cls, group: TargetGroup | None, info: ValidationInfo) -> TargetGroup | None:
        if group is not None and info.data.get("selection") is not None:
            raise refusal("`selection` and `target_group` both say who gets it", "name the selection in `target_group`")
        return group

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

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each step: its own, or its place in the file, from 1."""
        return {name: step.number or place for place, (name, step) in enumerate(self.steps.items(), 1)}


class Record(FileModel):
    """A table whose rows a step can be about: the linked record."""

    table: Text = Field(description="The table, e.g. crm.performance")
    key: Text = Field(description="Its key column; a selection for such a step has this column too")
    title: Text = Field(description="The column that names a row to people")


class Project(FileModel):
    """The settings of a project: the contents of smp.yaml."""

    name: Text = Field(description="The organisation that sends")
    time_zone: str = Field(description="IANA name of the local time zone, e.g. Europe/Amsterdam")
    language: Language = Field(default="nl", description="Language of dates, amounts and the site's own words, e.g. nl")
    topics: dict[Name, Literal["opt_in", "opt_out"]] = Field(
        min_length=1, description="opt_in: mailed only after a yes; opt_out: mailed unless there was a no"
    )
    topic_names: dict[Name, Text] = Field(
        default_factory=dict, description="What readers call a topic, on the page to unsubscribe and in their consent"
    )
    records: dict[Name, Record] = Field(default_factory=dict, description="Tables whose rows a step can be about")
    frequency_cap: FrequencyCap | None = Field(default=None, description="How many mails somebody gets at most")
    limits: Limits = Field(default_factory=Limits, description="How fast mails may leave, for all workers together")
    parameters: dict[Name, Text] = Field(
        default_factory=dict,
        description="What $name in a content stands for, a template text, e.g. "
        "voornaam: \"{{ person.first_name or 'bezoeker' }}\" (F11)",
    )
    tracking: Tracking = Field(default_factory=Tracking, description="What links and pictures in mails tell")
    personal_links_days: Annotated[int, Field(ge=1, le=3660, strict=True)] = Field(
        default=180, description="How many days a personal link works"
    )

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

    @field_validator("records")
    @classmethod
    def _names_are_free(cls, records: dict[str, Record]) -> dict[str, Record]:
        for name in records:
            if name in CONTEXT_NAMES:
                raise refusal(
                    f"a record cannot be called '{name}': templates use that name already", "choose another name"
                )
        return records
