"""Form: a form of the project in the language of a step: its questions, and the form of WTForms around them (F06).

A question reads and judges its own answer, in our own words, because WTForms' are short. Good answers need no more;
a form of WTForms is made to be shown: empty, filled in beforehand, or with what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property, partial
from typing import Any

from wtforms import BooleanField, Field
from wtforms import Form as WebForm
from wtforms.validators import StopValidation
from wtforms.widgets import DateInput, EmailInput, TelInput, TextArea, TextInput

from smp_pipelines.campaign.form.columns import Shape, choice_value, find, shape
from smp_pipelines.campaign.form.models import Form, FormField, in_language
from smp_pipelines.crm.catalog import Catalog
from smp_pipelines.submission.reading import (
    LONGEST,
    Read,
    clean,
    read_choice,
    read_date,
    read_email,
    read_number,
    read_phone,
    read_postal_code,
)
from smp_pipelines.submission.words import Words, words

MOST_RADIOS = 6
"""A choice with more answers is a list that opens."""
_WIDGETS = {
    "long_text": TextArea,
    "email": EmailInput,
    "phone": TelInput,
    "date": DateInput,
}
_TICKS = ("tick", "consent")
_UNTICKED = ("", "false", "0", "no", "off")


class Posted(Mapping[str, str]):
    """What was posted, as WTForms wants to read it: several values may have one name."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> str:
        return self._values[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def getlist(self, name: str) -> list[str]:
        """All values of a name."""
        return self._values.get(name, [])


@dataclass(frozen=True)
class Question:
    """One field of a form: how its answer is read. missing: what is said when it is required and empty."""

    written: FormField
    shape: Shape
    label: str
    most: int
    missing: str | None
    too_long: str
    reads: Read = field(repr=False)

    @property
    def is_tick(self) -> bool:
        """Whether the answer is a tick: yes, or nothing."""
        return self.written.type in _TICKS

    @property
    def has_lines(self) -> bool:
        """Whether the answer may have several lines."""
        return self.written.type == "long_text"

    def read(self, values: Sequence[str]) -> Any:
        """The value that was answered, None for none; raises ValueError with words for the visitor."""
        if self.is_tick:
            return bool(values) and values[0] not in _UNTICKED
        text = clean(values[0], self.has_lines) if values else ""
        if len(text) > self.most:
            raise ValueError(self.too_long.format(most=self.most, count=len(text)))
        value = self.reads(text) if text else None
        if isinstance(value, str) and self.shape.most is not None and len(value) > self.shape.most:
            raise ValueError(self.too_long.format(most=self.shape.most, count=len(value)))
        return value

    def is_missing(self, value: Any) -> bool:
        """Whether an answer is empty that must not be."""
        return self.missing is not None and (value is None or value is False)


class _AnswerField(Field):
    """An answer that is typed or chosen, as WTForms shows it."""

    def __init__(self, label: str, *, question: Question, **options: Any) -> None:
        super().__init__(label, **options)
        self._question = question

    def process_formdata(self, valuelist: Sequence[str]) -> None:
        """Read what was posted; ValueError with words for the visitor."""
        self.data = None
        self.data = self._question.read(valuelist)

    def _value(self) -> str:
        if self.raw_data:
            return clean(str(self.raw_data[0]), self._question.has_lines)
        return shown(self.data)


class _Answered:
    """Refuses an empty answer."""

    field_flags: Mapping[str, Any] = {"required": True}

    def __init__(self, question: Question) -> None:
        self._question = question

    def __call__(self, _form: Any, field: Field) -> None:
        if field.process_errors:
            raise StopValidation
        if self._question.is_missing(field.data):
            raise StopValidation(str(self._question.missing))


def shown(value: Any) -> str:
    """A value as it stands in a field: dates as browsers want them, numbers without an exponent."""
    if value is None:
        return ""
    if isinstance(value, date):
        return value.isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


@dataclass(frozen=True)
class FormType:
    """A form in one language, made once: it reads answers, and gives a form of WTForms for one visitor."""

    form: Form
    language: str
    questions: Mapping[str, Question]
    said: Words = field(repr=False)
    _type: type[WebForm] = field(repr=False)

    @cached_property
    def trap(self) -> str:
        """The name of the field that only programs fill in."""
        names = ("website", "homepage", "website_address", "company_website")
        return next((name for name in names if name not in self.form.fields), "another_website")

    def read(self, posted: Posted) -> dict[str, Any] | None:
        """The typed answers; None when something is missing or wrong, which `fill` tells by field."""
        answers: dict[str, Any] = {}
        for name, question in self.questions.items():
            try:
                answers[name] = value = question.read(posted.getlist(name))
            except ValueError:
                return None
            if question.is_missing(value):
                return None
        return answers

    def fill(self, posted: Posted | None = None, known: Mapping[str, Any] | None = None) -> WebForm:
        """The form as it is shown: with what was posted and what is wrong with that, or with what is known."""
        filled = self._type(posted, data=dict(known or {}))
        if posted is not None:
            filled.validate()
        return filled


def make_form(form: Form, language: str, catalog: Catalog) -> FormType:
    """Make a form in a language (that of its step); the catalogue says what fits into its columns."""
    said = words(language)
    questions = {name: _question(each, said, language, catalog) for name, each in form.fields.items()}
    fields = {name: _unbound(question) for name, question in questions.items()}
    return FormType(form, language, questions, said, type("SubmissionForm", (_Base,), fields))


class _Base(WebForm):
    """What all forms share."""

    class Meta:
        """WTForms' own words are not used, so nothing is translated."""

        locales = False
        cache_translations = False


def _question(written: FormField, said: Words, language: str, catalog: Catalog) -> Question:
    column = find(catalog, written.to)
    found = shape(column) if column else Shape("boolean" if written.type in _TICKS else "text")
    missing = "missing_tick" if written.type in _TICKS else "missing_choice" if written.choices else "missing"
    most = written.max_length or LONGEST.get(written.type, 200)
    return Question(
        written=written,
        shape=found,
        label=in_language(written.label, language),
        most=min(most, found.most or most) if written.type in ("text", "long_text") else most,
        missing=said[missing] if written.required else None,
        too_long=said["too_long"],
        reads=_reader(written, found, said),
    )


def _unbound(question: Question) -> Any:
    validators = [_Answered(question)] if question.missing is not None else []
    if question.is_tick:
        return BooleanField(question.label, validators=validators, false_values=(False, *_UNTICKED))
    widget = _WIDGETS.get(question.written.type, TextInput)()
    return _AnswerField(question.label, question=question, widget=widget, validators=validators)


def _reader(field: FormField, shape: Shape, said: Words) -> Read:
    if field.type == "email":
        return partial(read_email, said)
    if field.type == "phone":
        return partial(read_phone, said)
    if field.type == "postal_code":
        return partial(read_postal_code, said)
    if field.type == "date":
        return partial(read_date, said, field)
    if field.type == "number":
        return partial(read_number, said, field, shape)
    if field.type == "choice":
        return partial(read_choice, said, {value: choice_value(value, shape) for value in field.choices})
    return str
