"""The warm process: `python -m smp_pipelines.operations.warm`, one of the processes of `smp up`.

It listens for the launcher, and keeps a worker that has the definitions loaded as the project's files are now.
When they change it starts another worker: that takes over once it has loaded them, and the old one ends after its
last run. A project that cannot be loaded changes nothing, as in the code server (F29). This half imports little
and stays; when it ends, or is asked to, the workers end with it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from smp_pipelines.operations.handover import PATIENCE, address
from smp_pipelines.stores.fingerprint import Fingerprint, fingerprint

DEFINITIONS = "smp_pipelines.definitions"
_LOOK = 1.0
"""Seconds between two looks at the project's files; when a run is asked for, they are looked at as well."""
_LONGEST_WAIT = 15.0
"""Seconds that a run waits for an edited project to be loaded, before it gets the definitions that there are."""
_BACKLOG = 64


@dataclass(eq=False)
class Worker:
    """A worker that loads, or has loaded, the files as they were; `line` is the socket to it."""

    process: subprocess.Popen[bytes]
    line: socket.socket
    files: Fingerprint


class Keeper:
    """The half that stays."""

    def __init__(self, project: Path, home: Path, module: str) -> None:
        self._project = project
        self._module = module
        self._path = address(home)
        self._selector = selectors.DefaultSelector()
        self._listener = self._listen()
        self._current: Worker | None = None
        self._loading: Worker | None = None
        self._retired: list[Worker] = []
        self._broken: Fingerprint | None = None
        self._waiting: deque[tuple[float, socket.socket]] = deque()
        self._over = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def run(self) -> None:
        """Until asked to end; then the workers, and the runs in them, are waited for."""
        try:
            while not self._over:
                self._follow()
                self._hand_out()
                self._hear()
        finally:
            self._path.unlink(missing_ok=True)
            self._listener.close()
            for worker in self._workers():
                worker.line.close()
                worker.process.wait()

    def _stop(self, _number: int, _frame: object) -> None:
        self._over = True

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        self._path.unlink(missing_ok=True)  # of one that was killed
        before = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
        self._selector.register(listener, selectors.EVENT_READ)
        return listener

    def _workers(self) -> list[Worker]:
        return [each for each in (self._current, self._loading, *self._retired) if each is not None]

    def _follow(self) -> None:
        """Start a worker for files that no worker has, unless they could not be loaded."""
        self._retired = [each for each in self._retired if each.process.poll() is None]
        if self._loading is not None:
            return
        files = fingerprint(self._project)
        if files != self._broken and (self._current is None or self._current.files != files):
            self._loading = self._start(files)

    def _start(self, files: Fingerprint) -> Worker:
        ours, its = socket.socketpair()
        with its:
            command = [sys.executable, "-m", "smp_pipelines.operations.warm_worker", self._module, str(its.fileno())]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()])
        worker = Worker(process, ours, files)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        return worker

    def _hear(self) -> None:
        # a signal sets `_over`; select goes on after it, so it must not wait for long
        for key, _events in self._selector.select(_LOOK if not self._waiting else 0.1):
            if key.fileobj is self._listener:
                self._waiting.append((time.monotonic(), self._listener.accept()[0]))
            else:
                self._hear_worker(key.data)

    def _hear_worker(self, worker: Worker) -> None:
        said = b""
        with contextlib.suppress(OSError):
            said = worker.line.recv(64)
        if said.startswith(b"ready"):
            self._retire(self._current)
            self._current, self._loading, self._broken = worker, None, None
            return
        # it said that it cannot load these files, or it was killed
        self._retire(worker)
        if worker is self._loading:
            self._loading, self._broken = None, worker.files
        if worker is self._current:
            self._current = None

    def _retire(self, worker: Worker | None) -> None:
        if worker is not None and worker not in self._retired:
            self._selector.unregister(worker.line)
            worker.line.close()
            self._retired.append(worker)

    def _is_outdated(self) -> bool:
        """Whether a worker is to come that has the project as it is now."""
        if self._current is None and self._loading is not None:
            return True
        files = fingerprint(self._project)
        return files != self._broken and (self._current is None or self._current.files != files)

    def _hand_out(self) -> None:
        """Give those who wait to a worker with the files as they are now, or to one that there is after a while."""
        while self._waiting:
            since, connection = self._waiting[0]
            if time.monotonic() - since > PATIENCE:
                self._waiting.popleft()
                connection.close()  # whoever asked has given up
                continue
            if self._is_outdated() and (self._current is None or time.monotonic() - since < _LONGEST_WAIT):
                return  # `_follow` starts a worker
            self._waiting.popleft()
            with connection:
                if self._current is None:
                    continue  # the launcher sees that nobody is there
                try:
                    socket.send_fds(self._current.line, [b"r"], [connection.fileno()])
                except OSError:
                    self._retire(self._current)
                    self._current = None


def main() -> int:
    """`warm [MODULE]`: with the environment that Dagster's processes have (operations/environment.py)."""
    module = sys.argv[1] if len(sys.argv) > 1 else DEFINITIONS
    Keeper(Path(os.environ["SMP_PROJECT"]), Path(os.environ["DAGSTER_HOME"]), module).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
