"""A small world of the benchmark: the sample CRM of so many people, on an embedded server of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.sizes import SIZES_FILE, Sizes
from bench.world import World
from smp_pipelines.stores.server import EmbeddedServer


@contextmanager
def small_world(people: int) -> Iterator[World]:
    """A world without data, measured once; gone at the end of the block."""
    # not under pytest's temporary folder: the embedded server's system user must be able to enter it
    with tempfile.TemporaryDirectory(prefix="smp bench ") as name:
        folder = Path(name)
        folder.chmod(0o755)
        replace(Sizes.of(people, 4), laps=1).save(folder / SIZES_FILE)
        world = World.open(folder)
        with EmbeddedServer(world.home).use():
            yield world
