"""Secrets of our own: a random key in a file that only its owner may read, made once."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from smp_pipelines.problems import SmpError

_BYTES = 32


def own_secret(file: Path) -> str:
    """The secret in this file; a random one is made when there is no file. Safe to call in many processes at once.

    The file appears whole or not at all, and whoever comes first decides. Raises SmpError when it cannot be
    read or written, or is empty.
    """
    try:
        if not file.exists():
            _make(file)
        secret = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SmpError(f"the key of the links in mails, {file}, cannot be used: {error}") from error
    if not secret:
        raise SmpError(f"the key of the links in mails, {file}, is empty: delete it, and a new one is made")
    return secret


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    door = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(door, "w", encoding="ascii") as handle:
            handle.write(secrets.token_urlsafe(_BYTES) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        # a link to what is there already fails, where a rename would put another key in its place
        with contextlib.suppress(FileExistsError):
            os.link(partial, file)
    finally:
        partial.unlink()
