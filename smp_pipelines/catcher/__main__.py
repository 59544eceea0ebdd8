"""Run the catcher: python -m smp_pipelines.catcher --folder mails."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from smp_pipelines.catcher.server import run
from smp_pipelines.problems import SmpError


def say(text: str) -> None:
    """Print at once, also into a pipe: who started the catcher may wait for this to know that it listens."""
    print(text, flush=True)


def main() -> int:
    """Read the arguments, run until stopped, and give the exit code: 0, or 1 with one line about what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m smp_pipelines.catcher",
        description="A mail catcher: takes every mail over SMTP, delivers none, and shows them in an inbox page.",
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the mails are kept")
    parser.add_argument("--smtp-host", default="127.0.0.1", help="address for mail (%(default)s)")
    parser.add_argument("--smtp-port", type=int, default=1025, help="port for mail, 0: a free one (%(default)s)")
    parser.add_argument("--http-host", default="127.0.0.1", help="address of the inbox (%(default)s)")
    parser.add_argument("--http-port", type=int, default=8025, help="port of the inbox, 0: a free one (%(default)s)")
    given = parser.parse_args()
    try:
        run(given.folder, given.smtp_host, given.smtp_port, given.http_host, given.http_port, announce=say)
    except SmpError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
