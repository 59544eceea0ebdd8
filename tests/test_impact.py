"""Lineage and impact (X6): from output columns down to CRM columns, and from a CRM column up to steps and marts."""

# ruff: noqa: E501  SQL on one line each
from __future__ import annotations

from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from smp_pipelines.campaign.project import load_project
from smp_pipelines.crm.catalog import read_catalog
from smp_pipelines.problems import SmpError
from smp_pipelines.selection.analysis.impact import Fed, Lineage
from smp_pipelines.selection.analysis.lineage import Usage, source_schema, used_columns
from smp_pipelines.selection.library import load_library
from tests.conftest import REPOSITORY, copy_project

CATALOG = read_catalog(REPOSITORY / "sql" / "schema")
SCHEMA = source_schema(CATALOG, {})


def usage(sql: str) -> Usage:
    query = sqlglot.parse_one(sql, dialect="duckdb")
    assert isinstance(query, exp.Query)
    return used_columns(query, SCHEMA)


def texts(sources: object) -> set[str]:
    return {f"{table}.{column}".removeprefix("crm.") for table, column in sources}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sql", "column", "sources"),
    [
        ("select city as town from crm.person", "town", {"person.city"}),
        ("select * from crm.person", "city", {"person.city"}),
        ("from crm.person p semi join crm.ticket using (person_id)", "city", {"person.city"}),
        ("select p.* exclude (phone) replace (upper(city) as city) from crm.person p", "city", {"person.city"}),
        ("with a as (select city || phone as x from crm.person), b as (from a) select x from b", "x", {"person.city", "person.phone"}),
        ("select * from (select sum(price) as paid, person_id from crm.ticket group by all)", "paid", {"ticket.price"}),
        ("select city as c from crm.person union all select phone from crm.person", "c", {"person.city", "person.phone"}),
        ("select city from crm.person except select phone from crm.person", "city", {"person.city"}),
        ("select (select max(amount) from crm.donation d where d.person_id = p.person_id) as m from crm.person p", "m", {"donation.amount"}),
        ("select x.n from crm.person p, lateral (select count(seat) as n from crm.ticket t where t.person_id = p.person_id) x", "n", {"ticket.seat"}),
        ("select case when blocked then 1 else 2 end as n from crm.person", "n", {"person.blocked"}),
        ("select row_number() over (partition by city order by created_at) as n from crm.person", "n", {"person.city", "person.created_at"}),
        ("select 1 as one from crm.person", "one", set()),
    ],
)  # fmt: skip
def test_an_output_column_is_followed_to_its_tables(sql: str, column: str, sources: set[str]) -> None:
    assert texts(usage(sql).outputs[column]) == sources


@pytest.mark.parametrize(
    ("sql", "sources"),
    [
        ("select person_id from crm.person where city = 'x'", {"person.city"}),
        ("select p.person_id from crm.person p join crm.ticket t on t.person_id = p.person_id", {"person.person_id", "ticket.person_id"}),
        ("select person_id from crm.ticket group by person_id having max(price) > 3", {"ticket.person_id", "ticket.price"}),
        ("select person_id from crm.person qualify row_number() over (order by city) = 1", {"person.city"}),
        ("select person_id from crm.person order by city limit 3", {"person.city"}),
        ("select person_id from (select * from crm.person where city = 'x')", {"person.city"}),
        ("with a as (select person_id from crm.person where city = 'x') select p.person_id from crm.person p, a", {"person.city"}),
        ("select person_id from crm.person where exists (select 1 from crm.list l where l.name = city)", {"list.name", "person.city"}),
        ("select person_id from crm.person except select person_id from crm.donation where fund = 'x'", {"donation.person_id", "donation.fund"}),
        ("select person_id from crm.person", set()),
    ],
)  # fmt: skip
def test_what_decides_on_the_rows_is_told_apart_from_what_comes_out(sql: str, sources: set[str]) -> None:
    assert texts(usage(sql).deciding) == sources


