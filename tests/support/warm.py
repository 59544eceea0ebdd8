"""A warm process: it has read the product's code once and forks one process after the other, in some milliseconds.

A Python of one's own takes one to four seconds of processor time to read Dagster, DuckDB and the product. What is
forked is a process like any other: in a session of its own, with its own environment, to be stopped, killed and
waited for. `python -m tests.support.warm FD` is the warm process; it ends when the other end of that socket does.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NoReturn

_REPOSITORY = Path(__file__).resolve().parents[2]


class WarmProcess:
    """A process that the warm one forked, with what the tests use of subprocess.Popen; its streams are text."""

    def __init__(self, line: socket.socket, stdin: IO[str], stdout: IO[str], stderr: IO[str]) -> None:
        self._line = line
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.pid = int.from_bytes(line.recv(4), "big")
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; its exit status. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                self.returncode = int.from_bytes(self._line.recv(4), "big", signed=True)
            except (TimeoutError, BlockingIOError) as error:
                raise subprocess.TimeoutExpired("a warm process", timeout or 0.0) from error
            self._line.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Close its input; what it says until it ends. One that takes too long is killed: subprocess.TimeoutExpired."""
        self.stdin.close()
        with ThreadPoolExecutor(2) as pool:
            said = [pool.submit(_rest, pipe) for pipe in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return said[0].result(), said[1].result()


def _rest(pipe: IO[str]) -> str:
    if pipe.closed:
        return ""
    with pipe:
        return pipe.read()


def start(
    source: str, arguments: tuple[str, ...], environment: Mapping[str, str], *, one_stream: bool = False
) -> WarmProcess:
    """Run a program (Python source) in a process of its own. one_stream: its errors come with its output."""
    line, far = socket.socketpair()
    (reads, stdin), (stdout, writes), (stderr, complains) = os.pipe(), os.pipe(), os.pipe()
    with far:
        request = json.dumps([source, arguments, dict(environment)]).encode()
        theirs = [reads, writes, writes if one_stream else complains]
        socket.send_fds(_warm(), [len(request).to_bytes(4, "big")], [far.fileno(), *theirs])
        _warm().sendall(request)
    for each in (reads, writes, complains):
        os.close(each)
    return WarmProcess(line, os.fdopen(stdin, "w"), os.fdopen(stdout), os.fdopen(stderr))


@functools.cache
def _warm() -> socket.socket:
    """The end of the socket to this test process's warm process, which is started with the first request."""
    mine, its = socket.socketpair()
    with its:
        command = [sys.executable, "-m", "tests.support.warm", str(its.fileno())]
        subprocess.Popen(command, cwd=_REPOSITORY, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)
    return mine


# ---------------------------------------------------------------- the warm process


Request = tuple[str, list[str], dict[str, str]]
"""A program, its arguments and its environment."""


def _serve(door: socket.socket) -> Request:
    """Fork a process for each request and tell how each ended; comes back in such a process, with what it is to do."""
    lines: dict[int, socket.socket] = {}
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with woken, wake, door, selectors.DefaultSelector() as waiting:
        for each in (door, woken):
            waiting.register(each, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in waiting.select()}
            if woken in ready:
                woken.recv(1000)
                _tell(lines)
            if door in ready:
                line, streams, request = _asked(door)
                child = os.fork()
                if child == 0:
                    signal.set_wakeup_fd(-1)
                    _take_over(streams)
                    for other in (line, *lines.values()):
                        other.close()
                    return request
                line.sendall(child.to_bytes(4, "big"))
                lines[child] = line
                for stream in streams:
                    os.close(stream)


def _asked(door: socket.socket) -> tuple[socket.socket, list[int], Request]:
    """The next request, its streams and the line on which its end is told; the end when there is nobody to ask."""
    if not door.recv(1, socket.MSG_PEEK):
        sys.exit()
    size, (line, *streams), _flags, _address = socket.recv_fds(door, 4, 4)
    source, arguments, environment = json.loads(door.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
    return socket.socket(fileno=line), streams, (source, arguments, environment)


def _tell(lines: dict[int, socket.socket]) -> None:
    """Tell of every child that has ended."""
    while lines:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        with lines.pop(child) as line:
            try:
                line.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
            except BrokenPipeError:
                continue  # nobody waits for it


def _take_over(streams: list[int]) -> None:
    """Be a process of its own, with these streams, that takes signals as every Python does."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in set(streams):
        os.close(stream)


def _do(source: str, arguments: list[str], environment: dict[str, str]) -> NoReturn:
    """Run the program and end, without the half second that taking all that was read apart again would cost."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    status: object = 0
    try:
        exec(compile(source, "<a program of a test>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        status = end.code
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        status = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def _read_everything() -> None:
    """Read the code that the programs of the tests use, and the sample project."""
    import smp_pipelines.cli
    import smp_pipelines.definitions
    import smp_pipelines.operations.tick  # noqa: F401
    from tests.support.theatre import deployment

    deployment("postgresql://nowhere", Path())
    gc.collect()
    gc.freeze()  # what is there now stays: a child's collector that looked at it would copy its memory


if __name__ == "__main__":
    _read_everything()
    _do(*_serve(socket.socket(fileno=int(sys.argv[1]))))
