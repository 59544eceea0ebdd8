"""The Jinja macros of selections: `not_received` and `received`, as conditions on smp.contact_moment (F17).

A selection is a Jinja template that yields SQL. It runs in a sandbox in which only these two macros exist; what
comes out is then checked by gate.py like any SQL, so a template can do no more than hand-written SQL can.
A macro writes its condition on one line, so that a line number in the SQL is a line number in the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from smp_pipelines.problems import Problem, ProjectError, SmpError

By = Literal["address", "person"]

_WITHIN = re.compile(r"([1-9][0-9]{0,4}) (minute|hour|day|week|month|year)s?")
_COLUMN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", re.ASCII)

# One scan of the contact moments, then hash joins. A null among the excluded would make `not in` exclude
# everybody, so nulls are taken out here and cannot get in.
_PEOPLE: dict[tuple[By, bool], str] = {
    ("person", False): "select person_id from smp.contact_moment where {received} and person_id is not null",
    ("person", True): (
        "select person_id, record_id from smp.contact_moment"
        " where {received} and person_id is not null and record_id is not null"
    ),
    ("address", False): (
        "with got as materialized"
        " (select person_id from smp.contact_moment where {received} and person_id is not null)"
        " select person_id from got union all"
        " select other.person_id from crm.person as one join crm.person as other"
        " on other.email_key = one.email_key and other.person_id <> one.person_id"
        " where one.person_id in (select person_id from got) and other.person_id is not null"
    ),
    ("address", True): (
        "with got as materialized (select person_id, record_id from smp.contact_moment"
        " where {received} and person_id is not null and record_id is not null),"
        " keys as (select distinct email_key, record_id from got join crm.person using (person_id)"
        " where email_key is not null)"
        " select person_id, record_id from got union all"
        " select person_id, record_id from keys join crm.person using (email_key) where person_id is not null"
    ),
}

_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
_ENVIRONMENT.globals.clear()  # no range(), no namespace(): only the macros


def render(source: str, steps: Collection[str], file: Path | None = None) -> str:
    """The SQL of a selection's template; `steps` are the keys ("campaign/step") that the macros may name.

    Raises ProjectError with the line of the template for whatever is wrong in it.
    """
    macros = {"received": received_condition("in", steps), "not_received": received_condition("not in", steps)}
    try:
        return _ENVIRONMENT.from_string(source, globals=macros).render()
    except TemplateSyntaxError as error:
        raise ProjectError([Problem(file, error.lineno, f"the template: {error.message}")]) from error
    except (TemplateError, SmpError, TypeError, ValueError, ArithmeticError) as error:
        raise ProjectError([Problem(file, _line(error), f"the template: {_words(error)}")]) from error


def received_condition(operator: Literal["in", "not in"], steps: Collection[str]) -> Callable[..., str]:
    """The macro with this operator: a function that writes its condition as SQL. It raises SmpError."""

    def macro(
        step: str, within: str = "ever", person: str = "person_id", record: str | None = None, by: By = "address"
    ) -> str:
        _check_names(step, steps, person, record, by)
        people = _PEOPLE[by, record is not None].format(received=f"step = '{step}' and received{_since(within)}")
        left = f"({person}, {record})" if record is not None else person
        return f"{left} {operator} ({people})"

    macro.__name__ = "received" if operator == "in" else "not_received"
    return macro


def _check_names(step: str, steps: Collection[str], person: str, record: str | None, by: str) -> None:
    if step not in steps or "'" in step:
        nearest = get_close_matches(str(step), steps, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else 'write "campaign/step"'
        raise SmpError(f"there is no step {step!r}; {hint}")
    for name in (person, record):
        if name is not None and not _COLUMN.fullmatch(name):
            raise SmpError(f"{name!r} is not the name of a column, such as person_id or p.person_id")
    if by not in ("address", "person"):
        raise SmpError(f'by={by!r} is unknown; write by="address" or by="person"')


def _since(within: str) -> str:
    if within == "ever":
        return ""
    if within == "today":
        return " and happened_at >= cast(current_date as timestamptz)"
    if not _WITHIN.fullmatch(within):
        raise SmpError(f'within={within!r} is no period; write e.g. "30 days", "12 hours", "today" or "ever"')
    return f" and happened_at > now() - interval '{within}'"


def _line(error: BaseException) -> int | None:
    """The line of the template in which an error arose: Jinja puts it into the traceback."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _words(error: BaseException) -> str:
    return str(error).replace("received_condition.<locals>.macro()", "the macro")
