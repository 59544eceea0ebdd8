"""The server: the app on a port of this machine, until it is told to stop."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from smp_pipelines.problems import SmpError

HOST = "127.0.0.1"
"""Loopback only: the site has no login."""


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal: who runs it stops it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def open_port(port: int) -> socket.socket:
    """Take a port (0: a free one). Raises SmpError when it cannot be had."""
    try:
        return socket.create_server((HOST, port), backlog=256)
    except OverflowError as error:
        raise SmpError(f"port {port} does not exist: choose one from 1 to 65535, or 0 for any free port") from error
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "another program listens there" if taken else error.strerror or str(error)
        raise SmpError(f"port {port} on {HOST} cannot be used: {reason}. Choose another with --port") from error


def address(door: socket.socket) -> str:
    """Where the site is."""
    return f"http://{HOST}:{door.getsockname()[1]}"


def make_server(app: Starlette) -> Server:
    """Make the server; `run(sockets=[...])` serves until `should_exit` is set."""
    return Server(
        uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
