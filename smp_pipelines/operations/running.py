"""What runs: one supervisor per state folder, by a lock that ends with its holder, and a note for who comes later."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.settings import Settings

_SECONDS_TO_END = 25.0


@dataclass(frozen=True)
class Running:
    """A supervisor that runs: its process, since when (local time, to the second), and the pages by name."""

    pid: int
    since: str
    urls: dict[str, str]


class AlreadyRunningError(SmpError):
    """`smp up` where it runs already; `running` is None for the moment in which the other one starts."""

    def __init__(self, running: Running | None) -> None:
        self.running = running
        if running is None:
            super().__init__("another `smp up` is starting in this state folder")
            return
        pages = "\n".join(f"  {name}: {url}" for name, url in running.urls.items())
        super().__init__(f"it runs already (process {running.pid}, since {running.since}); `smp down` ends it\n{pages}")


@contextmanager
def only_one(settings: Settings) -> Iterator[Callable[[Running], None]]:
    """Hold the lock of this state folder; yields a function that leaves the note. Raises AlreadyRunningError."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with _lock_file(settings).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(_read_note(settings)) from None
        _note_file(settings).unlink(missing_ok=True)  # of a supervisor that was killed
        try:
            yield lambda running: _write_note(settings, running)
        finally:
            _note_file(settings).unlink(missing_ok=True)


def read_running(settings: Settings) -> Running | None:
    """The supervisor of this state folder, if one runs."""
    return _read_note(settings) if _is_locked(settings) else None


def down(settings: Settings) -> bool:
    """End what `smp up` started and wait for it; False when nothing ran. Raises SmpError when it does not end."""
    running = read_running(settings)
    if running is None:
        return False
    _signal(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS_TO_END
    while _is_locked(settings):
        if time.monotonic() > deadline:
            raise SmpError(f"process {running.pid} does not end; `kill -9 {running.pid}` ends it and all it started")
        time.sleep(0.05)
    return True


def _signal(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise SmpError(f"process {pid} belongs to another user; only they can end it") from error


def _is_locked(settings: Settings) -> bool:
    try:
        with _lock_file(settings).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _lock_file(settings: Settings) -> Path:
    return settings.home / "up.lock"


def _note_file(settings: Settings) -> Path:
    return settings.home / "up.json"


def _read_note(settings: Settings) -> Running | None:
    try:
        return Running(**json.loads(_note_file(settings).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _write_note(settings: Settings, running: Running) -> None:
    partial = _note_file(settings).with_suffix(".new")
    partial.write_text(json.dumps(asdict(running), indent=2), encoding="utf-8")
    partial.replace(_note_file(settings))
