"""Case `hits`: how many clicks a second are written down, and what tracked links cost a mail.

Measured: hits given to the recorder one by one, as the site does, until the last is durable. Against: COPY of the
same rows in one go. Then the processor time of making one mail with links that are tracked, against the same mail
with plain links.
"""

from __future__ import annotations

import time
from dataclasses import astuple, replace
from statistics import median
from uuid import UUID

from bench.row import Row
from bench.world import DELIVERED, NOW, World
from smp_pipelines.campaign.policy import Tracking
from smp_pipelines.deployment import Deployment
from smp_pipelines.sending.context import read_contexts
from smp_pipelines.sending.ledger import Claimed, Send
from smp_pipelines.sending.postroom import SendPostroom
from smp_pipelines.tracking.hits import Hit, HitRecorder

_HITS = 20_000
_MAILS = 2_000
_AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
_COPY = """
copy smp.hit (
    kind, happened_at, step, person_id, record_id, send_id, recipient_key, submission_id, link, method, prefetch,
    user_agent, network
) from stdin
"""


def run(world: World) -> list[Row]:
    """Write hits down both ways, and make mails both ways."""
    deployment = world.deployment()
    ours, theirs = [], []
    for _lap in range(world.sizes.laps):
        theirs.append(_copied(deployment))
        ours.append(_recorded(deployment))
    laps = ", ".join(f"{lap:,.0f}" for lap in ours)
    plain, tracked = (min(_cost(deployment, on) for _lap in range(5)) for on in (False, True))
    return [
        Row("hits", "clicks written down", median(ours), "/s", median(theirs), note=f"baseline: one COPY; laps {laps}"),
        Row("hits", "a mail with tracked links", tracked, "µs", plain, note="baseline: the same mail with plain links"),
    ]


def _a_hit(number: int) -> Hit:
    link = f"https://www.theatre.example/agenda/{number % 5}"
    usual = (1, UUID(int=number), None, link, "GET", False, _AGENT, "198.51.100.0/24")
    return Hit("click", NOW, DELIVERED, number, None, *usual)


def _recorded(deployment: Deployment) -> float:
    recorder = HitRecorder(deployment.connection)
    started = time.perf_counter()
    for number in range(_HITS):
        recorder.note(_a_hit(number))
    recorder.flush()
    seconds = time.perf_counter() - started
    recorder.close()
    _count(deployment)
    return _HITS / seconds


def _copied(deployment: Deployment) -> float:
    made = [astuple(_a_hit(number)) for number in range(_HITS)]
    with deployment.connection() as connection:
        started = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for each in made:
                copy.write_row(each)
        seconds = time.perf_counter() - started
    _count(deployment)
    return _HITS / seconds


def _count(deployment: Deployment) -> None:
    with deployment.connection() as connection:
        found = connection.execute("select count(*) from smp.hit").fetchone()
        connection.execute("truncate smp.hit")
    if found != (_HITS,):
        raise AssertionError(f"{found} of {_HITS} hits were written down")


def _cost(deployment: Deployment, tracked: bool) -> float:
    """Microseconds of processor time of one mail, from templates to bytes."""
    settings = deployment.project.settings
    tracking = Tracking(opens=tracked, clicks=tracked)
    project = replace(deployment.project, settings=settings.model_copy(update={"tracking": tracking}))
    room = SendPostroom(deployment.settings, project, Send(1, "k", DELIVERED, "live", NOW, "open", 1))
    with deployment.connection() as postgres:
        (context,) = read_contexts(postgres, [(1, None)], None, None).values()
    started = time.process_time()
    for number in range(_MAILS):
        claimed = Claimed(UUID(int=number), number, 1, None, 1, "anna@example.org")
        room.make(claimed, context, NOW, eight_bit=True)
    return (time.process_time() - started) / _MAILS * 1e6
