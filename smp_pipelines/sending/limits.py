"""Limits: how fast mails may leave and over how many connections, kept by all workers on all machines together.

Rates: whoever wants to hand over n mails takes n steps of time from one row of Postgres, and paces them over that time.
Connections: each is a numbered advisory lock. A domain's is given back when its holder has no mails for that domain;
the holder's death gives all of them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smp_pipelines.campaign.policy import Limit, Limits
from smp_pipelines.stores.postgres import Connection, engine_sql

HORIZON = 4.0
"""Seconds ahead for which a worker takes time on a shared rate; well within the lease of its claim."""
WHOLE = "*"
"""The scope of the transport as a whole; any other scope is a recipient domain."""


@dataclass(frozen=True)
class Grant:
    """Time on a rate, in seconds: `count` mails from `starts_in` on, one each `gap`; the rest from `queue_in` on."""

    count: int
    starts_in: float
    gap: float
    queue_in: float


class Limiter:
    """The limits of one transport. Its connection to Postgres holds the slots: it must be one and the same."""

    def __init__(self, transport: str, limits: Limits) -> None:
        self._transport = transport
        self._limits: dict[str, Limit] = {name.lower(): limit for name, limit in limits.domains.items()}
        self._limits[WHOLE] = limits
        self.is_paced = len(self._limits) > 1 or limits.per_second is not None
        """Whether any rate or domain is limited, so that mails cannot just leave one after another."""
        self._slots: dict[str, set[int]] = {}

    def domain(self, address: str) -> str | None:
        """The domain of an address when it has a limit of its own."""
        domain = address.rpartition("@")[2].lower()
        return domain if domain in self._limits else None

    def rate(self, scope: str) -> float | None:
        """Mails a second in a scope; None: as fast as it goes."""
        return self._limits[scope].per_second

    def connections(self, scope: str) -> int | None:
        """Connections at once in a scope; None: as many as one likes."""
        return self._limits[scope].connections

    def prepare(self, connection: Connection) -> None:
        """Make the rows that the rates are kept in."""
        scopes = [scope for scope, limit in self._limits.items() if limit.per_second]
        connection.execute(
            "insert into smp.rate_limit (transport, scope) select %s, unnest(%s::text[]) on conflict do nothing",
            (self._transport, scopes),
        )

    def room_in(self, connection: Connection) -> float:
        """Seconds until the transport as a whole has time to give."""
        if self.rate(WHOLE) is None:
            return 0.0
        found = connection.execute(
            "select extract(epoch from free_at - clock_timestamp())::float8 from smp.rate_limit"
            " where transport = %s and scope = %s",
            (self._transport, WHOLE),
        ).fetchone()
        return max(float(found[0]), 0.0) if found else 0.0

    def reserve(self, connection: Connection, wanted: Mapping[str, int]) -> dict[str, Grant]:
        """Take time for so many mails per scope; scopes without a rate are left out."""
        gaps = {scope: 1 / rate for scope in wanted if (rate := self.rate(scope))}
        if not gaps:
            return {}
        found = connection.execute(
            engine_sql("limits/reserve.sql"),
            {
                "transport": self._transport,
                "scopes": list(gaps),
                "wanted": [wanted[scope] for scope in gaps],
                "gaps": list(gaps.values()),
                "horizon": HORIZON,
            },
        )
        return {scope: Grant(count, starts, gaps[scope], queue) for scope, count, starts, queue in found}

    def take_slots(self, connection: Connection, scope: str, wanted: int) -> int:
        """How many connections this worker may use in a scope now: those it has and, up to `wanted`, those free."""
        limit = self.connections(scope)
        if limit is None:
            return wanted
        held = self._slots.setdefault(scope, set())
        if len(held) < min(wanted, limit):
            # a lock that this session holds already would be given again: its number is passed over
            free = sorted(set(range(limit)) - held)
            found = connection.execute(
                "select slot from unnest(%s::int[]) as slot where pg_try_advisory_lock(hashtext(%s), slot) limit %s",
                (free, self._lock(scope), wanted - len(held)),
            )
            held.update(slot for (slot,) in found)
        return len(held)

    def give_slots(self, connection: Connection, scope: str) -> None:
        """Give back the connections that this worker holds in a scope, for whoever has mails for it."""
        for slot in sorted(self._slots.pop(scope, ())):
            connection.execute("select pg_advisory_unlock(hashtext(%s), %s)", (self._lock(scope), slot))

    def _lock(self, scope: str) -> str:
        return f"connections {self._transport} {scope}"
