"""Wording: what pydantic finds wrong in a file, as problems with a line, plain words and a remedy."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from smp_pipelines.campaign.document import Document, Place
from smp_pipelines.campaign.fields import NAME_PATTERN
from smp_pipelines.problems import Problem, ProjectError

Model = TypeVar("Model", bound=BaseModel)

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list, like [a, b]",
    "dict_type": "a group of `key: value` lines",
    "model_type": "a group of `key: value` lines",
    "model_attributes_type": "a group of `key: value` lines",
}
"""What a field must be, by the type of pydantic's error."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Give the name that a misspelt one most looks like, or None."""
    return next(iter(get_close_matches(name, list(names), n=1, cutoff=0.5)), None)


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """Make a remedy for an unknown name: the nearest known one, or the names there are."""
    known = sorted(names)
    near = nearest(name, known)
    if near:
        return f"did you mean {near}?"
    return f"choose from: {', '.join(known)}" if known else None


def validate(model: type[Model], document: Document) -> Model:
    """Make the model of a document; ProjectError with every problem, each on the line of its own field."""
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        problems = [_problem(model, document, dict(detail)) for detail in error.errors(include_url=False)]
        problems.sort(key=lambda problem: problem.line or 0)
        raise ProjectError(problems) from error


def _problem(model: type[BaseModel], document: Document, detail: dict[str, Any]) -> Problem:
    place = _place(document, detail["loc"])
    message, remedy = _words(model, detail, place)
    within = ".".join(str(part) for part in place[:-1] if isinstance(part, str))
    return Problem(document.file, document.line(place), f"{message}{f' (in {within})' if within else ''}", remedy)


def _words(model: type[BaseModel], detail: dict[str, Any], place: Place) -> tuple[str, str | None]:
    """Say what is wrong and what to do, for one error of pydantic."""
    kind, given, context = detail["type"], detail["input"], detail.get("ctx") or {}
    field = next((str(part) for part in reversed(place) if isinstance(part, str)), "this file")
    if kind == "refused":
        return context["text"], context["remedy"]
    if kind == "missing":
        return f"`{field}` is missing", f"add `{field}: …`{_explanation(model, detail['loc'])}"
    if kind == "extra_forbidden":
        return f"unknown key `{field}`", did_you_mean(field, _keys_at(model, detail["loc"][:-1]))
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        return f"`{field}` cannot be '{given}'", did_you_mean(str(given), choices)
    if kind == "string_pattern_mismatch" and context["pattern"] == NAME_PATTERN:
        return f"'{given}' is not a name", "use small letters, digits and single underscores, starting with a letter"
    if kind == "string_pattern_mismatch" and field == "content":
        return f"`content` cannot be '{given}'", "name a .mjml or .html file in the campaign's own folder"
    if kind in ("too_short", "string_too_short"):
        return f"`{field}` is empty", "fill it in"
    if kind in ("greater_than_equal", "less_than_equal"):
        limit = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        return f"`{field}` cannot be {given}", f"write {limit}"
    if kind in _EXPECTED:
        remedy = f'put it in quotes: "{given}"' if kind == "string_type" and isinstance(given, int) else None
        return f"`{field}` must be {_EXPECTED[kind]}, not {'empty' if given is None else repr(given)}", remedy
    return f"`{field}`: {detail['msg']}", None


def _place(document: Document, location: Place) -> Place:
    """Leave out of pydantic's location what is not in the file: the tag of a union, the mark of a key."""
    place: Place = ()
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if part != "[key]" and (last or (*place, part) in document.lines):
            place = (*place, part)
    return place


def _keys_at(model: type[BaseModel], location: Place) -> list[str]:
    annotation: Any = model
    for part in location:
        annotation = _inside(annotation, part)
    return list(annotation.model_fields) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def _explanation(model: type[BaseModel], location: Place) -> str:
    annotation: Any = model
    for part in location[:-1]:
        annotation = _inside(annotation, part)
    fields = annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, BaseModel) else {}
    field = fields.get(str(location[-1]))
    return f" ({field.description})" if field and field.description else ""


def _inside(annotation: Any, part: str | int) -> Any:
    """Give the type that stands at one part of a location inside a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return field.annotation if field else None
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _inside(arguments[0], part)
    if origin is dict:
        return arguments[1]
    if origin in (Union, types.UnionType):
        tagged = [argument for argument in arguments if Tag(str(part)) in getattr(argument, "__metadata__", ())]
        if tagged:
            return get_args(tagged[0])[0]
        return next((found for argument in arguments if (found := _inside(argument, part)) is not None), None)
    return None
