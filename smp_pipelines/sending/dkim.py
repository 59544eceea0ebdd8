"""DKIM (RFC 6376): signs mails, so that receivers can tell that they come from the sender's domain.

rsa-sha256 or ed25519-sha256 (RFC 8463), relaxed/relaxed, for mails that `MessageBuilder` made. A signed mail
must be quoted-printable: a server on the way may turn 8bit into something else, and then no signature holds.
Our own code, since dkimpy does RSA in plain Python (more than ten times slower); dkimpy verifies it in the tests.
"""

from __future__ import annotations

import binascii
import functools
import hashlib
import re
from collections.abc import Mapping
from email.utils import parseaddr
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from smp_pipelines.problems import SmpError

SIGNED = (
    *("from", "to", "subject", "date", "message-id", "reply-to", "mime-version", "content-type"),
    *("content-transfer-encoding", "list-unsubscribe", "list-unsubscribe-post", "feedback-id"),
    *("auto-submitted", "x-smp-step", "x-smp-purpose"),
)
"""The headers that are signed when a mail has them; RFC 8058 demands both of List-Unsubscribe."""
_ONCE = (b"from", b"to", b"subject")
"""Named once more than they occur (oversigned): nobody can add another that a reader would be shown."""
_SMALLEST_KEY = 1024
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
# only what one blank must take the place of: single blanks stay as they are
_BLANKS = re.compile(rb"[ \t]{2,}|\t")
_FOLD = re.compile(rb".{1,72}")


class DkimSigner:
    """Signs mails with one key; may be used from any thread.

    `domain` is who signs (d=). None stands for the domain of each mail's From, which is what DMARC asks
    for; name one when the key is published elsewhere. `key` is a private key in PEM, RSA of 1024 bits or
    more (2048 is usual) or Ed25519. Raises SmpError when the key, the domain or the selector is none.

    No signing time (t=) is given: it is optional, and the Date header, which is signed, tells it.
    """

    def __init__(self, domain: str | None, selector: str, key: str) -> None:
        if not _is_name(selector):
            raise SmpError("SMP_DKIM_SELECTOR is no selector: it is the name before ._domainkey in the DNS")
        self._domain = None if domain is None else _ascii_domain(domain)
        self._key = _read_key(key)
        algorithm = "rsa-sha256" if isinstance(self._key, RSAPrivateKey) else "ed25519-sha256"
        self._start = f"DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; s={selector};\r\n d="

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> DkimSigner | None:
        r"""The signer that the environment describes; None when it names no key.

        SMP_DKIM_KEY is the key itself (PEM; \n may stand for a line end) or SMP_DKIM_KEY_FILE the file that
        holds it; SMP_DKIM_SELECTOR the selector; SMP_DKIM_DOMAIN the domain, when it is not the sender's.
        Raises SmpError, which never shows the key, when one of them is wrong or missing.
        """
        text, file = env.get("SMP_DKIM_KEY", "").strip(), env.get("SMP_DKIM_KEY_FILE", "").strip()
        selector, domain = env.get("SMP_DKIM_SELECTOR", "").strip(), env.get("SMP_DKIM_DOMAIN", "").strip()
        if text and file:
            raise SmpError("both SMP_DKIM_KEY and SMP_DKIM_KEY_FILE are set: leave one of them out")
        if not text and not file:
            if selector or domain:
                raise SmpError("mails cannot be signed: SMP_DKIM_KEY or SMP_DKIM_KEY_FILE is missing")
            return None
        if not selector:
            raise SmpError("SMP_DKIM_SELECTOR is missing: it is the name before ._domainkey in the DNS")
        return cls(domain or None, selector, text.replace("\\n", "\n") if text else _read_file(Path(file)))

    def sign(self, message: bytes) -> bytes:
        """The mail with its signature in front. Its line ends are CRLF; raises SmpError unless it has one From."""
        head, _blank, body = message.partition(b"\r\n\r\n")
        headers: list[tuple[bytes, bytes]] = []
        for field in head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n"):
            name, _colon, value = field.partition(b":")
            headers.append((name.rstrip().lower(), value))
        last = dict(headers)
        if sum(name == b"from" for name, _value in headers) != 1:
            raise SmpError("a mail without exactly one sender cannot be signed")
        names = [name for name in _SIGNED if name in last]
        signed = b"".join(b"%s:%s\r\n" % (name, _squeezed(last[name])) for name in names)
        domain = self._domain or _sender_domain(last[b"from"])
        start = self._start.encode() + domain + b"; h=" + b"\r\n :".join(_in_lines([*names, *_ONCE]))
        digest = binascii.b2a_base64(hashlib.sha256(_relaxed(body)).digest(), newline=False)
        start += b";\r\n bh=" + digest + b";\r\n b="
        signature = self._signature(signed + b"dkim-signature:" + _squeezed(start.partition(b":")[2]))
        return start + b"\r\n ".join(_FOLD.findall(signature)) + b"\r\n" + message

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            signature = self._key.sign(data, PKCS1v15(), SHA256())
        else:
            signature = self._key.sign(hashlib.sha256(data).digest())
        return binascii.b2a_base64(signature, newline=False)


