"""The order: what a worker has to know of the send that it delivers, and whether that may go on now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from smp_pipelines.campaign.calendar import night_since
from smp_pipelines.campaign.content.readable import NamedProduct
from smp_pipelines.sending.cancelling import CANCELLED, QUIET_HOURS, is_cancelled, skip_planned
from smp_pipelines.sending.ledger import ClaimRules, Send, Waiting
from smp_pipelines.sending.status import read_status
from smp_pipelines.stores.clock import Clock
from smp_pipelines.stores.postgres import Connection


@dataclass(frozen=True)
class Order:
    """A send to deliver: its rules, the name under which templates know the linked record, and the clock.

    drop_at_night: what is left when the quiet hours begin is not held until the morning, but skipped (F22).
    products: the rows that the blocks of the mail name.
    """

    send: Send
    rules: ClaimRules
    record_name: str | None
    clock: Clock
    drop_at_night: bool = False
    products: tuple[NamedProduct, ...] = ()

    @property
    def zone(self) -> ZoneInfo:
        """The local time zone."""
        return self.rules.zone

    def is_night(self, now: datetime) -> bool:
        """Whether the quiet hours keep this send's mails back (F22)."""
        return self.rules.is_night(now)

    def held(self, connection: Connection) -> str | None:
        """Why nothing may leave now, in words; None when it may: the step runs and it is not night."""
        if self.send.purpose == "test":
            return None
        status = read_status(connection, self.send.step)
        if status.status != "live":
            since = f" since {self._local(status.since)}" if status.since else ""
            return f"{self.send.step} is {status.status}{since}: what is left waits until it is live"
        if self.is_night(self.clock.now()):
            fate = "was dropped" if self.drop_at_night else "waits until the morning"
            return f"nothing is sent between 23:00 and 06:00: what is left {fate}"
        return None

    def drop(self, connection: Connection) -> int:
        """Skip what is left of a send that was cancelled, or that a night has overtaken when its step says so."""
        now = self.clock.now()
        if is_cancelled(connection, self.send):
            return skip_planned(connection, self.send, CANCELLED, now)
        if not self.drop_at_night or self.send.purpose == "test" or not night_since(self.send.moment, now, self.zone):
            return 0
        return skip_planned(connection, self.send, QUIET_HOURS, now)

    def put_off(self, left: Waiting) -> str:
        """The words for rows that the mail server, or a limit, has put off for longer than it is worth waiting."""
        until = self._local(left.next_at) if left.next_at else "later"
        return f"{left.rows} mails wait until {until}: the mail server or a limit put them off"

    def _local(self, moment: datetime) -> str:
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M}"
