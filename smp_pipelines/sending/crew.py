"""The crew: more processes of this machine on one send. Each is a worker like any other; the ledger keeps them apart.

What a process needs goes to it as its first line of input, never on its command line, where anybody
could read a password. It works until that input ends: when this process dies, the others wind up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from smp_pipelines.stores.settings import Settings

_FOLDERS = ("project", "home")


@dataclasses.dataclass(frozen=True)
class Errand:
    """What a process of the crew is asked to do: deliver this send, by a clock that starts at `now`."""

    settings: Settings
    postgres_url: str
    send_id: int
    now: datetime
    connections: int
    patience: float

    def written(self) -> str:
        """The errand as one line."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        settings = dataclasses.asdict(self.settings)
        settings |= {name: str(settings[name]) for name in _FOLDERS}
        return json.dumps(fields | {"settings": settings, "now": self.now.isoformat()})

    @classmethod
    def read(cls, line: str) -> Errand:
        """The errand in a line."""
        fields: dict[str, Any] = json.loads(line)
        settings = fields["settings"] | {name: Path(fields["settings"][name]) for name in _FOLDERS}
        return cls(**fields | {"settings": Settings(**settings), "now": datetime.fromisoformat(fields["now"])})


class Crew:
    """The other processes that work on a send, and what they have counted."""

    def __init__(self, errand: Errand, size: int) -> None:
        self._counts: dict[int, dict[str, dict[str, int]]] = {}
        self._processes = [_start(errand) for _ in range(size)]
        self._readers = [
            threading.Thread(target=self._read, args=(number, process.stdout), daemon=True)
            for number, process in enumerate(self._processes)
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pids(self) -> list[int]:
        """The processes' numbers."""
        return [process.pid for process in self._processes]

    def counted(self, what: str) -> Counter[str]:
        """The sum of what the processes have counted: `outcomes` or `skipped`."""
        total: Counter[str] = Counter()
        for counts in list(self._counts.values()):
            total.update(counts.get(what, {}))
        return total

    def wait(self) -> None:
        """Wait until every process is done."""
        for process in self._processes:
            process.wait()
        for reader in self._readers:
            reader.join()

    def dismiss(self) -> None:
        """Ask every process to begin with no other mail, and wait for those in hand."""
        for process in self._processes:
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        self.wait()

    def _read(self, number: int, lines: IO[str] | None) -> None:
        for line in lines or ():
            with contextlib.suppress(json.JSONDecodeError):
                self._counts[number] = json.loads(line)


@contextlib.contextmanager
def crew(errand: Errand, size: int) -> Iterator[Crew]:
    """So many more processes on a send, for the length of the block; an error in it dismisses them."""
    made = Crew(errand, size)
    try:
        yield made
        made.wait()
    finally:
        made.dismiss()


def _start(errand: Errand) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "smp_pipelines.sending", str(errand.send_id)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        # a Ctrl-C is for the process that sent them; it tells them
        start_new_session=True,
    )
    if process.stdin is not None:
        process.stdin.write(errand.written() + "\n")
        process.stdin.flush()
    return process
