"""Postfix's smtp-sink and smtp-source (Debian's package postfix; nothing of Postfix itself runs)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/libexec/postfix"
SINK = shutil.which("smtp-sink", path=_PATH)
SOURCE = shutil.which("smtp-source", path=_PATH)
_BACKLOG = "200"


@contextmanager
def sink() -> Iterator[int]:
    """The port of an smtp-sink, which takes every mail and keeps none, for the length of the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    # as root it asks for a user to become
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    process = subprocess.Popen([str(SINK), *user, f"127.0.0.1:{port}", _BACKLOG])
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def source(port: int, mails: int, connections: int, length: int) -> float:
    """Seconds that smtp-source needs for so many mails of `length` bytes, over connections that stay open."""
    command = [str(SOURCE), "-d", "-s", str(connections), "-l", str(length), "-m", str(mails)]
    started = time.monotonic()
    subprocess.run(
        [*command, "-f", "bench@schouwburg.example", "-t", "anna@example.org", f"127.0.0.1:{port}"], check=True
    )
    return time.monotonic() - started


def _wait_for(port: int) -> None:
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("smtp-sink does not start")
