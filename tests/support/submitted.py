"""Submissions, written as the site writes them: the submission, its event and the notification in one transaction."""

from __future__ import annotations

import uuid
from datetime import datetime

import psycopg

_SUBMISSIONS = """
insert into smp.submission
    (submission_key, form, step, person_id, record_id, identified, answers, language, submitted_at)
select key, 'preferences', 'after_form/form', person, record, 'link', '{}', 'nl', %(at)s
from unnest(%(keys)s::uuid[], %(people)s::bigint[], %(records)s::bigint[]) as t (key, person, record)
"""
_EVENTS = """
insert into smp.trigger_event (step, person_id, record_id, submission_id, cause, happened_at)
select %(step)s, person_id, record_id, submission_id, 'submitted', submitted_at
from smp.submission where submission_key = any (%(keys)s::uuid[])
order by submission_id
"""


def submit(url: str, step: str, people: list[int], at: datetime, record: int | None = None) -> None:
    """Everybody submits a form that is followed by this trigger step, all in one transaction."""
    keys = [uuid.uuid4() for _ in people]
    values = {"step": step, "people": people, "records": [record] * len(people), "keys": keys, "at": at}
    with psycopg.connect(url) as connection:
        connection.execute(_SUBMISSIONS, values)
        connection.execute(_EVENTS, values)
        connection.execute("select pg_notify('smp_submission', '')")
