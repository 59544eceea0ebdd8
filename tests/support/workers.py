"""Worker processes that die at a boundary: real processes, real SIGKILL, on a send that the test planned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.support.processes import Program, program
from tests.support.theatre import Theatre

BOUNDARIES = ("after claim", "after connect", "after the content", "before settle")

_DELIVER = """
import dataclasses, datetime, os, pathlib, signal, sys
from smp_pipelines.sending import desk, ledger, smtp, smtp_stream
from smp_pipelines.sending.delivery import Delivering
from smp_pipelines.stores.clock import StartedAt
from tests.support.theatre import deployment

url, mail_url, now, home, key, boundary, nth, patience = sys.argv[1:]
left = int(nth)

def die():
    global left
    left -= 1
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)

def after(owner, name, condition=lambda *_: True):
    original = getattr(owner, name)
    def wrapped(self, *arguments):
        result = original(self, *arguments)
        if condition(self):
            die()
        return result
    setattr(owner, name, wrapped)

def before(owner, name, condition):
    original = getattr(owner, name)
    def wrapped(self, *arguments):
        if condition(self):
            die()
        return original(self, *arguments)
    setattr(owner, name, wrapped)

if boundary == "after claim":
    after(desk.Desk, "_exchange")
elif boundary == "after connect":
    after(smtp.SmtpTransport, "connect")
elif boundary == "after the content":
    after(smtp_stream.SmtpStream, "flush", lambda self: self._handed is not None)
elif boundary == "before settle":
    before(desk.Desk, "_write", lambda self: bool(self._owed))

made = deployment(url, pathlib.Path(home))
with made.connection() as connection:
    send = ledger.read_send(connection, key)
settings = dataclasses.replace(made.settings, mail_url=mail_url)
clock = StartedAt(datetime.datetime.fromisoformat(now))
work = Delivering(settings, url, made.project, send, clock, patience=float(patience), timeout=3.0)
print("ready", flush=True)
sys.stdin.readline()
print(work.run().accepted, flush=True)
"""


def worker(house: Theatre, key: str, port: int, home: object, boundary: str = "", nth: int = 1, patience: float = 20):
    """A worker that waits for a word; with a boundary it kills itself there, the nth time."""
    arguments = (house.url, f"smtp://127.0.0.1:{port}", house.now.isoformat(), home, key, boundary, nth, patience)
    return program(_DELIVER, *arguments)


@contextmanager
def workers(
    house: Theatre, key: str, port: int, home: object, boundaries: list[str], nth: int
) -> Iterator[list[Program]]:
    """Several workers, ready to go; an empty boundary is one that lives."""
    with ExitStack() as stack:
        started = [stack.enter_context(worker(house, key, port, home, boundary, nth)) for boundary in boundaries]
        for each in started:
            assert each.line() == "ready"
        yield started
