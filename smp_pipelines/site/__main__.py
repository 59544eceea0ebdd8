"""Run the site: python -m smp_pipelines.site --port 8026."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from smp_pipelines.problems import SmpError
from smp_pipelines.site.app import make_app
from smp_pipelines.site.server import HOST, address, make_server, open_port
from smp_pipelines.stores.clock import SystemClock
from smp_pipelines.stores.postgres import server
from smp_pipelines.stores.settings import Settings, read_settings


def run(settings: Settings, port: int, host: str = HOST) -> None:
    """Serve until SIGTERM or SIGINT, with the Postgres server kept running. Raises SmpError for a taken port."""
    with contextlib.closing(open_port(port, host)) as door:
        _on_stop(_leave)
        with server(settings):
            web = make_server(make_app(settings, SystemClock()), settings.proxies)

            def stop(_signal: int, _frame: FrameType | None) -> None:
                web.should_exit = True

            _on_stop(stop)
            # Whoever started the site may wait for this line: connections are accepted from here on.
            print(f"Site  {address(door)}", flush=True)
            web.run(sockets=[door])


def _on_stop(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """Stop while the database starts, through the blocks that tidy up."""
    raise SystemExit(0)


def main() -> int:
    """Read the arguments, run until stopped, and give the exit code: 0, or 1 with one line about what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m smp_pipelines.site",
        description="The site: forms, pages and what links in mails lead to, and the pages for colleagues.",
    )
    parser.add_argument("--project", type=Path, help="the folder with smp.yaml (default: SMP_PROJECT, or this folder)")
    parser.add_argument("--port", type=int, help="the port, 0: a free one (default: SMP_PREVIEW_PORT, or 8026)")
    parser.add_argument("--host", default=HOST, help="the address to listen on (default: %(default)s)")
    given = parser.parse_args()
    try:
        settings = read_settings(given.project)
        run(settings, settings.preview_port if given.port is None else given.port, given.host)
    except SmpError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
