"""Limiting: how often one connection may send one form: moving windows, counted in this process."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache

from limits import parse_many

OFTEN = "10 per minute; 60 per hour"
"""How many of a form one connection may send."""
_MOST_KEYS = 50_000


class FormLimits:
    """Counts forms by where they come from: an IPv4 address, or an IPv6 /64, which one household has.

    allowed: in the words of the library limits; its own windows take a thread and a millisecond for each request, so
    only its words are used. ticks: a monotonic clock in seconds.
    """

    def __init__(self, allowed: str = OFTEN, ticks: Callable[[], float] = time.monotonic) -> None:
        self._windows = [(item.amount, float(item.get_expiry())) for item in parse_many(allowed)]
        self._longest = max(seconds for _, seconds in self._windows)
        self._ticks = ticks
        self._lock = threading.Lock()
        self._sent: dict[tuple[str, str], deque[float]] = {}

    def wait(self, visitor: str, form: str) -> int:
        """Count one more of a form; 0 when it may be sent, else the seconds after which it may be."""
        key, now = (household(visitor), form), self._ticks()
        with self._lock:
            if len(self._sent) >= _MOST_KEYS and key not in self._sent:
                self._forget(now)
            sent = self._sent.setdefault(key, deque())
            while sent and now - sent[0] >= self._longest:
                sent.popleft()
            for most, seconds in self._windows:
                if len(sent) >= most and now - sent[-most] < seconds:
                    return max(1, math.ceil(sent[-most] + seconds - now))
            sent.append(now)
            return 0

    def _forget(self, now: float) -> None:
        """Make room: those that sent nothing lately go first; in a flood from everywhere, all of them."""
        lately = {key: sent for key, sent in self._sent.items() if sent and now - sent[-1] < self._windows[0][1]}
        self._sent = lately if len(lately) < _MOST_KEYS else {}


@lru_cache(maxsize=4096)
def household(visitor: str) -> str:
    """What is counted as one: an address of IPv4, the first 64 bits of one of IPv6."""
    written = visitor.partition("%")[0]
    if ":" not in written:
        return written[:64]  # of IPv4 there is one way to write it
    try:
        address = ipaddress.IPv6Address(written)
    except ValueError:
        return visitor[:64]
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
