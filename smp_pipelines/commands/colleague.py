"""`smp colleague`: who may sign in to the pages for colleagues."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from smp_pipelines.commands.shared import deployment, out, print_table
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import SystemClock

app = typer.Typer(help="Colleagues: who may sign in to the pages.", no_args_is_help=True)

_Address = Annotated[str, typer.Argument(help="The colleague's e-mail address.")]
_By = Annotated[str | None, typer.Option(help="Who; default: you.")]


@app.command("list")
def colleague_list() -> None:
    """Everybody who may sign in, and when they did so last."""
    from smp_pipelines.site.colleagues.accounts import read_all

    with deployment() as loaded, loaded.connection() as postgres:
        found = read_all(postgres)
    zone = loaded.project.settings.zone
    rows = [
        [
            *(each.name, each.address, f"{each.added_at.astimezone(zone):%Y-%m-%d}", each.added_by),
            f"{each.last_seen.astimezone(zone):%Y-%m-%d %H:%M}" if each.last_seen else "never",
        ]
        for each in found
    ]
    print_table(["name", "address", "since", "added by", "signed in last"], rows)


@app.command("add")
def colleague_add(
    address: _Address,
    name: Annotated[str, typer.Option(help="What colleagues call them.")],
    by: _By = None,
) -> None:
    """Let somebody sign in, by a link that is mailed to this address when they ask for it."""
    from smp_pipelines.site.colleagues.accounts import add

    with deployment() as loaded, loaded.connection() as postgres:
        new = add(postgres, address, name, SystemClock().now(), by or getpass.getuser())
    out.print("added" if new else "was there already: nothing has changed")
    out.print(f"they sign in at {loaded.settings.site_url}/sign-in", markup=False)


@app.command("remove")
def colleague_remove(address: _Address, by: _By = None) -> None:
    """Take somebody's access away; where they are signed in, that ends at once."""
    from smp_pipelines.site.colleagues.accounts import remove

    with deployment() as loaded, loaded.connection() as postgres:
        ended = remove(postgres, address, SystemClock().now(), by or getpass.getuser())
    out.print(f"removed; {ended} {'session' if ended == 1 else 'sessions'} ended")


@app.command("link")
def colleague_link(address: _Address) -> None:
    """Print a link with which a colleague signs in once, within an hour: for when mail is of no use."""
    from smp_pipelines.site.colleagues.accounts import make_link

    with deployment() as loaded, loaded.connection() as postgres:
        token = make_link(postgres, address, SystemClock().now())
    if token is None:
        raise SmpError("this is no colleague's address; `smp colleague add ADDRESS --name NAME` makes it one")
    out.print(f"{loaded.settings.site_url}/sign-in/{token}", markup=False, soft_wrap=True)
