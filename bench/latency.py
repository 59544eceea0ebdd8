"""Case `latency`: from a submission to its mail accepted by the mail server, through the real daemon, sensor and run.

Measured: `smp up` with nothing else to do; submissions at uneven distances, written as the site writes them, some
within two seconds of each other; until the ledger has the mail server's yes. Against: the same with Dagster's own
run launcher and without the notification, so that the sensor sees a submission when it looks again. Then a thousand
sign-ups within a second at the site's own door: each gets its mail, and nobody two.
"""

from __future__ import annotations

import random
import time

from bench.postfix import sink
from bench.row import Row
from bench.up import PEOPLE, Up, up
from bench.world import World

_MEDIAN, _P95 = 1.5, 3.0
"""The targets, in seconds."""
_CLOSE, _FAR = (0.2, 2.0), (2.0, 9.0)
"""Seconds between two submissions: every third comes soon after the one before."""


def run(world: World) -> list[Row]:
    """Time both, one after the other."""
    ours, plain, burst = (24, 10, 1000) if world.sizes.laps > 1 else (4, 2, 20)
    with sink() as port:
        with up(world.folder / "latency", port) as deployment:
            seconds = _latencies(deployment, ours, notify=True)
            mails, took = deployment.post(burst)
        with up(world.folder / "latency plain", port, warm=False) as deployment:
            baseline = _latencies(deployment, plain, notify=False)
    note = f"{ours} submissions, {seconds[0]:.2f} to {seconds[-1]:.2f} s; baseline: own launcher, no notification"
    middle, tail = (_share(seconds, 0.5), _share(baseline, 0.5)), (_share(seconds, 0.95), _share(baseline, 0.95))
    return [
        Row("latency", "submission to accepted mail, median", middle[0], "s", middle[1], *_verdict(middle[0], _MEDIAN)),
        Row("latency", "the same, 95th percentile", tail[0], "s", tail[1], *_verdict(tail[0], _P95), note),
        Row(
            "latency",
            f"{burst:,} sign-ups within a second: mails",
            mails,
            "",
            target=f"{burst:,}",
            met=mails == burst,
            note=f"through the site, stored and mailed; the last mail was accepted {took:.1f} s after the first POST",
        ),
    ]


def _latencies(deployment: Up, count: int, *, notify: bool) -> list[float]:
    """Seconds of so many submissions, shortest first. The first of all, which finds everything cold, is not counted."""
    distances = random.Random(5)
    since = deployment.submit(1, notify=notify)
    deployment.latencies(since, 1)
    time.sleep(_FAR[1])
    for number in range(count):
        at = deployment.submit(2 + number % (PEOPLE - 1), notify=notify)
        since = at if number == 0 else since
        time.sleep(distances.uniform(*(_CLOSE if number % 3 == 2 else _FAR)))
    return sorted(deployment.latencies(since, count))


def _share(ordered: list[float], share: float) -> float:
    """The value below which this share lies (nearest rank)."""
    return ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)]


def _verdict(seconds: float, limit: float) -> tuple[str, bool]:
    return f"< {limit:g} s", seconds < limit
