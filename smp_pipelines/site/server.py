"""The server: the app on a port of this machine, until it is told to stop."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from smp_pipelines.problems import SmpError

HOST = "127.0.0.1"
"""Loopback, unless somebody asks for more: a proxy on this machine speaks https to the world."""


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process by the signal: who runs it stops it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def open_port(port: int, host: str = HOST) -> socket.socket:
    """Take a port (0: a free one). Raises SmpError when it cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except OverflowError as error:
        raise SmpError(f"port {port} does not exist: choose one from 1 to 65535, or 0 for any free port") from error
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "another program listens there" if taken else error.strerror or str(error)
        raise SmpError(f"port {port} on {host} cannot be used: {reason}. Choose another with --port") from error


def address(door: socket.socket) -> str:
    """Where the site is."""
    host, port = door.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make_server(app: ASGIApp, proxies: str = "") -> Server:
    """Make the server; `run(sockets=[...])` serves until `should_exit` is set, and then lets the app close.

    proxies: whose X-Forwarded-For and X-Forwarded-Proto are believed, with commas between them; nobody's else.
    """
    return Server(
        uvicorn.Config(
            app,
            lifespan="on",
            ws="none",
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
