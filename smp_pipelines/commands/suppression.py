"""`smp suppression`: the addresses that are never mailed."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from smp_pipelines.commands.shared import deployment, out, print_table
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import SystemClock
from smp_pipelines.stores.postgres import Connection

app = typer.Typer(help="The suppression list: addresses that are never mailed.", no_args_is_help=True)

_Address = Annotated[str | None, typer.Argument(help="The e-mail address.")]
_Person = Annotated[int | None, typer.Option(help="Instead of an address: the id of the person who has it.")]
_By = Annotated[str | None, typer.Option(help="Who; default: you.")]


@app.command("list")
def suppression_list(
    full: Annotated[bool, typer.Option("--full", help="Show whole addresses.")] = False,
) -> None:
    """Everything on the list, the latest first; addresses are shortened unless you ask for them whole."""
    from smp_pipelines.sending.suppression import read_list, shortened

    with deployment() as loaded, loaded.connection() as postgres:
        found = read_list(postgres)
    zone = loaded.project.settings.zone
    rows = [
        [each.email if full else shortened(each.email), each.reason, f"{each.since.astimezone(zone):%Y-%m-%d %H:%M}"]
        for each in found
    ]
    print_table(["address", "reason", "since"], rows)


@app.command("add")
def suppression_add(
    address: _Address = None,
    person: _Person = None,
    file: Annotated[Path | None, typer.Option(help="Instead of an address: a text file with one a line.")] = None,
    reason: Annotated[str, typer.Option(help="hard_bounce, complaint or manual.")] = "manual",
    by: _By = None,
) -> None:
    """Put an address, or a file of them, on the list; it is in effect for every mail that has not left yet."""
    from smp_pipelines.sending.suppression import add, add_file

    _refuse_unless_one(address, person, file)
    who, now = by or getpass.getuser(), SystemClock().now()
    with deployment() as loaded, loaded.connection() as postgres:
        if file is not None:
            added, bad = add_file(postgres, file, reason, now, who)
        else:
            added, bad = add(postgres, [_chosen(postgres, address, person)], reason, now, who), []
    for each in bad:
        typer.echo(f"{file}:{each.line}: {each.why}", err=True)
    out.print(f"{added.new} new, {added.already} there already" + (f", {len(bad)} left out" if bad else ""))
    if bad:
        raise typer.Exit(1)


@app.command("remove")
def suppression_remove(
    reason: Annotated[str, typer.Option(help="Why it may be mailed again; kept in the audit.")],
    address: _Address = None,
    person: _Person = None,
    by: _By = None,
) -> None:
    """Take an address off the list; from then on it is mailed again."""
    from smp_pipelines.sending.suppression import remove

    _refuse_unless_one(address, person, None)
    with deployment() as loaded, loaded.connection() as postgres:
        chosen = _chosen(postgres, address, person)
        gone = remove(postgres, [chosen], reason, SystemClock().now(), by or getpass.getuser())
    out.print("removed" if gone else "it was not on the list")


def _refuse_unless_one(address: str | None, person: int | None, file: Path | None) -> None:
    if sum(given is not None for given in (address, person, file)) != 1:
        raise SmpError("give one thing: an address, --person with an id, or (to add) --file with a list")


def _chosen(postgres: Connection, address: str | None, person: int | None) -> str:
    from smp_pipelines.sending.suppression import address_of

    return address if address is not None else address_of(postgres, int(person or 0))
