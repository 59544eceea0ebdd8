"""Environments: Jinja2 as templates of mails and pages may use it.

The sandbox keeps templates away from Python, and only filters that always give the same answer and
cannot switch off escaping are there. Dates, times and amounts are written in the project's language
and local time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_currency
from jinja2 import StrictUndefined
from jinja2.exceptions import FilterArgumentError, SecurityError
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from smp_pipelines.campaign.content.addresses import web_address
from smp_pipelines.campaign.content.links import LINK_NAMES, Links

# fmt: off
FILTERS = (
    "abs", "capitalize", "count", "d", "default", "e", "escape", "first", "float", "int", "join", "last", "length",
    "list", "lower", "max", "min", "replace", "reverse", "round", "sort", "string", "sum", "title", "trim",
    "truncate", "unique", "upper", "urlencode",
)
# fmt: on
"""Jinja's own filters that templates may use; `safe` and `attr` are left out on purpose."""

GLOBALS = ("range", "namespace")
"""Jinja's own functions that templates may use."""


class MailEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox over plain rows: an attribute of a dict is its value, never a method of dict."""

    intercepted_binops = frozenset(("*", "**"))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Read a column of a row; everything else goes through the sandbox."""
        if type(obj) is dict:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Links give what templates may ask of them and nothing else, such as the key that signs them."""
        if isinstance(obj, Links) and attr not in LINK_NAMES:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002
        """Multiply numbers only: text or powers could be made to fill the memory."""
        if operator == "**" or not all(isinstance(value, (int, float, Decimal)) for value in (left, right)):
            raise SecurityError(f"{operator} is only for numbers here" if operator == "*" else "** is not used here")
        return left * right


def make_environment(language: str, zone: ZoneInfo, html: bool) -> MailEnvironment:
    """Make an environment; `html` turns escaping on. Undefined names are errors, empty values are nothing."""
    environment = MailEnvironment(undefined=StrictUndefined, autoescape=html, finalize=_nothing_for_none)
    environment.filters = {name: environment.filters[name] for name in FILTERS} | _local_filters(language, zone)
    environment.globals = {name: environment.globals[name] for name in GLOBALS}
    return environment


def _nothing_for_none(value: Any) -> Any:
    return "" if value is None else value


def _local_filters(language: str, zone: ZoneInfo) -> dict[str, Callable[..., Any]]:
    """Make the filters of our own. A send has few different values, so answers are kept."""
    locale = Locale.parse(language)

    def local(value: Any, wanted: tuple[type, ...], name: str) -> Any:
        if not isinstance(value, wanted):
            raise FilterArgumentError(f"`{name}` cannot be used for {value!r}")
        return value.astimezone(zone) if isinstance(value, datetime) and value.tzinfo is not None else value

    @lru_cache(maxsize=4096)
    def date_text(value: date, pattern: str) -> str:
        """Write a date: 4 december 2026, or by a pattern of Babel such as "d MMMM"."""
        return format_date(local(value, (date,), "date"), format=pattern, locale=locale)

    @lru_cache(maxsize=4096)
    def time_text(value: datetime | time) -> str:
        """Write a time of day: 20:15."""
        moment = local(value, (datetime, time), "time")
        return format_time(moment.time() if isinstance(moment, datetime) else moment, format="short", locale=locale)

    @lru_cache(maxsize=4096)
    def euro_text(value: Decimal | float) -> str:
        """Write an amount of money: € 12,50."""
        return format_currency(local(value, (Decimal, int, float), "euro"), "EUR", locale=locale)

    return {
        "date": _empty_for_none(lambda value, pattern="long": date_text(value, pattern)),
        "time": _empty_for_none(time_text),
        "weekday": _empty_for_none(lambda value: date_text(value, "EEEE")),
        "euro": _empty_for_none(euro_text),
        "web_address": web_address,
    }


def _empty_for_none(write: Callable[..., str]) -> Callable[..., Any]:
    def written(value: Any, *arguments: str) -> Any:
        if value is None:
            return ""
        return value if isinstance(value, Undefined) else write(value, *arguments)

    return written
