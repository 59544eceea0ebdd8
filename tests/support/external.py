"""A real Postgres server from the system's own package, in a temporary folder."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def installed() -> Path | None:
    """Where the programs of the newest installed server are (Debian's place), if there is one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda file: int(file.parents[1].name))
    return found[-1].parent if found else None


@contextmanager
def external_server(programs: Path) -> Iterator[str]:
    """The owner's URL of a server that runs for the length of the block, as nobody when root starts it."""
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="smp external "))
    folder.chmod(0o755)
    data, handed, password = folder / "data", folder / "password", secrets.token_urlsafe(12)
    data.mkdir(mode=0o700)
    handed.write_text(password)
    if user:
        shutil.chown(data, user)
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        subprocess.run(command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run(
        "initdb",
        "-D",
        str(data),
        "-U",
        "owner",
        f"--pwfile={handed}",
        "--auth=scram-sha-256",
        "-E",
        "UTF8",
        "--no-sync",
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    run("pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-o", options, "-w", "start")
    try:
        yield f"postgresql://owner:{password}@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
