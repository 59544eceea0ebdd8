"""`make bench`: run the cases, print one table of ratios, write bench.json.

Ratios are what counts: measured and baseline come from the same run on the same machine. A missed target is shown,
not an error; a case that fails is one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.memory import PostgresMemory, memory_rows
from bench.process import MEMORY_LIMIT, read_rows, run_case
from bench.row import Row
from bench.sizes import SIZES_FILE, Sizes
from smp_pipelines.stores.server import EmbeddedServer

CASES = (
    *("selection", "mirror", "planning", "definitions", "compile", "delivery", "report", "hits"),
    *("audience", "diff", "why", "latency", "submission", "flows"),
)
"""In this order: later ones add to the ledger that earlier ones must not have to read."""
_DATA = {"audience": "crowd", "diff": "crowd", "why": "crowd", "compile": None, "definitions": None, "latency": None}
"""What has to be made first for a case, once; `data` for those that are not here."""
_ROOT = Path(__file__).resolve().parents[1]
_WIDTH = 150
_PREFIX = "smp-bench-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0, or 1 when a case failed."""
    options = _options(arguments)
    sizes = Sizes.quick() if options.quick else Sizes.of(options.people, options.steps)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    with _folder(options.state) as folder:
        rows, failed = _run(folder, sizes, options.case or CASES, console)
    if not sizes.are_of_the_targets:
        rows = [replace(row, met=None) for row in rows]
        console.print("the targets are for 1,000,000 people and 200 steps or more: no verdicts here", style="dim")
    console.print(_table(rows))
    _write(options.output, sizes, rows)
    console.print(f"\nwritten to {options.output}", markup=False, soft_wrap=True)
    for case in failed:
        console.print(f"FAILED: {case}")
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Speed and memory, against a baseline of this run"
    )
    parser.add_argument(
        "--people", type=int, default=1_000_000, help="people in the CRM; the crowd is 10 times as many"
    )
    parser.add_argument("--steps", type=int, default=200, help="continuous steps in the generated project")
    parser.add_argument("--quick", action="store_true", help="a smoke run: 1,000 people, a crowd of 10,000, 20 steps")
    parser.add_argument("--case", action="append", choices=CASES, help="only this case (may be given again)")
    parser.add_argument("--output", type=Path, default=_ROOT / "bench.json", help="where the figures go")
    parser.add_argument(
        "--state", type=Path, help="a folder for the data, kept and used again; default: one that is removed"
    )
    return parser.parse_args(arguments)


def _run(folder: Path, sizes: Sizes, cases: Sequence[str], console: Console) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    peaks: dict[str, float] = {}
    failed: list[str] = []
    server = EmbeddedServer(folder / "home")
    try:
        with server.use(), _watched(server) as postgres:
            for case in _with_data(folder, sizes, cases):
                if _DATA.get(case, "data") in failed:
                    failed.append(case)
                    continue
                started = time.monotonic()
                try:
                    peaks[case] = run_case(case, folder)
                except RuntimeError:
                    failed.append(case)
                    continue
                rows += read_rows(folder, case)
                console.print(f"{case}: {time.monotonic() - started:.0f} s", style="dim")
    finally:
        if folder.name.startswith(_PREFIX):
            shutil.rmtree(server.data, ignore_errors=True)  # as root it may lie outside the folder
    return [*rows, *memory_rows(peaks), *postgres.rows(max(peaks.values(), default=0.0))], failed


def _with_data(folder: Path, sizes: Sizes, cases: Sequence[str]) -> list[str]:
    """The cases, each after what it needs; what a kept state with the same sizes has already is not made again."""
    same = (folder / SIZES_FILE).exists() and Sizes.load(folder / SIZES_FILE) == sizes
    there = {name for name in ("data", "crowd") if same and (folder / f"{name}.json").exists()}
    sizes.save(folder / SIZES_FILE)
    ordered: list[str] = []
    for case in cases:
        need = _DATA.get(case, "data")
        if need is not None and need not in there:
            there.add(need)
            ordered.append(need)
        ordered.append(case)
    return ordered


@contextlib.contextmanager
def _folder(state: Path | None) -> Iterator[Path]:
    if state is not None:
        state.mkdir(parents=True, exist_ok=True)
        yield state.resolve()
        return
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        Path(folder).chmod(0o755)  # the embedded server's system user must be able to enter it
        yield Path(folder)


@contextlib.contextmanager
def _watched(server: EmbeddedServer) -> Iterator[PostgresMemory]:
    postmaster = int((server.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
    memory = PostgresMemory(postmaster)
    with memory.watched():
        yield memory


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("case", "what"):
        table.add_column(name, no_wrap=True)
    for name in ("measured", "baseline", "ratio", "target"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("note", style="dim")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}×"
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        baseline = "" if row.baseline is None else _figure(row.baseline, row.unit)
        table.add_row(
            *(row.case, row.what, _figure(row.measured, row.unit), baseline, ratio, row.target or "", verdict, row.note)
        )
    return table


def _figure(value: float, unit: str) -> str:
    return f"{value:,.2f} {unit}" if unit == "s" else f"{value:,.0f} {unit}"


def _write(file: Path, sizes: Sizes, rows: Sequence[Row]) -> None:
    found = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processors": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "load": os.getloadavg()[0],
        },
        "versions": {name: version(name) for name in ("smp-pipelines", "dagster", "duckdb", "psycopg")},
        "duckdb_memory_limit": MEMORY_LIMIT,
        "sizes": asdict(sizes),
        "rows": [asdict(row) | {"ratio": row.ratio} for row in rows],
    }
    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
