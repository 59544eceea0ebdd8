"""Single mails: one plain text to one address, now; for what is no send, such as a link to sign in with."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr, make_msgid, parseaddr

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.dkim import DkimSigner
from smp_pipelines.sending.smtp import with_ascii_domain
from smp_pipelines.sending.transport import Answer, Mail, Streaming, Transport

_BEAT = 0.1


def make_mail(sender: str, recipient: tuple[str, str], subject: str, paragraphs: Sequence[str], date: datetime) -> Mail:
    """A mail of plain text, signed when the environment has a key. `recipient` is a name and an address.

    Raises SmpError when the sender is no address, and when a name or subject cannot stand in a header.
    """
    _name, address = parseaddr(sender)
    if "@" not in address:
        raise SmpError("the sender is no address. Write it as: Name <name@example.org>")
    message = EmailMessage(SMTP)
    try:
        message["From"] = sender
        message["To"] = formataddr((recipient[0], recipient[1]))
        message["Subject"] = subject
    except ValueError as error:
        raise SmpError("this name, address or subject cannot stand in a mail") from error
    message["Date"] = format_datetime(date)
    message["Message-ID"] = make_msgid(domain=with_ascii_domain(address).rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n\n".join(paragraphs) + "\n", cte="quoted-printable")
    content = message.as_bytes()
    signer = DkimSigner.from_environment(os.environ)
    content = content if signer is None else signer.sign(content)
    return Mail(str(message["Message-ID"]), with_ascii_domain(address), with_ascii_domain(recipient[1]), content)


def send_one(transport: Transport, mail: Mail) -> Answer:
    """Hand one mail over and wait for the answer. Raises TransportDownError when that cannot be done."""
    connection = transport.connect()
    if not isinstance(connection, Streaming):
        try:
            return connection.send(mail)
        finally:
            connection.close()
    answers: list[tuple[Mail, Answer]] = []
    try:
        connection.offer(mail)
        while not answers and connection.is_open:
            connection.flush()
            writes = [connection] if connection.wants_to_write else []
            select.select([connection], writes, [], _BEAT)
            answers += connection.pump()
    finally:
        answers += connection.close()
    return answers[0][1] if answers else Answer("unknown", "the connection was lost")
