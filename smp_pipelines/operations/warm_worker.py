"""The loaded half of the warm process: everything is imported, nothing is open, and each run is a fork of it.

A fork shares what its parent has open, and has none of its parent's threads. So this process opens no connection
to anything and starts no thread; it looks whether that is so before it says that it is ready. It gets the
connections of those who ask for runs from the keeper (operations/warm.py), and ends after its last run when the
keeper hangs up.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Callable

import psutil

from smp_pipelines.operations.handover import GO, RunProcess, read_line

READY, BROKEN = b"ready\n", b"broken\n"
_IMPORTED = (
    *("smp_pipelines.operations.launcher", "dagster_postgres", "psycopg2.extras", "encodings.idna"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg"),
)
"""What a run imports besides the definitions. Nothing is drawn here: the fonts would be open files."""
_LOOK = 0.5
"""Seconds between two looks for children that ended."""
_PATIENCE = 5.0
"""Seconds for the launcher to say what it wants: it does so at once."""


class Forker:
    """Forks a process for every run that is asked for, and sees to those that end without a word."""

    def __init__(self, keeper: socket.socket) -> None:
        self._keeper = keeper
        self._runs: dict[int, str] = {}
        self._over = False
        signal.signal(signal.SIGTERM, self._stop)

    def run(self) -> None:
        """Until the keeper hangs up, or this process is asked to end; then until the last run has ended."""
        while self._runs or not self._over:
            readable = select.select([] if self._over else [self._keeper], [], [], _LOOK)[0]
            if readable:
                self._take()
            self._see_to_the_dead()

    def _stop(self, _number: int, _frame: object) -> None:
        self._over = True  # the runs get the signal too: all are one process group

    def _take(self) -> None:
        said, descriptors, _flags, _address = socket.recv_fds(self._keeper, 1, 16)
        if not said:
            self._over = True
        for descriptor in descriptors:
            with socket.socket(fileno=descriptor) as connection:
                connection.settimeout(_PATIENCE)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            request = json.loads(read_line(connection))
        except (OSError, ValueError):
            return
        run_id, arguments = str(request["run_id"]), str(request["arguments"])
        self._runs[self._fork(lambda: _run(connection, run_id, arguments))] = run_id

    def _see_to_the_dead(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run_id = self._runs.pop(pid, None)
            code = os.waitstatus_to_exitcode(status)
            if run_id is not None and code != 0:
                ended = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
                self._fork(lambda run_id=run_id, ended=ended: _bury(run_id, ended))  # type: ignore[misc]

    def _fork(self, work: Callable[[], None]) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._keeper.close()
            work()
            code = 0
        except KeyboardInterrupt:
            code = 0
        except BaseException:
            logging.getLogger(__name__).exception("a run's process failed")
        finally:
            logging.shutdown()
            sys.stdout.flush()
            # not the interpreter's own end: what the parent had imported must not be tidied up twice
            os._exit(code)


def _run(connection: socket.socket, run_id: str, arguments: str) -> None:
    from smp_pipelines.operations.launcher import execute

    try:
        connection.sendall(RunProcess.own(run_id).written().encode() + b"\n")
        connection.settimeout(None)
        if connection.recv(len(GO)) != GO:
            return
    except OSError:
        return  # the launcher has given up: it has the run started elsewhere
    connection.close()
    execute(arguments)


def _bury(run_id: str, ended: str) -> None:
    from smp_pipelines.operations.launcher import report_lost

    report_lost(run_id, f"The process of this run {ended}. What it sent is in the ledger; its send goes on by itself.")


def warm_up(module: str) -> None:
    """Import and load what runs need. Raises whatever is wrong with the project, and RuntimeError for a thread."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy, which charts need, would start threads
    import duckdb

    for name in _IMPORTED:
        importlib.import_module(name)
    importlib.import_module(module).defs().get_repository_def()
    _rehearse()
    duckdb.close()  # importing it opened a database in memory, with a thread
    if psutil.Process().num_threads() > 1:
        raise RuntimeError("there are threads in the warm process: nothing may be forked from it")
    gc.collect()
    gc.freeze()


def _rehearse() -> None:
    """Run a job that does nothing: Dagster imports a lot when it does so for the first time."""
    import dagster as dg

    @dg.op
    def nothing() -> None:
        pass

    @dg.job(executor_def=dg.in_process_executor)
    def rehearsal() -> None:
        nothing()

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        rehearsal.execute_in_process(instance=instance, run_config=quiet)


def main() -> int:
    """`warm_worker MODULE DESCRIPTOR`: the definitions, and the socket to the keeper."""
    keeper = socket.socket(fileno=int(sys.argv[2]))
    try:
        if sys.platform != "linux":
            raise RuntimeError("forking is sound on Linux only")
        warm_up(sys.argv[1])
    except Exception:
        logging.getLogger(__name__).exception("not warm: runs are started by the code server")
        keeper.sendall(BROKEN)
        return 0
    keeper.sendall(READY)
    Forker(keeper).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
