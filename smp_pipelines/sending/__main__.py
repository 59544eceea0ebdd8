"""One process of a crew: reads its errand from its input, delivers, and prints its counts as lines of JSON."""

from __future__ import annotations

import json
import sys
import threading

from smp_pipelines.campaign.project import load_project
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.crew import Errand
from smp_pipelines.sending.delivery import Delivering, Delivery
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.postgres import connect, told


def main() -> int:
    """Deliver what the errand says; 0, or 1 when it could not be done, which is told in words."""
    line = sys.stdin.readline()
    if not line:
        return 1
    errand = Errand.read(line)
    try:
        with told(), connect(errand.postgres_url) as connection:
            send = ledger.read_send(connection, errand.send_id)
        delivering = Delivering(
            errand.settings,
            errand.postgres_url,
            load_project(errand.settings.project),
            send,
            StartedAt(errand.now),
            connections=errand.connections,
            patience=errand.patience,
        )
        threading.Thread(target=_stop_at_the_end, args=(delivering,), daemon=True).start()
        _tell(delivering.run(_tell))
    except SmpError as error:
        print(str(error), file=sys.stderr)
        return 1
    return 0


def _stop_at_the_end(delivering: Delivering) -> None:
    """The input ends when whoever sent this process says so, or is gone."""
    sys.stdin.read()
    delivering.stop()


def _tell(done: Delivery) -> None:
    print(json.dumps({"outcomes": done.outcomes, "skipped": done.skipped}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
