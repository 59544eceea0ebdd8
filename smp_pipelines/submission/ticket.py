"""Tickets: the signed hidden field of a form. It says which step, for whom, when, and the key of the submission.

A form that comes back without a good one is not stored: another site made it, or a program did (CSRF).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from smp_pipelines.sending.links import BadLinkError, LinkSigner

FIELD = "_ticket"
"""The name of the hidden field; no field of a form begins so."""
GOOD_FOR = timedelta(hours=24)
_GOOD_FOR = GOOD_FOR.total_seconds()
_PURPOSE = "form"
_HEX = re.compile("[0-9a-f]{32}")


class BadTicketError(Exception):
    """The hidden field is missing, forged, or of another step or person."""


class OldTicketError(Exception):
    """The form was open for longer than GOOD_FOR."""


@dataclass(frozen=True)
class Ticket:
    """What the hidden field says. person_id: of the personal link, None on a shareable URL."""

    step: str
    person_id: int | None
    made_at: datetime
    key: UUID

    def sign(self, signer: LinkSigner) -> str:
        """The value of the hidden field."""
        seconds = int(self.made_at.timestamp())
        return signer.sign(_PURPOSE, self.step, self.person_id or 0, seconds, self.key.hex)


def read_key(signer: LinkSigner, written: str, step: str, person_id: int | None, now: datetime) -> bytes:
    """The key of a form as it was shown: 20 bytes, first when that was. Raises BadTicketError, OldTicketError."""
    try:
        values = signer.read(_PURPOSE, written)
    except BadLinkError as error:
        raise BadTicketError from error
    if len(values) != 4 or values[:2] != (step, person_id or 0):
        raise BadTicketError
    seconds, key = values[2:]
    if not isinstance(seconds, int) or not isinstance(key, str) or not _HEX.fullmatch(key):
        raise BadTicketError
    if now.timestamp() - seconds > _GOOD_FOR:
        raise OldTicketError
    return seconds.to_bytes(4) + bytes.fromhex(key)
