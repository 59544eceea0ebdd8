"""The lake: what can be computed again, in DuckLake (catalogue in Postgres, Parquet in a folder or bucket).

Two catalogues: `crm`, the mirror with personal data, whose old snapshots can be expired; and `smp`,
selections, contact moments and metrics, which hold person keys only and keep their history.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.lending import Lending
from smp_pipelines.stores.postgres import conninfo, without_secrets
from smp_pipelines.stores.settings import Settings

_EXTENSIONS = ("duckdb_extension_postgres_scanner", "duckdb_extension_ducklake")
_CATALOGUES = ("crm", "smp")
_ATTEMPTS = 5
MEMORY = os.environ.get("SMP_DUCKDB_MEMORY", "1GB")
"""What each database of DuckDB may hold in memory; what is more goes to disk."""


@dataclass(frozen=True)
class Pin:
    """The lake as it was: a snapshot of the mirror (catalogue `crm`) and one of the rest (catalogue `smp`)."""

    crm: int
    smp: int


class Lake:
    """Opens connections to the lake of one deployment."""

    def __init__(self, settings: Settings, postgres_url: str, zone: ZoneInfo) -> None:
        self._folder = settings.lake_folder
        self._scratch = settings.home / "scratch"
        self._url = postgres_url
        self._zone = zone
        self._lending = Lending()

    def close(self) -> None:
        """Close what is kept open between two uses."""
        self._lending.close()

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection with the catalogues `crm` and `smp` and the Postgres database `pg` attached.

        Its time zone is the project's, so that `starts_at::date` is the local day.
        """
        with self._told(), self._lending.lent("whole", self._opened) as connection:
            yield connection

    @contextmanager
    def open_for_selections(self, pin: Pin | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for SQL that people write: the lake's own files are the only ones it can reach.

        A second wall behind the gate (invariant 4): Postgres is not attached to it and files,
        network and extensions are switched off for good. With a pin it shows the lake as it was then, and writes
        nothing; raises SmpError when that snapshot is not kept any more.
        """
        with self._told():
            if pin:
                with closing(self._opened_for_selections(pin)) as connection:
                    yield connection
            else:
                with self._lending.lent("for selections", self._opened_for_selections) as connection:
                    yield connection

    def _opened(self) -> duckdb.DuckDBPyConnection:
        with _opening(self._scratch) as database:
            self._attach(database)
        return database

    def _opened_for_selections(self, pin: Pin | None = None) -> duckdb.DuckDBPyConnection:
        with _opening(self._scratch) as database:
            self._attach(database, postgres=False, pin=pin)
            folders = ", ".join(literal(folder) for folder in (self._folder, str(self._scratch)))
            database.execute(f"set allowed_directories = [{folders}]")
            database.execute("set enable_external_access = false")
            database.execute("set lock_configuration = true")
        return database

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what is wrong with Postgres, the folder or the disk into words; DuckDB's own would tell the password."""
        try:
            yield
        except duckdb.IOException as error:
            words = without_secrets(str(error).splitlines()[0], self._url)
            raise SmpError(f"the lake cannot be read or written: {words}") from None

    def _attach(self, connection: duckdb.DuckDBPyConnection, *, postgres: bool = True, pin: Pin | None = None) -> None:
        dsn = conninfo(self._url)
        for name in _CATALOGUES:
            folder = f"{self._folder.rstrip('/')}/{name}/"
            if "://" not in folder:
                Path(folder).mkdir(parents=True, exist_ok=True)
            target = literal(f"ducklake:postgres:{dsn}")
            # the folder may have been moved since the lake was made; its files are named relative to it.
            # meta_schema: DuckDB then reads the names of this schema's tables only, which halves the time to open
            schemas = f"metadata_schema 'lake_{name}', meta_schema 'lake_{name}'"
            version = f", snapshot_version {int(getattr(pin, name))}" if pin else ""
            options = f"data_path {literal(folder)}, override_data_path true, {schemas}{version}"
            told = "the lake does not keep what it held then" if pin else f"the lake cannot be opened at {folder}"
            self._run(connection, f"attach {target} as {name} ({options})", told)
        if postgres:
            self._run(connection, f"attach {literal(dsn)} as pg (type postgres)", "the lake cannot reach Postgres")
        # for every connection of this database
        connection.execute(f"set global timezone = {literal(self._zone.key)}")

    def _run(self, connection: duckdb.DuckDBPyConnection, statement: str, what: str) -> None:
        try:
            connection.execute(statement)
        except duckdb.Error as error:
            raise SmpError(f"{what}: {without_secrets(str(error), self._url)}") from None


def current_pin(connection: duckdb.DuckDBPyConnection) -> Pin:
    """The snapshots that this connection reads now; in a transaction, those that it reads until its end."""
    crm, smp = (
        scalar(connection, f"select id from ducklake_current_snapshot('{name}') as s (id)") for name in _CATALOGUES
    )
    return Pin(crm, smp)


def literal(text: str) -> str:
    """A DuckDB string literal, for the statements that take no parameters (attach, set)."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A quoted DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def rows(
    connection: duckdb.DuckDBPyConnection, statement: str, parameters: Sequence[object] = ()
) -> list[tuple[Any, ...]]:
    """Run a statement and fetch all its rows."""
    return connection.execute(statement, list(parameters)).fetchall()


def scalar(connection: duckdb.DuckDBPyConnection, statement: str, parameters: Sequence[object] = ()) -> Any:
    """Run a statement and fetch the first column of its first row; None when there is no row."""
    row = connection.execute(statement, list(parameters)).fetchone()
    return None if row is None else row[0]


def words_of(error: duckdb.Error) -> str:
    """What DuckDB says of SQL that does not run, without the value that it tripped over: that may be an address.

    What is wrong with the SQL itself is told as it is, for it names tables and columns.
    """
    text = str(error).partition("\n\nLINE ")[0]
    if isinstance(error, (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException)):
        return text
    # from the first quote to the last: the value may hold quotes as well
    return re.sub(r"""['"].*['"]""", "…", text, flags=re.DOTALL)


@contextmanager
def _opening(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A new database with the extensions loaded; closed when what is done with it in the block fails."""
    scratch.mkdir(parents=True, exist_ok=True)
    configuration: dict[str, str | bool | int | float | list[str]] = {
        "allow_unsigned_extensions": True,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "memory_limit": MEMORY,
        "temp_directory": str(scratch),
    }
    threads = os.environ.get("SMP_DUCKDB_THREADS")
    if threads:
        if not threads.isdecimal() or int(threads) < 1:
            raise SmpError(f"SMP_DUCKDB_THREADS is {threads!r}; it must be a whole number, 1 or more")
        configuration["threads"] = int(threads)
    connection = duckdb.connect(":memory:", config=configuration)
    try:
        for package in _EXTENSIONS:
            connection.load_extension(_extension_file(package))
        yield connection
    except BaseException:
        connection.close()
        raise


def _extension_file(package: str) -> str:
    spec = importlib.util.find_spec(package)
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    found = list(folder.glob(f"extensions/v{duckdb.__version__}/*.duckdb_extension")) if folder else []
    if not found:
        raise SmpError(
            f"{package} {duckdb.__version__} is not installed: it must have DuckDB's own version; run `make setup`"
        )
    return str(found[0])


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """A DuckDB transaction as a block: committed at its end, rolled back on an error, which is the one that is told."""
    connection.execute("begin")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        # a commit that failed has rolled back already
        with suppress(duckdb.TransactionException):
            connection.execute("rollback")
        raise


def committed(connection: duckdb.DuckDBPyConnection, work: Callable[[], None]) -> None:
    """Do some work in a transaction, again when another process changed the same tables of the lake meanwhile."""
    for _attempt in range(_ATTEMPTS):
        try:
            with transaction(connection):
                work()
            return
        except duckdb.TransactionException as error:
            conflict = error
    raise conflict
