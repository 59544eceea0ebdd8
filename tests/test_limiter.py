"""The limiter: time is given once and in order, and a connection is one worker's, whoever asks at the same moment."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smp_pipelines.campaign.policy import Limit, Limits
from smp_pipelines.sending.ledger import Claimed
from smp_pipelines.sending.limits import HORIZON, WHOLE, Limiter
from smp_pipelines.sending.timetable import Task, Timetable
from tests.conftest import fresh_database
from tests.support.waiting import until

SLOW = "slow.example"


@pytest.fixture(scope="module")
def shared(embedded_url: str, migrated_template: str) -> Iterator[str]:
    """A database for all examples of a property."""
    with fresh_database(embedded_url, migrated_template) as url:
        yield url


_requests = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.dictionaries(st.sampled_from([WHOLE, SLOW]), st.integers(1, 400), min_size=1),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.2, 2000), st.floats(0.2, 2000), _requests)
def test_time_is_given_once_in_order_and_not_beyond_the_horizon(
    shared: str, rate: float, slow_rate: float, requests: list[tuple[int, Mapping[str, int]]]
) -> None:
    limits = Limits(per_second=rate, domains={SLOW: Limit(per_second=slow_rate)})
    gaps = {WHOLE: 1 / rate, SLOW: 1 / slow_rate}
    ends: dict[str, float] = {}
    queues: dict[str, float] = {}
    with psycopg.connect(shared, autocommit=True) as one:
        workers = [Limiter("memory:x", limits) for _each in range(3)]
        one.execute("truncate smp.rate_limit")
        workers[0].prepare(one)
        for number, wanted in requests:
            before = seconds(one)
            grants = workers[number].reserve(one, wanted)
            after = seconds(one)
            assert set(grants) == set(wanted)
            for scope, grant in grants.items():
                gap = gaps[scope]
                assert 0 <= grant.count <= wanted[scope]
                # the moment of the server's clock lies between the two readings around it
                assert after + grant.starts_in >= ends.get(scope, 0.0) - 1e-3, "this time was given before"
                assert grant.starts_in + (grant.count - 1) * gap <= HORIZON + 1e-3 or grant.count == 0
                assert grant.count == wanted[scope] or grant.starts_in + grant.count * gap >= HORIZON - 1e-3
                if grant.count:
                    ends[scope] = max(before + grant.starts_in, ends.get(scope, 0.0)) + grant.count * gap
                if grant.count < wanted[scope]:
                    # places in the queue are given once as well, and behind all time that was given
                    start = after + grant.queue_in
                    assert start >= max(queues.get(scope, 0.0), ends.get(scope, 0.0)) - 1e-3
                    queues[scope] = before + grant.queue_in + (wanted[scope] - grant.count) * gap


def seconds(connection: psycopg.Connection[tuple[object, ...]]) -> float:
    """The server's clock."""
    found = connection.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
    assert found is not None
    return float(str(found[0]))


def test_time_given_to_many_at_once_does_not_overlap(shared: str) -> None:
    rate, each, workers, times = 200.0, 3, 4, 10
    limits = Limits(per_second=rate)
    with psycopg.connect(shared, autocommit=True) as one:
        one.execute("truncate smp.rate_limit")
        Limiter("memory:x", limits).prepare(one)
        # some time ahead, so that none passes unused: the grants lie side by side from here
        found = one.execute(
            "update smp.rate_limit set free_at = clock_timestamp() + interval '500 ms'"
            " returning extract(epoch from free_at)::float8"
        ).fetchone()
        assert found is not None
        first = float(found[0])

    def take(_number: int) -> list[tuple[float, float]]:
        found = []
        with psycopg.connect(shared, autocommit=True) as mine:
            for _time in range(times):
                before = seconds(mine)
                grant = Limiter("memory:x", limits).reserve(mine, {WHOLE: each})[WHOLE]
                assert grant.count == each
                # a moment of the server's clock: not before this, and not after that
                found.append((before + grant.starts_in, seconds(mine) + grant.starts_in))
        return found

    with ThreadPoolExecutor(workers) as pool:
        moments = [moment for taken in pool.map(take, range(workers)) for moment in taken]
    span = each / rate
    # the starts are first, first + span, ...: each between its earliest and its latest, in order
    bounds = zip(sorted(low for low, _ in moments), sorted(high for _, high in moments), strict=True)
    for place, (low, high) in enumerate(bounds):
        assert low - 1e-3 <= first + place * span <= high + 1e-3
    with psycopg.connect(shared, autocommit=True) as one:
        (end,) = one.execute("select extract(epoch from free_at)::float8 from smp.rate_limit").fetchall()
    assert end[0] == pytest.approx(first + workers * times * span, abs=1e-3)


def test_a_connection_is_held_by_one_worker_and_comes_back_when_it_goes(shared: str) -> None:
    limits = Limits(connections=3, domains={SLOW: Limit(connections=1)})
    one, two = Limiter("memory:x", limits), Limiter("memory:x", limits)
    elsewhere = Limiter("memory:y", limits)
    with psycopg.connect(shared, autocommit=True) as a, psycopg.connect(shared, autocommit=True) as b:
        assert one.take_slots(a, WHOLE, 2) == 2
        assert two.take_slots(b, WHOLE, 4) == 1
        assert one.take_slots(a, WHOLE, 2) == 2, "what it has it keeps, and takes no more"
        assert one.take_slots(a, SLOW, 4) == 1
        assert two.take_slots(b, SLOW, 4) == 0
        assert elsewhere.take_slots(b, SLOW, 4) == 1, "another transport has limits of its own"
        a.close()
        # until the server has noticed that the other is gone
        until(lambda: two.take_slots(b, WHOLE, 4) == 3, "the connections of the other")
        assert two.take_slots(b, SLOW, 1) == 1


def test_a_connection_to_a_domain_is_for_whoever_has_mails_for_it(shared: str) -> None:
    """Whose clock is ahead takes up the mails that wait, every time: whoever has none must not keep the connection."""
    limits = Limits(domains={SLOW: Limit(connections=1)})
    mine, theirs = task(f"anna@{SLOW}"), task(f"piet@{SLOW}")
    with psycopg.connect(shared, autocommit=True) as a, psycopg.connect(shared, autocommit=True) as b:
        one, two = Timetable(Limiter("memory:z", limits), 4), Timetable(Limiter("memory:z", limits), 4)
        assert one.add(a, [mine]) == {}
        assert two.add(b, [theirs]) == {theirs.claimed.recipient_key: 2.0}
        one.look(a)
        assert two.add(b, [theirs]), "a mail is in hand over that connection"
        assert one.may_begin(mine, time.monotonic(), {})
        one.leave(mine)
        one.look(a)
        assert two.add(b, [theirs]) == {}
        assert two.may_begin(theirs, time.monotonic(), {})
        assert one.add(a, [mine]) == {mine.claimed.recipient_key: 2.0}


def task(address: str) -> Task:
    return Task(Claimed(uuid4(), 1, 1, None, 1, address), None, time.monotonic() + 60)
