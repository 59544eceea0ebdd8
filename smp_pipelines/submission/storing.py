"""Storing: submissions become rows, a batch in one call: people, consents, tables, lists and what follows.

Everything is a statement over the whole batch, and the statements of a form are one routine. The answers are in
smp.submission first, and the CRM's tables are filled from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic_core import to_json

from smp_pipelines.campaign.chain import Following, what_follows
from smp_pipelines.campaign.form.models import Form, in_language
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.stores.conversation import Conversation
from smp_pipelines.submission.routine import Routine


@dataclass(frozen=True)
class FormStep:
    """A form step with what its submissions need: made once per step of a loaded project.

    email, last_name: the fields that say who somebody is. consents: field, topic and words of each. shared: what is the
    same in all rows.
    """

    ref: StepRef
    form: Form
    following: Following
    routine: Routine
    email: str | None
    last_name: str | None
    consents: tuple[tuple[str, str, str], ...]
    shared: Mapping[str, Any]

    @classmethod
    def of(cls, ref: StepRef, project: LoadedProject, routine: Routine | None = None) -> FormStep:
        """A step whose form exists; routine: that of its form, when it was made before."""
        form = project.forms[str(ref.step.form)]
        return cls(
            ref=ref,
            form=form,
            following=what_follows(project, ref),
            routine=routine or Routine.of(str(ref.step.form), form, project),
            email=_field_of(form, "crm.person.email"),
            last_name=_field_of(form, "crm.person.last_name"),
            consents=tuple(
                (name, field.topic, in_language(field.label, project.language(ref)))
                for name, field in form.fields.items()
                if field.topic is not None
            ),
            shared={
                "form": ref.step.form,
                "step": ref.key,
                "language": project.language(ref).partition("_")[0],
                "awaits_confirmation": form.double_opt_in,
            },
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
_Row = dict[str, Any]
Outcome = int | Refused
"""The submission's number, or why there is none."""


class SubmissionStore:
    """Stores submissions over one conversation, whose session keeps the routines of the forms."""

    def __init__(self, database: Conversation) -> None:
        self._database = database
        self._defined: set[Routine] = set()

    async def store(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Store submissions; what became of each, in order. One that was stored before has its number.

        Those of one form are one transaction, but for whoever is there twice. Raises psycopg.Error: what was not stored
        by then is not, and all of them can be handed in again.
        """
        different = list({each.key: each for each in reversed(submissions)}.values())[::-1]
        outcomes: dict[str, Outcome] = {}
        for routine, rows in _rounds(different):
            outcomes |= await self._call(routine, rows)
        return [outcomes[each.key.hex] for each in submissions]

    async def _call(self, routine: Routine, rows: Sequence[_Row]) -> dict[str, Outcome]:
        """What became of rows, by their keys as they are written in a row."""
        if routine not in self._defined:
            await self._database.run(routine.definition)
            self._defined.add(routine)
        found = await self._database.call(routine.call, to_json(rows))
        return {key.decode().replace("-", ""): _outcome(number, is_live) for key, number, is_live in found}


def _outcome(number: bytes | None, is_live: bytes | None) -> Outcome:
    if number is not None:
        return int(number)
    return "gone" if is_live == b"t" else "closed"


def _rounds(submissions: Sequence[Submission]) -> list[tuple[Routine, list[_Row]]]:
    """Submissions with different keys as rows, in rounds of one form in which nobody is there twice.

    A statement sees no row twice, and what somebody sent later is written later.
    """
    rounds: dict[tuple[int, Routine], list[_Row]] = {}
    places: dict[str, int] = {}
    for each in submissions:
        row = _row(each)
        place = max([places.get(name, 0) for name in row["names"]])
        places |= dict.fromkeys(row["names"], place + 1)
        rounds.setdefault((place, each.step.routine), []).append(row)
    return [(routine, rows) for (_, routine), rows in sorted(rounds.items(), key=lambda found: found[0][0])]


def _names(submission: Submission) -> list[str]:
    """What must not be there twice at once, and is locked: the key, and the person or the address."""
    key = f"submission {submission.key.hex}"
    if submission.visitor is not None:
        return [key, f"person {submission.visitor.person_id}"]
    address = submission.answers.get(submission.step.email or "")
    return [key, f"address {str(address).casefold()}"] if address else [key]


def _row(submission: Submission) -> _Row:
    """A submission as the routine reads it; answers as they are kept: dates as 2026-11-01, numbers as numbers."""
    step, visitor, answers = submission.step, submission.visitor, submission.answers
    mail = step.mail_of(visitor.record_id if visitor else None)
    return {
        **step.shared,
        "names": _names(submission),
        "mail": mail[0] if mail else None,
        "mail_record": mail[1] if mail else None,
        "submission_key": submission.key.hex,
        "rule": "link" if visitor else step.form.match,
        "link_person": visitor.person_id if visitor else None,
        "record_id": visitor.record_id if visitor else None,
        "send_id": visitor.send_id if visitor else None,
        "email": answers.get(step.email or ""),
        "last_name": answers.get(step.last_name or ""),
        "answers": {name: _exact(value) for name, value in answers.items()},
        "consents": [
            {"topic": topic, "granted": bool(answers.get(name)), "wording": wording}
            for name, topic, wording in step.consents
        ],
        "submitted_at": submission.submitted_at,
    }


def _exact(value: Any) -> Any:
    """A number as JSON's own; a float has 15 digits: what has more is kept as text, exact."""
    if type(value) is not Decimal:
        return value
    return float(value) if Decimal(repr(float(value))) == value else str(value)
