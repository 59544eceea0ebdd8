"""Waiting for something to be so, as long as a machine that is busy with other things may take."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 180.0
"""Seconds. A test that passes waits no longer than it has to, so this may be long."""


def until(condition: Callable[[], object], what: str = "it", seconds: float = PATIENCE) -> None:
    """Look until something is so; fails when it does not come to that."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"waited in vain for {what}"
        time.sleep(0.02)
