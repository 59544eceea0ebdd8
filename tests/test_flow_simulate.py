"""Tests of simulating a flow over the past: as the engine would have done it, and without a trace (X2)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from smp_pipelines.audience.simulating import simulate_flow, simulated_version
from smp_pipelines.commands import flow_simulate as command
from smp_pipelines.deployment import Deployment
from smp_pipelines.flow.past import past_judge
from smp_pipelines.flow.simulating import Simulation
from smp_pipelines.flow.version import draft, freeze
from smp_pipelines.problems import SmpError
from tests.support.flow_files import sample, with_flows
from tests.support.theatre import Theatre, theatre

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
START = datetime(2026, 9, 1, tzinfo=AMSTERDAM)
END = datetime(2026, 10, 1, tzinfo=AMSTERDAM)
FLOW = """
    name: Bedankt
    triggers:
      - type: donation
        min: 25
    filter: {field: city, filled: true}
    goals:
      - type: record
        table: membership
        date: starts_on
    on_success: go_on
    steps:
      thanks:
        mail: open_house/confirmation
      think:
        wait: 3 days
      visitor:
        if: {has: ticket, date: bought_at, since: 1 year ago}
        then:
          note:
            create:
              table: activity
              values: {kind: call, subject: "Bel"}
        else:
          hope:
            add_to_list: Hoop
      mark:
        update: {salutation: "Beste gever"}
      survey:
        form: feedback/survey
        at_most: 2 days
      story:
        mail: story
"""
GIVER, VISITOR, LATER, POOR, NOWHERE, KEEN = 1, 2, 3, 4, 5, 6


def moment(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 9, day, hour, tzinfo=AMSTERDAM)


@pytest.fixture(scope="module")
def house(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """Six people with a past: what they gave, when they came, whether they filled in the survey."""
    with theatre(embedded_url, migrated_template, tmp_path_factory.mktemp("past") / "state") as opened:
        opened.people(6, tickets=False)
        opened.sql(
            "update crm.person set city = 'Lindenstad', created_at = '2020-01-01' where person_id <> %s", NOWHERE
        )
        for number, (person, day, amount) in enumerate(
            [(GIVER, 2, 50), (VISITOR, 3, 50), (LATER, 4, 50), (POOR, 5, 10), (NOWHERE, 6, 50), (KEEN, 7, 50)], 1
        ):
            give(opened, number, person, moment(day), amount)
        give(opened, 7, POOR, START - timedelta(days=1))
        give(opened, 8, POOR, END + timedelta(days=1))
        for ticket, person, day in ((1, VISITOR, 1), (2, LATER, 20)):
            opened.sql("insert into crm.ticket values (%s, %s, 7, null, 20, %s)", ticket, person, moment(day))
        opened.sql("insert into crm.consent values (%s, 'email', 'offers', true, %s, 'web')", KEEN, START)
        opened.sql(
            "insert into smp.submission"
            " (submission_key, form, step, person_id, identified, answers, language, submitted_at)"
            " values (gen_random_uuid(), 'survey', 'feedback/survey', %s, 'link', '{}', 'nl', %s)",
            *(KEEN, moment(11)),
        )
        yield opened


def give(house: Theatre, number: int, person: int, at: datetime, amount: int = 50) -> None:
    house.sql("insert into crm.donation values (%s, %s, 'dak', null, %s, %s)", number, person, amount, at)


@contextmanager
def with_flow(house: Theatre, folder: Path, text: str = FLOW) -> Iterator[Deployment]:
    """The theatre's deployment with this flow."""
    made = Deployment(house.deployment.settings, with_flows(folder, friends=text), sample()[1])
    try:
        yield made
    finally:
        made.lake.close()


