"""Routine: what stores the submissions of one form: a function of the database's session, made once per connection.

The server runs the statements of a batch one after the other by itself: sent one by one, each takes as much time to
send and to answer as it takes to run. Its parts are the files that are run alone where only one is needed, with their
parameters replaced by the function's own variables.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from smp_pipelines.campaign.form.models import AddToList, Form, RemoveFromList
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.sending.events import CHANNEL
from smp_pipelines.stores.postgres import engine_sql
from smp_pipelines.submission.statements import fill_statement

MAILS_AN_HOUR = 5
"""Mails that submissions may send to one address in an hour; what is more is stored, and not mailed."""
TOO_MANY = "too_many"
"""What smp.trigger_event says of a mail beyond that."""
MAILED = {"most": MAILS_AN_HOUR, "missed": TOO_MANY, "channel": CHANNEL}
"""What events.sql is given whatever it writes."""

_PARAMETER = re.compile(r"%\((\w+)\)s|%%")


@dataclass(frozen=True)
class Routine:
    """A function of the session. definition: the statement that makes it; call: the one that runs it."""

    definition: bytes
    call: bytes

    @classmethod
    def of(cls, name: str, form: Form, project: LoadedProject) -> Routine:
        """The routine of a form that `form_checks` found nothing wrong with."""
        parts = {
            "record": _inlined("record", {"rows": "batch.rows"}),
            "fill": sql.SQL(_replaced(fill_statement(name, form, project), {"keys": "batch.keys"})),
            "consents": _consents(form, project),
            "lists": sql.SQL("\n").join([] if form.double_opt_in else _lists(form)),
            "events": _events(),
        }
        body = "".join(part.as_string() for part in parts.values())
        # another definition of the form is another function: one that is in use is never replaced
        tag = f"store_{hashlib.sha256(body.encode()).hexdigest()[:16]}"
        own = sql.Identifier("pg_temp", tag)
        frame = sql.SQL(engine_sql("submission/store.sql"))
        return cls(
            # the tag ends the function's text: no text of the form can hold it
            definition=frame.format(name=own, tag=sql.SQL(tag), **parts).as_bytes(),
            call=sql.SQL("select * from {} ($1::jsonb)").format(own).as_bytes(),
        )


def _consents(form: Form, project: LoadedProject) -> sql.Composable:
    if not any(field.topic for field in form.fields.values()):
        return sql.SQL("")
    opt_out = [topic for topic, rule in project.settings.topics.items() if rule == "opt_out"]
    statement = _inlined(
        "consents",
        {
            "keys": "batch.keys",
            "confirmed_at": "null",
            "opt_out": sql.Literal(opt_out).as_string() + "::text[]",
        },
    )
    # a yes that waits for its confirmation is none yet; a no by a personal link counts at once
    return sql.SQL("if batch.has_links then\n{};\nend if;" if form.double_opt_in else "{};").format(statement)


def list_changes(form: Form) -> Iterator[tuple[str, list[str]]]:
    """The statements that change a form's lists, in order, each with the names of its lists.

    Lists that are not there are made; whoever submitted is put on them, or taken off.
    """
    joined = [each.add_to_list for each in form.processing if isinstance(each, AddToList)]
    left = [each.remove_from_list for each in form.processing if isinstance(each, RemoveFromList)]
    if joined:
        yield from ((statement, joined) for statement in ("lock_lists", "make_lists", "join_lists"))
    if left:
        yield "leave_lists", left


def _lists(form: Form) -> Iterator[sql.Composable]:
    for statement, names in list_changes(form):
        inlined = _inlined(statement, {"names": sql.Literal(names).as_string(), "keys": "batch.keys"})
        # only a lock gives rows
        yield sql.SQL("{}\ninto batch.nothing;" if statement == "lock_lists" else "{};").format(inlined)


def _events() -> sql.SQL:
    told = {name: sql.Literal(value).as_string() for name, value in MAILED.items()}
    of_batch = {"keys": "batch.mailed", "steps": "batch.steps", "records": "batch.records", "confirmed_at": "null"}
    return _inlined("events", of_batch | told)


def _inlined(part: str, variables: Mapping[str, str]) -> sql.SQL:
    return sql.SQL(_replaced(engine_sql(f"submission/{part}.sql"), variables))


def _replaced(statement: str, variables: Mapping[str, str]) -> LiteralString:
    """A statement with SQL of ours in place of its parameters. Raises KeyError for one that has none."""
    return _PARAMETER.sub(lambda found: variables[found[1]] if found[1] else "%", statement).rstrip()
