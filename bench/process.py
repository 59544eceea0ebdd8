"""Processes: every case runs in one of its own, so that its peak memory is its own and nothing is warm by accident.

`python -m bench.process CASE FOLDER` runs one case on the world in FOLDER and leaves its rows there as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from bench.row import Row

MEMORY_LIMIT = "1GB"
"""DuckDB's memory limit in every case, the baselines included; the product's default."""


def run_case(case: str, folder: Path) -> float:
    """Run a case in a process of its own; gives the peak memory of its largest process in MiB.

    Raises RuntimeError when the case fails; what went wrong is on stderr.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SMP_", "DAGSTER_"))}
    environment |= {"SMP_DUCKDB_MEMORY": MEMORY_LIMIT, "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen([sys.executable, "-m", "bench.process", case, str(folder)], env=environment)
    # the usage of this child alone (and of its own children), not of all that ran before
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the case {case} failed")
    return usage.ru_maxrss / 1024


def write_rows(folder: Path, case: str, rows: Sequence[Row]) -> None:
    """Leave the rows of a case in the folder."""
    (folder / f"{case}.json").write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")


def read_rows(folder: Path, case: str) -> list[Row]:
    """The rows that a case left in the folder."""
    return [Row(**row) for row in json.loads((folder / f"{case}.json").read_text(encoding="utf-8"))]


def main(case: str, folder: Path) -> None:
    """Run a case in this process."""
    from bench.world import World

    write_rows(folder, case, import_module(f"bench.{case}").run(World.open(folder)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
