"""Postgres: connecting, and the numbered migrations that make a database follow the schema files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, LiteralString, cast
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.server import EmbeddedServer
from smp_pipelines.stores.settings import Settings

Connection = psycopg.Connection[tuple[Any, ...]]

_MIGRATION_LOCK = 0x534D50  # "SMP": one process migrates, the others wait for it
_OLDEST_VERSION = 14
_URL = re.compile(r"postgres(?:ql)?://(?P<where>[^/?#]*)(?:/[^?#]*)?(?P<options>\?[^#]*)?")


class PostgresGoneError(SmpError):
    """The server went away, or refused, in the middle of the work."""


@cache
def engine_sql(name: str) -> LiteralString:
    """The text of a file in the package's sql folder, e.g. `ledger/claim.sql`."""
    return _trusted(files("smp_pipelines").joinpath("sql", name).read_text(encoding="utf-8"))


def connect(url: str) -> Connection:
    """Open a connection (UTC, a name that pg_stat_activity shows). Raises SmpError when the server does not answer."""
    options = f"{_parts(url).get('options', '')} -c timezone=UTC".strip()
    try:
        return psycopg.connect(url, options=options, application_name="smp", connect_timeout=10)
    except psycopg.OperationalError as error:
        raise PostgresGoneError(f"no connection to Postgres at {shown(url)}: {_first_line(error)}") from error


@contextmanager
def told() -> Iterator[None]:
    """Turn the loss of the server into an SmpError, for whoever has to read it."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise PostgresGoneError(f"Postgres went away, or refused: {_first_line(error)}") from error


def shown(url: str) -> str:
    """The URL without its password, for messages."""
    parts = _parts(url)
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


def without_secrets(text: str, url: str) -> str:
    """A message without the password of this URL, however it is written in there."""
    password = str(_parts(url).get("password") or "")
    as_written = re.search(r"://[^/@]*?:([^/]*)@", url)
    for secret in {password, quote(password, safe=""), as_written[1] if as_written else ""} - {""}:
        text = text.replace(secret, "…")
    return text


def _parts(url: str) -> dict[str, Any]:
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        raise SmpError(
            "SMP_POSTGRES_URL is no URL of a Postgres database; it must look like postgresql://user:password@host:5432/name"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def conninfo(url: str) -> str:
    """The URL as libpq's key=value string, which DuckDB's extensions read."""
    return make_conninfo(url)


@contextmanager
def server(settings: Settings) -> Iterator[str]:
    """The URL of a Postgres server with all migrations applied, kept running for as long as the block lasts."""
    if settings.postgres_url:
        migrate(settings.postgres_url, settings.project / "sql" / "schema")
        yield settings.postgres_url
        return
    with EmbeddedServer(settings.home).use() as url:
        migrate(url, settings.project / "sql" / "schema")
        yield url


def dagster_url(settings: Settings, url: str) -> str:
    """The URL of Dagster's own database on the same server; it is created when it is missing.

    The driver is spelt out: SQLAlchemy 2.1 reads a bare `postgresql://` as psycopg 3, on which
    dagster-postgres cannot listen for events.
    """
    if settings.dagster_postgres_url:
        return _with_driver(settings.dagster_postgres_url)
    if not settings.postgres_url:
        return _with_driver(EmbeddedServer(settings.home).url("smp_dagster", "smp_dagster"))
    name = f"{conninfo_to_dict(url).get('dbname') or 'smp'}_dagster"
    with connect(url) as connection:
        connection.autocommit = True
        if not connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
            try:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                pass  # another process made it at the same moment
            except psycopg.errors.InsufficientPrivilege as error:
                raise SmpError(
                    f"Dagster needs a database of its own, and this role may not create {name}: "
                    "create it, or name one with SMP_DAGSTER_POSTGRES_URL"
                ) from error
    found = _URL.fullmatch(url)
    if found is None:
        raise SmpError("SMP_POSTGRES_URL must be a URL, like postgresql://user:password@host:5432/name")
    return _with_driver(f"postgresql://{found['where']}/{quote(name, safe='')}{found['options'] or ''}")


def _with_driver(url: str) -> str:
    return "postgresql+psycopg2" + url[url.index("://") :]


def migrate(url: str, project_schema: Path) -> list[str]:
    """Apply the schema files that the database does not have yet, in order; says which.

    The engine's files (schema smp) come first, then the project's (schema crm). One process does
    it, under a lock; each file is applied once, in a transaction of its own. Raises SmpError for a
    file that was edited after it was applied, or that does not run, and for a server that is too old.
    """
    migrations = [*_engine_migrations(), *_project_migrations(project_schema)]
    with connect(url) as connection, _prepared(url):
        connection.autocommit = True
        _refuse_unfit(connection)
        connection.execute("select pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        connection.execute("create schema if not exists smp")
        connection.execute("create schema if not exists crm")
        connection.execute(
            "create table if not exists smp.migration"
            " (name text primary key, digest text not null, applied_at timestamptz not null default now())"
        )
        done: dict[str, str] = dict(connection.execute("select name, digest from smp.migration").fetchall())
        applied = [name for name, text in migrations if _apply(connection, name, text, done)]
        if applied or "adopt" not in done or done["adopt"] != _digest(engine_sql("schema/adopt.sql")):
            _adopt(connection)
    return applied


@contextmanager
def _prepared(url: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise SmpError(f"the database {shown(url)} cannot be prepared: {_first_line(error)}") from error


def _refuse_unfit(connection: Connection) -> None:
    version = connection.info.server_version // 10_000
    if version < _OLDEST_VERSION:
        raise SmpError(f"this is PostgreSQL {version}; it must be {_OLDEST_VERSION} or newer")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        # elsewhere the same address has other bytes, and so another recipient key
        raise SmpError(f"the database's encoding is {encoding}; create it with encoding 'UTF8'")


def _engine_migrations() -> list[tuple[str, str]]:
    folder = files("smp_pipelines").joinpath("sql", "schema")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name[0].isdigit())
    return [(f"engine/{name}", engine_sql(f"schema/{name}")) for name in names]


def _project_migrations(folder: Path) -> list[tuple[str, str]]:
    return [(f"project/{file.name}", file.read_text(encoding="utf-8")) for file in sorted(folder.glob("[0-9]*.sql"))]


def _apply(connection: Connection, name: str, text: str, done: dict[str, str]) -> bool:
    if name in done:
        if done[name] != _digest(text):
            raise SmpError(
                f"{name} was edited after it was applied to this database; take the edit back and put the change "
                "into a new file with the next number"
            )
        return False
    try:
        with connection.transaction():
            connection.execute(_trusted(text))
            connection.execute("insert into smp.migration (name, digest) values (%s, %s)", (name, _digest(text)))
    except psycopg.Error as error:
        raise SmpError(f"migration {name} failed, nothing of it was applied: {error}") from error
    return True


def _adopt(connection: Connection) -> None:
    text = engine_sql("schema/adopt.sql")
    with connection.transaction():
        connection.execute(text)
        connection.execute(
            "insert into smp.migration (name, digest) values ('adopt', %s)"
            " on conflict (name) do update set digest = excluded.digest",
            (_digest(text),),
        )


def _trusted(text: str) -> LiteralString:
    """SQL from the package's or the project's own files, which is code; values never come this way."""
    trusted: LiteralString = cast("Any", text)
    return trusted


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
