"""A small CRM, and a plain reading of criteria over its rows in Python: what the compiled SQL is held against."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
NOW = datetime(2026, 3, 29, 8, 0, tzinfo=UTC)
"""The day on which the clock goes forward, so that a day has 23 hours."""
TODAY = NOW.astimezone(AMSTERDAM).date()
STEPS = {"mail/step"}
SCHEMA = """
create table crm.organisation (organisation_id bigint primary key, kind text);
create table crm.person (
    person_id bigint primary key, city text, language text not null, birth_date date, visits integer, vip boolean,
    email_key text, created_at timestamptz not null,
    organisation_id bigint references crm.organisation (organisation_id)
);
create table crm.show (show_id bigint primary key, genre text not null, starts_at timestamptz);
create table crm.booking (
    booking_id bigint primary key, person_id bigint references crm.person (person_id),
    show_id bigint references crm.show (show_id), price numeric(10, 2), bought_at timestamptz not null
);
create table crm.line (
    line_id bigint primary key, booking_id bigint not null references crm.booking (booking_id), amount integer
);
"""
Row = dict[str, Any]
Condition = dict[str, Any]


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=AMSTERDAM)


def some_moment(random: Random) -> datetime:
    """A moment near the edges that relative dates have: a local midnight, just before it, or some hour."""
    day = TODAY - timedelta(days=random.choice([0, 1, 2, 28, 29, 30, 31, 364, 365, 366, -1, -2]))
    return midnight(day) + random.choice([timedelta(0), timedelta(microseconds=-1), timedelta(hours=7)])


def make_crm() -> dict[str, list[Row]]:
    """A small CRM with holes in it."""
    random = Random(7)
    some = random.choice
    days = [None, date(2000, 2, 29), date(1961, 3, 29), date(1961, 3, 30), date(2026, 3, 29), date(2026, 3, 1)]
    people = [
        {
            "person_id": n,
            "city": some([None, "", " ", "Utrecht", "utrecht", "Ede", "50% af"]),
            "language": some(["nl", "de"]),
            "birth_date": some(days),
            "visits": some([None, -1, 0, 1, 5]),
            "vip": some([None, True, False]),
            "email_key": some([None, "a@example.org", "b@example.org", "c@example.org"]),
            "created_at": some_moment(random),
            "organisation_id": some([None, 1, 2, 3]),
        }
        for n in range(1, 41)
    ]
    bookings = [
        {
            "booking_id": n,
            "person_id": some([None, *range(1, 25)]),
            "show_id": some([None, 1, 2, 3]),
            "price": some([None, Decimal("0.00"), Decimal("12.50"), Decimal("20.00")]),
            "bought_at": some_moment(random),
        }
        for n in range(1, 61)
    ]
    lines = [
        {"line_id": n, "booking_id": random.randint(1, 60), "amount": some([None, 0, 1, 2, -2])} for n in range(1, 80)
    ]
    received = [
        {"person_id": n, "step": some(["mail/step", "other/step"]), "happened_at": some_moment(random)}
        | {"received": some([True, True, False])}
        for n in range(1, 15)
    ]
    return {
        "crm.organisation": [
            {"organisation_id": n, "kind": kind} for n, kind in ((1, "school"), (2, None), (3, "Fonds"))
        ],
        "crm.person": people,
        "crm.show": [
            {"show_id": 1, "genre": "opera", "starts_at": midnight(TODAY + timedelta(days=2))},
            {"show_id": 2, "genre": "dans", "starts_at": None},
            {"show_id": 3, "genre": "opera", "starts_at": midnight(TODAY)},
        ],
        "crm.booking": bookings,
        "crm.line": lines,
        "smp.contact_moment": received,
        "smp.selections.readers": [{"person_id": n} for n in (None, 1, 3, 5, 7, 11, 30)],
    }


CRM = make_crm()


KEYS = {
    table: {row[table.partition(".")[2] + "_id"]: row for row in CRM[table]}
    for table in ("crm.organisation", "crm.person", "crm.show", "crm.booking")
}


def look_around(row: Row | None) -> dict[str, Row | None]:
    """The rows that a row refers to, by the name of their table; its own comes first."""
    if row is None:
        return {}
    if "line_id" in row:
        return {"line": row, **look_around(KEYS["crm.booking"][row["booking_id"]])}
    person = KEYS["crm.person"].get(row.get("person_id"))
    if "booking_id" in row:
        return {"booking": row, "show": KEYS["crm.show"].get(row["show_id"]), **look_around(person)}
    if "step" in row:
        return {"contact_moment": row, **look_around(person)}
    return {"person": row, "organisation": KEYS["crm.organisation"].get(row["organisation_id"])}


AROUND = {
    id(row): look_around(row)
    for table in ("crm.person", "crm.booking", "crm.line", "smp.contact_moment")
    for row in CRM[table]
}
REFERS = {("booking", "person"), ("line", "person"), ("line", "booking"), ("contact_moment", "person")}


def moved(day: date, count: int, unit: str) -> date:
    if unit in ("day", "week"):
        return day + timedelta(days=count * (7 if unit == "week" else 1))
    months = day.year * 12 + day.month - 1 + count * (12 if unit == "year" else 1)
    last = (date(months // 12 + (months % 12 == 11), (months + 1) % 12 + 1, 1) - timedelta(days=1)).day
    return date(months // 12, months % 12 + 1, min(day.day, last))


def span(text: str) -> tuple[date, date]:
    """The first day of a written day or period, and the day after its last."""
    words = text.split()
    if words[0] in ("this", "last", "next"):
        first = {"week": TODAY - timedelta(days=TODAY.weekday()), "month": TODAY.replace(day=1)}.get(
            words[1], TODAY.replace(month=1, day=1)
        )
        first = moved(first, {"this": 0, "last": -1, "next": 1}[words[0]], words[1])
        return first, moved(first, 1, words[1])
    if words[0] == "in":
        day = moved(TODAY, int(words[1]), words[2].rstrip("s"))
    elif words[-1] == "ago":
        day = moved(TODAY, -int(words[0]), words[1].rstrip("s"))
    else:
        day = TODAY if text == "today" else date.fromisoformat(text)
    return day, day + timedelta(days=1)


def in_time(operator: str, value: Any, found: date | datetime) -> bool:
    local = found.astimezone(AMSTERDAM).date() if isinstance(found, datetime) else found
    if operator == "between":
        return span(value[0])[0] <= local < span(value[1])[1]
    if operator == "anniversary":
        day = span(value)[0]
        return moved(local, 12 * (day.year - local.year), "month") == day
    first, after = span(value)
    return {
        "during": first <= local < after,
        "before": local < first,
        "after": local >= after,
        "since": local >= first,
        "until": local < after,
    }[operator]


_NUMBER: dict[str, Callable[[Any, Any], bool]] = {
    "is": lambda found, value: found == value,
    "more_than": lambda found, value: found > value,
    "at_least": lambda found, value: found >= value,
    "less_than": lambda found, value: found < value,
    "at_most": lambda found, value: found <= value,
    "between": lambda found, value: value[0] <= found <= value[1],
}


def meets(operator: str, value: Any, found: Any) -> bool:
    """Whether a value that was found meets an operator; nothing found meets only the negative ones."""
    positive = {"is_not": "is", "not_in": "in", "filled": "empty"}.get(operator)
    if positive:
        return not meets(positive, value, found)
    if operator == "empty":
        return (found is None or (isinstance(found, str) and not found.strip())) == value
    if found is None:
        return False
    if operator == "in":
        return found in value
    if isinstance(found, date):
        return in_time(operator, value, found)
    if isinstance(found, str) and operator != "is":
        text, part = found.lower(), value.lower()
        return {
            "contains": part in text,
            "starts_with": text.startswith(part),
            "ends_with": text.endswith(part),
        }[operator]
    return _NUMBER[operator](found, value)


def value_of(field: str, row: Row) -> Any:
    table, _, name = field.rpartition(".")
    source = AROUND[id(row)].get(table) if table else row
    return source[name] if source else None


def holds(condition: Condition, row: Row) -> bool:
    """Whether a row meets a condition, as a person would read it."""
    if "all" in condition:
        return all(holds(each, row) for each in condition["all"])
    if "any" in condition:
        return any(holds(each, row) for each in condition["any"])
    if "not" in condition:
        return not holds(condition["not"], row)
    if "field" in condition:
        found = value_of(condition["field"], row)
        return all(meets(key, value, found) for key, value in condition.items() if key != "field")
    person = (AROUND[id(row)].get("person") or {}).get("person_id")
    if "selection" in condition:
        return person is not None and person in [each["person_id"] for each in CRM["smp.selections.readers"]]
    if "received" in condition or "not_received" in condition:
        return received(person, condition.get("within")) == ("received" in condition)
    name = condition.get("has", condition.get("has_not"))
    found = [each for each in records_of(name, row) if counts(condition, each)]
    if "has_not" in condition:
        return not found
    if "count" not in condition and "sum" not in condition:
        return bool(found)
    return numbers_hold(condition, found)


def numbers_hold(condition: Condition, found: list[Row]) -> bool:
    """Whether the count and the sum of records are as asked."""
    counted, summed = condition.get("count", {}), condition.get("sum", {})
    number = len({value_of(counted["of"], each) for each in found} - {None}) if "of" in counted else len(found)
    total = sum(each[summed["of"]] or 0 for each in found) if summed else 0
    asked = [(key, value, number) for key, value in counted.items()]
    asked += [(key, value, total) for key, value in summed.items()]
    return all(_NUMBER[key](figure, value) for key, value, figure in asked if key != "of")


def records_of(name: str, row: Row) -> list[Row]:
    """The records of a table that refer to this row, or else to its person."""
    own = next(iter(AROUND[id(row)]))
    target = own if (name, own) in REFERS else "person"
    shared = AROUND[id(row)].get(target)
    records = CRM[f"{'smp' if name == 'contact_moment' else 'crm'}.{name}"]
    return [each for each in records if shared is not None and AROUND[id(each)].get(target) is shared]


def counts(condition: Condition, record: Row) -> bool:
    """Whether a record is one of those that a `has` asks for."""
    when = value_of(condition.get("date", ""), record) if "date" in condition else None
    when = when or record.get("bought_at") or record.get("happened_at")
    dates = [key for key in ("during", "before", "after", "since", "until", "between") if key in condition]
    return ("where" not in condition or holds(condition["where"], record)) and all(
        when is not None and in_time(key, condition[key], when) for key in dates
    )


def received(person: int | None, within: str | None) -> bool:
    """Whether a person, or somebody with the same address, received mail/step."""
    since = NOW - timedelta(days=int(within.split()[0])) if within else None
    got = {
        each["person_id"]
        for each in CRM["smp.contact_moment"]
        if each["step"] == "mail/step" and each["received"] and (since is None or each["happened_at"] > since)
    }
    address = {each["person_id"]: each["email_key"] for each in CRM["crm.person"]}
    return person in got or any(address.get(person) and address.get(person) == address[each] for each in got)
