"""Estates: what a worker of this machine that died had in hand, settled from its journal."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from uuid import UUID

from smp_pipelines.problems import SmpError
from smp_pipelines.sending import ledger
from smp_pipelines.sending.answers import final_outcome
from smp_pipelines.sending.journal import Estate, estates
from smp_pipelines.sending.ledger import Outcome
from smp_pipelines.stores.postgres import Connection, engine_sql


def settle_estates(connection: Connection, folder: Path, now: datetime) -> int:
    """Settle what workers that are gone left behind in this folder, of any send; says how many workers that were.

    What was answered is written down, what was never begun is given back, and what was on the wire becomes `unknown`.
    """
    with estates(folder) as found:
        for estate in found:
            try:
                send = ledger.read_send(connection, estate.send_id)
            except SmpError:
                continue  # the journal of another database
            _settle(connection, send, estate, now)
        return len(found)


def _settle(connection: Connection, send: ledger.Send, estate: Estate, now: datetime) -> None:
    parameters = {"send_id": estate.send_id, "token": estate.token}
    with connection.transaction():
        held: set[UUID] = {key for (key,) in connection.execute(engine_sql("ledger/estate.sql"), parameters)}
        outcomes = [
            outcome
            for key, answer in estate.answered.items()
            if key in held and (outcome := final_outcome(key, answer)) is not None
        ]
        outcomes += [Outcome(key, "unknown", "worker_gone") for key in estate.on_the_wire if key in held]
        ledger.settle(connection, send, estate.token, outcomes, now)
        left = held - {outcome.recipient_key for outcome in outcomes}
        ledger.release(connection, send, estate.token, sorted(left))
