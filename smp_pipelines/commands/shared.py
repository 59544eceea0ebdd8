"""What all commands share: the project they are about, and how they print."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import SystemClock
from smp_pipelines.stores.settings import Settings, read_settings

if TYPE_CHECKING:
    from smp_pipelines.operations.tick import Ticked

# a file or a pipe has no width to fit into: nothing is cut off there
out = Console(highlight=False, width=None if sys.stdout.isatty() else 240)


class Project:
    """The project folder that was named on the command line, if any."""

    folder: Path | None = None


def settings() -> Settings:
    """The settings of the project that the command is about."""
    return read_settings(Project.folder)


@contextlib.contextmanager
def deployment() -> Iterator[Deployment]:
    """The project, loaded, with its Postgres server running."""
    loaded = Deployment.load(settings())
    with loaded.running():
        yield loaded


def local_moment(text: str | None, loaded: Deployment) -> datetime:
    """The moment that somebody wrote in local time; now when nothing was written. Raises SmpError when it is none."""
    if text is None:
        return SystemClock().now()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SmpError(f"{text!r} is no moment; write it like 2026-11-23 09:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=loaded.project.settings.zone)


def end_of(text: str, loaded: Deployment) -> datetime:
    """The last moment of what somebody wrote: of a bare date that day's, of hours and minutes that minute's.

    What ran at a moment ran a little after it.
    """
    moment = local_moment(text, loaded)
    length = {10: timedelta(days=1), 16: timedelta(minutes=1)}.get(len(text.strip()))
    return moment if length is None else moment + length - timedelta(microseconds=1)


def print_ticked(result: Ticked) -> None:
    """Print what became of one send: its counts, and the reasons."""
    from smp_pipelines.sending.reasons import explain

    if result.failure:
        typer.echo(f"{result.due.ref.key}: failed: {result.failure}", err=True)
    if result.totals is not None:
        t = result.totals
        out.print(
            f"{result.due.send_key}: {t.all} selected, {t.accepted} accepted, {t.rejected} rejected, "
            f"{t.unknown} unknown, {t.skipped} skipped, {t.open} waiting"
        )
        for reason, count in t.reasons.items():
            out.print(f"  {count} {explain(reason)}")


def print_table(columns: list[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows as a table without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(str(column))
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    out.print(table, markup=False)