@pytest.fixture(scope="module")
def lineage(tmp_path_factory: pytest.TempPathFactory) -> Lineage:
    """The sample with selections on selections."""
    folder = copy_project(tmp_path_factory.mktemp("impact") / "project")
    texts = {
        "towns": "select person_id, organisation_id as school, internal_test from crm.person where not blocked",
        "northern": "select person_id, school from selections.towns where school = 7",
        "callable": "select person_id, internal_test from selections.towns",
        "buyers": "select person_id from crm.ticket where person_id in (select person_id from selections.northern)",
        "broken": "select x from crm.person",
    }
    for name, sql in texts.items():
        (folder / "sql" / "selections" / f"{name}.sql").write_text(f"-- Who.\n{sql}")
    campaign = folder / "campaigns" / "newsletter" / "campaign.yaml"
    campaign.write_text(campaign.read_text().replace("selection: newsletter_readers", "selection: buyers"))
    project = load_project(folder)
    return Lineage(project, load_library(project))


def test_lineage_goes_through_other_selections_down_to_the_tables(lineage: Lineage) -> None:
    origin = lineage.origin("northern")
    assert origin.outputs == {
        "person_id": (("crm.person", "person_id"),),
        "school": (("crm.person", "organisation_id"),),
    }
    assert texts(origin.deciding) == {"person.blocked", "person.organisation_id"}
    assert texts(lineage.origin("buyers").deciding) >= {"person.blocked", "person.organisation_id", "ticket.person_id"}


def test_a_column_feeds_what_reads_it_and_what_reads_that(lineage: Lineage) -> None:
    found = lineage.impact("crm.person.organisation_id")
    assert found.selections == (
        Fed("buyers", True, (), ("northern",)),
        Fed("northern", True, ("school",), ("towns",)),
        Fed("towns", False, ("school",), ()),
    )
    assert [(ref.key, through) for ref, through in found.steps] == [("newsletter/december", ("buyers",))]
    assert [(mart.name, mart.outputs) for mart in found.marts] == [("people", ("organisation_id",))]


def test_a_column_that_decides_who_is_in_a_selection_decides_in_all_that_read_it(lineage: Lineage) -> None:
    found = lineage.impact("CRM.Person.blocked")
    assert [(fed.name, fed.decides) for fed in found.selections] == [
        (name, True) for name in ("buyers", "callable", "northern", "towns")
    ]
    assert [fed.name for fed in lineage.impact("crm.person.internal_test").selections] == [
        "callable",
        "colleagues",
        "towns",
    ]


def test_a_table_and_a_selection_have_an_impact_too(lineage: Lineage) -> None:
    assert [fed.name for fed in lineage.impact("crm.consent").selections] == ["newsletter_readers"]
    assert {fed.name for fed in lineage.impact("selections.northern").selections} == {"buyers"}
    assert lineage.impact("crm.membership.kind").selections == ()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("crm.person.cty", "crm.person.city"),
        ("crm.persn", "crm.person"),
        ("selections.norten", "selections.northern"),
    ],
)
def test_a_name_that_is_not_there_gets_the_nearest_one(lineage: Lineage, name: str, nearest: str) -> None:
    with pytest.raises(SmpError, match=f"there is no table or column {name}\n.*did you mean {nearest}"):
        lineage.impact(name)


def test_a_column_without_its_table_gets_the_tables_that_have_it(lineage: Lineage) -> None:
    with pytest.raises(SmpError, match=r"choose from: crm\.organisation\.city, crm\.person\.city"):
        lineage.impact("city")


def test_the_impact_reaches_through_every_selection_that_reads_another(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "project")
    source = (folder / "sql" / "selections" / "we_miss_you.sql").read_text()
    for number in range(40):
        (folder / "sql" / "selections" / f"copy_{number}.sql").write_text(source)
        (folder / "sql" / "selections" / f"of_{number}.sql").write_text(
            f"-- Who.\nselect person_id, city from selections.copy_{number} join crm.person using (person_id)"
        )
    project = load_project(folder)
    library = load_library(project)
    found = {each.name for each in Lineage(project, library).impact("crm.ticket.bought_at").selections}
    copies = {f"{kind}_{number}" for kind in ("copy", "of") for number in range(40)}
    assert found == copies | {"we_miss_you", "regular_visitors"}
