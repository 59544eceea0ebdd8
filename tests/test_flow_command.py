"""`smp flow` as somebody types it: what is printed, and the exit status, from going live to the end of a flow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smp_pipelines.cli import app
from smp_pipelines.commands import flow as flow_commands
from smp_pipelines.deployment import Deployment
from smp_pipelines.flow import tables
from smp_pipelines.flow.advancing import advance
from smp_pipelines.flow.changing import read_all_versions
from smp_pipelines.flow.judging import LakeJudge
from smp_pipelines.flow.version import read_state
from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import connect
from smp_pipelines.stores.settings import Settings
from tests.support.flow_files import sample, with_flows

FIRST = """\
name: Vrienden
triggers: [{type: manual}]
steps:
  hello: {mail: acquaintance}
  rest: {wait: 7 days}
  last: {mail: last_word}
"""
SECOND = """\
name: Vrienden
triggers: [{type: manual}]
steps:
  rest: {wait: 1 day}
  once_more: {mail: acquaintance}
  last: {mail: last_word}
"""


@dataclass
class House:
    """A deployment whose flow file a test edits, and the command line."""

    url: str
    folder: Path
    loaded: Deployment

    def edit(self, text: str) -> None:
        """Save the flow's file, and load the project anew."""
        project = with_flows(self.folder, friends=text)
        self.loaded = Deployment(self.loaded.settings, project, sample()[1])

    def smp(self, *words: str) -> str:
        """What `smp flow` prints, with runs of spaces as one; it must succeed."""
        done = CliRunner().invoke(app, ["flow", *words])
        assert done.exit_code == 0, (done.output, done.exception)
        return "\n".join(" ".join(line.split()) for line in done.output.splitlines())

    def refused(self, *words: str) -> str:
        """What `smp flow` says when it refuses."""
        done = CliRunner().invoke(app, ["flow", *words])
        assert done.exit_code != 0, done.output
        return str(done.exception) if isinstance(done.exception, SmpError) else done.output

    def advance(self, days: int) -> None:
        """Let whoever is due so many days from now go on."""
        judge = LakeJudge(self.loaded.lake, self.loaded.project.settings.zone, self.loaded.refresh)
        with connect(self.url) as connection:
            connection.autocommit = True
            tables.use(connection)
            state = read_state(connection, "friends")
            assert state is not None
            for version in read_all_versions(connection, state.flow_id):
                advance(connection, version, self.loaded.project, judge, datetime.now(UTC) + timedelta(days=days))


