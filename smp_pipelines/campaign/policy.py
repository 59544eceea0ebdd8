"""Policy: how fast and how often people are mailed, and what mails tell about their readers, as smp.yaml says it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool

from smp_pipelines.campaign.fields import FileModel, Name


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


class Tracking(FileModel):
    """What live mails tell about their readers."""

    opens: StrictBool = Field(default=True, description="A picture of one pixel tells that a mail was opened")
    clicks: StrictBool = Field(default=True, description="Links lead through the site, which notes the click")
