"""Settings: where the project and its state live, and what the environment says. Secrets come from here only."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.secret import own_secret

REPOSITORY = Path(__file__).resolve().parents[2]
_SHORTEST_SECRET = 16


@dataclass(frozen=True)
class Settings:
    """What a process needs to know before it can open anything.

    project: the folder with smp.yaml, campaigns/ and sql/ (SMP_PROJECT, or `--project`).
    home: the folder for state (SMP_HOME; default `.smp` in the project).
    postgres_url: an external server (SMP_POSTGRES_URL); None means the embedded one.
    dagster_postgres_url: Dagster's own database (SMP_DAGSTER_POSTGRES_URL); None means the
        database `<name>_dagster` on the same server.
    lake_folder: where the lake's Parquet files go (SMP_LAKE; default `home/lake`).
    mail_url: where mail goes (SMP_MAIL_URL), e.g. smtp://user:password@host:25 (docs/transports.md has the
        others); the default is the local mail catcher.
    public_url: where readers of mails reach the site (SMP_SITE_URL), e.g. https://links.theatre.example;
        None means the pages on this machine.
    proxies: the addresses and networks of proxies, with commas between them, whose word counts for who a visitor is
        (SMP_PROXIES): they pass on X-Forwarded-For and X-Forwarded-Proto. Nobody's by default.
    link_secret: what links in mails are signed with (SMP_LINK_SECRET), at least 16 characters; several with
        commas between them while a key is replaced: the first signs, all are accepted.
    processes: how many processes deliver a large send at most (SMP_DELIVER_PROCESSES).
    """

    project: Path
    home: Path
    postgres_url: str | None = None
    dagster_postgres_url: str | None = None
    lake: str | None = None
    mail_url: str | None = None
    public_url: str | None = None
    proxies: str = ""
    link_secret: str | None = field(default=None, repr=False)
    processes: int = 2
    ui_port: int = 3000
    inbox_port: int = 8025
    preview_port: int = 8026
    smtp_port: int = 1025

    @property
    def lake_folder(self) -> str:
        """Where the lake's Parquet files go."""
        return self.lake or str(self.home / "lake")

    @property
    def report_file(self) -> Path:
        """The DuckDB file that analysts open."""
        return self.home / "reports.duckdb"

    @property
    def inbox_folder(self) -> Path:
        """Where the local mail catcher keeps its mail."""
        return self.home / "inbox"

    @property
    def journals_folder(self) -> Path:
        """Where the workers of this machine note what they begin."""
        return self.home / "journals"

    @property
    def pages_url(self) -> str:
        """Where the site is on this machine: the pages for colleagues, beside the public ones."""
        return f"http://127.0.0.1:{self.preview_port}"

    @property
    def site_url(self) -> str:
        """Where the public pages are that links in mails lead to, without a slash at the end."""
        return self.public_url or self.pages_url

    @property
    def link_secrets(self) -> tuple[str, ...]:
        """What links are signed with; without SMP_LINK_SECRET a random key in the home folder, made when it is missing.

        Workers on several machines that share a database need the same SMP_LINK_SECRET.
        """
        if self.link_secret:
            return tuple(part.strip() for part in self.link_secret.split(",") if part.strip())
        return (own_secret(self.home / "link.key"),)

    @property
    def transport_url(self) -> str:
        """Where mail goes."""
        return self.mail_url or f"smtp://127.0.0.1:{self.smtp_port}"


def read_settings(project: Path | None = None) -> Settings:
    """Read the settings from the environment; `project` wins over SMP_PROJECT.

    Raises SmpError when the project folder has no smp.yaml, or a port or a URL is none.
    """
    env = os.environ
    folder = (project or Path(env.get("SMP_PROJECT") or _default_project())).expanduser().resolve()
    if not (folder / "smp.yaml").is_file():
        raise SmpError(f"{folder} is no project folder: it has no smp.yaml. Name the folder with --project DIR.")
    home = Path(env["SMP_HOME"]).expanduser().resolve() if env.get("SMP_HOME") else folder / ".smp"
    return Settings(
        project=folder,
        home=home,
        postgres_url=_postgres_url("SMP_POSTGRES_URL"),
        dagster_postgres_url=_postgres_url("SMP_DAGSTER_POSTGRES_URL"),
        lake=env.get("SMP_LAKE") or None,
        mail_url=env.get("SMP_MAIL_URL") or None,
        public_url=_site_url("SMP_SITE_URL"),
        proxies=_networks("SMP_PROXIES"),
        link_secret=_secrets("SMP_LINK_SECRET"),
        processes=_count("SMP_DELIVER_PROCESSES", 2),
        ui_port=_port("SMP_UI_PORT", 3000),
        inbox_port=_port("SMP_INBOX_PORT", 8025),
        preview_port=_port("SMP_PREVIEW_PORT", 8026),
        smtp_port=_port("SMP_SMTP_PORT", 1025),
    )


def _default_project() -> Path:
    here = Path.cwd()
    return here if (here / "smp.yaml").is_file() else REPOSITORY


def _postgres_url(name: str) -> str | None:
    value = os.environ.get(name) or None
    if value is not None and not value.startswith(("postgresql://", "postgres://")):
        # the value may hold a password: it is not repeated
        raise SmpError(f"{name} must be a URL, like postgresql://user:password@host:5432/name")
    return value


def _site_url(name: str) -> str | None:
    value = (os.environ.get(name) or "").strip().rstrip("/")
    if not value:
        return None
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or value != f"{parts.scheme}://{parts.netloc}" or "@" in value or not value.isascii():
        raise SmpError(f"{name} must be a scheme and a host only, like https://links.theatre.example")
    return value


def _networks(name: str) -> str:
    written = [part.strip() for part in (os.environ.get(name) or "").split(",") if part.strip()]
    for part in written:
        try:
            ip_network(part)
        except ValueError:
            raise SmpError(f"{name} names addresses and networks, like 127.0.0.1,10.0.0.0/8; not {part}") from None
    return ",".join(written)


def _secrets(name: str) -> str | None:
    value = os.environ.get(name) or None
    secrets = [part.strip() for part in (value or "").split(",")]
    if value is not None and min(len(secret) for secret in secrets) < _SHORTEST_SECRET:
        # the secret itself is not repeated
        raise SmpError(
            f"{name} holds a secret of fewer than {_SHORTEST_SECRET} characters; make one with "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        )
    return value


def _port(name: str, default: int) -> int:
    value = os.environ.get(name) or str(default)
    if not value.isdigit() or not 0 < int(value) < 65536:
        raise SmpError(f"{name} is not a port number: {value}")
    return int(value)


def _count(name: str, default: int) -> int:
    value = os.environ.get(name) or str(default)
    if not value.isdigit() or not 0 < int(value) <= 64:
        raise SmpError(f"{name} must be a number from 1 to 64: {value}")
    return int(value)
