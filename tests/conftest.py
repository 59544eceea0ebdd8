"""Fixtures: a real Postgres server for the whole test process, a fresh migrated database per test."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from smp_pipelines.crm.sample import load
from smp_pipelines.stores.postgres import migrate
from smp_pipelines.stores.server import EmbeddedServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.support.browser import Visitor

os.environ.setdefault("SMP_DUCKDB_THREADS", "1")  # several test processes share the cores
# Hundreds of processes are started here: compiled once, each is there half a second of processor time sooner. Said
# to this process as well, and so to the ones that share its work: compiling the tests takes longer than reading them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE_DAY = date(2026, 11, 23)
SAMPLE_PEOPLE = 400
_ROOM = 4 * 2**30
"""Bytes."""


_LONGEST = (
    *("test_daemon.py", "test_dagster_faults.py", "test_demo.py", "test_faults.py", "test_bench.py"),
    *("test_main_job.py", "test_internal_send.py", "test_frequency_cap.py", "test_limits.py", "test_mirror.py"),
    *("test_target_group_dagster.py", "test_audience_tests_overruling.py", "test_why.py", "test_target_group.py"),
    *("test_launcher.py", "test_bench_audiences.py", "test_cdnow.py", "test_comparing_history.py", "test_freshness.py"),
    *("test_supervisor.py", "test_server.py", "test_delivery.py", "test_consent.py", "test_send_metadata.py"),
)
"""Files that take longest begin first, so that no process waits for another at the end."""


def pytest_xdist_auto_num_workers() -> int:
    """Two processes more than there are cores for `-n auto`: many tests wait, for a rate, a lease, the next minute."""
    return len(os.sched_getaffinity(0)) + 2 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 2


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Hear SIGTERM: what a test starts inherits a signal that is ignored or blocked, and could not be ended."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    # a library may have had it ignored behind Python's back: what Python remembers is no proof
    if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, signal.SIG_IGN, None):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Leave what is there now out of garbage collection: going through a million objects took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first; the order within a file stays."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="session")
def embedded_url() -> Iterator[str]:
    """The URL of an embedded server of this test process, in a folder with a space in its name.

    Not under pytest's own temporary folder, which another pytest may tidy up while the server runs.
    """
    with tempfile.TemporaryDirectory(prefix="smp tests ", dir=_memory()) as home:
        Path(home).chmod(0o755)
        with EmbeddedServer(Path(home)).use() as url:
            _forget_the_disk(url)
            yield url


def _memory() -> Path | None:
    """A folder in memory where there is room for a server: it makes and drops a database for almost every test."""
    folder = Path("/dev/shm")
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return None
    return folder if shutil.disk_usage(folder).free > _ROOM else None


def _forget_the_disk(url: str) -> None:
    """Let the server not wait for the disk: no test cuts the power, and dropping a database took a second."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"alter system set {setting} = off")
        connection.execute("select pg_reload_conf()")


@pytest.fixture(scope="session")
def migrated_template(embedded_url: str) -> str:
    """A database with all migrations applied, to copy from."""
    with psycopg.connect(embedded_url, autocommit=True) as connection:
        connection.execute("create database template_smp")
    url = embedded_url.rsplit("/", 1)[0] + "/template_smp"
    migrate(url, REPOSITORY / "sql" / "schema")
    return "template_smp"


@pytest.fixture(scope="session")
def sample_template(embedded_url: str, migrated_template: str) -> str:
    """A database with a small sample CRM for SAMPLE_DAY, to copy from."""
    with psycopg.connect(embedded_url, autocommit=True) as connection:
        connection.execute(f'create database sample_smp template "{migrated_template}"')
    load(embedded_url.rsplit("/", 1)[0] + "/sample_smp", SAMPLE_PEOPLE, SAMPLE_DAY)
    return "sample_smp"


@contextmanager
def fresh_database(embedded_url: str, template: str) -> Iterator[str]:
    """The URL of a copy of a template database, dropped at the end."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(embedded_url, autocommit=True) as connection:
        connection.execute(f'create database "{name}" template "{template}" strategy file_copy')
    yield embedded_url.rsplit("/", 1)[0] + "/" + name
    with psycopg.connect(embedded_url, autocommit=True) as connection:
        connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def postgres_url(embedded_url: str, migrated_template: str) -> Iterator[str]:
    """A fresh database with all migrations applied."""
    with fresh_database(embedded_url, migrated_template) as url:
        yield url


@pytest.fixture
def sample_url(embedded_url: str, sample_template: str) -> Iterator[str]:
    """A fresh database with the small sample CRM."""
    with fresh_database(embedded_url, sample_template) as url:
        yield url


@pytest.fixture
def project_folder(tmp_path: Path) -> Path:
    """A copy of the sample project, free to edit, in a folder with a space in its name."""
    return copy_project(tmp_path / "my project")


def copy_project(folder: Path) -> Path:
    """Copy the sample project to a new folder."""
    folder.mkdir()
    for name in ("campaigns", "forms", "sql"):
        if not (REPOSITORY / name).is_dir():
            continue
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "smp.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for the tests of one file (tests/support/browser.py)."""
    from tests.support import browser  # only the processes that open a browser read its library

    with browser.browser() as started:
        yield started


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    """A visitor with windows that know nothing of earlier tests."""
    from tests.support.browser import visiting

    with visiting(browser) as visitor:
        yield visitor
