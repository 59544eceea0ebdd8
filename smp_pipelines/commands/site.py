"""`smp site` and `smp sign-in`: the site alone, and a link to its pages for the user of this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from smp_pipelines.commands.shared import out, settings
from smp_pipelines.stores.clock import SystemClock


def serve_site(
    port: Annotated[
        int | None, typer.Option(help="The port, 0: a free one; default: SMP_PREVIEW_PORT, or 8026.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 for all of this machine's.")
    ] = "127.0.0.1",
) -> None:
    """Run the site alone: forms, pages, and the pages for colleagues; behind a proxy, for instance. Ctrl-C ends it."""
    from smp_pipelines.operations.running import read_running
    from smp_pipelines.site.__main__ import run
    from smp_pipelines.site.colleagues import machine

    current = settings()
    alone = read_running(current) is None
    door = current.preview_port if port is None else port
    if alone:
        machine.renew(current.home)
        way_in = machine.sign_in_path(current.home, SystemClock().now())
        out.print(f"sign in on this machine  http://127.0.0.1:{door or 'PORT'}{way_in}", markup=False, soft_wrap=True)
    try:
        run(current, door, host)
    finally:
        if alone:
            machine.forget(current.home)


def print_sign_in() -> None:
    """Print a link with which the user of this machine signs in to the pages; good while what runs here runs."""
    from smp_pipelines.site.colleagues import machine

    current = settings()
    out.print(
        f"{current.pages_url}{machine.sign_in_path(current.home, SystemClock().now())}", markup=False, soft_wrap=True
    )
