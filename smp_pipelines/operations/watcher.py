"""The watcher: loads an edited project into Dagster at once, and says so (F29). A broken edit changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable

from smp_pipelines.deployment import check
from smp_pipelines.operations.webserver import reload_definitions
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.fingerprint import fingerprint
from smp_pipelines.stores.settings import Settings

_PAUSE = 0.5


class Watcher(threading.Thread):
    """Looks twice a second whether a file of the project changed.

    It compares names, times and sizes of a few hundred small files (milliseconds), instead of
    asking the kernel: that also works for folders that appear later, for editors that replace a
    file, and for network and container mounts, which announce nothing.
    """

    def __init__(self, settings: Settings, report: Callable[[str], None]) -> None:
        super().__init__(name="project watcher", daemon=True)
        self._settings = settings
        self._report = report
        self._over = threading.Event()
        self._seen = fingerprint(settings.project)

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    def run(self) -> None:
        """Look until stopped."""
        while not self._over.wait(_PAUSE):
            now = fingerprint(self._settings.project)
            if now == self._seen:
                continue
            while not self._over.wait(_PAUSE):  # an editor or a copy may still be busy: wait until it is quiet
                later, now = now, fingerprint(self._settings.project)
                if later == now:
                    break
            changed = {name for name, _ in self._seen.items() ^ now.items()}
            self._seen = now
            self._take_over(changed)

    def _take_over(self, changed: set[str]) -> None:
        try:
            schema = sorted(name for name in changed if name.startswith("sql/schema/"))
            if schema:
                self._report(f"{', '.join(schema)}: tables change only when `smp up` starts; start it again")
                return
            problems = [problem for problem in check(self._settings) if not problem.warning]
            if problems:
                told = "\n".join(str(problem) for problem in problems)
                self._report(f"{told}\nnot loaded; once this is mended, it is loaded at once")
                return
            complaint = reload_definitions(self._settings.ui_port)
            self._report(f"not loaded: {complaint}" if complaint else f"reloaded: {_shown(changed)}")
        except SmpError as error:
            self._report(f"not loaded: {error}")


def _shown(changed: set[str]) -> str:
    names = sorted(changed)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
