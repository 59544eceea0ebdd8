"""Storing: submissions become rows, a batch in one transaction: people, consents, tables, lists and what follows.

Everything is a statement over the whole batch; only what differs by form (the columns that its answers go to) is a
statement per form. The answers are in smp.submission first, and the CRM's tables are filled from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import psycopg

from smp_pipelines.campaign.chain import Following, what_follows
from smp_pipelines.campaign.form.models import Form, in_language
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.sending.events import CHANNEL
from smp_pipelines.stores.postgres import Connection, engine_sql
from smp_pipelines.submission.statements import FormStatements

MAILS_AN_HOUR = 5
"""Mails that submissions may send to one address in an hour; what is more is stored, and not mailed."""
TOO_MANY = "too_many"
"""What smp.trigger_event says of a mail beyond that."""


@dataclass(frozen=True)
class FormStep:
    """A form step with what its submissions need: made once per step of a loaded project.

    email, last_name: the fields that say who somebody is. consents: field, topic and words of each.
    """

    ref: StepRef
    form: Form
    language: str
    following: Following
    statements: FormStatements
    email: str | None
    last_name: str | None
    consents: tuple[tuple[str, str, str], ...]

    @classmethod
    def of(cls, ref: StepRef, project: LoadedProject, statements: FormStatements | None = None) -> FormStep:
        """A step whose form exists; statements: those of its form, when they were made before."""
        form = project.forms[str(ref.step.form)]
        return cls(
            ref=ref,
            form=form,
            language=project.language(ref).partition("_")[0],
            following=what_follows(project, ref),
            statements=statements or FormStatements.of(str(ref.step.form), form, project),
            email=_field_of(form, "crm.person.email"),
            last_name=_field_of(form, "crm.person.last_name"),
            consents=tuple(
                (name, field.topic, in_language(field.label, project.language(ref)))
                for name, field in form.fields.items()
                if field.topic is not None
            ),
        )

    def mail_of(self, record_id: int | None) -> tuple[str, int | None] | None:
        """The mail that follows a submission, with its linked record when it is about the same kind as the form."""
        mail = self.following.mail
        return None if mail is None else (mail.key, record_for(mail, self.ref, record_id))


def record_for(mail: StepRef, form_step: StepRef, record_id: int | None) -> int | None:
    """The linked record of a mail that follows a form: the form's, when both are about the same kind of record."""
    return record_id if mail.step.record is not None and mail.step.record == form_step.step.record else None


def _field_of(form: Form, place: str) -> str | None:
    return next((name for name, field in form.fields.items() if field.to == place), None)


@dataclass(frozen=True)
class Visitor:
    """Whoever came by a personal link: the person, the linked record and the send whose mail the link was in."""

    person_id: int
    record_id: int | None = None
    send_id: int | None = None


@dataclass(frozen=True)
class Submission:
    """A form that somebody filled in: answers that were found good. visitor: None on a shareable URL."""

    key: UUID
    step: FormStep
    answers: Mapping[str, Any]
    submitted_at: datetime
    visitor: Visitor | None = None


Refused = Literal["closed", "gone"]
"""Why nothing was stored: the step is not live; the person of the link is not in the CRM any more."""
Outcome = int | Refused
"""The submission's number, or why there is none."""


def store(connection: Connection, submissions: Sequence[Submission]) -> list[Outcome]:
    """Store submissions in one transaction; what became of each, in order. One that was stored before has its number.

    All statements are sent at once, so that a batch waits for the server once. Raises psycopg.Error, and then nothing
    of the batch is stored.
    """
    different = list({each.key: each for each in reversed(submissions)}.values())[::-1]
    with _at_once(connection):
        recorded = [_store_round(connection, some) for some in _rounds(different)]
    outcomes = {key: _outcome(number, is_live) for rows in recorded for key, number, is_live in rows}
    return [outcomes[each.key] for each in submissions]


@contextmanager
def _at_once(connection: Connection) -> Iterator[None]:
    """A transaction whose statements are all sent before the first answer is read.

    `connection.transaction()` waits for the server before it commits. Here the commit goes along: after an error the
    server skips all that was sent behind it.
    """
    try:
        with connection.pipeline():
            connection.execute("begin")
            yield
            connection.execute("commit")
    except BaseException:
        if not connection.closed:
            connection.rollback()
        raise


def _outcome(number: int | None, is_live: bool) -> Outcome:
    if number is not None:
        return number
    return "gone" if is_live else "closed"


def _rounds(submissions: Sequence[Submission]) -> list[list[Submission]]:
    """Submissions with different keys, in rounds in which nobody is there twice: a statement sees no row twice."""
    rounds: list[list[Submission]] = []
    places: dict[str, int] = {}
    for each in submissions:
        names = _names(each)
        place = max([places.get(name, 0) for name in names])
        for name in names:
            places[name] = place + 1
        if place == len(rounds):
            rounds.append([])
        rounds[place].append(each)
    return rounds


