"""The fingerprint of a project: names, times and sizes of its files, to see that something changed (milliseconds)."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDERS = ("campaigns", "forms", "sql")

Fingerprint = dict[str, tuple[int, int]]


def fingerprint(project: Path) -> Fingerprint:
    """Every file of the project that definitions are made of → its time and size."""
    found: Fingerprint = {}
    for folder in _FOLDERS:
        _note_all(found, project, project / folder)
    _note(found, project, project / "smp.yaml")
    return found


def _note_all(found: Fingerprint, root: Path, folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            _note(found, root, Path(parent) / name)


def _note(found: Fingerprint, root: Path, file: Path) -> None:
    # hidden files and names that end with ~ are an editor's own
    if file.name.startswith(".") or file.name.endswith("~"):
        return
    try:
        state = file.stat()
    except FileNotFoundError:
        return
    found[file.relative_to(root).as_posix()] = (state.st_mtime_ns, state.st_size)
