"""Confirming: the second yes of a double opt-in. The link in the mail asks, the button confirms (F05).

The link names a send and a recipient: it confirms the submissions that this mail followed, of that person and of
whoever shares the mailbox that it was for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from smp_pipelines.campaign.chain import what_follows
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.personal import MailLink
from smp_pipelines.stores.postgres import Connection, engine_sql
from smp_pipelines.submission.routine import MAILED, list_changes
from smp_pipelines.submission.storing import record_for


class NothingToConfirmError(SmpError):
    """This mail followed no submission that is still there."""

    def __init__(self) -> None:
        super().__init__("there is nothing to confirm by this link any more")


@dataclass(frozen=True)
class Asked:
    """One submission that a mail asks about. topics: the consents that it waits with, as they were kept."""

    submission_id: int
    key: UUID
    form: str
    step: str
    record_id: int | None
    consents: Sequence[dict[str, Any]]
    language: str
    waits: bool


@dataclass(frozen=True)
class Confirmable:
    """What the link in a mail is about; the latest submission is the first. mail: its step, None when it is gone."""

    mail: StepRef | None
    submissions: tuple[Asked, ...]

    @property
    def wordings(self) -> list[str]:
        """What is said yes to, in the words of the form."""
        every = [each["wording"] for asked in self.submissions for each in asked.consents if each["granted"]]
        return list(dict.fromkeys(every))

    @property
    def waits(self) -> bool:
        """Whether anything is not confirmed yet."""
        return any(each.waits for each in self.submissions)


def read_confirmable(connection: Connection, project: LoadedProject, link: MailLink) -> Confirmable:
    """What the link in a mail is about; only reads. Raises NothingToConfirmError."""
    given = {"send_id": link.send_id, "recipient_key": link.recipient_key}
    rows = connection.execute(engine_sql("submission/confirmable.sql"), given).fetchall()
    if not rows:
        raise NothingToConfirmError
    mail = next((ref for ref in project.steps() if ref.key == rows[0][0]), None)
    return Confirmable(mail, tuple(Asked(*row[1:]) for row in rows))


def confirm(connection: Connection, project: LoadedProject, link: MailLink, now: datetime) -> Confirmable:
    """Confirm, in one transaction: the yes counts from now, and the walk goes on from the mail's next step.

    Asked again, it changes nothing. Says what it was about. Raises NothingToConfirmError.
    """
    with connection.transaction():
        found = read_confirmable(connection, project, link)
        done = connection.execute(
            engine_sql("submission/confirm.sql"),
            {"keys": [each.key for each in found.submissions], "now": now},
        )
        keys = {key for (key,) in done}
        for asked in found.submissions:
            if asked.key in keys:
                _follow_up(connection, project, found.mail, asked, now)
    return found


def _follow_up(
    connection: Connection, project: LoadedProject, mail: StepRef | None, asked: Asked, now: datetime
) -> None:
    yes = {"keys": [asked.key], "opt_out": [], "confirmed_at": now}
    connection.execute(engine_sql("submission/consents.sql"), yes)
    step = next((ref for ref in project.steps() if ref.key == asked.step), None)
    if step is None or asked.form not in project.forms:
        return
    for statement, names in list_changes(project.forms[asked.form]):
        connection.execute(engine_sql(f"submission/{statement}.sql"), {"names": names, "keys": [asked.key]})
    following = what_follows(project, mail).mail if mail is not None else None
    if following is not None:
        record_id = record_for(following, step, asked.record_id)
        given = {"keys": [asked.key], "steps": [following.key], "records": [record_id], "confirmed_at": now}
        connection.execute(engine_sql("submission/events.sql"), given | MAILED)
