"""Tests of target groups: several selections, pilot and rest, frozen at linking, taken over, people by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from smp_pipelines.problems import SmpError
from smp_pipelines.selection.runs import last_run
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.overruling import open_overruled
from smp_pipelines.sending.target.group import change_by_hand, read_group_changes, read_linked
from tests.support.grouped import (
    AMSTERDAM,
    BIG,
    EVERYBODY,
    grouped_project,
    in_group,
    plan_step,
    planned,
    ref_of,
    write_campaign,
)
from tests.support.theatre import PERFORMANCE, Theatre, theatre

ONCE = "evaluate: once"
REST = "send: one_off; target_group: {selections: [everybody], evaluate: each_send, not_used_in_campaign: true}"
BOTH = "send: one_off; target_group: {selections: [amsterdam, big_companies], evaluate: each_send}"
DAILY = 'schedule: {start: 2026-01-01, frequency: daily, times: ["09:00"]}'
FROZEN = f"send: one_off; target_group: {{selections: [amsterdam], {ONCE}}}"
BY_HAND = f"send: one_off; target_group: {{{ONCE}}}"
GROWS = f"send: continuous; {DAILY}; target_group: {{{ONCE}}}"
FEW = "-- Few.\nselect person_id from crm.person where person_id between 1 and 3 and last_name not like 'Gone%'\n"
STOPPED = "audience_test: People of few"


@pytest.fixture(scope="module")
def house(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """One theatre with twelve people; each test has campaigns of its own."""
    folder = tmp_path_factory.mktemp("grouped")
    project = grouped_project(folder / "my project")
    pilot = {"pilot": "send: one_off; selection: amsterdam", "rest": REST}
    for name in ("trial", "at_once", "backwards", "shared"):
        write_campaign(project, name, pilot)
    write_campaign(project, "several", {"both": BOTH})
    write_campaign(project, "held", {"letter": FROZEN, "all": REST})
    copied = f"send: one_off; target_group: {{copy_of: CAMPAIGN/source, {ONCE}}}"
    write_campaign(project, "passed", {"source": FROZEN, "copy": copied.replace("CAMPAIGN/", "")})
    write_campaign(project, "sent", {"source": BOTH, "copy": copied.replace("CAMPAIGN", "sent")})
    write_campaign(project, "hands", {"list": BY_HAND})
    write_campaign(project, "show", {"about": f"send: one_off; record: performance; target_group: {{{ONCE}}}"})
    write_campaign(project, "loose", {"list": GROWS})
    write_campaign(project, "household", {"list": GROWS})
    (project / "sql" / "selections" / "few.sql").write_text(FEW)
    test = "audience_tests: {most: {rows: {at_most: 2}, blocking: true, words: People of few}}\n"
    (project / "sql" / "selections" / "few.checks.yaml").write_text(test)
    tick = GROWS.replace(ONCE, f"selections: [few], {ONCE}")
    plain = {"plain": "send: one_off; selection: few", "of_plain": copied.replace("CAMPAIGN/source", "plain")}
    of_source = {"of_source": copied.replace("CAMPAIGN/", ""), "late": copied.replace("CAMPAIGN/", "")}
    write_campaign(project, "blocked", {"source": tick, **of_source, **plain})
    write_campaign(project, "mended", {"tick": tick})
    write_campaign(
        project, "again", {"tick": f"send: continuous; {DAILY}; target_group: {{selections: [amsterdam], {ONCE}}}"}
    )
    write_campaign(
        project,
        "twins",
        {
            "one": FROZEN.replace(ONCE, f"{ONCE}, not_used_in_campaign: true"),
            "two": f"send: one_off; target_group: {{selections: [big_companies], {ONCE}, not_used_in_campaign: true}}",
        },
    )
    with theatre(embedded_url, migrated_template, folder / "state", project=project) as opened:
        opened.people(12)
        opened.mirror()
        yield opened


def link(house: Theatre, key: str, *, again: bool = False) -> tuple[int, int]:
    done = house.deployment.groups.link(ref_of(house, key), house.now, "anna", again=again)
    return done.linked, done.unlinked


def by_hand(house: Theatre, key: str, people: list[int], *, linked: bool, record_id: int | None = None) -> None:
    with house.deployment.connection() as postgres:
        change_by_hand(
            postgres, ref_of(house, key), people, house.now, "bert", linked=linked, record_id=record_id, reason="belde"
        )


def test_who_is_in_several_selections_gets_one_mail_and_the_group_can_be_looked_at_later(house: Theatre) -> None:
    ref = ref_of(house, "several/both")
    opened = house.deployment.open_send(ref, "several/both@once", house.now, house.now, None)
    send = house.deployment.plan(ref, opened, house.now, None)
    assert planned(house, send) == sorted({*AMSTERDAM, *BIG})
    assert house.verdict(send).holds
    with house.deployment.connection() as postgres:
        run = last_run(postgres, "several/both")
    assert run is not None
    assert house.sql("select selection_run_id from smp.send where send_id = %s", send.send_id) == [
        (run.selection_run_id,)
    ]
    columns, rows = house.deployment.history.people(run, 100)
    assert columns == ("person_id",)
    assert {person for (person,) in rows} == {*AMSTERDAM, *BIG}


def test_after_the_pilot_the_rest_goes_to_everybody_else(house: Theatre) -> None:
    pilot = plan_step(house, "trial/pilot")
    rest = plan_step(house, "trial/rest")
    assert planned(house, pilot) == AMSTERDAM
    assert planned(house, rest) == [person for person in EVERYBODY if person not in AMSTERDAM]


def test_pilot_and_rest_that_are_planned_at_the_same_moment_mail_nobody_twice(house: Theatre) -> None:
    together = threading.Barrier(2)

    def tick(key: str) -> list[int]:
        deployment = house.deployment
        ref = ref_of(house, key)
        send = deployment.open_send(ref, f"{key}@once", house.now, house.now, key)
        deployment.mirror_moments()
        runs = deployment.groups.fresh_runs(ref, house.now, key)
        if ref.step.own_group:
            deployment.groups.evaluate(ref, house.now, key, runs)
        together.wait(60)  # both have looked; nobody was used yet
        return planned(house, deployment.plan(ref, send, house.now, key))

    with ThreadPoolExecutor(2) as pool:
        pilot, rest = pool.map(tick, ["at_once/pilot", "at_once/rest"])
    assert sorted([*pilot, *rest]) == EVERYBODY


def test_a_pilot_that_comes_after_the_rest_of_its_moment_leaves_its_people_alone_but_later_it_may(
    house: Theatre,
) -> None:
    rest = plan_step(house, "backwards/rest")
    pilot = plan_step(house, "backwards/pilot")
    assert planned(house, rest) == EVERYBODY
    assert house.reasons(pilot) == dict.fromkeys(AMSTERDAM, "used_in_campaign")
    assert house.verdict(pilot).holds
    later = replace(house, now=house.now + timedelta(days=1))
    assert planned(house, plan_step(later, "backwards/pilot", "backwards/pilot@later")) == AMSTERDAM


def test_a_frozen_group_is_who_was_in_the_selection_when_it_was_linked(house: Theatre) -> None:
    with pytest.raises(SmpError, match=r"held/letter is not linked yet\n.*smp group link held/letter"):
        plan_step(house, "held/letter")
    assert link(house, "held/letter") == (4, 0)
    house.people(1, first=60, tickets=False)
    with pytest.raises(SmpError, match=r"was linked on 2026-11-23 09:00 by anna\n.*--again"):
        link(house, "held/letter")
    assert planned(house, plan_step(house, "held/letter")) == AMSTERDAM, "whoever moved to Amsterdam since is too late"
    house.sql("delete from crm.person where person_id = 60")
    rest = plan_step(house, "held/all")
    assert planned(house, rest) == [person for person in EVERYBODY if person not in AMSTERDAM], "linked is used"


def test_who_was_unlinked_stays_out_when_a_group_is_linked_again(house: Theatre) -> None:
    house.live("again/tick")
    assert link(house, "again/tick") == (4, 0)
    by_hand(house, "again/tick", [2], linked=False)
    first = plan_step(house, "again/tick", "again/tick@1")
    assert planned(house, first) == [1, 3, 4]
    by_hand(house, "again/tick", [9], linked=True)
    assert link(house, "again/tick", again=True) == (0, 0)
    assert in_group(house, "again/tick", linked=False) == [2]
    second = plan_step(house, "again/tick", "again/tick@2")
    assert planned(house, second) == [9], "of a frozen group nobody gets the step twice"


def test_a_group_is_taken_over_as_it_is_and_not_as_it_becomes(house: Theatre) -> None:
    with pytest.raises(SmpError, match="passed/source is not linked yet"):
        link(house, "passed/copy")
    link(house, "passed/source")
    by_hand(house, "passed/source", [1], linked=False)
    assert link(house, "passed/copy") == (3, 1)
    by_hand(house, "passed/source", [7], linked=True)
    assert link(house, "passed/copy", again=True) == (0, 0)
    assert (in_group(house, "passed/copy"), in_group(house, "passed/copy", linked=False)) == ([2, 3, 4], [1])


def test_of_a_step_that_is_evaluated_at_each_send_the_people_of_its_sends_are_taken_over(house: Theatre) -> None:
    with pytest.raises(SmpError, match="sent/source was not sent yet"):
        link(house, "sent/copy")
    plan_step(house, "sent/source")
    house.people(1, first=60, tickets=False)
    assert link(house, "sent/copy") == (6, 0), "taken over, not selected anew"
    house.sql("delete from crm.person where person_id = 60")


def test_the_audit_tells_who_changed_whom_and_why(house: Theatre) -> None:
    by_hand(house, "hands/list", [5, 6], linked=True)
    by_hand(house, "hands/list", [6], linked=False)
    by_hand(house, "hands/list", [6], linked=False)
    with house.deployment.connection() as postgres:
        changes = read_group_changes(postgres, "hands/list", 10)
        frozen = read_linked(postgres, "hands/list")
    assert [(c.changed_by, c.source, c.reason, c.linked, c.unlinked) for c in changes] == [
        ("bert", "by hand", "belde", 0, 1),
        ("bert", "by hand", "belde", 2, 0),
    ]
    assert frozen is not None, "a group without selections is laid down by hand"
    assert planned(house, plan_step(house, "hands/list")) == [5]
    with pytest.raises(SmpError, match="not in the CRM: 99"):
        by_hand(house, "hands/list", [99, 5], linked=True)


def test_people_of_a_step_with_a_record_are_linked_with_one(house: Theatre) -> None:
    with pytest.raises(SmpError, match="not in the group: 8; say about which performance"):
        by_hand(house, "show/about", [8], linked=True)
    by_hand(house, "show/about", [8, 9], linked=True, record_id=PERFORMANCE)
    by_hand(house, "show/about", [9], linked=False)
    send = plan_step(house, "show/about")
    assert house.sql("select person_id, record_id from smp.message where send_id = %s", send.send_id) == [
        (8, PERFORMANCE)
    ]


def test_two_frozen_groups_share_nobody_unless_by_hand_and_then_the_first_send_reaches_them(house: Theatre) -> None:
    link(house, "twins/one")
    link(house, "twins/two")
    assert in_group(house, "twins/two") == [5, 6]
    by_hand(house, "twins/two", [4], linked=True)
    assert planned(house, plan_step(house, "twins/two")) == [4, 5, 6]
    assert planned(house, plan_step(house, "twins/one")) == [1, 2, 3]


def test_a_record_is_refused_for_a_step_without_one_and_one_that_is_left_from_before_sends_nothing_twice(
    house: Theatre,
) -> None:
    with pytest.raises(SmpError, match=r"loose/list is not about a record.*\n.*leave out --record"):
        by_hand(house, "loose/list", [8], linked=True, record_id=PERFORMANCE)
    by_hand(house, "loose/list", [8], linked=True)
    house.sql("update smp.target_member set record_id = %s where step = 'loose/list'", PERFORMANCE)
    assert planned(house, plan_step(house, "loose/list", "loose/list@1")) == [8]
    assert planned(house, plan_step(house, "loose/list", "loose/list@2")) == []


@pytest.fixture
def share(house: Theatre) -> Iterator[None]:
    """Persons 3 and 11 have one address."""
    house.sql("update crm.person set email = 'same@example.org' where person_id in (3, 11)")
    house.mirror()
    yield
    house.sql("update crm.person set email = 'p' || person_id || '@example.org' where person_id in (3, 11)")
    house.mirror()


@pytest.mark.usefixtures("share")
def test_an_address_gets_a_frozen_step_once_whoever_of_it_is_linked_later(house: Theatre) -> None:
    by_hand(house, "household/list", [3], linked=True)
    assert planned(house, plan_step(house, "household/list", "household/list@1")) == [3]
    by_hand(house, "household/list", [11, 12], linked=True)
    ref = ref_of(house, "household/list")
    answers = house.deployment.explaining.why(ref, [3, 11], house.now)
    assert "; got this step on 2026-11-23 09:00" in str(answers[0].rules)
    assert "; person 3 has the same address and got this step on 2026-11-23 09:00" in str(answers[1].rules)
    assert planned(house, plan_step(house, "household/list", "household/list@2")) == [12]


@pytest.mark.usefixtures("share")
def test_the_rest_leaves_the_addresses_of_the_pilot_alone_and_why_says_so(house: Theatre) -> None:
    plan_step(house, "shared/pilot")
    ref = ref_of(house, "shared/rest")
    asleep = house.deployment.explaining.why(ref, [1], house.now)[0].conclusion
    assert asleep.endswith("status is concept (it never went live); 1 more rule stops it")
    house.live("shared/rest")
    answers = house.deployment.explaining.why(ref, EVERYBODY, house.now)
    for person in (1, 3, 11):
        assert answers[person - 1].conclusion.endswith(
            "campaign: got, or gets, another step of this campaign that this one leaves alone:"
            " shared/pilot (2026-11-23 09:00)"
        )
    rest = [5, 6, 7, 8, 9, 10, 12]
    assert [each.person_id for each in answers if each.gets] == rest
    assert planned(house, plan_step(house, "shared/rest")) == rest


def stopped_by_few(house: Theatre, key: str, send_key: str) -> Send | None:
    """A send of this step: the send when its people were stopped by the test of `few`, None when they are mailed."""
    send = plan_step(house, key, send_key)
    reasons = set(house.reasons(send).values())
    assert reasons in ({STOPPED}, {None})
    return send if reasons == {STOPPED} else None


def let_go(house: Theatre, send: Send | None) -> None:
    """Overrule a stopped send, as far as its opening."""
    assert send is not None
    with house.deployment.connection() as postgres:
        open_overruled(postgres, send, "live", house.now, "anna", "they may", None)


def test_a_copy_of_an_audience_that_a_test_stopped_is_stopped_until_somebody_let_its_source_go(house: Theatre) -> None:
    link(house, "blocked/source")
    link(house, "blocked/of_source")
    source = stopped_by_few(house, "blocked/source", "blocked/source@1")
    assert stopped_by_few(house, "blocked/of_source", "blocked/of_source@once")
    plain = stopped_by_few(house, "blocked/plain", "blocked/plain@once")
    link(house, "blocked/of_plain")
    assert stopped_by_few(house, "blocked/of_plain", "blocked/of_plain@once")
    let_go(house, source)
    let_go(house, plain)
    link(house, "blocked/late")
    assert stopped_by_few(house, "blocked/late", "blocked/late@once") is None
    assert stopped_by_few(house, "blocked/source", "blocked/source@2") is None, "overruled for the group, until linked"


def test_a_frozen_group_that_a_test_stopped_is_sent_once_it_is_linked_again_and_the_test_passes(house: Theatre) -> None:
    link(house, "mended/tick")
    assert stopped_by_few(house, "mended/tick", "mended/tick@1")
    house.sql("update crm.person set last_name = 'Gone' where person_id = 3")
    link(house, "mended/tick", again=True)
    house.sql("update crm.person set last_name = 'Jansen 3' where person_id = 3")
    assert stopped_by_few(house, "mended/tick", "mended/tick@2") is None


def test_a_group_is_never_made_of_selections_as_another_run_found_them(house: Theatre) -> None:
    ref = ref_of(house, "several/both")
    house.deployment.groups.evaluate(ref, house.now, "before")
    house.people(1, first=60, tickets=False)
    assert house.deployment.groups.evaluate(ref, house.now, "before").parts["amsterdam"] == 4
    assert house.deployment.groups.evaluate(ref, house.now, "only the group").parts["amsterdam"] == 5
    house.sql("delete from crm.person where person_id = 60")
