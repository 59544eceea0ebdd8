"""Limits: rates and connections, of the transport and of recipient domains, hold for all workers together."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from smp_pipelines.campaign.policy import Limits
from smp_pipelines.sending import ledger
from smp_pipelines.sending.crew import Crew, Errand
from smp_pipelines.sending.delivery import Delivery
from smp_pipelines.sending.desk import BATCH
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.limits import WHOLE, Limiter
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.postgres import connect
from tests.conftest import copy_project
from tests.support.mailserver import Behaviour, MailServer
from tests.support.theatre import Theatre, deployment, twice
from tests.support.waiting import PATIENCE, until

SLOW = "slow.example"
BUSY = 8
"""How many times as long as its rate allows a send may take, on a machine that has other things to do."""


def burst(rate: float) -> float:
    """Mails that may come at once on top of a rate: what gathers while a worker is busy for a moment, and one."""
    return 2 + 0.5 * rate


class Stamped(list[tuple[str, bytes]]):
    """Mails with the monotonic moment at which each was there whole."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[float] = []

    def append(self, mail: tuple[str, bytes]) -> None:
        self.moments.append(time.monotonic())
        super().append(mail)


class Watched(MailServer):
    """A mail server that notes when each mail came, and how many connections it saw at once."""

    def __init__(self, behaviour: Behaviour | None = None, **options: int) -> None:
        self.peak = 0
        super().__init__(behaviour, **options)
        self.whole = self.stamped = Stamped()

    @property
    def open_connections(self) -> int:
        return self._now

    @open_connections.setter
    def open_connections(self, now: int) -> None:
        self._now = now
        self.peak = max(self.peak, now)

    def came(self, domain: str = "") -> list[float]:
        """When the mails to a domain came."""
        return [
            moment
            for (recipient, _content), moment in zip(self.whole, self.stamped.moments, strict=True)
            if recipient.endswith(domain)
        ]


@dataclass
class Limited:
    """A theatre whose project has limits."""

    house: Theatre
    home: Path

    def send_to(self, domains: Sequence[str]) -> Send:
        """A planned send to somebody of each of these domains, in this order."""
        people = self.house.people(len(domains))
        self.house.sql(
            "update crm.person as p set email = 'p' || d.n || '@' || d.domain"
            " from unnest(%s::int[], %s::text[]) as d (n, domain) where p.person_id = d.n",
            people,
            list(domains),
        )
        send = self.house.plan_these(people)
        self.house.sql(
            "update smp.message as m set recipient_key = md5('address:' || p.email_key)::uuid"
            " from crm.person as p where p.person_id = m.person_id"
        )
        return send

    def deliver(self, send: Send, server: MailServer, workers: int, connections: int = 2) -> list[Delivery]:
        """Several workers at once, each to its end."""
        work = [self.house.delivering(send, server.port, connections=connections) for _each in range(workers)]
        with ThreadPoolExecutor(workers) as pool:
            return [each.result() for each in [pool.submit(one.run) for one in work]]

    def process(self, send: Send, server: MailServer, connections: int) -> Crew:
        """A worker in a process of its own, that can be killed."""
        at = dataclasses.replace(self.house.deployment.settings, mail_url=f"smtp://127.0.0.1:{server.port}")
        return Crew(Errand(at, self.house.url, send.send_id, self.house.now, connections, 5.0), 1)

    def finished(self, send: Send, server: MailServer, count: int) -> bool:
        """Whether everybody got one mail and the ledger says so, at the first attempt."""
        verdict = self.house.verdict(send)
        attempts = self.house.sql("select distinct attempts from smp.message where send_id = %s", send.send_id)
        assert twice(server.recipients) == []
        assert len(server.whole) == count
        assert self.house.states(send) == {"accepted": count}
        assert attempts == [(1,)], "a limit is no reason to count an attempt"
        return (verdict.state, verdict.holds) == ("finished", True)


def limited(tmp_path: Path, postgres_url: str, limits: str) -> Limited:
    """A theatre on a copy of the project with these limits."""
    project = copy_project(tmp_path / "my project")
    with (project / "smp.yaml").open("a") as file:
        file.write(f"\nlimits: {limits}\n")
    house = Theatre(deployment(postgres_url, tmp_path / "state", project=project))
    house.live()
    return Limited(house, tmp_path / "state")


