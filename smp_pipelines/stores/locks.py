"""Locks between processes, held in Postgres: they end with their holder, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from smp_pipelines.stores.postgres import connect, told


@contextmanager
def locked(url: str, name: str) -> Iterator[None]:
    """Hold the deployment-wide lock of this name for the length of the block; waits for it."""
    with told(), connect(url) as connection:
        connection.autocommit = True
        connection.execute("select pg_advisory_lock(hashtextextended(%s, 1))", (name,))
        yield


def is_held(url: str, name: str) -> bool:
    """Whether somebody holds the lock of this name at this moment."""
    with told(), connect(url) as connection:
        connection.autocommit = True
        # taken here for a moment when it is free; the end of the connection gives it back
        found = connection.execute("select pg_try_advisory_lock(hashtextextended(%s, 1))", (name,)).fetchone()
    return not (found and found[0])
