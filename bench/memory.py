"""Case `memory`: the peak memory of every case's process, and of Postgres while the cases ran.

A case's figure is ru_maxrss of its largest process, as the kernel counted it. Postgres runs apart from them; its
processes are looked at a few times a second: the largest one (with the shared buffers that it touched), and all of
them together with what they share counted once (Pss).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping

import psutil

from bench.row import Row

LIMIT = 1536.0
"""For one process."""
LIMIT_OF_ALL = 4096.0
"""For all processes together."""
_EVERY_SECONDS = 0.25


class PostgresMemory:
    """Watches the processes of a Postgres server from a thread."""

    def __init__(self, postmaster: int) -> None:
        self._postmaster = psutil.Process(postmaster)
        self._ended = threading.Event()
        self.largest = 0.0
        self.together = 0.0

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for the length of the block."""
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._ended.set()
            watcher.join()

    def rows(self, largest_case: float) -> list[Row]:
        """What was seen, in MiB, and what it comes to with the largest process of a case."""
        whole = self.together + largest_case
        return [
            _row("Postgres, largest process", self.largest),
            Row("memory", "Postgres, all together (Pss)", self.together, "MiB"),
            Row(
                *("memory", "largest case and Postgres", whole, "MiB"),
                target=f"< {LIMIT_OF_ALL:,.0f} MiB",
                met=whole < LIMIT_OF_ALL,
            ),
        ]

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY_SECONDS):
            resident, shares = [], []
            for process in [self._postmaster, *self._postmaster.children()]:
                with contextlib.suppress(psutil.Error):
                    found = process.memory_full_info()
                    resident.append(found.rss)
                    shares.append(found.pss)
            self.largest = max(self.largest, max(resident, default=0) / 2**20)
            self.together = max(self.together, sum(shares) / 2**20)


def memory_rows(peaks: Mapping[str, float]) -> list[Row]:
    """A row per case; peaks are in MiB."""
    return [_row(f"case {case}", peak) for case, peak in peaks.items()]


def _row(what: str, peak: float) -> Row:
    return Row("memory", what, peak, "MiB", target=f"< {LIMIT:,.0f} MiB", met=peak < LIMIT)
