"""Storing submissions, a batch in one transaction: whose they are, what is written where, and nothing twice or lost."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smp_pipelines.campaign.project import LoadedProject, load_project
from smp_pipelines.stores.conversation import Conversation
from smp_pipelines.stores.postgres import Connection
from smp_pipelines.submission.form import Posted, make_form
from smp_pipelines.submission.storing import FormStep, Outcome, Submission, SubmissionStore, Visitor
from tests.conftest import copy_project, fresh_database
from tests.support.visits import new_address

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
_LIVE = ("welcome/signup", "open_house/registration", "preferences/centre", "feedback/survey", "wide/all")
_WIDE_TABLE = """
create table crm.wide (
    submission_id bigint primary key, person_id bigint not null, letters text, story text, born date,
    price numeric(8, 2), many bigint, short varchar(5), pick integer, ok boolean not null
);
comment on table crm.wide is 'Every kind of answer';
"""
_WIDE_FORM = """
name: Alles
access: open
match: never
table: crm.wide
fields:
  name: {type: text, label: x, required: true, to: crm.person.last_name}
  letters: {type: text, label: x, to: crm.wide.letters}
  story: {type: long_text, label: x, to: crm.wide.story}
  born: {type: date, label: x, to: crm.wide.born}
  price: {type: number, label: x, to: crm.wide.price}
  many: {type: number, label: x, to: crm.wide.many}
  short: {type: text, label: x, to: crm.wide.short}
  pick: {type: choice, label: x, to: crm.wide.pick, choices: {"1": een, "-7": min zeven}}
  ok: {type: tick, label: x, to: crm.wide.ok}
"""
_ODD_LIST = "50%% off, %(keys)s: o'Brien's $tag$ {list} \\ \"x\""
_PROCESSING = f'processing: [{{add_to_list: {json.dumps(_ODD_LIST)}}}, {{remove_from_list: "{{nobody\'s}}"}}]\n'
_WIDE_STEPS = """
name: Wijd
flow: true
steps:
  all: {name: a, description: b, channel: form, form: wide, blocks: [{type: form}], next: thanks}
  thanks: {name: a, description: b, channel: page, blocks: [{type: text, text: "# Dank"}]}
