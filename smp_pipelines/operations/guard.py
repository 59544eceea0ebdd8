"""The guard: a process that ends everything when the supervisor dies without a word (kill -9, out of memory).

The supervisor tells it the process group of each child on stdin. When stdin closes without the
word `bye`, the supervisor is gone: the guard ends the groups, with all that they started (a code
server's own children and its runs), and the embedded Postgres server if nobody else uses it. The
kernel's parent-death signal would reach direct children only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_SECONDS_TO_END = 6.0


class Guard:
    """The supervisor's side: starts the guard, tells it about process groups, and says goodbye."""

    def __init__(self, home: Path, log: Path) -> None:
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "smp_pipelines.operations.guard", str(home)],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                cwd=home,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The guard's own process."""
        return self._process.pid

    def add(self, group: int) -> None:
        """Have this process group ended when the supervisor dies."""
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Forget a process group that has ended."""
        self._tell(f"-{group}\n")

    def dismiss(self) -> None:
        """Everything has ended in good order: nothing is left to guard."""
        self._tell("bye\n")
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, text: str) -> None:
        if self._process.stdin is None or self._process.poll() is not None:
            return
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()


def end_group(group: int, how: signal.Signals) -> bool:
    """Signal a process group; says whether there was one."""
    try:
        os.killpg(group, how)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of which only a zombie is left
        return False
    return True


def end_groups(groups: set[int], seconds: float) -> None:
    """Ask process groups to end, wait, and kill what is left after so many seconds."""
    alive = {group for group in groups if end_group(group, signal.SIGTERM)}
    deadline = time.monotonic() + seconds
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = {group for group in alive if _lives(group)}
    for group in alive:
        end_group(group, signal.SIGKILL)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def main() -> None:
    """Listen until stdin closes; then end what is left, unless the supervisor said goodbye."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        if line.startswith("+"):
            groups.add(int(line[1:]))
        elif line.startswith("-"):
            groups.discard(int(line[1:]))
        else:
            return
    print("the supervisor died; ending what it started", flush=True)
    end_groups(groups, _SECONDS_TO_END)
    _stop_postgres(Path(sys.argv[1]))


def _stop_postgres(home: Path) -> None:
    # imported here: the guard is to be small for as long as all goes well
    from smp_pipelines.stores.server import EmbeddedServer

    server = EmbeddedServer(home)
    if server.port() is not None:
        with server.use():
            pass  # the last user out stops the server


if __name__ == "__main__":
    main()
