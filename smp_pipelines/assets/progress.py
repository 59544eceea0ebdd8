"""Progress: what one sees of a send while it runs, as log lines and as observations that move the asset's plots."""

from __future__ import annotations

import time

import dagster as dg

from smp_pipelines.assets.outcomes import Metadata, figures
from smp_pipelines.deployment import Deployment
from smp_pipelines.sending.delivery import Delivery
from smp_pipelines.sending.ledger import Send

LOG_SECONDS = 2.0
"""How often a log line tells how far it is."""
OBSERVE_SECONDS = 5.0
"""How often an observation does, at most."""
SHARE = 0.05
"""The part of the time that counting for the observations may take: a large send is counted less often."""


class Progress:
    """Called all the time while a send is delivered; tells how it stands when it is time to.

    The counts are the ledger's, so that they hold for all workers together; the speed is that of this
    run. Where they cannot be had, nothing is told: a picture of the send must never cost the send.
    """

    def __init__(
        self, context: dg.OpExecutionContext, deployment: Deployment, send: Send, asset_key: dg.AssetKey
    ) -> None:
        self._context = context
        self._deployment = deployment
        self._send = send
        self._asset_key = asset_key
        self._done = Delivery()
        self._accepted = 0
        self._since = time.monotonic()
        self._log_at = self._since + LOG_SECONDS
        self._observe_at = self._since + OBSERVE_SECONDS

    def __call__(self, done: Delivery) -> None:
        """Tell how far it is, unless that was told a moment ago."""
        self._done = done
        now = time.monotonic()
        if now >= self._log_at:
            self._log_at = now + LOG_SECONDS
            self._context.log.info(f"{done.accepted:,} accepted, {_speed(done.accepted, done.seconds):,.0f} a second")
        if now >= self._observe_at:
            self.observe()

    def observe(self) -> None:
        """Tell now how the send stands, as an observation."""
        now = time.monotonic()
        per_second = _speed(self._done.accepted - self._accepted, now - self._since)
        self._accepted, self._since = self._done.accepted, now
        try:
            totals = self._deployment.totals(self._send)
            metadata: Metadata = {**figures(totals), "mails a second": round(per_second, 1)}
            if self._done.held:
                metadata["held"] = self._done.held
            self._context.log_event(dg.AssetObservation(self._asset_key, metadata=metadata))
        except Exception as error:
            # whatever is wrong with the stores: the workers find out by themselves, and may be able to wait for it
            self._context.log.warning(f"how the send stands cannot be told now ({type(error).__name__})")
        took = time.monotonic() - now
        self._observe_at = now + max(OBSERVE_SECONDS, took / SHARE)


def _speed(mails: int, seconds: float) -> float:
    return mails / max(seconds, 0.001)