@pytest.fixture
def house(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """People 1 to 3, who said yes to offers, and a flow that was never live."""
    settings = Settings(project=tmp_path, home=tmp_path, postgres_url=postgres_url)
    made = House(postgres_url, tmp_path, Deployment(settings, *sample()))
    made.edit(FIRST)

    @contextmanager
    def running() -> Iterator[Deployment]:
        yield made.loaded

    monkeypatch.setattr(flow_commands, "deployment", running)
    with connect(postgres_url) as connection:
        connection.execute(
            "insert into crm.person (person_id, last_name, email, created_at)"
            " select n, 'x', 'p' || n || '@example.org', now() from generate_series(1, 3) as n"
        )
        connection.execute(
            "insert into crm.consent (person_id, channel, topic, granted, changed_at, source)"
            " select person_id, 'email', 'offers', true, now(), 'x' from crm.person"
        )
    return made


def test_a_flow_from_going_live_to_its_end(house: House) -> None:
    assert house.smp("list").splitlines()[1] == "friends Vrienden concept"
    assert "friends is concept" in house.smp("show", "friends")
    assert house.smp("show", "friends", "--mermaid").startswith("flowchart TD")
    assert "concept → live" in house.smp("live", "friends", "--by", "anna", "--reason", "here we go")
    assert house.smp("live", "friends") == "flow friends: was live already"
    assert house.smp("enrol", "friends", "--person", "1", "--person", "2", "--key", "k").startswith(
        "flow friends: 2 enter"
    )
    assert "was in the flow already" in house.refused("enrol", "friends", "--person", "1")
    assert "with this key before" in house.refused("enrol", "friends", "--person", "1", "--key", "k")
    assert "1 hello goes on at the next tick" in house.smp("participants", "friends", "--step", "hello")
    house.advance(0)
    shown = house.smp("show", "friends").splitlines()
    assert "hello Mail 2 0 2 0 2 waiting" in shown
    assert "rest Wait 7 days 2 2 0 0" in shown
    assert shown[-1].endswith("anna live concept → live, version 1 here we go")
    assert "hello Mail mail asked for, mail waiting" in house.smp("path", "friends", "2")
    assert house.smp("pause", "friends") == "flow friends: live → paused"
    assert "smp flow resume friends" in house.refused("enrol", "friends", "--person", "3")
    assert house.smp("resume", "friends") == "flow friends: paused → live"
    assert house.smp("end", "friends") == "flow friends: live → ending"
    house.advance(8)
    assert house.smp("participants", "friends", "--waiting") == "nobody is in it now"
    assert "completed" in house.smp("participants", "friends")
    assert "ending → ended" in house.smp("end", "friends", "--drop", "--reason", "over")
    assert house.smp("list").splitlines()[1] == "friends Vrienden ended 1 2 0"


def test_an_edited_file_is_planned_and_applied_on_purpose(house: House) -> None:
    house.smp("live", "friends")
    house.smp("enrol", "friends", "--person", "1", "--person", "2")
    house.advance(0)
    house.smp("enrol", "friends", "--person", "3")
    assert "is what people enter: version 1" in house.smp("plan", "friends")
    house.edit(SECOND)
    assert "live, file changed" in house.smp("list")
    assert "smp flow plan friends" in house.smp("show", "friends").splitlines()[-1]
    assert "smp flow plan friends" in house.refused("live", "friends")
    told = house.smp("plan", "friends", "--who")
    assert "removed hello mail" in told
    assert "1 rest 2 rest 2" in told
    assert "1 hello 1 rest 0" in told
    assert "a mail again, from rest: 1, 2" in told
    assert "none, or all" in house.refused("apply", "friends", "--move", "all", "--move", "rest")
    assert "nobody is at a step nothing" in house.refused("apply", "friends", "--move", "nothing")
    applied = house.smp("apply", "friends", "--move", "all", "--reason", "shorter")
    assert "people enter version 2\n1 moved from hello of version 1\n2 stay on an older version" in applied
    assert "is on it already" in house.smp("plan", "friends")
    assert "2 moved from rest of version 1" in house.smp("apply", "friends", "--move", "rest", "--again")
    assert "version 2:" in house.smp("show", "friends")
    assert "version 1:" in house.smp("show", "friends", "--version", "1")
    assert "it has 2, 1" in house.refused("show", "friends", "--version", "7")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("show", "frends"), "did you mean friends?"),
        (("pause", "frends"), "did you mean friends?"),
        (("pause", "friends"), "smp flow live friends"),
        (("path", "friends", "1"), "was never live"),
        (("participants", "friends"), "was never live"),
        (("plan", "friends"), "was never live"),
        (("enrol", "friends"), "say who"),
        (("enrol", "friends", "--person", "1", "--selection", "x"), "say who"),
        (("enrol", "friends", "--person", str(10**30)), "Invalid value"),
        (("apply", "friends"), "--move"),
        (("admit", "friends", "--yes"), "asks nothing"),
    ],
)
def test_what_cannot_be_done_is_told_with_a_way_on(house: House, words: tuple[str, ...], told: str) -> None:
    assert told in house.refused(*words)


def test_a_flow_whose_file_is_gone_can_be_seen_and_ended(house: House) -> None:
    house.smp("live", "friends")
    house.smp("enrol", "friends", "--person", "1")
    house.loaded = Deployment(house.loaded.settings, with_flows(house.folder), sample()[1])
    assert "(its file is gone) live 1 1 1" in house.smp("list")
    assert "is gone" in house.smp("show", "friends").splitlines()[-1]
    assert "1 people left it" in house.smp("end", "friends", "--drop")


def test_a_question_is_shown_and_answered(house: House) -> None:
    house.smp("live", "friends")
    assert house.smp("admit", "friends") == "flow friends asks nothing"
    with connect(house.url) as connection:
        connection.execute(
            "insert into smp.flow_admission (flow_id, source, people, asked_at)"
            " select flow_id, 'selection x', 5000, now() from smp.flow"
        )
    assert "live, asks for a yes" in house.smp("list")
    assert "5,000 people of selection x" in house.smp("admit", "friends")
    assert "they stay out" in house.smp("admit", "friends", "--no", "--by", "anna")
    assert "anna" in house.smp("show", "friends")
