"""The environment in which Dagster's processes run: its home folder, its storage, and the project's settings."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import dagster_url
from smp_pipelines.stores.settings import REPOSITORY, Settings

_CODE_PORT = 4266


def dagster_home(settings: Settings) -> Path:
    """The folder that Dagster calls DAGSTER_HOME."""
    return settings.home / "dagster"


def code_port() -> int:
    """The port of the code server on loopback (SMP_CODE_PORT). Raises SmpError when it is no port number."""
    value = os.environ.get("SMP_CODE_PORT") or str(_CODE_PORT)
    if not value.isdigit() or not 0 < int(value) < 65536:
        raise SmpError(f"SMP_CODE_PORT is not a port number: {value}")
    return int(value)


def dagster_file(settings: Settings, name: str) -> Path:
    """`dagster.yaml` or `workspace.yaml`: the project's own, or else the one that comes with this software."""
    for folder in (settings.project, REPOSITORY):
        if (folder / name).is_file():
            return folder / name
    raise SmpError(f"{name} is neither in {settings.project} nor in {REPOSITORY}; copy it there from the sources")


def dagster_environment(settings: Settings, postgres_url: str) -> dict[str, str]:
    """What to add to os.environ for Dagster's processes; makes DAGSTER_HOME and puts dagster.yaml there.

    Passwords are in it: hand it on as an environment, never on a command line. Paths are absolute,
    since the processes work in another folder. Raises SmpError when Dagster's database cannot be had.
    """
    home = dagster_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    _copy(dagster_file(settings, "dagster.yaml"), home / "dagster.yaml")
    environment = {
        "DAGSTER_HOME": str(home),
        "SMP_DAGSTER_STORAGE_URL": dagster_url(settings, postgres_url),
        "SMP_CODE_PORT": str(code_port()),
        "SMP_PROJECT": str(settings.project),
        "SMP_HOME": str(settings.home),
        "SMP_SMTP_PORT": str(settings.smtp_port),
        # a changed time of day must not bring back moments of before the change when the daemon starts again
        "DAGSTER_SCHEDULE_CHECKPOINT_INTERVAL_SECONDS": "60",
        "DAGSTER_SCHEDULE_CHECKPOINT_JITTER_SECONDS": "10",
        "PYTHONUNBUFFERED": "1",
    }
    given = {
        "SMP_POSTGRES_URL": settings.postgres_url,
        "SMP_DAGSTER_POSTGRES_URL": settings.dagster_postgres_url,
        "SMP_LAKE": _absolute(settings.lake),
        "SMP_MAIL_URL": settings.mail_url,
    }
    return environment | {name: value for name, value in given.items() if value}


def _absolute(lake: str | None) -> str | None:
    if lake is None or "://" in lake:
        return lake
    return str(Path(lake).expanduser().resolve())


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.copyfile(source, partial)
    partial.replace(target)
