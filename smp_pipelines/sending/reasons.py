"""Reasons: why somebody gets no mail, in words that a marketing-ops person understands."""

from __future__ import annotations

AUDIENCE_TEST = "audience_test"
"""The reason of whoever is in a send that an audience test stopped; after a colon come the test's words (X5)."""
REASONS: dict[str, str] = {
    "person_gone": "is no longer in the CRM",
    "person_blocked": "is blocked: never contact",
    "no_address": "has no e-mail address",
    "broken_address": "has an e-mail address that cannot exist",
    "address_changed": "got another e-mail address since the send was planned",
    "suppressed": "has an address on the suppression list",
    "opted_out": "said no to this topic",
    "no_consent": "never said yes to this topic",
    "record_gone": "the linked record is no longer in the CRM",
    "record_blocked": "the linked record is blocked",
    "used_in_campaign": "got, or gets, another step of this campaign that this one leaves alone",
    AUDIENCE_TEST: "stopped by an audience test",
    "frequency_cap": "has had as many mails as the frequency cap allows",
    "duplicate_address": "shares the address with somebody who gets this mail",
    "merged": "was merged with somebody who gets this mail",
    "lease_expired": "the worker stopped while it had this mail in hand: nobody knows whether it left",
    "worker_gone": "was on its way when the worker died: nobody knows whether the mail server took it",
    "connection_lost": "the mail server was gone before it answered: nobody knows whether it took the mail",
    "refused": "the mail server refused it",
    "gave_up": "the mail server put it off too many times",
    "content_error": "the content cannot be made for this person",
    "not_arrived": "somebody looked, or the transport told: it did not arrive",
    "cancelled": "the send was cancelled before this mail left",
    "quiet_hours": "had not left at 23:00, and this step drops what is left at night",
}
"""Every reason that the ledger can hold."""


def explain(reason: str) -> str:
    """The words for a reason; a reason without words is shown as it is."""
    if reason.startswith(f"{AUDIENCE_TEST}: "):
        return f"{REASONS[AUDIENCE_TEST]}: {reason.removeprefix(f'{AUDIENCE_TEST}: ')}"
    return REASONS.get(reason, reason)
