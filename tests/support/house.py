"""Fixtures: a theatre whose step is live, on an empty CRM and without a lake, and a connection to its ledger.

A test module imports those that it uses under another name: `from tests.support.house import live_house as _house`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from smp_pipelines.stores.postgres import Connection, connect
from tests.support.theatre import Theatre, deployment


@pytest.fixture(name="house")
def live_house(tmp_path: Path, postgres_url: str) -> Theatre:
    """A theatre whose step is live since the day before."""
    opened = Theatre(deployment(postgres_url, tmp_path))
    opened.live()
    return opened


@pytest.fixture(name="connection")
def house_connection(house: Theatre) -> Iterator[Connection]:
    """A connection to the theatre's Postgres whose statements commit one by one."""
    with connect(house.url) as opened:
        opened.autocommit = True
        yield opened
