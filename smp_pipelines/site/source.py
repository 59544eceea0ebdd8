"""The source: the project's files and the database as they are at this moment."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import ProjectError
from smp_pipelines.sending.links import LinkSigner
from smp_pipelines.stores.postgres import Connection, connect
from smp_pipelines.stores.server import EmbeddedServer
from smp_pipelines.stores.settings import Settings

_FILES = ("smp.yaml", "campaigns/**/*", "forms/*", "sql/**/*", "theme/**/*")

Stamp = tuple[tuple[str, int, int], ...]
"""Path, time of change (ns) and size (bytes) of every file of a project."""


class Source:
    """What the pages read. Files are read again when one of them changed: loading takes longer than looking."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._loaded: Deployment | ProjectError | None = None
        self._working: Deployment | None = None

    @cached_property
    def signer(self) -> LinkSigner:
        """What reads, and signs, the links in mails. Raises SmpError when there is no key and none can be made."""
        return LinkSigner(self.settings.link_secrets)

    def deployment(self) -> Deployment:
        """The project as its files are now. Raises ProjectError with all that is wrong in them."""
        with self._lock:
            stamp = read_stamp(self.settings.project)
            if self._loaded is None or stamp != self._stamp:
                self._loaded = self._load()
                self._stamp = stamp
            if isinstance(self._loaded, ProjectError):
                raise ProjectError(self._loaded.problems)
            return self._loaded

    def working(self) -> Deployment:
        """The project as it was when its files could be used last: a link in a mail works while somebody edits them.

        Raises ProjectError when they could not be used since the site began.
        """
        try:
            return self.deployment()
        except ProjectError:
            if self._working is None:
                raise
            return self._working

    def _load(self) -> Deployment | ProjectError:
        try:
            self._working = Deployment.load(self.settings)
            return self._working
        except ProjectError as error:
            return error

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection on which nothing can be written: the database itself refuses it (a GET changes nothing).

        Raises SmpError when the server does not answer.
        """
        with self.writing() as connection:
            connection.execute("set default_transaction_read_only = on")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection for what a POST changes. Raises SmpError when the server does not answer.

        The address is looked up each time, because the embedded server comes back on another port.
        """
        with connect(self.settings.postgres_url or EmbeddedServer(self.settings.home).url()) as connection:
            connection.autocommit = True
            connection.execute("set statement_timeout = '20s'")
            yield connection


def read_stamp(folder: Path) -> Stamp:
    """What changes when somebody edits, adds or removes a file of the project."""
    files = sorted(path for pattern in _FILES for path in folder.glob(pattern))
    # A folder's own time tells that something in it was renamed or removed.
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path in files if (stat := _stat(path)))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None  # removed between listing and looking, as editors do when they save
