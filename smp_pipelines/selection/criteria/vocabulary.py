"""The keys of a criteria file with their explanations, and the JSON Schema made of them for editors."""

from __future__ import annotations

from typing import Any

_Schema = dict[str, Any]

_TEXT: _Schema = {"type": "string", "minLength": 1}
_TRUTH: _Schema = {"type": "boolean"}
_NUMBER: _Schema = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}]}
_VALUE: _Schema = {"type": ["string", "number", "boolean"]}
_DATE: _Schema = {
    "type": "string",
    "examples": ["2026-01-31", "today", "30 days ago", "in 2 days", "this month", "12 hours ago", "2026-01-31 10:00"],
}
_CONDITION: _Schema = {"$ref": "#/$defs/Condition"}


def _list(items: _Schema) -> _Schema:
    return {"type": "array", "items": items, "minItems": 1}


def _pair(items: _Schema) -> _Schema:
    return {"type": "array", "items": items, "minItems": 2, "maxItems": 2}


def _explained(description: str, schema: _Schema) -> _Schema:
    return {"description": description, **schema}


_DATES: dict[str, _Schema] = {
    "during": _explained("On this day or in this period: today, 2026-01-31, this month, last year", _DATE),
    "before": _explained("Before this day or period begins, or before this moment", _DATE),
    "after": _explained("After this day or period has ended, or after this moment", _DATE),
    "since": _explained("From the beginning of this day or period on; or from this moment on", _DATE),
    "until": _explained("Up to the end of this day or period; or up to this moment", _DATE),
}
_NUMBERS: dict[str, _Schema] = {
    "is": _explained("Exactly this number", _NUMBER),
    "more_than": _explained("More than this number", _NUMBER),
    "at_least": _explained("This number or more", _NUMBER),
    "less_than": _explained("Less than this number", _NUMBER),
    "at_most": _explained("This number or less", _NUMBER),
    "between": _explained("From the first number up to the second; both count", _pair(_NUMBER)),
}
_FIELD: dict[str, _Schema] = {
    "field": _explained(
        "The field: city or person.city, organisation.kind through a reference, buyer_id.city by the foreign key", _TEXT
    ),
    "is": _explained("Exactly this, capitals included", _VALUE),
    "is_not": _explained("Not this. It holds for an empty field as well: no city is not Utrecht either", _VALUE),
    "in": _explained("One of these, capitals included", _list(_VALUE)),
    "not_in": _explained("None of these. It holds for an empty field as well", _list(_VALUE)),
    "contains": _explained("Text with this in it; capitals make no difference", _TEXT),
    "starts_with": _explained("Text that starts like this; capitals make no difference", _TEXT),
    "ends_with": _explained("Text that ends like this; capitals make no difference", _TEXT),
    **{key: schema for key, schema in _NUMBERS.items() if key not in ("is", "between")},
    "between": _explained("From the first number or day up to the second; both count", _pair(_VALUE)),
    **_DATES,
    "anniversary": _explained(
        "The same day and month as this day, so with a date of birth: whose birthday is today, or in 7 days", _DATE
    ),
    "empty": _explained("true: nothing is filled in, or only spaces; false: something is", _TRUTH),
    "filled": _explained("true: something is filled in; false: nothing is, or only spaces", _TRUTH),
}
_RECORDS: dict[str, _Schema] = {
    "where": _explained("Which of these records count: a condition on their fields and what they refer to", _CONDITION),
    "date": _explained("The date that since, until … are about; needed where the record has several", _TEXT),
    **_DATES,
    "between": _explained("From the first day up to the second; both count", _pair(_DATE)),
    "by": _explained("The foreign key, where the record refers to people more than once", _TEXT),
}
_RECEIVED: dict[str, _Schema] = {
    "within": _explained('How long ago: "30 days", "12 hours", "today" or "ever"; ever when left out', _TEXT),
    "record": _explained("Only about the same record, e.g. performance; needs `rows` that refer to it", _TEXT),
    "by": _explained(
        "address (people who share an address count as one) or person; address when left out",
        {"enum": ["address", "person"]},
    ),
}

CONDITIONS: dict[str, dict[str, _Schema]] = {
    "all": {"all": _explained("All of these conditions hold", _list(_CONDITION))},
    "any": {"any": _explained("At least one of these conditions holds", _list(_CONDITION))},
    "not": {"not": _explained("This condition does not hold", _CONDITION)},
    "field": _FIELD,
    "selection": {"selection": _explained("Is in the selection of this name", _TEXT)},
    "has": {
        "has": _explained("Has a record of this table that refers to the person: ticket, donation", _TEXT),
        **_RECORDS,
        "count": _explained("How many records; people without any count as 0", {"$ref": "#/$defs/Count"}),
        "sum": _explained("The sum of a field of the records; 0 without any", {"$ref": "#/$defs/Sum"}),
    },
    "has_not": {
        "has_not": _explained("Has no such record of this table: ticket, contact_moment", _TEXT),
        **_RECORDS,
    },
    "received": {
        "received": _explained("Received this step (campaign/step)", _TEXT),
        **_RECEIVED,
    },
    "not_received": {
        "not_received": _explained(
            "Did not receive this step (campaign/step); a continuous step needs this (F17)", _TEXT
        ),
        **_RECEIVED,
    },
}
"""The keys of each condition, by the key that tells which one it is."""

MEASURES: dict[str, dict[str, _Schema]] = {
    "count": {"of": _explained("Count the different values of this field, not the records", _TEXT), **_NUMBERS},
    "sum": {"of": _explained("The field that is added up: amount", _TEXT), **_NUMBERS},
}
"""The keys of `count` and `sum`."""

FILE: dict[str, _Schema] = {
    "description": _explained("Who is in this selection, in one sentence", _TEXT),
    "rows": _explained(
        "What a row of the selection is: person when left out, or a record of people (ticket: one row for each person"
        " and performance), or a record alone (performance) for an internal send",
        _TEXT,
    ),
    "record": _explained("The linked record of a row, where `rows` refers to more than one: performance", _TEXT),
    "where": _explained("Who is in this selection", _CONDITION),
}
"""The keys at the top of a criteria file."""

_TITLES = {
    "all": "AllOf",
    "any": "AnyOf",
    "not": "Not",
    "field": "Field",
    "selection": "InSelection",
    "has": "Has",
    "has_not": "HasNot",
    "received": "Received",
    "not_received": "NotReceived",
}


def json_schema() -> _Schema:
    """The JSON Schema of a criteria file; names of fields and tables are for the compiler to judge."""
    definitions = {_TITLES[name]: _object(_TITLES[name], keys, [name]) for name, keys in CONDITIONS.items()}
    definitions["Field"]["minProperties"] = 2
    definitions["Count"] = _object("Count", MEASURES["count"], [])
    definitions["Sum"] = _object("Sum", MEASURES["sum"], ["of"])
    definitions["Condition"] = {
        "title": "Condition",
        "description": "One condition. An empty field meets no condition, and so it meets the opposite of each.",
        "type": "object",
        "properties": {},
        "anyOf": [{"$ref": f"#/$defs/{title}"} for title in _TITLES.values()],
    }
    return {
        **_object("Criteria", FILE, ["description", "where"]),
        "description": "A selection by criteria: sql/selections/<name>.yaml, beside those written in SQL (F51).",
        "$defs": definitions,
    }


def _object(title: str, keys: dict[str, _Schema], required: list[str]) -> _Schema:
    return {
        "title": title,
        "type": "object",
        "properties": keys,
        "required": required,
        "additionalProperties": False,
    }