"""


@pytest.fixture(name="project", scope="module")
def wide_project(tmp_path_factory: pytest.TempPathFactory) -> LoadedProject:
    """The sample project with a form that has every kind of field."""
    folder = copy_project(tmp_path_factory.mktemp("wide") / "project")
    (folder / "sql" / "schema" / "0009_wide.sql").write_text(_WIDE_TABLE, encoding="utf-8")
    (folder / "forms" / "wide.yaml").write_text(_WIDE_FORM + _PROCESSING, encoding="utf-8")
    (folder / "campaigns" / "wide").mkdir()
    (folder / "campaigns" / "wide" / "campaign.yaml").write_text(_WIDE_STEPS, encoding="utf-8")
    return load_project(folder)


@pytest.fixture(name="url", scope="module")
def database(embedded_url: str, migrated_template: str) -> Iterator[str]:
    with fresh_database(embedded_url, migrated_template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_WIDE_TABLE)  # type: ignore[arg-type]
            for step in _LIVE:
                connection.execute(
                    "insert into smp.step_status (step, status, since) values (%s, 'live', now())", (step,)
                )
        yield url


@pytest.fixture(name="connection")
def a_connection(url: str) -> Iterator[Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def store(connection: Connection, submissions: Sequence[Submission]) -> list[Outcome]:
    return store_all(connection, [submissions])[0]


def store_all(connection: Connection, batches: Sequence[Sequence[Submission]]) -> list[list[Outcome]]:
    """Store batches one after the other, over one conversation."""

    async def stored() -> list[list[Outcome]]:
        conversation = Conversation(connection)
        try:
            forms = SubmissionStore(conversation)
            return [await forms.store(batch) for batch in batches]
        finally:
            conversation.end()

    return asyncio.run(stored())


def step(project: LoadedProject, key: str) -> FormStep:
    return FormStep.of(project.step(key), project)


def registration(**changes: Any) -> dict[str, Any]:
    given = {"first_name": "Piet", "last_name": "Jansen", "email": new_address(), "tour": "none", "guests": 2}
    return given | {"remark": None} | changes


def signup(**changes: Any) -> dict[str, Any]:
    return {
        "email": new_address(),
        "first_name": "Piet",
        "last_name": "Jansen",
        "newsletter": True,
        "offers": False,
    } | changes


def submission(form_step: FormStep, answers: dict[str, Any], visitor: Visitor | None = None) -> Submission:
    return Submission(uuid4(), form_step, answers, NOW, visitor)


def person(connection: Connection, **columns: Any) -> int:
    names = {"last_name": "Adema"} | columns
    found = connection.execute(
        "insert into crm.person (person_id, last_name, first_name, infix, email, created_at)"
        " values (nextval('smp.new_person_id'), %(last_name)s, %(first_name)s, %(infix)s, %(email)s, now())"
        " returning person_id",
        {"first_name": None, "infix": None, "email": None} | names,
    ).fetchone()
    assert found
    return int(found[0])


def people_of(connection: Connection, outcomes: list[Outcome]) -> list[tuple[int, str]]:
    query = "select person_id, identified from smp.submission where submission_id = %s"
    return [row for outcome in outcomes for row in connection.execute(query, (outcome,)).fetchall()]


def test_a_batch_may_mix_forms(connection: Connection, project: LoadedProject) -> None:
    batch = [
        submission(step(project, "welcome/signup"), signup()),
        submission(step(project, "open_house/registration"), registration()),
        submission(step(project, "welcome/signup"), signup()),
    ]
    outcomes = store(connection, batch)
    assert [identified for _, identified in people_of(connection, outcomes)] == ["new"] * 3
    assert len({who for who, _ in people_of(connection, outcomes)}) == 3


def test_the_same_new_address_twice_in_a_batch_is_one_person(connection: Connection, project: LoadedProject) -> None:
    address = new_address()
    form = step(project, "welcome/signup")
    outcomes = store(connection, [submission(form, signup(email=each)) for each in (address, address.upper())])
    (first, one), (second, other) = people_of(connection, outcomes)
    assert (first, one, other) == (second, "new", "matched")


def test_the_same_new_address_at_the_same_time_is_one_person(url: str, project: LoadedProject) -> None:
    addresses = [new_address() for _ in range(5)]
    form, ready, failed = step(project, "welcome/signup"), threading.Barrier(4), []

    def work(order: int) -> None:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                mixed = addresses if order % 2 else addresses[::-1]
                ready.wait()
                store(connection, [submission(form, signup(email=each)) for each in mixed])
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(order,)) for order in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with psycopg.connect(url) as connection:
        found = connection.execute("select count(*) from crm.person where email = any (%s)", (addresses,)).fetchone()
    assert found == (5,)


def test_the_same_key_is_one_submission_in_one_batch_and_in_two(connection: Connection, project: LoadedProject) -> None:
    one = submission(step(project, "open_house/registration"), registration())
    first, second = store(connection, [one, one])
    (third,) = store(connection, [one])
    assert first == second == third
    rows = connection.execute("select count(*) from crm.registration where submission_id = %s", (first,)).fetchone()
    assert rows == (1,)


@pytest.mark.parametrize(
    ("form", "last_name", "identified"),
    [
        ("welcome/signup", "Iemand anders", "matched"),
        ("open_house/registration", "Iemand anders", "new"),
        ("open_house/registration", "DIJK", "matched"),
        ("open_house/registration", "van  dijk".replace("  ", " "), "matched"),
        ("wide/all", "Dijk", "new"),
    ],
)
def test_who_somebody_is_follows_the_rule_of_the_form(
    connection: Connection, project: LoadedProject, form: str, last_name: str, identified: str
) -> None:
    address = new_address()
    known = person(connection, email=address, last_name="Dijk", infix="van")
    answers = signup if form == "welcome/signup" else registration
    given = wide(name=last_name) if form == "wide/all" else answers(email=address.upper(), last_name=last_name)
    ((who, how),) = people_of(connection, store(connection, [submission(step(project, form), given)]))
    assert (how, who == known) == (identified, identified == "matched")


def test_of_a_family_with_one_address_it_is_who_has_that_name(connection: Connection, project: LoadedProject) -> None:
    address = new_address()
    first = person(connection, email=address, last_name="Eerste")
    second = person(connection, email=address, last_name="Tweede")
    form = step(project, "welcome/signup")
    outcomes = [
        store(connection, [submission(form, signup(email=address, last_name=name))]) for name in ("tweede", "Derde")
    ]
    assert [people_of(connection, outcome)[0][0] for outcome in outcomes] == [second, first]


def test_a_link_whose_person_is_gone_and_a_step_that_is_not_live_store_nothing(
    connection: Connection, project: LoadedProject
) -> None:
    centre, closed = step(project, "preferences/centre"), step(project, "welcome/signup")
    connection.execute("update smp.step_status set status = 'stopped' where step = 'welcome/signup'")
    good = submission(step(project, "open_house/registration"), registration())
    batch = [submission(centre, {"last_name": "x"}, Visitor(424242)), submission(closed, signup()), good]
    gone, not_live, stored = store(connection, batch)
    connection.execute("update smp.step_status set status = 'live' where step = 'welcome/signup'")
    assert (gone, not_live) == ("gone", "closed")
    assert isinstance(stored, int)


def test_lists_are_made_once_and_joined_once(connection: Connection, project: LoadedProject) -> None:
    address = new_address()
    form = step(project, "open_house/registration")
    for _ in range(2):
        store(connection, [submission(form, registration(email=address))])
    found = connection.execute(
        "select count(*), count(distinct list_id) from crm.list join crm.list_member using (list_id)"
        " join crm.person using (person_id) where email = %s and name = 'Open huis'",
        (address,),
    ).fetchone()
    assert found == (1, 1)
    assert connection.execute("select count(*) from crm.list where name = 'Open huis'").fetchone() == (1,)


def lists_of(connection: Connection, number: Outcome) -> list[str]:
    """The lists on which whoever submitted is."""
    rows = connection.execute(
        "select l.name from crm.list as l join crm.list_member as m using (list_id) join smp.submission as s"
        " using (person_id) where s.submission_id = %s",
        (number,),
    )
    return [name for (name,) in rows]


def test_any_name_of_a_list_is_only_a_name(connection: Connection, project: LoadedProject) -> None:
    (number,) = store(connection, [submission(step(project, "wide/all"), wide())])
    assert lists_of(connection, number) == [_ODD_LIST]


def test_a_form_that_was_edited_is_stored_as_it_is_now_over_the_same_connection(
    connection: Connection, tmp_path: Path
) -> None:
    folder = copy_project(tmp_path / "project")
    before = step(load_project(folder), "open_house/registration")
    file = folder / "forms" / "registration.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("Open huis", "Open dag"), encoding="utf-8")
    after = step(load_project(folder), "open_house/registration")
    assert before.routine != after.routine
    found = store_all(connection, [[submission(form, registration())] for form in (before, after, before)])
    assert [lists_of(connection, number) for (number,) in found] == [["Open huis"], ["Open dag"], ["Open huis"]]


def test_submissions_of_several_forms_are_stored_together_in_the_order_in_which_they_came(
    connection: Connection, project: LoadedProject
) -> None:
    address = new_address()
    first, second = step(project, "welcome/signup"), step(project, "open_house/registration")
    batch = [
        submission(first, signup(email=address, last_name="Eerste")),
        submission(second, registration(email=address, last_name="Tweede")),
        submission(first, signup(email=address, last_name="Derde")),
        submission(second, registration()),
    ]
    numbers = store(connection, batch)
    assert all(isinstance(number, int) for number in numbers)
    rows = connection.execute(
        "select s.form, s.identified, p.last_name from smp.submission as s join crm.person as p using (person_id)"
        " where s.submission_id = any (%s) order by s.submission_id",
        (numbers[:3],),
    ).fetchall()
    assert rows == [
        ("newsletter_signup", "new", "Eerste"),
        ("registration", "new", "Tweede"),
        ("newsletter_signup", "matched", "Eerste"),
    ]


def test_whoever_waits_for_mail_is_told_at_the_commit(url: str, connection: Connection, project: LoadedProject) -> None:
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute("listen smp_submission")
        store(connection, [submission(step(project, "open_house/registration"), registration())])
        assert len(list(listener.notifies(timeout=10, stop_after=1))) == 1
        store(connection, [submission(step(project, "wide/all"), wide())])
        assert list(listener.notifies(timeout=0.05)) == []


def wide(**changes: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("letters", "story", "born", "price", "many", "short", "pick"))
    return {"name": "Jansen"} | empty | {"ok": False} | changes


TYPED = {
    "letters": st.text(max_size=300),
    "story": st.text(max_size=300),
    "born": st.dates().map(date.isoformat) | st.text(max_size=12),
    "price": st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str)
    | st.text("0123456789,.-+e", max_size=9),
    "many": st.integers().map(str),
    "short": st.text(max_size=8),
    "pick": st.sampled_from(["1", "-7", "", "2"]),
    "ok": st.sampled_from(["y", "", "false"]),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(typed=st.fixed_dictionaries(TYPED))
def test_any_answers_that_are_taken_are_stored_typed_and_read_back(
    connection: Connection, project: LoadedProject, typed: dict[str, str]
) -> None:
    form = make_form(project.forms["wide"], "nl", project.catalog)
    answers = {name: form.read(Posted([("name", "x"), (name, text)])) for name, text in typed.items()}
    good = wide() | {name: found[name] for name, found in answers.items() if found is not None}
    (number,) = store(connection, [submission(step(project, "wide/all"), good)])
    assert isinstance(number, int)
    cursor = connection.execute("select * from crm.wide where submission_id = %s", (number,))
    names = [column.name for column in cursor.description or ()]
    row = dict(zip(names, cursor.fetchone() or (), strict=True))
    for name in typed:
        assert row[name] == good[name], name
    kinds = {"born": date, "price": Decimal, "many": int, "pick": int, "letters": str}
    assert all(isinstance(row[name], kind) for name, kind in kinds.items() if row[name] is not None)