def _names(submission: Submission) -> list[str]:
    """What must not be there twice at once, and is locked: the key, and the person or the address."""
    key = f"submission {submission.key}"
    if submission.visitor is not None:
        return [key, f"person {submission.visitor.person_id}"]
    address = submission.answers.get(submission.step.email or "")
    return [key, f"address {str(address).casefold()}"] if address else [key]


_Recorded = psycopg.Cursor[tuple[Any, ...]]


def _store_round(connection: Connection, some: Sequence[Submission]) -> _Recorded:
    """Store submissions; what record.sql says of each: its key, its number, and whether its step is live."""
    names = [name for each in some for name in _names(each)]
    connection.execute(engine_sql("submission/lock.sql"), {"names": names})
    rows = json.dumps([_row(each) for each in some], default=_plain, ensure_ascii=False)
    recorded = connection.execute(engine_sql("submission/record.sql"), {"rows": rows})
    by_form: dict[int, list[Submission]] = {}
    for each in some:
        by_form.setdefault(id(each.step.statements), []).append(each)
    for each_form in by_form.values():
        _store_form(connection, each_form)
    mails = [(each.key, each.step.mail_of(each.visitor.record_id if each.visitor else None)) for each in some]
    write_events(connection, [(key, *mail) for key, mail in mails if mail is not None], None)
    return recorded


def _row(submission: Submission) -> dict[str, Any]:
    """A submission as record.sql reads it; the answers as they are kept: dates as 2026-11-01, numbers as numbers."""
    step, visitor, answers = submission.step, submission.visitor, submission.answers
    return {
        "submission_key": submission.key.hex,
        "form": step.ref.step.form,
        "step": step.ref.key,
        "rule": "link" if visitor else step.form.match,
        "link_person": visitor.person_id if visitor else None,
        "record_id": visitor.record_id if visitor else None,
        "send_id": visitor.send_id if visitor else None,
        "email": answers.get(step.email or ""),
        "last_name": answers.get(step.last_name or ""),
        "answers": dict(answers),
        "consents": [
            {"topic": topic, "granted": bool(answers.get(name)), "wording": wording}
            for name, topic, wording in step.consents
        ],
        "language": step.language,
        "submitted_at": submission.submitted_at.isoformat(),
        "awaits_confirmation": step.form.double_opt_in,
    }


def _store_form(connection: Connection, submissions: Sequence[Submission]) -> None:
    """Fill the CRM's tables from new submissions of one form."""
    step = submissions[0].step
    statements, keys = step.statements, [each.key for each in submissions]
    connection.execute(statements.fill, {"keys": keys})
    if step.consents and (not step.form.double_opt_in or any(each.visitor for each in submissions)):
        write_consents(connection, keys, statements.opt_out, None)
    if not step.form.double_opt_in:
        change_lists(connection, statements, keys)


def write_consents(
    connection: Connection, keys: Sequence[UUID], opt_out: Sequence[str], confirmed_at: datetime | None
) -> None:
    """Write the yes and no of submissions to crm.consent; confirmed_at: of those that waited for it (double opt-in)."""
    given = {"keys": list(keys), "opt_out": list(opt_out), "confirmed_at": confirmed_at}
    connection.execute(engine_sql("submission/consents.sql"), given)


def change_lists(connection: Connection, statements: FormStatements, keys: Sequence[UUID]) -> None:
    """Put who submitted on the form's lists, which are made when they are not there, and take them off others."""
    if statements.joined:
        for statement in ("lock_lists", "make_lists", "join_lists"):
            given: dict[str, Any] = {"names": list(statements.joined)}
            given |= {"keys": list(keys)} if statement == "join_lists" else {}
            connection.execute(engine_sql(f"submission/{statement}.sql"), given)
    if statements.left:
        given = {"names": list(statements.left), "keys": list(keys)}
        connection.execute(engine_sql("submission/leave_lists.sql"), given)


def write_events(
    connection: Connection, wanted: Sequence[tuple[UUID, str, int | None]], confirmed_at: datetime | None
) -> None:
    """Write what is to be mailed, and tell who waits for that: submission, step and record of each (F05)."""
    if not wanted:
        return
    given = {
        "keys": [key for key, _, _ in wanted],
        "steps": [step for _, step, _ in wanted],
        "records": [record for _, _, record in wanted],
        "confirmed_at": confirmed_at,
        "most": MAILS_AN_HOUR,
        "missed": TOO_MANY,
        "channel": CHANNEL,
    }
    connection.execute(engine_sql("submission/events.sql"), given)


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        # a float has 15 digits; what has more is kept as text, exact
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    raise TypeError(f"an answer cannot be {type(value).__name__}")
