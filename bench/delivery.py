"""Case `delivery`: how many mails a second leave, with everything that a mail takes.

Measured: Deployment.deliver of a planned send: rows claimed, contexts read, a mail of about 10 kB with personal links
rendered and built, handed over to smtp-sink on 8 connections (2 processes × 4) and settled. Against: `smtp-source -d
-s 8 -l 10000` into the same sink, which sends ready bytes and remembers nothing. Laps alternate. Then the same with
DKIM, each against the measured send without it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from uuid import uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from bench.postfix import SINK, SOURCE, sink, source
from bench.row import Row
from bench.world import DELIVERED, NOW, World
from smp_pipelines.deployment import Deployment
from smp_pipelines.sending.context import read_contexts
from smp_pipelines.sending.ledger import Claimed, Send
from smp_pipelines.sending.links import LinkSigner
from smp_pipelines.sending.postroom import SendPostroom
from smp_pipelines.stores.clock import StartedAt

_CONNECTIONS = 8
_LENGTH = 10_000
_TARGET = 0.4
_KEEP_FIRST = """
update smp.message set state = 'skipped', reason = 'bench'
where send_id = %(send)s and state = 'planned' and recipient_key not in (
    select recipient_key from smp.message
    where send_id = %(send)s and state = 'planned' order by seq limit %(mails)s
)
"""


def run(world: World) -> list[Row]:
    """Deliver a few sends; between them, let smtp-source hand over as many ready mails."""
    if SINK is None or SOURCE is None:
        return [Row("delivery", "smtp-source is missing: install Debian's postfix", 0, "/s")]
    ours, theirs = [], []
    with sink() as port:
        deployment = world.deployment(mail_url=f"smtp://127.0.0.1:{port}")
        deployment.change_status(DELIVERED, "live", NOW, "bench")
        for _lap in range(world.sizes.laps):
            theirs.append(world.sizes.mails / source(port, world.sizes.mails, _CONNECTIONS, _LENGTH))
            ours.append(_deliver(deployment, world.sizes.mails))
        ratio = median(ours) / median(theirs)
        laps = ", ".join(f"{lap:,.0f}" for lap in ours)
        note = f"{world.sizes.mails:,} mails of {_size(deployment):,} bytes, 2 processes × 4 connections; laps {laps}"
        target = f"≥ {_TARGET:g}×"
        rows = [Row("delivery", "mails", median(ours), "/s", median(theirs), target, ratio >= _TARGET, note)]
        for name, key in (("RSA 2048", _rsa()), ("Ed25519", _ed25519())):
            with _signing(key):
                signed = _deliver(deployment, world.sizes.mails // 3)
            cost = 1e6 * (1 / signed - 1 / median(ours))
            note = f"quoted-printable and signed: {cost:,.0f} µs more a mail"
            rows.append(Row("delivery", f"mails with DKIM, {name}", signed, "/s", median(ours), note=note))
    return [*rows, _links()]


def _deliver(deployment: Deployment, mails: int) -> float:
    """Mails a second of one send, from the start of its processes until the send is finished."""
    send = _plan(deployment, mails)
    done = deployment.deliver(send, StartedAt(NOW))
    if done.held or done.accepted != mails:
        raise AssertionError(f"{done.accepted} were delivered: {done.held}")
    return done.accepted / done.seconds


def _plan(deployment: Deployment, mails: int) -> Send:
    ref = deployment.project.step(DELIVERED)
    send = deployment.open_send(ref, f"{ref.key}@{uuid4()}", NOW, NOW, None)
    send = deployment.plan(ref, send, NOW, None)
    with deployment.connection() as postgres:
        # of a large send only the first rows are delivered: the speed does not depend on how many wait
        postgres.execute(_KEEP_FIRST, {"send": send.send_id, "mails": mails})
        postgres.execute("vacuum smp.message")
    return send


def _size(deployment: Deployment) -> int:
    with deployment.connection() as postgres:
        (context,) = read_contexts(postgres, [(1, None)], None, None).values()
    room = SendPostroom(deployment.settings, deployment.project, _a_send())
    return len(room.make(Claimed(uuid4(), 1, 1, None, 1, "anna@example.org"), context, NOW, eight_bit=True).content)


def _a_send() -> Send:
    return Send(1, f"{DELIVERED}@size", DELIVERED, "live", NOW, "open", 1)


def _links() -> Row:
    """What signed links cost: one for opening and ten for clicking, per mail."""
    signer, count = LinkSigner(["a secret of the benchmark"]), 20_000
    started = time.perf_counter()
    for number in range(count):
        signer.sign("click", 7, "0123456789abcdef0123456789abcdef", number % 10)
    each = (time.perf_counter() - started) / count * 1e6
    return Row("delivery", "eleven signed links in a mail", 11 * each, "µs", note=f"{each:.1f} µs a link")


@contextmanager
def _signing(key: str) -> Iterator[None]:
    """Sign mails with this key for the length of the block; processes that start in it do so as well."""
    wanted = {"SMP_DKIM_KEY": key, "SMP_DKIM_SELECTOR": "bench"}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name in wanted:
            del os.environ[name]


def _pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, none).decode()


def _rsa() -> str:
    return _pem(rsa.generate_private_key(65537, 2048))


def _ed25519() -> str:
    return _pem(ed25519.Ed25519PrivateKey.generate())
