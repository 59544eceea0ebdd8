"""The warehouse: a loaded project with the way to its stores, Postgres and the lake, and the mirror between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property

from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.crm.catalog import Table
from smp_pipelines.crm.mirror import Mirrored, mirror
from smp_pipelines.problems import SmpError
from smp_pipelines.reporting.moments import Moments, mirror_moments, prepare_lake
from smp_pipelines.selection.library import SelectionLibrary
from smp_pipelines.stores.lake import Lake
from smp_pipelines.stores.locks import locked
from smp_pipelines.stores.postgres import Connection, connect, server, told
from smp_pipelines.stores.server import EmbeddedServer
from smp_pipelines.stores.settings import Settings


class Warehouse:
    """One project with its Postgres server and its lake. It imports no Dagster."""

    def __init__(self, settings: Settings, project: LoadedProject, library: SelectionLibrary) -> None:
        self.settings = settings
        self.project = project
        self.library = library

    @cached_property
    def url(self) -> str:
        """The URL of the Postgres server, which somebody must have started (`running`)."""
        return self.settings.postgres_url or EmbeddedServer(self.settings.home).url()

    @cached_property
    def lake(self) -> Lake:
        """The lake of this deployment."""
        return Lake(self.settings, self.url, self.project.settings.zone)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep the Postgres server running, with every migration applied and the lake made, for the block."""
        with server(self.settings) as url:
            self.__dict__["url"] = url
            self.__dict__.pop("lake", None)
            with closing(self.lake):
                with locked(url, "lake"), self.lake.open() as connection:
                    prepare_lake(connection)
                yield

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A Postgres connection whose statements commit one by one unless a transaction is opened.

        Raises SmpError when the server does not answer, or goes away within the block.
        """
        with told(), connect(self.url) as connection:
            connection.autocommit = True
            yield connection

    def mirror(self, tables: Sequence[str]) -> list[Mirrored]:
        """Bring the lake's copy of these crm tables up to date."""
        wanted = [self.project.catalog.tables[name] for name in tables]
        with locked(self.url, "mirror"), self.lake.open() as connection:
            return mirror(connection, wanted)

    def refresh(self, tables: Iterable[str]) -> None:
        """Bring the lake's copy of those of these tables that are the CRM's up to date, and the contact moments."""
        wanted = self._of_crm(tables)
        with locked(self.url, "mirror"), locked(self.url, "moments"), self.lake.open() as connection:
            mirror(connection, wanted, counted=False)
            mirror_moments(connection, counted=False)

    def refresh_read(self, tables: Iterable[str]) -> None:
        """Bring these tables up to date and no other: the mails of a send that is open are copied each time."""
        asked = set(tables)
        wanted = self._of_crm(asked)
        if len(wanted) < len(asked):
            self.refresh(asked)
            return
        with locked(self.url, "mirror"), self.lake.open() as connection:
            mirror(connection, wanted, counted=False)

    def _of_crm(self, tables: Iterable[str]) -> list[Table]:
        """Those of these tables that are the CRM's. Raises SmpError: what was frozen outlives the schema files."""
        known, names = self.project.catalog.tables, sorted(name for name in tables if name.startswith("crm."))
        gone = [name for name in names if name not in known]
        if gone:
            raise SmpError(f"{gone[0]} is in no schema file any more\n    → put it back, or apply a flow without it")
        return [known[name] for name in names]

    def mirror_moments(self) -> Moments:
        """Bring the lake's contact moments up to date with the ledger."""
        with locked(self.url, "moments"), self.lake.open() as connection:
            return mirror_moments(connection)
