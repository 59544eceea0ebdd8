"""What a run knows about itself: its moment, its clock and the key of its send, read from its tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import dagster as dg
import psycopg

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.clock import Clock, StartedAt, SystemClock

STEP_TAG = "smp/step"
MOMENT_TAG = "smp/moment"
SEND_KEY_TAG = "smp/send_key"
CLOCK_TAG = "smp/clock"
"""Set by `smp tick --at`: the run takes place at that moment."""


@dataclass(frozen=True)
class RunFacts:
    """The facts of one Dagster run: which send it serves (if told), at which moment, by which clock."""

    run_id: str
    root_run_id: str
    clock: Clock
    moment: datetime
    send_key: str | None


def read_facts(run: dg.DagsterRun, make_clock: Callable[[], Clock] = SystemClock) -> RunFacts:
    """Read a run's tags; without them the run takes place now and serves a send of its own."""
    at = run.tags.get(CLOCK_TAG)
    clock: Clock = StartedAt(datetime.fromisoformat(at)) if at else make_clock()
    moment = run.tags.get(MOMENT_TAG)
    return RunFacts(
        run_id=run.run_id,
        root_run_id=run.root_run_id or run.run_id,
        clock=clock,
        moment=datetime.fromisoformat(moment) if moment else clock.now(),
        send_key=run.tags.get(SEND_KEY_TAG),
    )


@contextmanager
def told() -> Iterator[None]:
    """Turn errors that a person can mend into a Dagster failure with the words only, no stack."""
    try:
        yield
    except SmpError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    except psycopg.OperationalError as error:
        raise dg.Failure(
            description=f"Postgres went away: {str(error).strip().splitlines()[0]}. What was sent is in the ledger as "
            "far as it could be written down; the send goes on by itself when Postgres is back.",
            allow_retries=False,
        ) from None
