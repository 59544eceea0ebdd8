"""What criteria mean: random criteria give the people that a plain reading of them in Python gives."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smp_pipelines.crm.catalog import Catalog, read_catalog
from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.criteria.file import read_criteria
from smp_pipelines.selection.gate import check_query, duckdb_sql
from tests.support.criteria import AMSTERDAM, CRM, NOW, SCHEMA, STEPS, Condition, holds

DAYS = st.sampled_from(
    ["today", "2 days ago", "1 month ago", "1 year ago", "in 2 days", "this week", "this month", "last month"]
) | st.sampled_from(["this year", "2026-02-28", "2026-03-29", "65 years ago"])
SINGLE_DAYS = st.sampled_from(["today", "in 1 day", "2026-02-28", "2028-02-29", "in 1 month"])
COUNTS = st.one_of(
    st.dictionaries(
        st.sampled_from(["is", "more_than", "at_least", "less_than", "at_most"]),
        st.integers(-1, 3),
        min_size=1,
        max_size=2,
    ),
    st.lists(st.integers(-1, 3), min_size=2, max_size=2).map(lambda pair: {"between": sorted(pair)}),
)


def dates_of(days: st.SearchStrategy[str]) -> st.SearchStrategy[Condition]:
    one = st.tuples(st.sampled_from(["during", "before", "after", "since", "until"]), days).map(lambda one: dict([one]))
    return one | st.tuples(days, days).map(lambda pair: {"between": list(pair)})


EMPTY = st.tuples(st.sampled_from(["empty", "filled"]), st.booleans()).map(lambda one: dict([one]))
TEXTS = st.sampled_from(["Utrecht", "utrecht", "Ede", "school", "opera", "%", "d", "o'"])
TEXT = EMPTY | st.one_of(
    st.tuples(st.sampled_from(["is", "is_not", "contains", "starts_with", "ends_with"]), TEXTS).map(
        lambda one: dict([one])
    ),
    st.tuples(st.sampled_from(["in", "not_in"]), st.lists(TEXTS, min_size=1, max_size=2)).map(lambda one: dict([one])),
)
NUMBER = EMPTY | COUNTS | st.integers(-1, 5).map(lambda number: {"is_not": number})
TRUTH = EMPTY | st.tuples(st.sampled_from(["is", "is_not"]), st.booleans()).map(lambda one: dict([one]))
TIME = EMPTY | dates_of(DAYS) | SINGLE_DAYS.map(lambda day: {"anniversary": day})
PERSON_FIELDS = {
    "person.city": TEXT, "person.language": TEXT, "person.visits": NUMBER, "person.vip": TRUTH,
    "person.birth_date": TIME, "person.created_at": TIME, "organisation.kind": TEXT,
}  # fmt: skip
FIELDS = {
    "person": PERSON_FIELDS | {"city": TEXT},
    "booking": PERSON_FIELDS | {"price": NUMBER, "bought_at": TIME, "show.genre": TEXT, "show.starts_at": TIME},
    "line": PERSON_FIELDS | {"amount": NUMBER, "booking.price": NUMBER, "show.genre": TEXT},
    "contact_moment": PERSON_FIELDS | {"received": TRUTH, "happened_at": TIME},
}


def conditions(base: str, deep: int = 3) -> st.SearchStrategy[Condition]:
    """Random conditions on the rows of a table."""
    fields = st.sampled_from(sorted(FIELDS[base])).flatmap(
        lambda name: FIELDS[base][name].map(lambda tests: {"field": name, **tests})
    )
    others = st.sampled_from(
        [{"selection": "readers"}, {"received": "mail/step"}, {"not_received": "mail/step", "within": "29 days"}]
    )
    leaf = fields | others
    if not deep:
        return leaf
    inner = st.deferred(lambda: conditions(base, deep - 1))
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        leaf,
        several.map(lambda parts: {"all": parts}),
        several.map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
        st.deferred(lambda: records(deep - 1)),
    )


@st.composite
def records(draw: st.DrawFn, deep: int) -> Condition:
    """A random `has` or `has_not`."""
    table = draw(st.sampled_from(["booking", "line", "contact_moment"]))
    made: Condition = {draw(st.sampled_from(["has", "has", "has_not"])): table}
    if draw(st.booleans()):
        made["where"] = draw(conditions(table, deep))
    if draw(st.booleans()):
        made |= draw(dates_of(DAYS)) | ({"date": "booking.bought_at"} if table == "line" else {})
    if "has" in made and draw(st.booleans()):
        made["count"] = dict(draw(COUNTS)) | (
            {"of": "show.genre"} if table == "booking" and draw(st.booleans()) else {}
        )
    if "has" in made and table == "line" and draw(st.booleans()):
        made["sum"] = {"of": "amount", **draw(COUNTS)}
    return made


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "0001_crm.sql").write_text(SCHEMA)
        return read_catalog(Path(folder))


@pytest.fixture(scope="module")
def lake(catalog: Catalog) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set TimeZone = 'Europe/Amsterdam'")
        connection.execute("attach ':memory:' as crm; attach ':memory:' as smp; create schema smp.selections")
        connection.execute("create table smp.selections.readers (person_id bigint)")
        for name, table in catalog.tables.items():
            columns = ", ".join(f'"{column.name}" {column.type}' for column in table.columns.values())
            connection.execute(f"create table {name} ({columns})")
        for name, rows in CRM.items():
            names = ", ".join(rows[0])
            marks = ", ".join("?" for _ in rows[0])
            connection.executemany(
                f"insert into {name} ({names}) values ({marks})", [list(row.values()) for row in rows]
            )
        yield connection


@pytest.fixture(scope="module")
def people(
    catalog: Catalog, lake: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Condition], list[tuple[int, ...]]]:
    """Compiles criteria, has the gate look at them and runs them at the moment; the rows, sorted."""
    file = tmp_path_factory.mktemp("selections") / "one.yaml"

    def run(criteria: Condition) -> list[tuple[int, ...]]:
        # JSON is YAML as well
        file.write_text(json.dumps({"description": "Some.", **criteria}), encoding="utf-8")
        made = read_criteria(file, catalog, STEPS, ["readers"])
        query = check_query(made.query.sql(dialect="duckdb", identify=True), catalog, ["readers"])
        return sorted(lake.execute(duckdb_sql(rewrite_clock(query, NOW, AMSTERDAM))).fetchall())

    return run


@settings(max_examples=120, deadline=None)
@given(where=conditions("person"))
def test_random_criteria_give_the_people_that_a_plain_reading_gives(
    where: Condition, people: Callable[[Condition], list[tuple[int, ...]]]
) -> None:
    assert people({"where": where}) == [(row["person_id"],) for row in CRM["crm.person"] if holds(where, row)]


@settings(max_examples=50, deadline=None)
@given(where=conditions("booking", 2))
def test_random_criteria_on_rows_give_each_person_and_record_once(
    where: Condition, people: Callable[[Condition], list[tuple[int, ...]]]
) -> None:
    wanted = {
        (row["person_id"], row["show_id"])
        for row in CRM["crm.booking"]
        if row["person_id"] and row["show_id"] and holds(where, row)
    }
    assert people({"rows": "booking", "where": where}) == sorted(wanted)


@settings(max_examples=25, deadline=None)
@given(where=conditions("person"))
def test_everybody_is_in_a_condition_or_in_its_opposite(
    where: Condition, people: Callable[[Condition], list[tuple[int, ...]]]
) -> None:
    both = people({"where": where}) + people({"where": {"not": where}})
    assert sorted(both) == [(row["person_id"],) for row in CRM["crm.person"]]