@pytest.fixture(scope="module")
def seen(house: Theatre, tmp_path_factory: pytest.TempPathFactory) -> tuple[Simulation, str, str]:
    """The month, simulated, and what the database held before and after."""
    with with_flow(house, tmp_path_factory.mktemp("flow")) as deployment:
        before = everything(house)
        done = simulate_flow(deployment, "friends", START, END)
        return done, before, everything(house)


def everything(house: Theatre) -> str:
    """A mark of every row of every table, and of every sequence."""
    with psycopg.connect(house.url) as connection:
        tables = connection.execute(
            "select n.nspname, c.relname from pg_class as c join pg_namespace as n on n.oid = c.relnamespace"
            " where n.nspname in ('crm', 'smp', 'public') and c.relkind = 'r' order by 1, 2"
        ).fetchall()
        query = sql.SQL("select md5(string_agg(t::text, '|' order by t::text)) from {} as t")
        rows = [connection.execute(query.format(sql.Identifier(*table))).fetchall() for table in tables]
        sequences = connection.execute("select sequencename, last_value from pg_sequences order by schemaname, 1")
        return f"{rows} {sequences.fetchall()}"


def test_nothing_of_a_simulation_is_left(seen: tuple[Simulation, str, str]) -> None:
    _done, before, after = seen
    assert before == after


def test_what_happened_in_the_stretch_enrols_by_the_rules(seen: tuple[Simulation, str, str]) -> None:
    done = seen[0]
    assert {why: count for _by, why, count in done.entries} == {None: 4, "filtered": 1}
    assert done.enrolled == 4


def test_mails_are_counted_by_step_and_local_day(seen: tuple[Simulation, str, str]) -> None:
    done = seen[0]
    names = {node.number: node.name for node in done.version.nodes}
    sent = {(names[mail.node], mail.day.day): mail.sent for mail in done.mails}
    assert sent == {("thanks", 2): 1, ("thanks", 3): 1, ("thanks", 4): 1, ("thanks", 7): 1, ("story", 11): 1}
    assert done.skipped == {"no_consent": 3}


def test_conditions_see_what_was_known_at_the_moment(seen: tuple[Simulation, str, str]) -> None:
    ways = {step.node.name: dict(step.ways) for step in seen[0].steps}
    assert ways["visitor"] == {"yes": 1, "no": 3}, "the ticket of the 20th was not bought yet"


def test_a_form_counts_from_when_it_was_sent_and_waits_are_measured(seen: tuple[Simulation, str, str]) -> None:
    steps = {step.node.name: step for step in seen[0].steps}
    assert steps["survey"].ways == {"submitted": 1, "timeout": 3}
    assert steps["survey"].longest == timedelta(days=2)
    assert steps["think"].middle == timedelta(days=3)
    assert (steps["think"].came, steps["think"].waiting) == (4, 0)


def test_a_stretch_that_ends_before_it_begins_is_refused(house: Theatre, tmp_path: Path) -> None:
    with with_flow(house, tmp_path) as deployment, pytest.raises(SmpError, match="from a moment to a later one"):
        simulate_flow(deployment, "friends", END, START)


def test_who_is_still_on_the_way_at_the_end_is_told(house: Theatre, tmp_path: Path) -> None:
    with with_flow(house, tmp_path) as deployment:
        done = simulate_flow(deployment, "friends", START, moment(4, 18))
    assert done.outcomes == [(None, None, 3, 0)]


