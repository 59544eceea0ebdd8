"""Reading: what a visitor typed as the value that its column takes, or a friendly word about what is wrong (F06)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import phonenumbers
from babel.dates import format_date
from babel.numbers import format_decimal
from email_validator import EmailNotValidError, validate_email

from smp_pipelines.campaign.form.columns import Shape
from smp_pipelines.campaign.form.models import FormField
from smp_pipelines.submission.words import Words

Read = Callable[[str], Any]
"""Makes a value of a text that is not empty; raises ValueError with words for the visitor."""

LONGEST = {"text": 200, "long_text": 2000, "email": 254, "phone": 40, "postal_code": 20, "date": 20, "number": 40}
"""Letters of an answer, by the type of its field, where the file says nothing."""

_PLAIN_LOCAL = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*")
"""What stands before the @ of nearly every address; what else may stand there, email-validator knows."""
_LONGEST_LOCAL = 64
_POSTAL_CODE = re.compile(r"([1-9][0-9]{3})\s*([A-Z]{2})")
_NEVER_USED = ("SA", "SD", "SS")
"""The Dutch post gives these letters to nobody."""
_DATES = (r"(?P<y>\d{4})-(?P<m>\d\d?)-(?P<d>\d\d?)", r"(?P<d>\d\d?)[-/. ](?P<m>\d\d?)[-/. ](?P<y>\d{4})")
_NUMBER = re.compile(r"[+-]?\d{1,30}(?:[.,]\d{1,30})?")
_LINE_ENDS = re.compile(r"\r\n?")
_UNSEEN = {code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F, *range(0x80, 0xA0), 0xFEFF}
_DROPPED = dict.fromkeys(_UNSEEN)


def clean(text: str, lines: bool = False) -> str:
    """A text without control characters and outer space, in one way of writing (NFC); `lines`: it may have several."""
    if not lines and text.isascii() and text.isprintable():
        return " ".join(text.split())  # as most answers are
    text = _LINE_ENDS.sub("\n", unicodedata.normalize("NFC", text)).translate(_DROPPED)
    text = text.encode("utf-8", "ignore").decode("utf-8")  # half a character cannot be stored
    return text.strip() if lines else " ".join(text.split())


def read_email(said: Words, text: str) -> str:
    """An e-mail address, as it is written to; whether somebody reads it, a mail will tell."""
    local, _, domain = text.rpartition("@")
    try:
        if len(local) <= _LONGEST_LOCAL and _PLAIN_LOCAL.fullmatch(local):
            return f"{local}@{_domain(domain)}"
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise ValueError(said["email"]) from error


@lru_cache(maxsize=4096)
def _domain(domain: str) -> str:
    """A domain as it is written to. Many visitors share a few, and judging one takes most of the time of an address."""
    return validate_email(f"a@{domain}", check_deliverability=False).domain


def read_phone(said: Words, text: str) -> str:
    """A phone number as +31612345678 (E.164); without a country it is Dutch."""
    try:
        number = phonenumbers.parse(text, "NL")
    except phonenumbers.NumberParseException as error:
        raise ValueError(said["phone"]) from error
    if number.extension or not phonenumbers.is_valid_number(number):
        raise ValueError(said["phone"])
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def read_postal_code(said: Words, text: str) -> str:
    """A Dutch postal code as 1234 AB."""
    found = _POSTAL_CODE.fullmatch(text.upper())
    if found is None or found[2] in _NEVER_USED:
        raise ValueError(said["postal_code"])
    return f"{found[1]} {found[2]}"


def read_date(said: Words, field: FormField, text: str) -> date:
    """A date, as browsers send it (1990-12-31) or as people write it (31-12-1990), within the field's limits."""
    found = next((match for pattern in _DATES if (match := re.fullmatch(pattern, text))), None)
    try:
        value = date(int(found["y"]), int(found["m"]), int(found["d"])) if found else None
    except ValueError:
        value = None
    if value is None:
        raise ValueError(said["date"])
    _within(said, field, value, ("too_early", "too_late"), lambda limit: _long_date(said, limit))
    return value


def read_number(said: Words, field: FormField, shape: Shape, text: str) -> int | Decimal:
    """A number that its column can hold, within the field's limits; a comma or a point before the decimals."""
    whole = shape.kind == "integer"
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(said["whole_number" if whole else "number"])
    try:
        value = Decimal(text.replace(",", "."))
    except InvalidOperation as error:
        raise ValueError(said["number"]) from error
    if whole and value != value.to_integral_value():
        raise ValueError(said["whole_number"])
    exponent = value.normalize().as_tuple().exponent
    if shape.decimals is not None and isinstance(exponent, int) and -exponent > shape.decimals:
        raise ValueError(said["decimals"].format(most=shape.decimals))
    _within(said, field, value, ("too_small", "too_large"), lambda limit: _decimal(said, limit))
    if shape.most is not None and abs(value) > shape.most:
        what = "too_large" if value > 0 else "too_small"
        raise ValueError(said[what].format(limit=_decimal(said, shape.most if value > 0 else -shape.most)))
    return int(value) if whole else value


def read_choice(said: Words, choices: dict[str, Any], text: str) -> Any:
    """The value that a choice stands for."""
    if text not in choices:
        raise ValueError(said["choice"])
    return choices[text]


def _within(said: Words, field: FormField, value: Any, phrases: tuple[str, str], show: Callable[[Any], str]) -> None:
    if field.minimum is not None and value < field.minimum:
        raise ValueError(said[phrases[0]].format(limit=show(field.minimum)))
    if field.maximum is not None and value > field.maximum:
        raise ValueError(said[phrases[1]].format(limit=show(field.maximum)))


def _long_date(said: Words, value: date) -> str:
    return format_date(value, "long", locale=said["lang"])


def _decimal(said: Words, value: Any) -> str:
    return format_decimal(value, locale=said["lang"])
