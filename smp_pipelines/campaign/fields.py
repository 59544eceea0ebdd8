"""Fields: the kinds of values that people write in the project's files, each judged by itself, and their base model."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from email.utils import getaddresses
from typing import Annotated

from babel import Locale, UnknownLocaleError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

NAME_PATTERN = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
"""Names of campaigns, steps, topics and records. No double underscore: it separates the parts of a slug."""


# fmt: off
CONTEXT_NAMES = (
    "person", "organisation", "step", "campaign", "project", "preheader", "links", "known", "site_url", "products",
)
# fmt: on
"""Names that templates already have; a linked record cannot be called so."""


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


def _language(value: str) -> str:
    try:
        Locale.parse(value)
    except (UnknownLocaleError, ValueError) as error:
        raise refusal(f"'{value}' is not a language", "e.g. nl, en or nl_BE") from error
    return value


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
StepName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)?$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Address = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_address)]
Language = Annotated[str, AfterValidator(_language)]
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
