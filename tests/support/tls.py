"""A mail server with TLS and passwords (aiosmtpd), and a certificate authority for it."""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.waiting import PATIENCE

USER = "anna@example.org"
PASSWORD = "geh31m & lang/@?"
_DAY = timedelta(days=1)


class Authority:
    """A certificate authority of one test; `file` is its own certificate, for SSL_CERT_FILE."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("smp test authority")
        made = _builder(self._name, self._name, self._key, datetime.now(UTC) + _DAY)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        # every use that a certificate may have, and this one has one of them
        uses = [*inspect.signature(x509.KeyUsage).parameters]
        usage = {use: use == "key_cert_sign" for use in uses}
        made = made.add_extension(x509.KeyUsage(**usage), critical=True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        self.file = folder / "authority.pem"
        self.file.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def server(self, host: str = "127.0.0.1", *, until: datetime | None = None) -> ssl.SSLContext:
        """What a server needs that is called `host`; its certificate ends at `until`."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _builder(_name(host), self._name, key, until or datetime.now(UTC) + _DAY)
        try:
            names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(host))]
        except ValueError:
            names = [x509.DNSName(host)]
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = made.add_extension(issuer, critical=False)
        file = self._folder / f"{host}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


class TlsServer:
    """The server in a thread of its own, on a free port of 127.0.0.1.

    tls: its certificate; `from_start` speaks TLS at once, otherwise STARTTLS is offered. None: no TLS at all.
    mechanisms: how one may say a password ("PLAIN", "LOGIN"); none: no password is asked.
    drop_after_data: hang up when a message is in, without an answer.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None,
        *,
        from_start: bool = False,
        mechanisms: tuple[str, ...] = (),
        smtputf8: bool = True,
        drop_after_data: bool = False,
    ) -> None:
        self.whole: list[tuple[str, bytes]] = []
        self.tries: list[tuple[str, bool]] = []
        """How each login was tried, and whether it was right."""
        self.secure: list[bool] = []
        """For each mail, whether it came over TLS."""
        self._drop_after_data = drop_after_data
        self._loop = asyncio.new_event_loop()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._tls_from_start = tls if from_start else None
        self._options: dict[str, Any] = {"enable_SMTPUTF8": smtputf8, "hostname": "test.example", "ident": "test"}
        if tls is not None and not from_start:
            self._options["tls_context"] = tls
        if mechanisms:
            left_out = {"PLAIN", "LOGIN"} - set(mechanisms)
            self._options |= {"authenticator": self._judge, "auth_required": True, "auth_exclude_mechanism": left_out}
            self._options["auth_require_tls"] = tls is not None and not from_start
        self._serving = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> TlsServer:
        self._thread.start()
        assert self._serving.wait(PATIENCE)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def handle_DATA(  # noqa: N802 (the name is aiosmtpd's)
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        (recipient,) = envelope.rcpt_tos
        self.whole.append((recipient, envelope.original_content or b""))
        self.secure.append(server.transport.get_extra_info("sslcontext") is not None)
        if self._drop_after_data:
            server.transport.abort()
        return "250 OK"

    def _judge(self, _server: object, _session: object, _envelope: object, mechanism: str, given: object) -> AuthResult:
        right = LoginPassword(USER.encode(), PASSWORD.encode())
        self.tries.append((mechanism, given == right))
        return AuthResult(success=given == right, handled=False)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda _loop, _context: None)  # a client that goes away is no error here
        made = self._loop.create_server(
            lambda: SMTP(self, loop=self._loop, **self._options), sock=self._socket, ssl=self._tls_from_start
        )
        server = self._loop.run_until_complete(made)
        self._loop.call_soon(self._serving.set)
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), until - 30 * _DAY, until
    )
