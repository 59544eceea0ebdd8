"""Tests of the signatures: each one is verified by dkimpy, with the key as it would stand in the DNS."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import dkim
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from smp_pipelines.campaign.content.mail import Rendered
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.dkim import DkimSigner
from smp_pipelines.sending.message import MessageBuilder

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
KEY = UUID("6f1f9d3c-9a57-4d6b-8a0e-0d7b6f0f7a11")
RSA = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()
SIMPLE = b"From: Anna <anna@linde.example>\r\nTo: b@c.example\r\nSubject: Dag\r\n\r\nDag\r\n"


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, secret: str = "") -> str:
    lock: KeySerializationEncryption = BestAvailableEncryption(secret.encode()) if secret else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock).decode()


@functools.cache
def record(kind: str) -> bytes:
    """What the DNS says of the key."""
    if kind == "rsa":
        public = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        public = ED25519.public_key().public_bytes_raw()
    return b"v=DKIM1; k=" + kind.encode() + b"; p=" + base64.b64encode(public)


class VerifyKey:
    """What dkimpy asks of PyNaCl, which is not installed: the arithmetic is that of `cryptography`."""

    def __init__(self, key: bytes, encoder: object) -> None:
        self._key = ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(key))

    def verify(self, data: bytes, signature: bytes) -> None:
        self._key.verify(signature, data)


dkim.nacl = SimpleNamespace(
    signing=SimpleNamespace(VerifyKey=VerifyKey),
    encoding=SimpleNamespace(Base64Encoder=None),
    exceptions=SimpleNamespace(BadSignatureError=InvalidSignature, ValueError=ValueError),
)


@pytest.fixture(scope="module", params=["rsa", "ed25519"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@functools.cache
def signer(kind: str, domain: str | None = None) -> DkimSigner:
    return DkimSigner(domain, "mail2026", pem(RSA if kind == "rsa" else ED25519))


def holds(message: bytes, kind: str, domain: bytes = b"linde.example") -> bool:
    asked: list[bytes] = []

    def dns(name: bytes, timeout: int = 5) -> bytes:
        asked.append(name)
        return record(kind)

    result = bool(dkim.verify(message, dnsfunc=dns))
    assert set(asked) == {b"mail2026._domainkey." + domain + b"."}
    return result


def tags(message: bytes) -> dict[str, str]:
    """The tags of the signature in front."""
    value = re.split(rb"\r\n(?![ \t])", message)[0].partition(b":")[2].decode()
    pairs = (pair.partition("=") for pair in re.sub(r"\s+", "", value).split(";"))
    return {name: content for name, _is, content in pairs}


def over_the_wire(message: bytes) -> bytes:
    """The message after SMTP: dots stuffed by the sender, taken away by the receiver."""
    stuffed = re.sub(rb"(?m)^\.", b"..", message)
    return re.sub(rb"(?m)^\.", b"", stuffed)


def built(kind: str, text: str = "Dag Renée\n", html: str = "<p>Dag</p>\n") -> bytes:
    builder = MessageBuilder(
        sender="Schouwburg De Linde <service@linde.example>",
        reply_to="kassa@linde.example",
        step="servicemails/servicemail",
        send_key="k",
        unsubscribe=lambda key: f"https://linde.example/u/{key}",
        signer=signer(kind),
    )
    rendered = Rendered("Nog één week", html, text)
    return builder.build(
        rendered, name="Renée", address="renée@example.org", recipient_key=KEY, date=NOW, eight_bit=True
    )


def test_a_built_mail_is_signed_for_its_senders_domain_and_the_signature_holds(kind: str) -> None:
    mail = built(kind, text="Dag Renée \n.\n..\n\n\n", html="<p>é</p>\t\n" * 400)
    assert holds(over_the_wire(mail), kind)
    found = tags(mail)
    assert found["a"] == f"{kind}-sha256"
    assert found["c"] == "relaxed/relaxed"
    assert found["d"] == "linde.example"
    assert list(found)[-1] == "b"
    assert b"Content-Transfer-Encoding: 8bit" not in mail
    assert all(len(line) <= 998 for line in mail.split(b"\r\n"))


def test_every_header_that_receivers_care_for_is_signed_and_the_sender_twice() -> None:
    names = tags(built("ed25519"))["h"].split(":")
    wanted = "from to subject date message-id reply-to mime-version content-type"
    assert {*wanted.split(), "list-unsubscribe", "list-unsubscribe-post", "feedback-id"} <= set(names)
    assert names.count("from") == 2


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        # a header that is added stands above the real one, where a reader looks first
        (b"Subject: ", b"Subject: Re: "),
        (b"From: ", b"From: boef@example.org\r\nFrom: "),
        (b"Subject: ", b"Subject: Gratis\r\nSubject: "),
        (b"One-Click", b"Two-Clicks"),
        (b"<p>Dag</p>", b"<p>Doei</p>"),
    ],
)
def test_a_mail_that_was_changed_on_the_way_does_not_hold(kind: str, found: bytes, instead: bytes) -> None:
    mail = built(kind)
    assert holds(mail, kind)
    assert not holds(mail.replace(found, instead, 1), kind)


LINES = st.lists(st.text(" \t.aZ=é€-", max_size=12), max_size=12)
VALUES = st.lists(st.text(" \tab:;=é<>", max_size=10), min_size=1, max_size=4).map("\r\n ".join)


@given(LINES, VALUES, VALUES, st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_whatever_the_blanks_and_folds_the_signature_holds_after_the_wire(
    lines: list[str], subject: str, unsigned: str, empty: int
) -> None:
    body = "".join(f"{line}\r\n" for line in lines) + "\r\n" * empty
    head = f"X-Odd:{unsigned}x\r\nSUBJECT:{subject}x\r\nFrom: A <a@linde.example>\r\nTo:\r\n b@c.example\r\n\r\n"
    message = signer("ed25519").sign((head + body).encode())
    assert holds(over_the_wire(message), "ed25519")


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b" \r\n\t\r\n", b"a  b\t c \r\n \r\n\r\n", b"\xff\r\n"])
def test_empty_and_odd_bodies_hold(kind: str, body: bytes) -> None:
    assert holds(signer(kind).sign(b"From: a@linde.example\r\n\r\n" + body), kind)


def test_a_domain_that_is_named_signs_for_every_sender(kind: str) -> None:
    assert holds(signer(kind, "Mail.Example").sign(SIMPLE), kind, b"mail.example")


def test_a_domain_with_letters_outside_ascii_is_named_as_name_servers_know_it() -> None:
    mail = signer("rsa").sign("From: Jo <jo@münchen.example>\r\n\r\nDag\r\n".encode())
    assert holds(mail, "rsa", b"xn--mnchen-3ya.example")


@pytest.mark.parametrize("head", [b"To: a@b.nl", b"From: a@b.nl\r\nFrom: c@d.nl", b"From: nobody"])
def test_a_mail_without_one_sender_cannot_be_signed(head: bytes) -> None:
    with pytest.raises(SmpError, match="cannot be signed"):
        signer("rsa").sign(head + b"\r\n\r\nDag\r\n")


def test_the_environment_names_the_key_as_text_or_as_a_file(tmp_path: Path) -> None:
    file = tmp_path / "dkim.pem"
    file.write_text(pem(RSA))
    ways: list[Mapping[str, str]] = [
        {"SMP_DKIM_KEY": pem(RSA)},
        {"SMP_DKIM_KEY": pem(RSA).replace("\n", "\\n")},
        {"SMP_DKIM_KEY_FILE": str(file)},
        {"SMP_DKIM_KEY_FILE": str(file), "SMP_DKIM_DOMAIN": "linde.example"},
    ]
    for way in ways:
        found = DkimSigner.from_environment({**way, "SMP_DKIM_SELECTOR": "mail2026"})
        assert found is not None
        assert holds(found.sign(SIMPLE), "rsa")
    assert DkimSigner.from_environment({"PATH": "/bin", "SMP_DKIM_KEY": ""}) is None


def weak_key() -> str:
    """A key of 512 bits; the library makes none so small any more."""

    def prime(start: int) -> int:
        return next(n for n in range(start | 1, start + 10_000, 2) if pow(2, n - 1, n) == 1)

    p, q, e = prime(15 << 252), prime(13 << 252), 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    crt = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    return pem(rsa.RSAPrivateNumbers(p, q, d, *crt, public).private_key())


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"SMP_DKIM_SELECTOR": "mail2026"}, "SMP_DKIM_KEY or SMP_DKIM_KEY_FILE is missing"),
        ({"SMP_DKIM_KEY": pem(RSA)}, "SMP_DKIM_SELECTOR is missing"),
        ({"SMP_DKIM_KEY": pem(RSA), "SMP_DKIM_SELECTOR": "a b"}, "no selector"),
        ({"SMP_DKIM_KEY": pem(RSA), "SMP_DKIM_SELECTOR": "a", "SMP_DKIM_DOMAIN": "a..b"}, "no domain"),
        ({"SMP_DKIM_KEY": pem(RSA), "SMP_DKIM_KEY_FILE": "/x", "SMP_DKIM_SELECTOR": "a"}, "leave one of them out"),
        ({"SMP_DKIM_KEY": "MIIsecret", "SMP_DKIM_SELECTOR": "a"}, "cannot be read"),
        ({"SMP_DKIM_KEY": pem(RSA).replace("MII", "MIX"), "SMP_DKIM_SELECTOR": "a"}, "cannot be read"),
        ({"SMP_DKIM_KEY": pem(RSA, "geheim"), "SMP_DKIM_SELECTOR": "a"}, "passphrase"),
        ({"SMP_DKIM_KEY": pem(ec.generate_private_key(ec.SECP256R1())), "SMP_DKIM_SELECTOR": "a"}, "does not know"),
        ({"SMP_DKIM_KEY": weak_key(), "SMP_DKIM_SELECTOR": "a"}, "has 512 bits"),
        ({"SMP_DKIM_KEY_FILE": "/nowhere/key.pem", "SMP_DKIM_SELECTOR": "a"}, "No such file"),
    ],
)
def test_a_wrong_setting_is_told_without_the_key(env: dict[str, str], told: str) -> None:
    with pytest.raises(SmpError, match=told) as caught:
        DkimSigner.from_environment(env)
    shown = f"{caught.value!r} {caught.value.__cause__!r}"
    assert not any(line in shown for line in env.get("SMP_DKIM_KEY", "-").splitlines())
