"""Rendering: a form as its template sees it: plain values, so that a team's own theme stays simple and safe.

The html is theme/form.html; what makes it accessible is prepared here: ids, what describes a field, what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from markupsafe import Markup
from wtforms import Field
from wtforms import Form as WebForm

from smp_pipelines.campaign.form.models import FormField, in_language
from smp_pipelines.submission.form import MOST_RADIOS, FormType, Question, shown
from smp_pipelines.submission.ticket import FIELD

_AUTOCOMPLETE = {"email": "email", "phone": "tel", "postal_code": "postal-code"}
"""What a browser may fill in, where the file does not say."""


class FormTheme(Protocol):
    """What makes html of a form: the theme of the site."""

    def form(self, **values: Any) -> Markup:
        """The form, by the template form.html."""
        ...


@dataclass(frozen=True)
class ChoiceView:
    """One answer of a choice."""

    id: str
    value: str
    label: str
    chosen: bool


@dataclass(frozen=True)
class FieldView:
    """One field. layout: input, long, tick, radio or select. control: the html of an input; empty for the last two.

    error_id and help_id are there when the field has an error or a help text.
    """

    name: str
    id: str
    layout: str
    label: str
    required: bool
    help: str
    help_id: str
    error: str
    error_id: str
    control: Markup
    choices: tuple[ChoiceView, ...] = ()

    @property
    def described_by(self) -> str:
        """The ids of what tells more about the field, for aria-describedby."""
        return " ".join(part for part in (self.help_id, self.error_id) if part)

    @property
    def focus(self) -> str:
        """The id of what gets the focus by a link in the error summary."""
        return self.choices[0].id if self.choices and self.layout == "radio" else self.id


def render_form(
    theme: FormTheme,
    form: FormType,
    filled: WebForm,
    *,
    ticket: str = "",
    message: str = "",
    action: str = "",
) -> Markup:
    """The html of a form with what was posted, or is known. message: a line above it that is about all of it.

    ticket: the value of the signed hidden field; without one it is a form to look at. action: where it is posted,
    left out: to the address of the page.
    """
    fields = tuple(_view(form, name, question, filled[name]) for name, question in form.questions.items())
    wrong = [field for field in fields if field.error]
    said = form.said
    summary = said["summary_one"] if len(wrong) == 1 else said["summary_many"].format(count=len(wrong))
    return theme.form(
        action=action,
        fields=fields,
        wrong=wrong,
        summary=summary if wrong else "",
        message=message,
        button=in_language(form.form.button, form.language),
        hidden=FIELD,
        ticket=ticket,
        trap=form.trap,
        said=dict(said),
    )


def _view(form: FormType, name: str, question: Question, field: Field) -> FieldView:
    written = question.written
    help_text = in_language(written.help, form.language) if written.help else ""
    error = str(field.errors[0]) if field.errors else ""
    base = f"field-{name}"
    help_id, error_id = f"{base}-help" if help_text else "", f"{base}-error" if error else ""
    layout = _layout(written)
    view = FieldView(
        name=name,
        id=base,
        layout=layout,
        label=question.label,
        required=written.required,
        help=help_text,
        help_id=help_id,
        error=error,
        error_id=error_id,
        control=Markup(""),
        choices=_choices(form, written, base, field) if written.choices else (),
    )
    if written.choices:
        return view
    control = Markup(field(**_attributes(question, view)))  # noqa: S704 - WTForms escapes what it writes
    return FieldView(**{**view.__dict__, "control": control})


def _layout(field: FormField) -> str:
    if field.type in ("tick", "consent"):
        return "tick"
    if field.choices:
        return "radio" if len(field.choices) <= MOST_RADIOS else "select"
    return "long" if field.type == "long_text" else "input"


def _choices(form: FormType, written: FormField, base: str, field: Field) -> tuple[ChoiceView, ...]:
    given = field.raw_data[0] if field.raw_data else shown(field.data)
    options = [(value, in_language(label, form.language)) for value, label in written.choices.items()]
    if len(options) > MOST_RADIOS:
        options.insert(0, ("", form.said["choose"]))
    elif not written.required:
        options.append(("", form.said["no_answer"]))
    required_radio = len(written.choices) <= MOST_RADIOS and written.required
    return tuple(
        ChoiceView(f"{base}-{place}", value, label, value == given and not (required_radio and not given))
        for place, (value, label) in enumerate(options, 1)
    )


def _attributes(question: Question, view: FieldView) -> Mapping[str, Any]:
    written = question.written
    attributes: dict[str, Any] = {"id": view.id}
    if view.described_by:
        attributes["aria-describedby"] = view.described_by
    if view.error:
        attributes["aria-invalid"] = "true"
    if view.layout == "tick":
        return attributes
    autocomplete = written.autocomplete or _AUTOCOMPLETE.get(written.type)
    if autocomplete:
        attributes["autocomplete"] = autocomplete
    if written.type == "number":
        attributes["inputmode"] = "numeric" if question.shape.kind == "integer" else "decimal"
    elif written.type == "date":
        limits = {"min": written.minimum, "max": written.maximum}
        attributes |= {key: shown(limit) for key, limit in limits.items() if limit is not None}
    else:
        attributes["maxlength"] = question.most
    if view.layout == "long":
        attributes["rows"] = 5
    return attributes
