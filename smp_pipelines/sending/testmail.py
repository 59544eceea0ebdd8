"""Test mails: who may get one, and the key of its send (F28).

A test mail is a send of its own, in its own key space: it is no contact moment, and the real send
still reaches whoever tested (invariant 8). Consent, the frequency cap and a blocked record do not stop
it, for who tests does so as a colleague; the suppression list does, and the person is told so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from smp_pipelines.campaign.project import StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.sending import address
from smp_pipelines.stores.postgres import Connection, engine_sql

_WORDS = {
    "unknown": "is not in the CRM: look up the id",
    "outsider": "is no internal test person, and a test mail goes to colleagues only: choose one of them, or have "
    "internal_test set on the person card by who manages the CRM",
    "missing": "has no e-mail address: fill it in on the person card",
    "broken": "has an e-mail address that cannot exist: correct it on the person card",
}
"""Why somebody gets no test mail, and what to do, by what testers.sql finds."""


def testmail_key(ref: StepRef, moment: datetime, run_id: str) -> str:
    """The key of a test mail's send: whoever asks for one again gets another (invariant 8)."""
    return f"test/{ref.key}@{moment.isoformat(timespec='seconds')}/{run_id}"


def refuse_outsiders(connection: Connection, people: Sequence[int]) -> None:
    """Raise SmpError that names everybody, by id, to whom no test mail can go; one is enough for nobody to be mailed.

    That is who is not in the CRM, is no internal test person, or has no address that can exist.
    """
    found = connection.execute(engine_sql("planning/testers.sql"), {"people": list(people), **address.POSTGRES_RULE})
    problems = [f"  person {person_id} {_WORDS[finding]}" for person_id, finding in found if finding != "fit"]
    if problems:
        raise SmpError("\n".join(["no test mail was sent to anybody:", *problems]))
