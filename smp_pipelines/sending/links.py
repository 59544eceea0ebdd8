"""Links: signed addresses in mails. They hold keys (a send, a recipient key, a person, a record), no personal data.

A token is `signature.value.value…`. The signature (HMAC-SHA-256, cut to 128 bits) comes first, so that a token
ends in the last value: a program that finds links in plain text then leaves no `-` or `_` of the signature out.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args
from uuid import UUID

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.ledger import Send

Value = int | str
Verdict = Literal["approved", "blocked"]

LONGEST = 3000
"""Characters of a token that are looked at; no link of ours comes near."""
_SIGNATURE_BYTES = 16
_DIFFERENT_TEXTS = 1024
"""Texts in tokens whose way to be written is kept: mostly the names of steps."""
_FOR_ADDRESSES = bytes.maketrans(b"+/", b"-_")
_PLAIN = re.compile(r"[A-Za-z0-9_-]*")


class BadLinkError(SmpError):
    """This link is none of ours, or it was changed on its way."""

    def __init__(self) -> None:
        super().__init__(
            "this link does not work: a part may be missing. Open it again from the mail, or copy it from there whole"
        )


class LinkSigner:
    """Signs links, and reads what comes back. The first secret signs, all are accepted: a key can be replaced."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Raises SmpError when there is no secret."""
        if not secrets or not all(secrets):
            raise SmpError("links in mails cannot be signed without a secret: set SMP_LINK_SECRET")
        self._secrets = [secret.encode("utf-8") for secret in secrets]
        self._started: dict[str, list[hmac.HMAC]] = {}

    def sign(self, purpose: str, *values: Value) -> str:
        """A token with these values that `read` accepts for this purpose only; the characters A-Z a-z 0-9 . _ - ~."""
        text = ".".join([str(value) if type(value) is int else _written(str(value)) for value in values])
        return f"{_signature(self._keys(purpose)[0], text)}.{text}"

    def read(self, purpose: str, token: str) -> tuple[Value, ...]:
        """The values of a token. Raises BadLinkError for one that is not signed, for this purpose, by these secrets."""
        if len(token) > LONGEST or not token.isascii():
            raise BadLinkError
        signature, dot, text = token.partition(".")
        # Characters are compared, not what they decode to: a token has one way to be written. Every key is tried.
        matches = [hmac.compare_digest(signature, _signature(key, text)) for key in self._keys(purpose)]
        if not dot or not any(matches):
            raise BadLinkError
        return tuple([_read(part) for part in text.split(".")]) if text else ()

    def _keys(self, purpose: str) -> list[hmac.HMAC]:
        """HMACs that have begun with a purpose: a copy of one takes half the time of a new one."""
        if purpose not in self._started:
            label = f"smp link {purpose}".encode()
            keys = [hmac.digest(secret, label, hashlib.sha256) for secret in self._secrets]
            self._started[purpose] = [hmac.new(key, digestmod=hashlib.sha256) for key in keys]
        return self._started[purpose]


def _signature(started: hmac.HMAC, text: str) -> str:
    mac = started.copy()
    mac.update(text.encode("ascii"))
    # base64 for addresses, without the padding; twice as quick as the module base64, once for every mail
    return binascii.b2a_base64(mac.digest()[:_SIGNATURE_BYTES])[:-3].translate(_FOR_ADDRESSES).decode("ascii")


def _written(value: str) -> str:
    # the mark tells text from numbers; two of them, text that would not fit an address as it is
    return f"~{value}" if _PLAIN.fullmatch(value) else f"~~{_encoded(value)}"


def _read(part: str) -> Value:
    try:
        if not part.startswith("~"):
            return int(part)
        return _decoded(part[2:]) if part.startswith("~~") else part[1:]
    except (binascii.Error, ValueError) as error:
        raise BadLinkError from error


@lru_cache(_DIFFERENT_TEXTS)
def _encoded(value: str) -> str:
    return urlsafe_b64encode(value.encode("utf-8")).rstrip(b"=").decode("ascii")


@lru_cache(_DIFFERENT_TEXTS)
def _decoded(written: str) -> str:
    return urlsafe_b64decode(written + "=" * (-len(written) % 4)).decode("utf-8")


@dataclass(frozen=True)
class DecisionLink:
    """What an approve or block link says: the verdict of a person on a record of a step."""

    verdict: Verdict
    step: str
    record_id: int
    person_id: int

    @property
    def other(self) -> DecisionLink:
        """The way back: the other verdict of the same person on the same record."""
        return replace(self, verdict="approved" if self.verdict == "blocked" else "blocked")


class MailLinks:
    """The personal links of the mails of one send. `step` is the key (campaign/step) of the step whose mail it is."""

    def __init__(self, site_url: str, signer: LinkSigner, step: str, send: Send) -> None:
        self._site = site_url
        self._signer = signer
        self._step = step
        self._send_id = send.send_id

    def unsubscribe(self, recipient_key: UUID) -> str:
        """Where the recipient unsubscribes, on a page or by one click (RFC 8058)."""
        return f"{self._site}/u/{self._signer.sign('unsubscribe', self._send_id, recipient_key.hex)}"

    def approve(self, person_id: int, record_id: int) -> str:
        """Where a colleague approves the mail about a record (F26)."""
        return self._decision(DecisionLink("approved", self._step, record_id, person_id))

    def block(self, person_id: int, record_id: int) -> str:
        """Where a colleague blocks a record (F27)."""
        return self._decision(DecisionLink("blocked", self._step, record_id, person_id))

    def _decision(self, link: DecisionLink) -> str:
        return f"{self._site}{decision_path(self._signer, link)}"


def decision_path(signer: LinkSigner, link: DecisionLink) -> str:
    """The path of an approve or block link on the site."""
    return f"/r/{signer.sign('decision', link.verdict, link.step, link.record_id, link.person_id)}"


def read_decision(signer: LinkSigner, token: str) -> DecisionLink:
    """What an approve or block link says. Raises BadLinkError."""
    match signer.read("decision", token):
        case (str(verdict), str(step), int(record_id), int(person_id)) if verdict in get_args(Verdict):
            return DecisionLink("blocked" if verdict == "blocked" else "approved", step, record_id, person_id)
    raise BadLinkError


def read_unsubscribe(signer: LinkSigner, token: str) -> tuple[int, UUID]:
    """The send and the recipient key of an unsubscribe link. Raises BadLinkError."""
    match signer.read("unsubscribe", token):
        case (int(send_id), str(key)) if re.fullmatch("[0-9a-f]{32}", key):
            return send_id, UUID(key)
    raise BadLinkError
