"""The catcher as one process: SMTP and pages in one event loop.

This is the edge where the clock is read: a mail is received now.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType

import uvicorn

from smp_pipelines.catcher.mailbox import Mailbox
from smp_pipelines.catcher.pages import make_app
from smp_pipelines.catcher.smtp import SmtpServer
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import SystemClock

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


def system_clock() -> datetime:
    """Give the moment it is, in UTC."""
    return SystemClock().now()


@dataclass(frozen=True)
class Doors:
    """The two sockets, bound, and where they are."""

    smtp: socket.socket
    http: socket.socket

    @property
    def smtp_address(self) -> str:
        """Host and port for mail."""
        return _address(self.smtp)

    @property
    def http_url(self) -> str:
        """Where the inbox is."""
        return f"http://{_address(self.http)}"

    def close(self) -> None:
        """Give both ports back."""
        self.smtp.close()
        self.http.close()


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_doors(smtp_host: str, smtp_port: int, http_host: str, http_port: int) -> Doors:
    """Bind both ports (0: a free one). Raises SmpError, which names the port, when one cannot be had."""
    smtp = _bind("SMTP", smtp_host, smtp_port)
    try:
        return Doors(smtp, _bind("HTTP", http_host, http_port))
    except SmpError:
        smtp.close()
        raise


def _bind(what: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=1024)
    except OverflowError as error:
        raise SmpError(
            f"{what} port {port} does not exist: choose one from 1 to 65535, or 0 for any free port"
        ) from error
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "another program listens there" if taken else error.strerror or str(error)
        raise SmpError(f"{what} port {port} on {host} cannot be used: {reason}. Choose another port") from error
    # Connections inherit this. asyncio sets it only on sockets that it bound itself; without it, every answer to
    # pipelined commands waits 40 ms for an acknowledgement.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class _WebServer(uvicorn.Server):
    """uvicorn without its signal handlers: the catcher has its own, which stop both servers; it exits with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(mailbox: Mailbox, doors: Doors, stop: asyncio.Event, started: Callable[[], None]) -> None:
    """Serve both doors until told to stop."""
    hosts = LOOPBACK if doors.http.getsockname()[0] in LOOPBACK else None
    app = make_app(mailbox, system_clock, doors.smtp_address, hosts)
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    web = _WebServer(config)
    smtp = SmtpServer(mailbox, system_clock)
    await smtp.start(doors.smtp)
    serving = asyncio.create_task(web.serve(sockets=[doors.http]))
    stopping = asyncio.create_task(stop.wait())
    started()
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    web.should_exit = True
    await smtp.close()
    await serving


def run(
    mailbox_folder: Path,
    smtp_host: str = "127.0.0.1",
    smtp_port: int = 1025,
    http_host: str = "127.0.0.1",
    http_port: int = 8025,
    announce: Callable[[str], None] = print,
) -> None:
    """Run the catcher until SIGTERM or SIGINT; `announce` is told where it listens.

    Raises SmpError when a port is taken or the mailbox is in use.
    """
    mailbox = Mailbox(mailbox_folder)
    try:
        doors = open_doors(smtp_host, smtp_port, http_host, http_port)
        with contextlib.closing(doors):
            asyncio.run(_run(mailbox, doors, announce))
    finally:
        mailbox.close()


async def _run(mailbox: Mailbox, doors: Doors, announce: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    lines = f"Inbox  {doors.http_url}\nSMTP   {doors.smtp_address}"
    await _serve(mailbox, doors, stop, lambda: announce(lines))


class Catcher:
    """The catcher in a background thread, for tests and the demo; ports that are 0 become free ones.

    Raises SmpError on entering, as `run` does. Leaving the block stops it and waits until it has stopped.
    """

    mailbox: Mailbox
    smtp_port: int
    http_url: str

    def __init__(
        self,
        folder: Path,
        *,
        smtp_host: str = "127.0.0.1",
        smtp_port: int = 0,
        http_host: str = "127.0.0.1",
        http_port: int = 0,
    ) -> None:
        self._folder = folder
        self._places = (smtp_host, smtp_port, http_host, http_port)
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="catcher", daemon=True)

    def __enter__(self) -> Catcher:
        self.mailbox = Mailbox(self._folder)
        try:
            self._doors = open_doors(*self._places)
        except SmpError:
            self.mailbox.close()
            raise
        self.smtp_port = int(self._doors.smtp.getsockname()[1])
        self.http_url = self._doors.http_url
        self._thread.start()
        self._loop = self._started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._doors.close()
        self.mailbox.close()

    def _work(self) -> None:
        """Serve in this thread, and hand its loop to the thread that waits for the start."""

        async def work() -> None:
            loop = asyncio.get_running_loop()
            await _serve(self.mailbox, self._doors, self._stop, lambda: self._started.set_result(loop))

        try:
            asyncio.run(work())
        except Exception as error:
            if self._started.done():
                raise
            self._started.set_exception(error)
