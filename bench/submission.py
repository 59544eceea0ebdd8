"""Case `submission`: forms that visitors send, through the site's own process, each durable before it is answered.

Measured: POSTs of the newsletter's form over 64 keep-alive connections, as in a peak, and over 16: checked, stored as a
submission and a new person, and its mail written down. Against: pgbench inserting the row of smp.submission alone, with
as many connections to the same server. Each lap is followed by pgbench's own, and the lap with the middle ratio is the
figure: what else the machine does changes within seconds, and hits both of a pair. Then the latency at 100 a second,
and a thousand within one second.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from bench.posting import SECRET, SIGNUP, Load, Posted, post
from bench.row import Row
from bench.world import World
from smp_pipelines.deployment import Deployment

_PEAK = 64
_CONNECTIONS = (_PEAK, 16)
_SECONDS = 3.0
_LAPS = 7
_TARGET = 0.3
_PATIENCE = 0.050
_BURST = 1000
_STEPS = ("welcome/signup", "welcome/check_your_mail", "open_house/registration", "open_house/registered")
_REGISTRATION = SIGNUP | {"tour": "none", "guests": "2"}
# A random key: with one that begins with the time, as a submission's does, pgbench was slower.
_INSERT = """
insert into smp.submission (
    submission_key, form, step, person_id, identified, answers, consents, language, submitted_at, awaits_confirmation
) values (
    gen_random_uuid(), 'newsletter_signup', 'welcome/signup', 1, 'new',
    '{"email": "anna.jansen-12345@bench.example", "offers": false, "last_name": "Jansen", "first_name": "Anna",
      "newsletter": true}',
    '[{"topic": "newsletter", "granted": true,
       "wording": "Ja, stuur mij een paar keer per jaar de nieuwsbrief van De Linde"},
      {"topic": "offers", "granted": false,
       "wording": "Ja, stuur mij ook aanbiedingen en lastminutes per e-mail"}]',
    'nl', now(), true
);
"""


def run(world: World) -> list[Row]:
    """Start the site, post forms at it, and let pgbench insert rows between the laps."""
    pgbench = _pgbench()
    if pgbench is None:
        return [Row("submission", "pgbench is missing: install Debian's postgresql", 0, "/s")]
    deployment = world.deployment()
    for step in _STEPS:
        with deployment.connection() as connection:
            connection.execute(
                "insert into smp.step_status (step, status, since) values (%s, 'live', now())"
                " on conflict (step) do update set status = 'live'",
                (step,),
            )
    is_full = world.sizes.are_of_the_targets
    seconds, laps = (_SECONDS, _LAPS) if is_full else (1.0, world.sizes.laps)
    script = world.folder / "insert.sql"
    script.write_text(_INSERT, encoding="utf-8")
    with _site(world) as port:
        _post(port, "warm", 1.0)
        pairs: dict[int, list[_Pair]] = {many: [] for many in _CONNECTIONS}
        for lap in range(laps):
            for many in _CONNECTIONS:
                posted = _speed(_post(port, f"lap{lap}x{many}", seconds, connections=many))
                pairs[many].append(_Pair(posted, _inserted(pgbench, deployment, script, seconds, many)))
        other = _speed(_post(port, "open", seconds, step="open_house/registration", answers=_REGISTRATION))
        steady = _post(port, "steady", 600.0, rate=100.0, requests=1000 if is_full else 200)
        before = _bursts(deployment)
        burst = _post(port, "burst", 600.0, rate=float(_BURST), requests=_BURST)
    _refuse_losses(burst, _bursts(deployment) - before)
    late = quantiles(steady.latencies, n=100)[98]
    return [
        *(_posted(many, pairs[many]) for many in _CONNECTIONS),
        Row(
            "submission",
            "with a row of its own and a list",
            other,
            "/s",
            median(pair.bare for pair in pairs[_PEAK]),
            note="open_house/registration",
        ),
        Row(
            "submission",
            "99th percentile at 100/s",
            late * 1000,
            "ms",
            target=f"< {_PATIENCE * 1000:g} ms",
            met=late < _PATIENCE and steady.refused == 0,
            note=f"median {median(steady.latencies) * 1000:.1f} ms, longest {max(steady.latencies) * 1000:.0f} ms",
        ),
        Row(
            "submission",
            "a thousand within a second: stored",
            burst.stored,
            "",
            target=f"{_BURST:,}",
            met=burst.stored == _BURST,
            note=f"all answered after {burst.seconds:.2f} s, the slowest in {max(burst.latencies) * 1000:.0f} ms",
        ),
    ]


class _Pair(NamedTuple):
    """One lap of ours and pgbench's right after it, in rows a second."""

    posted: float
    bare: float

    @property
    def ratio(self) -> float:
        return self.posted / self.bare


def _posted(many: int, pairs: list[_Pair]) -> Row:
    pair = sorted(pairs, key=lambda pair: pair.ratio)[len(pairs) // 2]
    ratios = " ".join(f"{each.ratio:.2f}" for each in pairs)
    note = f"baseline: pgbench, the row alone; ratios of the laps {ratios}"
    what, is_met = f"forms posted, {many} connections", pair.ratio >= _TARGET
    return Row("submission", what, pair.posted, "/s", pair.bare, f"≥ {_TARGET:g}×", is_met, note)


def _speed(posted: Posted) -> float:
    if posted.refused:
        raise AssertionError(f"{posted.refused} forms were refused")
    return posted.stored / posted.seconds


def _bursts(deployment: Deployment) -> int:
    """Submissions of the burst that are stored; a kept state has those of earlier runs."""
    with deployment.connection() as connection:
        query = "select count(*) from smp.submission where answers ->> 'email' like 'burst-%%'"
        (found,) = connection.execute(query).fetchone() or (0,)
    return int(found)


def _refuse_losses(burst: Posted, stored: int) -> None:
    """What was answered must be there, and what is there was answered."""
    if stored != burst.stored:
        raise AssertionError(f"{burst.stored} were answered as stored, {stored} are there")


def _post(
    port: int,
    name: str,
    seconds: float,
    *,
    step: str = "welcome/signup",
    answers: dict[str, str] | None = None,
    rate: float = 0.0,
    requests: int = 40_000,
    connections: int = _PEAK,
) -> Posted:
    load = Load(port, SECRET, step, answers or SIGNUP, name, connections, requests, seconds, rate)
    return post(load)


def _inserted(pgbench: str, deployment: Deployment, script: Path, seconds: float, connections: int) -> float:
    """Rows a second that pgbench inserts."""
    done = subprocess.run(
        [pgbench, "-n", "-c", str(connections), "-j", "2", "-T", str(int(seconds)), "-f", str(script), deployment.url],
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("tps = ")]
    return float(line.split()[2])


@contextmanager
def _site(world: World) -> Iterator[int]:
    """The site as a process of its own; gives its port."""
    environment = os.environ | {
        "SMP_PROJECT": str(world.project),
        "SMP_HOME": str(world.home),
        "SMP_LINK_SECRET": SECRET,
        "SMP_PROXIES": "127.0.0.1",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "smp_pipelines.site", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True
    ) as site:
        assert site.stdout is not None
        try:
            line = site.stdout.readline()
            yield int(line.rsplit(":", 1)[1])
        finally:
            site.terminate()


def _pgbench() -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))
    return shutil.which("pgbench") or (str(found[-1]) if found else None)
