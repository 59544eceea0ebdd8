"""Real input: the purchases of 23,570 customers, imported, selected by RFM and compared with pandas (X1, F51).

pandas reads the packed data, never the database: its people and figures come about without any SQL of the product.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from smp_pipelines.crm.importing import ImportResult, import_file
from smp_pipelines.deployment import Deployment
from smp_pipelines.stores.lake import rows
from smp_pipelines.stores.settings import Settings
from tests.conftest import fresh_database

DATA = Path(__file__).parent / "data" / "cdnow"
NOW = datetime(1998, 7, 1, tzinfo=ZoneInfo("America/New_York"))
TODAY = pd.Timestamp("1998-07-01")
RUN = "run of the test"
CUSTOMERS, TRANSACTIONS = 23_570, 69_659
_PEOPLE = "select person_id from smp.selections.{} order by all"


@dataclass(frozen=True)
class Shop:
    """The deployment with everything imported, the files that were imported, and the data as pandas has it."""

    deployment: Deployment
    files: dict[str, Path]
    imports: dict[str, ImportResult]
    orders: pd.DataFrame

    def materialise(self, names: Iterable[str]) -> dict[str, list[int]]:
        """The people of these selections at NOW, by what was written to the lake."""
        library = self.deployment.library
        for each in dict.fromkeys(part for name in names for part in library.with_upstream(name)):
            self.deployment.audiences.materialise(each, NOW, RUN)
        with self.deployment.lake.open() as lake:
            return {name: [row[0] for row in rows(lake, _PEOPLE.format(name))] for name in names}


def transactions() -> pd.DataFrame:
    """The packed data as one row per transaction (see data/cdnow/README.md)."""
    with gzip.open(DATA / "transactions.txt.gz", "rt", encoding="ascii") as file:
        counts, days, cds, cents = (np.array(line.split(), dtype=np.int64) for line in file)
    return pd.DataFrame(
        {
            "order_id": np.arange(1, len(days) + 1),
            "person_id": np.repeat(np.arange(1, len(counts) + 1), counts),
            "ordered_on": pd.Timestamp("1997-01-01") + pd.to_timedelta(days, unit="D"),
            "cds": cds,
            "cents": cents,
        }
    )


def write_files(orders: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """The CSV files that a shop would export: semicolons and decimal commas, everything else from the numbers."""
    people = (
        orders.groupby("person_id", as_index=False)["ordered_on"].min().rename(columns={"ordered_on": "created_at"})
    )
    people["last_name"] = [f"Customer {number:05d}" for number in people["person_id"]]
    people["email"] = [f"Customer{number}@CDNOW.example" for number in people["person_id"]]
    sold = orders.assign(amount=[f"{cents // 100},{cents % 100:02d}" for cents in orders["cents"]]).drop(
        columns="cents"
    )
    files = {"person": folder / "people.csv", "order": folder / "orders.csv"}
    people.to_csv(files["person"], index=False, sep=";", date_format="%Y-%m-%d")
    sold.to_csv(files["order"], index=False, sep=";", date_format="%d-%m-%Y")
    return files


@pytest.fixture(scope="module")
def shop(embedded_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("real shop")
    orders = transactions()
    files = write_files(orders, folder)
    with fresh_database(embedded_url, "template1") as url:
        deployment = Deployment.load(Settings(project=DATA / "project", home=folder / "home", postgres_url=url))
        with deployment.running():
            catalog = deployment.project.catalog
            imports = {table: import_file(url, catalog, table, file) for table, file in files.items()}
            yield Shop(deployment, files, imports, orders)


@pytest.fixture(scope="module")
def scores(shop: Shop) -> pd.DataFrame:
    """Recency, frequency, amount and their quintiles, as pandas and numpy see them."""
    by_person = shop.orders.groupby("person_id")
    found = pd.DataFrame(
        {
            "recency": (TODAY - by_person["ordered_on"].max()).dt.days,
            "frequency": by_person.size(),
            "cents": by_person["cents"].sum(),
        }
    )
    for score, column, ascending in (("r", "recency", False), ("f", "frequency", True), ("m", "cents", True)):
        found[score] = quintiles(found[column] if ascending else -found[column])
    return found


def quintiles(values: pd.Series) -> pd.Series:
    """1 for the lowest fifth to 5 for the highest; of equals, the one with the lower number comes first."""
    order = values.sort_values(kind="stable").index
    fifths = np.array_split(np.asarray(order), 5)
    return pd.Series({person: fifth for fifth, people in enumerate(fifths, 1) for person in people})


@pytest.fixture(scope="module")
def people(shop: Shop) -> dict[str, list[int]]:
    """The people of every selection."""
    shop.deployment.mirror([table.name for table in shop.deployment.project.catalog.crm()])
    shop.deployment.mirror_moments()
    assert shop.deployment.library.problems == []
    return shop.materialise(shop.deployment.library.names)


def test_all_people_and_orders_are_imported(shop: Shop) -> None:
    for table, count in (("person", CUSTOMERS), ("order", TRANSACTIONS)):
        done = shop.imports[table]
        assert (done.read, done.inserted, done.rejected) == (count, count, 0)
    with shop.deployment.connection() as postgres:
        found = postgres.execute('select count(*), sum(cds), sum(amount), max(ordered_on) from crm."order"').fetchone()
    assert found is not None
    assert (found[0], found[1], round(found[2] * 100), pd.Timestamp(found[3])) == (
        TRANSACTIONS,
        shop.orders["cds"].sum(),
        shop.orders["cents"].sum(),
        shop.orders["ordered_on"].max(),
    )


def test_importing_the_same_files_again_changes_nothing(shop: Shop) -> None:
    for table, file in shop.files.items():
        done = import_file(shop.deployment.url, shop.deployment.project.catalog, table, file)
        assert (done.inserted, done.updated, done.unchanged) == (0, 0, shop.imports[table].read)


def test_the_quintiles_of_every_customer_are_those_of_pandas(
    shop: Shop, people: dict[str, list[int]], scores: pd.DataFrame
) -> None:
    assert people["rfm_scores"] == list(range(1, CUSTOMERS + 1))
    with shop.deployment.lake.open() as lake:
        query = "select person_id, recency, frequency, (monetary * 100)::bigint, r, f, m from smp.selections.rfm_scores"
        found = pd.DataFrame(rows(lake, query), columns=["person_id", *scores.columns])
    found = found.set_index("person_id").sort_index()
    pd.testing.assert_frame_equal(found, scores, check_dtype=False, check_names=False)


@pytest.mark.parametrize(
    ("selection", "among"),
    [
        ("rfm_champions", "r == 5 and f >= 4 and m >= 4"),
        ("rfm_at_risk", "2 <= r <= 3 and f >= 4 and m >= 4"),
        ("rfm_lost", "r == 1 and f <= 2 and m <= 2"),
        ("rfm_win_back", "2 <= r <= 3 and f >= 4 and m >= 4"),
    ],
)
def test_segments_have_the_people_that_pandas_finds(
    people: dict[str, list[int]], scores: pd.DataFrame, selection: str, among: str
) -> None:
    expected = sorted(scores.query(among).index)
    assert len(expected) > 100
    assert people[selection] == expected


def test_the_top_tenth_is_that_of_numpys_quantile(shop: Shop, people: dict[str, list[int]]) -> None:
    spent = shop.orders.groupby("person_id")["cents"].sum()
    assert people["rfm_top_tenth"] == sorted(spent[spent > np.quantile(spent, 0.9)].index)


def test_criteria_files_find_the_people_that_pandas_finds(
    shop: Shop, people: dict[str, list[int]], scores: pd.DataFrame
) -> None:
    orders = shop.orders
    winter = orders[orders["ordered_on"].between("1997-11-01", "1998-01-31")].groupby("person_id").size()
    assert people["rfm_winter_buyers"] == sorted(winter[winter >= 2].index)
    spent = orders[orders["ordered_on"] >= "1997-07-01"].groupby("person_id")["cents"].sum()
    assert people["rfm_fifty_to_hundred"] == sorted(spent[spent.between(50_00, 100_00)].index)
    large = set(orders[orders["cents"] >= 100_00]["person_id"])
    lately = set(orders[orders["ordered_on"] >= "1998-01-01"]["person_id"])
    champions = set(scores.query("r == 5 and f >= 4 and m >= 4").index)
    assert people["rfm_quiet_spenders"] == sorted(large - lately - champions)
    assert all(len(people[name]) > 100 for name in ("rfm_winter_buyers", "rfm_fifty_to_hundred", "rfm_quiet_spenders"))


def test_whoever_is_planned_to_get_the_mail_leaves_the_selection(shop: Shop, people: dict[str, list[int]]) -> None:
    ref = shop.deployment.project.step("win_back/come_back")
    send = shop.deployment.open_send(ref, "win_back/come_back@1", NOW, NOW, None)
    assert shop.deployment.plan(ref, send, NOW, RUN).planned == len(people["rfm_win_back"])
    shop.deployment.mirror_moments()
    assert shop.deployment.audiences.materialise("rfm_win_back", NOW, None).run.row_count == 0
