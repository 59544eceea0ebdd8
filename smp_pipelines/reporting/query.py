"""Report queries: one SELECT a file in sql/reports, run on the report file, which is only read."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd

from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.problems import Problem, ProjectError, SmpError
from smp_pipelines.selection.compiler import describe
from smp_pipelines.stores.lake import literal


def list_reports(project: Path) -> dict[str, str]:
    """The reports of a project and what each says of itself."""
    return {file.stem: describe(file.read_text(encoding="utf-8")) for file in sorted(_folder(project).glob("*.sql"))}


def run_report(project: Path, report_file: Path, name: str, time_zone: str) -> pd.DataFrame:
    """Run a report on the report file, in local time. Raises SmpError when there is no such report or no file yet."""
    reports = list_reports(project)
    if name not in reports:
        remedy = did_you_mean(name, reports)
        raise SmpError(f"there is no report {name}" + (f"\n    → {remedy}" if remedy else ""))
    if not report_file.exists():
        raise SmpError(f"{report_file} is not there yet: it is made by a send, `smp tick` or `smp demo`")
    file = _folder(project) / f"{name}.sql"
    with duckdb.connect(str(report_file), read_only=True) as connection:
        connection.execute(f"set timezone = {literal(time_zone)}")
        try:
            return connection.execute(file.read_text(encoding="utf-8")).df()
        except duckdb.Error as error:
            raise ProjectError([Problem(file, None, f"this report does not run: {error}")]) from error


def _folder(project: Path) -> Path:
    return project / "sql" / "reports"