def test_the_cap_counts_real_mails_and_simulated_ones(house: Theatre, tmp_path: Path) -> None:
    """Four mails in seven days; KEEN got three of another step, and the flow would send two more."""
    mails = "\n".join(
        f"      mail{number}:\n        mail: {step}" for number, step in enumerate(("story", "invitation"))
    )
    text = FLOW[: FLOW.index("    steps:")] + f"    steps:\n{mails}\n"
    house.sql("update crm.consent set granted = true")
    house.sql(
        "insert into smp.send (send_key, step, purpose, moment, state, planned, opened_at)"
        " select 'old ' || n, 'newsletter/december', 'live', %s, 'finished', 1, %s from generate_series(1, 3) as n",
        *(moment(6), moment(6)),
    )
    house.sql(
        "insert into smp.message (send_id, recipient_key, seq, person_id, state)"
        " select send_id, gen_random_uuid(), 1, %s, 'accepted' from smp.send where send_key like 'old %%'",
        KEEN,
    )
    try:
        with with_flow(house, tmp_path, text) as deployment:
            done = simulate_flow(deployment, "friends", moment(7, 0), moment(8, 0))
            later = simulate_flow(deployment, "friends", moment(7, 0), moment(8, 0), from_file=True)
    finally:
        house.sql(
            "delete from smp.message using smp.send where send.send_id = message.send_id and send_key like 'old %%'"
        )
        house.sql("delete from smp.send where send_key like 'old %%'")
    assert [(mail.node, mail.sent, mail.capped) for mail in done.mails] == [(0, 1, 0), (1, 0, 1)]
    assert done.mails == later.mails, "the same again"


def test_goals_make_the_rate_of_success(house: Theatre, tmp_path: Path) -> None:
    house.sql("insert into crm.membership values (1, %s, 'vriend', '2026-09-04')", GIVER)
    try:
        with with_flow(house, tmp_path) as deployment:
            done = simulate_flow(deployment, "friends", START, END)
    finally:
        house.sql("delete from crm.membership")
    assert (done.met, done.succeeded, done.enrolled) == (1, 1, 4)


def test_the_version_that_people_enter_is_simulated_unless_the_file_is_asked_for(
    house: Theatre, tmp_path: Path
) -> None:
    with with_flow(house, tmp_path) as deployment:
        assert simulated_version(deployment, "friends", from_file=False).number == 0, "it was never live"
        with deployment.connection() as connection, connection.transaction():
            frozen = freeze(
                connection, draft(deployment.project, deployment.library, "friends"), END + timedelta(days=1), "anna"
            )
            connection.execute("update smp.flow set version_id = %s where flow = 'friends'", (frozen.version_id,))
        assert simulated_version(deployment, "friends", from_file=False) == frozen
        assert simulated_version(deployment, "friends", from_file=True).number == 0
        done = simulate_flow(deployment, "friends", START, END)
    for table in ("flow_node", "flow_version", "flow"):
        house.sql(f"delete from smp.{table}")
    assert (done.version.number, done.enrolled) == (1, 4)


def test_the_command_tells_it_writes_a_file_and_draws(
    house: Theatre, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    @contextmanager
    def opened() -> Iterator[Deployment]:
        with with_flow(house, tmp_path) as deployment:
            yield deployment

    monkeypatch.setattr(command, "deployment", opened)
    app = typer.Typer()
    app.command()(command.flow_simulate)
    file, plot = tmp_path / "mails.csv", tmp_path / "mails.png"
    words = ["friends", "--from", "2026-09-01", "--to", "2026-09-30", "--file", str(file), "--plot", str(plot)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "nothing was sent, nothing was written" in done.output
    assert "success rate" in done.output
    with file.open(encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    assert rows[0] == {
        "day": f"{date(2026, 9, 2)}",
        "step": "thanks",
        "mail": "open_house/confirmation",
        "sent": "1",
        "frequency_cap": "0",
    }
    assert len(rows) == 5
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_simulation_keeps_to_the_memory_that_is_allowed_and_spills_beside_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smp_pipelines.flow.past.MEMORY", "16MB")
    duckdb.connect(str(tmp_path / "past.duckdb")).close()
    with past_judge(tmp_path / "past.duckdb", {}, AMSTERDAM) as judge:
        database = judge._database
        database.execute("create temp table big as select range as n, md5(range::varchar) as word from range(600_000)")
        assert database.execute("select count(distinct word) from big").fetchone() == (600_000,)
        assert any((tmp_path / "spill").iterdir())
