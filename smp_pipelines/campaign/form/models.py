"""Forms: what a file in forms/ says: fields, how answers are checked, and where they go (F06, F12).

A form is a technical definition that many steps share. Its answers land in columns of the CRM, typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StrictBool, StringConstraints, model_validator

from smp_pipelines.campaign.fields import CalendarDate, FileModel, Name, Text, refusal

Column = Annotated[str, StringConstraints(pattern=r"^crm\.[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*$")]
"""A column of the CRM: crm.table.column."""

Words = Text | dict[Annotated[str, StringConstraints(pattern=r"^[a-z]{2}$")], Text]
"""A text, or one per language: {nl: …, en: …}."""


def in_language(words: Words, language: str) -> str:
    """The words in a language (`nl`); in the first one that there is when this one is missing."""
    if isinstance(words, str):
        return words
    return words.get(language) or next(iter(words.values()))


class FormField(FileModel):
    """One question of a form."""

    type: Literal[
        "text", "long_text", "email", "phone", "postal_code", "date", "number", "choice", "tick", "consent"
    ] = Field(description="What kind of answer it takes; consent: a yes or no to a topic, kept with its words")
    label: Words = Field(description="The question; for a consent these are the words that are kept with it")
    help: Words | None = Field(default=None, description="A line under the question")
    required: StrictBool = Field(default=False, description="Whether it must be answered, or ticked")
    to: Column | None = Field(default=None, description="Where the answer goes: crm.person.… or a column of `table`")
    topic: Name | None = Field(default=None, description="consent only: a name under `topics` in smp.yaml")
    choices: dict[Text, Words] = Field(
        default_factory=dict, description="choice only: the value that is stored → words"
    )
    max_length: Annotated[int, Field(ge=1, le=10_000, strict=True)] | None = Field(
        default=None, description="Letters, text and long_text only; left out: 200 and 2,000"
    )
    minimum: int | float | CalendarDate | None = Field(default=None, description="number and date only")
    maximum: int | float | CalendarDate | None = Field(default=None, description="number and date only")
    autocomplete: Text | None = Field(default=None, description="What a browser may fill in, e.g. given-name")

    @model_validator(mode="after")
    def _fits(self) -> FormField:
        if self.type == "consent" and (self.topic is None or self.to is not None):
            raise refusal("a consent names its `topic`, and has no `to`", "it is stored in crm.consent, with its words")
        if self.type != "consent" and self.topic is not None:
            raise refusal(f"a field of type {self.type} has no `topic`", "write `type: consent`, or leave `topic` out")
        if self.type != "consent" and self.to is None:
            raise refusal(
                "this field does not say where its answer goes", "add `to: crm.person.…`, or a column of `table`"
            )
        if (self.type == "choice") != bool(self.choices):
            raise refusal(
                "a choice needs `choices`, and nothing else has them", "e.g. `choices: {1: {nl: Goed, en: Good}}`"
            )
        return self


class AddToList(FileModel):
    """Put whoever submits the form on a list."""

    add_to_list: Text = Field(description="The name of the list; made when it is not there")


class RemoveFromList(FileModel):
    """Take whoever submits the form off a list."""

    remove_from_list: Text = Field(description="The name of the list")


class Form(FileModel):
    """A form: the contents of forms/<name>.yaml."""

    name: Text = Field(description="What colleagues call this form")
    description: str = Field(default="", description="What it is for")
    access: Literal["open", "closed"] = Field(description="open: for everybody; closed: only by a personal link (F12)")
    match: Literal["email", "email_and_last_name", "never"] = Field(
        default="email",
        description="open forms: when a visitor is somebody the CRM has already. What is known of them is not "
        "overwritten: an answer fills only what was empty. never: always a new person",
    )
    double_opt_in: StrictBool = Field(
        default=False, description="A yes counts only when it is confirmed by a link in a mail: the step after the form"
    )
    table: Annotated[str, StringConstraints(pattern=r"^crm\.[a-z_][a-z0-9_]*$")] | None = Field(
        default=None,
        description="A table that gets one row per submission: its key is submission_id, it has person_id, and may "
        "have submitted_at and the key of the linked record",
    )
    fields: Mapping[Name, FormField] = Field(min_length=1, description="The questions, in their order")
    button: Words = Field(default={"nl": "Versturen", "en": "Send"}, description="What is on the button")
    processing: tuple[AddToList | RemoveFromList, ...] = Field(
        default=(), description="What happens after the answers are stored"
    )
