"""Python programs in processes of their own (tests/support/warm.py), which say a line and wait for a word."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.support import warm
from tests.support.waiting import PATIENCE


def start_smp(environment: Mapping[str, str], *arguments: str) -> warm.WarmProcess:
    """An `smp` command in a session of its own; its output and its errors come out of one pipe."""
    source = "from smp_pipelines.cli import main; main()"
    return warm.start(source, arguments, environment, one_stream=True)


class Program:
    """A running program; what it prints can be read line by line."""

    def __init__(self, source: str, *arguments: object, environment: Mapping[str, str] | None = None) -> None:
        self.process = warm.start(source, tuple(map(str, arguments)), os.environ | dict(environment or {}))

    def line(self) -> str:
        """The next line that it prints; its error output when there is none."""
        line = self.process.stdout.readline()
        assert line, f"the program ended: {self.process.stderr.read()}"
        return line.strip()

    def go(self) -> None:
        """Let it go on from where it waits for a line."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self) -> str:
        """Wait until it has ended well; the rest of what it printed."""
        out, errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, errors
        return out

    def kill(self) -> None:
        """End it at once, as the kernel does when memory is short."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def program(source: str, *arguments: object, environment: Mapping[str, str] | None = None) -> Iterator[Program]:
    """A program that does not outlive the block."""
    started = Program(source, *arguments, environment=environment)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()
        started.process.communicate()
