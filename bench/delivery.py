"""Case `delivery`: how many mails a second leave, and what the ledger and the templates cost.

Measured: Deployment.deliver of a planned send: rows claimed, contexts read, templates rendered, mails built, handed
over to a plain SMTP sink (bench.sink, a process of its own) and settled. Against: one of these mails, ready made,
handed to the same sink as often over as many connections, with nothing else done. Reported only: issue 3 makes it fast.
"""

from __future__ import annotations

import threading

from bench.row import Row, Stopwatch
from bench.sink import sink
from bench.sizes import LAPS
from bench.world import NOW, RECIPIENTS, World, planned_step
from smp_pipelines.campaign.content import Content
from smp_pipelines.deployment import Deployment
from smp_pipelines.sending import ledger
from smp_pipelines.sending.context import read_contexts
from smp_pipelines.sending.message import MessageBuilder
from smp_pipelines.sending.planning import plan
from smp_pipelines.sending.smtp import SmtpConnection
from smp_pipelines.stores.clock import StartedAt

_CONNECTIONS = 4
_KEEP_FIRST = """
with first as (
    select recipient_key from smp.message
    where send_id = %(send)s and state = 'planned' order by seq limit %(mails)s
)
update smp.message set state = 'skipped', reason = 'bench'
where send_id = %(send)s and state = 'planned' and recipient_key not in (select recipient_key from first)
"""
_SENDER = "nieuws@schouwburg.example"


def run(world: World) -> list[Row]:
    """Deliver one send; then hand over as many ready mails."""
    with sink() as url:
        deployment = world.deployment(mail_url=url)
        accepted, seconds = _deliver(world, deployment)
        mail = _one_mail(deployment)
        bare = Stopwatch()
        with bare.lap():
            threads = [
                threading.Thread(target=_hand_over, args=(url, mail, accepted // _CONNECTIONS))
                for _connection in range(_CONNECTIONS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    sent = accepted // _CONNECTIONS * _CONNECTIONS
    note = f"{accepted:,} mails of {len(mail) / 1000:.0f} kB; baseline: ready mails over {_CONNECTIONS} connections"
    return [Row("delivery", "mails delivered", accepted / seconds, "/s", sent / bare.median, note=note)]


def _deliver(world: World, deployment: Deployment) -> tuple[int, float]:
    ref = deployment.project.step(planned_step(LAPS))
    deployment.change_status(ref.key, "live", NOW, "bench")
    selection = deployment.materialise(RECIPIENTS, NOW, None).run
    with deployment.connection() as postgres:
        (found,) = postgres.execute("select count(*) from smp.send").fetchone() or (0,)
        send = ledger.open_send(postgres, f"{ref.key}@bench-{found}", ref.key, NOW, NOW, None)
        with deployment.lake.open() as lake:
            send = plan(postgres, lake, deployment.project, ref, send, selection, NOW)
        # of a large send only the first rows are delivered: the speed does not depend on how many wait
        postgres.execute(_KEEP_FIRST, {"send": send.send_id, "mails": world.sizes.mails})
    done = deployment.deliver(send, StartedAt(NOW))
    if done.held or not done.accepted:
        raise AssertionError(f"nothing was delivered: {done.held}")
    return done.accepted, done.seconds


def _one_mail(deployment: Deployment) -> bytes:
    ref = deployment.project.step(planned_step(LAPS))
    with deployment.connection() as postgres:
        contexts = read_contexts(postgres, [(1, None)], None, None)
    rendered = Content.compile(ref, deployment.project).render(contexts[1, None])
    builder = MessageBuilder(sender=ref.step.sender, reply_to=None, step=ref.key, send_key="bench")
    return builder.build(rendered, name="Anna", address="anna@example.org", recipient_key="bench", date=NOW)


def _hand_over(url: str, mail: bytes, times: int) -> None:
    connection = SmtpConnection(url)
    for _mail in range(times):
        answer = connection.send(_SENDER, "anna@example.org", mail)
        if answer.kind != "accepted":
            raise AssertionError(answer.response)
    connection.close()
