"""Tests of planning: a selection becomes the rows of a send, each to be sent or skipped with its reason."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import psycopg
import pytest

from smp_pipelines.deployment import Deployment
from smp_pipelines.problems import ProjectError, SmpError
from smp_pipelines.sending.planning import StaleSelectionError, plan
from tests.conftest import copy_project
from tests.support.theatre import NEWSLETTER, PERFORMANCE, STEP, Theatre, theatre
from tests.support.waiting import PATIENCE


@pytest.fixture
def house(embedded_url: str, migrated_template: str, tmp_path: Path) -> Iterator[Theatre]:
    with theatre(embedded_url, migrated_template, tmp_path / "state") as opened:
        opened.live()
        yield opened


def test_each_person_is_planned_once_with_the_linked_record(house: Theatre) -> None:
    people = house.people(5)
    send = house.plan()
    assert (send.state, send.planned) == ("open", 5)
    rows = house.sql("select person_id, record_id, seq from smp.message where state = 'planned' order by seq")
    assert sorted(person for person, _record, _seq in rows) == people
    assert {record for _person, record, _seq in rows} == {PERFORMANCE}
    assert [seq for _person, _record, seq in rows] == [1, 2, 3, 4, 5]


def test_whoever_may_not_get_it_has_a_row_with_the_reason(house: Theatre) -> None:
    house.people(12)
    house.sql("update crm.person set blocked = true where person_id = 1")
    house.sql("update crm.person set email = '  ' where person_id = 2")
    house.sql("insert into crm.consent values (3, 'email', 'service', false, now(), 'web')")
    house.sql("insert into crm.suppression values (' P4@EXAMPLE.ORG ', 'complaint', now())")
    broken = ["geen adres", "a@b", "a..b@example.org", "a@-b.nl", "p9@example.org" + "x" * 250, "x@exa\u00a0mple.nl"]
    for person, address in enumerate(broken, 5):
        house.sql("update crm.person set email = %s where person_id = %s", address, person)
    send = house.plan()
    assert house.reasons(send) == {
        1: "person_blocked",
        2: "no_address",
        3: "opted_out",
        4: "suppressed",
        **dict.fromkeys(range(5, 11), "broken_address"),
        11: None,
        12: None,
    }
    assert house.verdict(send).holds


def test_unusual_addresses_that_exist_are_planned(house: Theatre) -> None:
    addresses = ["jürgen@example.org", "a+b@müller.example", "o'neil@x.museum", "a_b-c.d@e-f.co.uk"]
    for person, address in zip(house.people(4), addresses, strict=True):
        house.sql("update crm.person set email = %s where person_id = %s", address, person)
    assert house.states(house.plan()) == {"planned": 4}


def test_people_with_one_address_get_one_mail_and_the_others_are_told_whose(house: Theatre) -> None:
    house.people(4)
    house.sql("update crm.person set email = 'Gezin@Example.org ' where person_id in (2, 3)")
    house.sql("update crm.person set email = 'gezin@example.org' where person_id = 4")
    send = house.plan()
    assert house.reasons(send) == {1: None, 2: None, 3: "duplicate_address", 4: "duplicate_address"}
    winner = house.sql("select recipient_key from smp.message where person_id = 2")
    assert house.sql("select distinct duplicate_of from smp.message where duplicate_of is not null") == winner


def test_the_first_who_may_get_it_gets_it_when_the_address_is_shared(house: Theatre) -> None:
    house.people(2)
    house.sql("update crm.person set email = 'gezin@example.org'")
    house.sql("insert into crm.consent values (1, 'email', 'service', false, now(), 'web')")
    assert house.reasons(house.plan()) == {1: "opted_out", 2: None}


def test_without_deduplication_everybody_gets_one_per_record(
    embedded_url: str, migrated_template: str, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "my project")
    file = project / "campaigns" / "servicemails" / "campaign.yaml"
    file.write_text(file.read_text().replace("    topic: service", "    topic: service\n    deduplicate: false"))
    with theatre(embedded_url, migrated_template, tmp_path / "state", project=project) as house:
        house.people(3)
        house.sql("update crm.person set email = 'gezin@example.org'")
        assert house.states(house.plan()) == {"planned": 3}


def test_a_topic_that_needs_a_yes_is_planned_only_for_who_said_yes(house: Theatre) -> None:
    house.step = NEWSLETTER
    house.people(2)
    house.sql("insert into crm.consent values (1, 'email', 'newsletter', true, now(), 'web')")
    assert house.reasons(house.plan()) == {1: None}


def test_a_person_who_is_selected_twice_is_planned_once(
    embedded_url: str, migrated_template: str, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "my project")
    text = "-- Everybody, twice.\nselect person_id from crm.person union all select person_id from crm.person"
    (project / "sql" / "selections" / "newsletter_readers.sql").write_text(text)
    with theatre(embedded_url, migrated_template, tmp_path / "state", project=project) as house:
        house.step = NEWSLETTER
        house.people(1)
        assert house.plan().planned == 1


def test_a_send_that_was_planned_is_left_as_it_is(house: Theatre) -> None:
    house.people(2)
    send = house.plan("same")
    house.people(2, first=3)
    again = house.plan("same")
    assert again == send
    assert house.states(send) == {"planned": 2}


def test_planning_that_breaks_off_leaves_nothing_and_can_be_done_again(house: Theatre) -> None:
    house.people(3)
    selection, send = house.materialise(), house.open_send()
    ref = house.deployment.project.step(STEP)
    with house.deployment.connection() as postgres:
        with house.deployment.lake.open() as lake:
            lake.execute("detach crm")
            with pytest.raises(duckdb.Error):
                plan(postgres, lake, house.deployment.project, ref, send, selection, house.now)
        house.deployment.lake.close()  # the one without the CRM is for nobody else
        assert house.states(send) == {}
        assert house.sql("select state from smp.send") == [("planning",)]
        with house.deployment.lake.open() as lake:
            plan(postgres, lake, house.deployment.project, ref, send, selection, house.now)
    assert house.states(send) == {"planned": 3}


def test_an_empty_selection_makes_an_empty_send(house: Theatre) -> None:
    house.people(1, tickets=False)
    send = house.plan()
    assert (send.state, send.planned) == ("open", 0)
    assert house.verdict(send).holds


def test_two_ticks_of_one_step_at_once_do_not_both_plan_the_same_person(house: Theatre) -> None:
    house.people(20)
    together = threading.Barrier(3)
    house.materialise()

    def tick(name: str) -> None:
        send = house.open_send(name)
        selection = house.deployment.audiences.materialise("visitors_in_two_days", house.now, name).run
        assert selection.row_count == 20, "each has seen nobody's mail yet"
        together.wait(PATIENCE)
        house.deployment.plan(house.deployment.project.step(STEP), send, house.now, name)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(tick, ["one", "two", "three"]))
    planned = house.sql("select person_id from smp.message where state = 'planned'")
    assert sorted(person for (person,) in planned) == list(range(1, 21))
    assert house.sql("select count(*) from smp.send where state = 'open'") == [(3,)]


def test_a_selection_from_before_another_send_was_planned_is_stale(house: Theatre) -> None:
    house.people(2)
    old = house.materialise()
    house.plan("first")
    ref, send = house.deployment.project.step(STEP), house.open_send("second")
    with (
        house.deployment.connection() as postgres,
        house.deployment.lake.open() as lake,
        pytest.raises(StaleSelectionError),
    ):
        plan(postgres, lake, house.deployment.project, ref, send, old, house.now)


def test_a_transaction_that_stays_open_elsewhere_does_not_stop_planning(house: Theatre) -> None:
    house.people(2)
    with psycopg.connect(house.url) as forgotten:
        forgotten.execute("insert into crm.list (list_id, name) values (1, 'nog bezig')")
        house.plan("first")
        house.people(2, first=3)
        assert sorted(house.reasons(house.plan("second"))) == [3, 4]


def test_a_selection_that_reads_another_is_as_old_as_that_one(
    embedded_url: str, migrated_template: str, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "my project")
    folder = project / "sql" / "selections"
    base = (folder / "visitors_in_two_days.sql").read_text()
    (folder / "base.sql").write_text(base)
    text = "-- Everyone of base.\nselect person_id, performance_id from selections.base"
    (folder / "visitors_in_two_days.sql").write_text(text)
    with theatre(embedded_url, migrated_template, tmp_path / "state", project=project) as house:
        house.people(3)
        house.mirror()
        house.deployment.mirror_moments()
        house.deployment.audiences.materialise("base", house.now, None)
        assert house.deployment.audiences.count("visitors_in_two_days", house.now) == 3
        house.deployment.audiences.materialise("base", house.now, "run")
        send = house.plan("first")
        assert send.planned == 3
        # the contact moments are fresh now, but the selection underneath is not
        house.deployment.mirror_moments()
        house.deployment.audiences.materialise("visitors_in_two_days", house.now, "run")
        ref = house.deployment.project.step(STEP)
        again = house.deployment.plan(ref, house.open_send("second"), house.now, "run")
        assert again.planned == 0


def test_a_selection_that_does_not_run_is_told_with_its_file(
    embedded_url: str, migrated_template: str, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "my project")
    text = "-- Wrong.\nselect person_id from crm.person where cast(last_name as integer) = 1"
    (project / "sql" / "selections" / "newsletter_readers.sql").write_text(text)
    with theatre(embedded_url, migrated_template, tmp_path / "state", project=project) as house:
        house.people(1)
        with pytest.raises(
            ProjectError, match=r"newsletter_readers.sql: this selection does not run: .*not conv"
        ) as told:
            house.deployment.audiences.count("newsletter_readers", house.now)
        assert "Jansen" not in str(told.value), "values of people stay out of errors"


def test_without_postgres_the_work_ends_in_words(house: Theatre, tmp_path: Path) -> None:
    settings = house.deployment.settings
    gone = Deployment(
        type(settings)(project=settings.project, home=tmp_path, postgres_url="postgresql://smp:geheim@127.0.0.1:1/smp"),
        house.deployment.project,
        house.deployment.library,
    )
    for work in (
        lambda: gone.due(house.now),
        lambda: gone.mirror_moments(),
        lambda: gone.audiences.count("we_miss_you", house.now),
    ):
        with pytest.raises(SmpError, match=r"no connection to Postgres at 127.0.0.1:1/smp") as raised:
            work()
        assert "geheim" not in str(raised.value)
    with pytest.raises(SmpError, match="the lake cannot be opened") as raised, gone.lake.open():
        pass
    assert "geheim" not in str(raised.value)
