"""The ways out for mails, by the scheme of SMP_MAIL_URL.

- `smtp://`, `smtps://`, `smtp+starttls://`: a mail server.
- `maildir:///folder`: a Maildir, which mail programs read.
- `eml:///folder`: one file a mail.
- `memory://name`: an outbox in this process, for tests.
- `python://package.module:factory`: one of your own.

One of your own is a callable `factory(url, timeout)` that gives an object with a `name`, `connect()`
and `look_up(message_ids)`, as `smp_pipelines.sending.transport.Transport` says; docs/transports.md
has an example. What its connections answer decides what becomes of a mail: `later` and `refused` only when the
mail was certainly not taken, `unknown` whenever that cannot be told.
"""

from smp_pipelines.sending.transports.memory import MemoryTransport, Outbox, outbox
from smp_pipelines.sending.transports.opening import open_transport

__all__ = ["MemoryTransport", "Outbox", "open_transport", "outbox"]