_SIGNED = tuple(name.encode() for name in SIGNED)


def _in_lines(names: list[bytes]) -> list[bytes]:
    """The names for h=, four to a line."""
    return [b":".join(names[start : start + 4]) for start in range(0, len(names), 4)]


def _relaxed(body: bytes) -> bytes:
    """The body as the relaxed canonicalisation has it (RFC 6376, 3.4.4)."""
    if b"\t" in body or b"  " in body or b" \r\n" in body:
        body = _BLANKS.sub(b" ", body).replace(b" \r\n", b"\r\n")
    if not body.endswith(b"\r\n"):
        body = body.removesuffix(b" ") + b"\r\n"
    end = len(body)
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    return body[: end + 2] if end else b""


def _squeezed(value: bytes) -> bytes:
    """A header's value as the relaxed canonicalisation has it (RFC 6376, 3.4.2)."""
    return _BLANKS.sub(b" ", value.replace(b"\r\n", b"")).strip(b" \t")


@functools.lru_cache(64)
def _sender_domain(sender: bytes) -> bytes:
    _local, at, domain = parseaddr(sender.decode("utf-8", "replace"))[1].rpartition("@")
    return _ascii_domain(domain if at else "")


def _ascii_domain(domain: str) -> bytes:
    """The domain as name servers know it."""
    try:
        name = domain.encode("idna").decode().lower()
    except UnicodeError:
        name = ""
    if not _is_name(name):
        raise SmpError(f"mails cannot be signed for {domain!r}: it is no domain. Name it with SMP_DKIM_DOMAIN.")
    return name.encode()


def _is_name(text: str) -> bool:
    return all(_LABEL.fullmatch(label) for label in text.split("."))


def _read_file(file: Path) -> str:
    try:
        return file.expanduser().read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no PEM file"
        raise SmpError(f"the key in SMP_DKIM_KEY_FILE ({file}) cannot be read: {why}") from None


def _read_key(pem: str) -> RSAPrivateKey | Ed25519PrivateKey:
    """The private key in a PEM text. Errors are not chained: they must not carry the key into a log."""
    remedy = "Give a private RSA (2048 bits) or Ed25519 key in PEM, without a passphrase."
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise SmpError(f"the DKIM key has a passphrase. {remedy}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SmpError(f"the DKIM key cannot be read. {remedy}") from None
    if isinstance(key, RSAPrivateKey) and key.key_size < _SMALLEST_KEY:
        raise SmpError(f"the DKIM key has {key.key_size} bits: receivers take no signature of less than 1024. {remedy}")
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise SmpError(f"the DKIM key is of a kind that DKIM does not know. {remedy}")
    return key