def most_over(moments: Sequence[float], rate: float) -> float:
    """By how many mails a rate was exceeded at most, over all windows of time between two of the mails."""
    ordered = sorted(moments)
    worst = slack = 0.0
    # the most of (mails - rate * seconds) over all windows, by the sum that is dropped when it is no gain any more
    for place, moment in enumerate(ordered):
        gap = moment - ordered[place - 1] if place else 0.0
        slack = max(slack - rate * gap, 0.0) + 1
        worst = max(worst, slack)
    return worst


def test_a_rate_of_the_transport_is_kept_by_three_workers_together(tmp_path: Path, postgres_url: str) -> None:
    rate, count = 60.0, 150
    theatre = limited(tmp_path, postgres_url, f"{{per_second: {rate}}}")
    send = theatre.send_to(["example.org"] * count)
    with Watched() as server:
        done = theatre.deliver(send, server, workers=3)
        assert theatre.finished(send, server, count)
        came = server.came()
    assert sum(each.accepted for each in done) == count
    assert most_over(came, rate) <= burst(rate)
    took = max(came) - min(came)
    assert (count - burst(rate)) / rate <= took <= BUSY * count / rate


def test_a_slow_domain_keeps_to_its_rate_and_keeps_nobody_else(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate, slow, quick = 80.0, 300, 100
    theatre = limited(tmp_path, postgres_url, f"{{domains: {{Slow.Example: {{per_second: {rate}}}}}}}")
    send = theatre.send_to([SLOW] * slow + ["example.org"] * quick)
    claimed, back = counted(monkeypatch)
    with Watched() as server:
        theatre.deliver(send, server, workers=2)
        assert theatre.finished(send, server, slow + quick)
        came, others = server.came(SLOW), server.came("example.org")
    assert most_over(came, rate) <= burst(rate)
    took = max(came) - min(came + others)
    assert took <= BUSY * slow / rate
    assert sum(moment < max(others) for moment in came) < 0.8 * slow, "they waited for the slow ones"
    assert sum(back.values()) <= slow, "most rows of a slow domain get their moment at once or at the second claim"
    assert max(back.values(), default=0) <= 3
    assert claimed.calls <= 30 * max(took, 3), "who waits for time does not claim all the while"


@dataclass
class Calls:
    """How often something was called."""

    calls: int = 0


def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[Calls, Counter[object]]:
    """How many claims are made from now on, and how often each row is put back."""
    claims, back = Calls(), Counter[object]()
    claim, put_back = ledger.claim, ledger.put_back

    def counting_claim(*arguments: object, **options: object) -> object:
        claims.calls += 1
        return claim(*arguments, **options)  # type: ignore[arg-type]

    def counting_put_back(*arguments: object) -> None:
        back.update(arguments[3])  # type: ignore[call-overload]
        put_back(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "claim", counting_claim)
    monkeypatch.setattr(ledger, "put_back", counting_put_back)
    return claims, back


def test_with_a_rate_for_all_and_one_for_a_domain_both_are_kept(tmp_path: Path, postgres_url: str) -> None:
    rate, slow_rate, slow, quick = 40.0, 20.0, 40, 60
    limits = f"{{per_second: {rate}, domains: {{{SLOW}: {{per_second: {slow_rate}}}}}}}"
    theatre = limited(tmp_path, postgres_url, limits)
    send = theatre.send_to([SLOW] * slow + ["example.org"] * quick)
    with Watched() as server:
        theatre.deliver(send, server, workers=2)
        assert theatre.finished(send, server, slow + quick)
        came, of_slow = server.came(), server.came(SLOW)
    assert most_over(of_slow, slow_rate) <= burst(slow_rate)
    assert most_over(came, rate) <= burst(rate)
    assert max(came) - min(came) <= BUSY * (slow + quick) / rate


def test_time_that_passed_while_the_server_was_silent_is_not_made_up_for_at_once(
    tmp_path: Path, postgres_url: str
) -> None:
    rate, count = 20.0, 50
    theatre = limited(tmp_path, postgres_url, f"{{per_second: {rate}}}")
    send = theatre.send_to(["example.org"] * count)
    silent = iter([1.5])

    def behaviour(_who: str, nth: int) -> str:
        # the whole server stands still when the first recipient is named
        time.sleep(next(silent, 0.0) if nth else 0.0)
        return "250"

    with Watched(behaviour) as server:
        theatre.deliver(send, server, workers=1)
        assert theatre.finished(send, server, count)
        came = server.came()
    assert most_over(came, rate) <= burst(rate)


def test_the_server_never_sees_more_connections_than_the_limit(tmp_path: Path, postgres_url: str) -> None:
    count = 120
    theatre = limited(tmp_path, postgres_url, "{connections: 2}")
    send = theatre.send_to(["example.org"] * count)
    with Watched(lambda _who, nth: "slow" if nth and len(server.whole) < 4 else "250") as server:
        theatre.deliver(send, server, workers=3, connections=4)
        assert theatre.finished(send, server, count)
    assert server.peak == 2


def test_a_worker_that_is_killed_gives_its_connections_back_to_one_that_had_too_few(
    tmp_path: Path, postgres_url: str
) -> None:
    count = 2 * BATCH + 100  # more than one worker claims and has ready
    theatre = limited(tmp_path, postgres_url, "{connections: 3}")
    send = theatre.send_to(["example.org"] * count)
    with Watched(lambda _who, _nth: "slow") as server:
        doomed = theatre.process(send, server, connections=2)
        server.wait_for(lambda: server.open_connections == 2)
        with ThreadPoolExecutor(1) as pool:
            survivor = pool.submit(theatre.deliver, send, server, 1, 4)
            server.wait_for(lambda: server.open_connections == 3)
            os.kill(doomed.pids[0], signal.SIGKILL)
            doomed.wait()
            # two of the one, one of the other, and the two that it took over
            server.wait_for(lambda: server.connections == 5)
            server.behaviour = lambda _who, _nth: "250"
            survivor.result()
        assert server.peak == 3
    # what was on the wire of the one that died nobody knows
    states = theatre.house.states(send)
    assert states["accepted"] + states.get("unknown", 0) == count
    assert states.get("unknown", 0) <= 2
    assert theatre.house.verdict(send).holds
    assert twice(server.recipients) == []


def test_a_worker_without_a_connection_ends_when_the_others_have_done_the_work(
    tmp_path: Path, postgres_url: str
) -> None:
    theatre = limited(tmp_path, postgres_url, "{connections: 1}")
    send = theatre.send_to(["example.org"] * 3)
    with Watched() as server, connect(postgres_url) as other:
        # another send's worker has the only connection, and keeps it
        limiter = Limiter(f"smtp 127.0.0.1:{server.port}", Limits(connections=1))
        assert limiter.take_slots(other, WHOLE, 4) == 1
        other.commit()
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(theatre.deliver, send, server, 1)
            theatre.house.sql("update smp.message set state = 'skipped', reason = 'cancelled', settled_at = now()")
            assert [each.accepted for each in waits.result(timeout=PATIENCE)] == [0]
    assert server.connections == 0


def test_a_domain_with_one_connection_gets_one_mail_at_a_time_and_the_others_go_beside_it(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = 8, 250
    theatre = limited(tmp_path, postgres_url, f"{{domains: {{{SLOW}: {{connections: 1}}}}}}")
    send = theatre.send_to([SLOW] * slow + ["example.org"] * quick)
    _claims, back = counted(monkeypatch)
    with Watched(lambda who, _nth: "slow" if who.endswith(SLOW) else "250") as server:
        theatre.deliver(send, server, workers=3, connections=4)
        assert theatre.finished(send, server, slow + quick)
        came, others = sorted(server.came(SLOW)), server.came("example.org")
    gaps = [after - before for before, after in itertools.pairwise(came)]
    assert min(gaps) > 0.2, "two were in hand at once"
    assert max(others) < came[-1], "they waited for the slow ones"
    assert max(back.values(), default=0) <= 4


def test_a_worker_whose_clock_is_ahead_keeps_no_mails_from_the_one_that_has_the_connection(
    tmp_path: Path, postgres_url: str
) -> None:
    theatre = limited(tmp_path, postgres_url, f"{{domains: {{{SLOW}: {{connections: 1}}}}}}")
    send, now = theatre.send_to([SLOW, SLOW]), theatre.house.now
    later = now + timedelta(seconds=3)
    theatre.house.sql("update smp.message set retry_at = %s where seq = 2", later)
    with Watched() as server, ThreadPoolExecutor(2) as pool:
        first = theatre.house.delivering(send, server.port, clock=StartedAt(now))
        ahead = theatre.house.delivering(send, server.port, clock=StartedAt(now + timedelta(seconds=0.3)))
        running = [pool.submit(first.run)]
        until(lambda: server.came(SLOW), "the first mail, whose worker now holds the connection")
        running.append(pool.submit(ahead.run))
        try:
            assert sum(each.result(PATIENCE).accepted for each in running) == 2
        finally:
            theatre.house.sql("update smp.message set state = 'skipped', reason = 'cancelled' where state = 'planned'")
    assert theatre.finished(send, server, 2)
