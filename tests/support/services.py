"""What `smp up` starts: free ports for it, its processes, and Dagster's answers."""

from __future__ import annotations

import json
import os
import random
import socket
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from smp_pipelines.stores.server import EmbeddedServer

PORTS = ("SMP_UI_PORT", "SMP_INBOX_PORT", "SMP_PREVIEW_PORT", "SMP_SMTP_PORT", "SMP_CODE_PORT")
"""The variables that name the ports of `smp up`."""
_BELOW_THE_EPHEMERAL = range(12_000, 32_000)
"""Where the kernel takes no port for a connection or for whoever asks for any: who names one gets it a moment later."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, for programs that start soon."""
    found: list[int] = []
    for port in random.sample(_BELOW_THE_EPHEMERAL, len(_BELOW_THE_EPHEMERAL)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"there are no {count} free ports")


def ports_of_its_own() -> dict[str, str]:
    """The environment that gives an `smp up` ports of its own."""
    return dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))


def is_over(process: psutil.Process) -> bool:
    """Whether a process has ended, also when nobody has asked yet how."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def processes_of(home: Path) -> list[psutil.Process]:
    """Every process, whoever its parent is now, that was started for this state folder or serves its database."""
    found = []
    words = (str(home), str(EmbeddedServer(home).data))
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            mine = any(word in line for word in words) or process.environ().get("SMP_HOME") == str(home)
            if mine and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def child_of(parent: psutil.Process, word: str) -> psutil.Process | None:
    """The child that was started by a command with this word; None while there is none (yet)."""
    for process in parent.children():
        try:
            if any(word in part for part in process.cmdline()):
                return process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return None


def ask_dagster(port: str | int, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What Dagster's webserver answers to a question in GraphQL."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query, "variables": variables or {}}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.load(answer)
    assert "errors" not in found, found["errors"]
    return dict(found["data"])
