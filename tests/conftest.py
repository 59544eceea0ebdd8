"""Fixtures: a real Postgres server for the whole test process, a fresh migrated database per test."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from smp_pipelines.stores.postgres import migrate
from smp_pipelines.stores.server import EmbeddedServer

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def embedded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an embedded server of this test process, in a folder with a space in its name."""
    home = tmp_path_factory.mktemp("state of tests")
    with EmbeddedServer(home).use() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(embedded_url: str) -> str:
    """A database with all migrations applied, to copy from."""
    with psycopg.connect(embedded_url, autocommit=True) as connection:
        connection.execute("create database template_smp")
    url = embedded_url.rsplit("/", 1)[0] + "/template_smp"
    migrate(url, REPOSITORY / "sql" / "schema")
    return "template_smp"


@pytest.fixture
def postgres_url(embedded_url: str, migrated_template: str) -> Iterator[str]:
    """A fresh database with all migrations applied."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(embedded_url, autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{migrated_template}"')
    yield embedded_url.rsplit("/", 1)[0] + "/" + name
    with psycopg.connect(embedded_url, autocommit=True) as connection:
        connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def project_folder(tmp_path: Path) -> Path:
    """A copy of the sample project, free to edit, in a folder with a space in its name."""
    folder = tmp_path / "my project"
    folder.mkdir()
    for name in ("campaigns", "sql"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "smp.yaml", folder)
    return folder
