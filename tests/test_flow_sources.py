"""Who enters a flow by which trigger: once per event, by the rules, whatever commits late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta

import psycopg
import pytest

from smp_pipelines.flow.sources import enrol_condition
from smp_pipelines.problems import SmpError
from smp_pipelines.selection.condition import Condition
from tests.support.flow_watched import NOON, Watched, after, watched

Watch = Callable[..., Watched]
DONATED = "insert into crm.donation values (%s, %s, %s, %s, %s, %s)"
BIRTHDAY = {"type": "date", "field": "person.birth_date", "time": "09:00"}


@pytest.fixture
def watch(postgres_url: str) -> Iterator[Watch]:
    """Makes a live flow with these triggers; closes its connection at the end."""
    with ExitStack() as stack:
        yield lambda *triggers, **file: stack.enter_context(closing(watched(postgres_url, *triggers, **file)))


def on_list(flow: Watched, person: int, at: datetime, name: str = "Friends") -> None:
    flow.sql("insert into crm.list (list_id, name) values (7, %s) on conflict do nothing", name)
    flow.sql("insert into crm.list_member values (7, %s, %s)", person, at)


def off_list(flow: Watched, person: int) -> None:
    flow.sql("delete from crm.list_member where person_id = %s", person)


# ------------------------------------------------------------ what happens


def test_who_is_put_on_a_list_enters_once_and_who_was_on_it_before_does_not(watch: Watch) -> None:
    flow = watch({"type": "list", "list": "Friends"}, reentry="after_leaving")
    flow.people(1, 2, 3)
    on_list(flow, 1, after(-5))
    assert flow.look(after(0))["list Friends"].enrolled == 0
    on_list(flow, 2, after(1))
    on_list(flow, 3, after(2), "Friends")
    flow.look(after(3))
    flow.look(after(4))
    assert flow.entered() == [(2, "list:7"), (3, "list:7")]
    flow.leave(2, after(5))
    off_list(flow, 2)
    on_list(flow, 2, after(6))
    flow.look(after(7))
    assert flow.who() == [2, 3]


def test_who_is_put_on_a_list_again_enters_again_when_the_flow_wants_that(watch: Watch) -> None:
    flow = watch({"type": "list", "list": "Friends", "again": True}, reentry="after_leaving")
    flow.people(1)
    on_list(flow, 1, after(1))
    flow.look(after(2))
    off_list(flow, 1)
    on_list(flow, 1, after(3))
    assert flow.look(after(4))["list Friends again"].refused == {"present": 1}
    flow.leave(1, after(5))
    off_list(flow, 1)
    on_list(flow, 1, after(6))
    flow.look(after(7))
    assert len(flow.entered()) == 2
    assert all(key.startswith("list:7:") for _, key in flow.entered())


def test_a_donation_enters_by_its_fund_action_and_amount(watch: Watch) -> None:
    flow = watch({"type": "donation", "fund": "roof", "action": "gala", "min": 10, "max": 50})
    flow.people(*range(1, 8))
    gifts: list[tuple[object, ...]] = [
        ("roof", "gala", 9.99),
        ("roof", "gala", 10),
        ("roof", "gala", 50),
        ("roof", "gala", 50.01),
    ]
    gifts += [("door", "gala", 20), ("roof", "post", 20), ("roof", None, 20)]
    for person, gift in enumerate(gifts, 1):
        flow.sql(DONATED, person, person, *gift, after(1))
    flow.look(after(2))
    assert flow.entered() == [(2, "record:donation:2"), (3, "record:donation:3")]


def test_two_donations_at_once_enter_once_and_an_edited_one_does_not_enter_again(watch: Watch) -> None:
    flow = watch({"type": "donation"}, reentry="after_leaving")
    flow.people(1)
    for number in (1, 2):
        flow.sql(DONATED, number, 1, "roof", None, 5, after(number))
    (judged,) = flow.look(after(3)).values()
    assert (judged.enrolled, judged.refused) == (1, {"present": 1})
    flow.leave(1, after(4))
    flow.sql("update crm.donation set amount = 6")
    flow.look(after(5))
    assert flow.entered() == [(1, "record:donation:1")]


def test_a_ticket_enters_with_the_performance_that_the_flow_is_about(watch: Watch) -> None:
    flow = watch({"type": "record", "table": "ticket", "amount": "price", "min": "12.50"}, record="performance")
    flow.people(1, 2)
    flow.sql("insert into crm.performance values (70, 'Hamlet', 'toneel', 'Zaal', %s, 90)", after(999))
    flow.sql(
        "insert into crm.ticket values (1, 1, 70, 'A1', 12.5, %s), (2, 2, 70, 'A2', 12.49, %s)", after(1), after(1)
    )
    flow.look(after(2))
    assert flow.sql("select person_id, record_id, entry_key, entered_by from smp.participant") == [
        (1, 70, "record:ticket:1", "record ticket price>=12.50")
    ]


def test_columns_hold_what_is_asked_whatever_their_type(watch: Watch) -> None:
    equal = {"blocked": True, "organisation_id": 3, "birth_date": "2000-01-31", "language": "fr"}
    flow = watch({"type": "record", "table": "person", "date": "created_at", "equal": equal})
    flow.sql("insert into crm.organisation values (3, 'x', 'x', 'x', %s)", NOON)
    fits: dict[str, object] = {"blocked": True, "organisation_id": 3, "birth_date": "2000-01-31", "language": "fr"}
    flow.people(1, **fits)
    others: tuple[dict[str, object], ...] = (
        {"blocked": False},
        {"organisation_id": None},
        {"birth_date": None},
        {"language": "nl"},
    )
    for person, other in enumerate(others, 2):
        flow.people(person, **{**fits, **other})
    flow.sql("update crm.person set created_at = %s", after(1))
    flow.look(after(2))
    assert flow.sql("select person_id from smp.flow_refusal") == [(1,)], "the one of whom it is true is blocked"


def test_a_column_that_is_in_no_schema_file_any_more_is_told_of(watch: Watch) -> None:
    flow = watch({"type": "record", "table": "ticket", "equal": {"row": 3}})
    with pytest.raises(SmpError, match="there is no row in sql/schema any more"):
        flow.look(after(1))


def test_a_form_enters_once_it_is_confirmed_and_that_of_a_test_mail_never(watch: Watch) -> None:
    flow = watch({"type": "form", "step": "after_form/form"})
    flow.people(1, 2, 3, 4)
    flow.submit(1, after(1))
    asked = flow.submit(2, after(1), asks=True)
    flow.submit(3, after(1), send=flow.send(purpose="test"))
    flow.submit(4, after(1), step="after_form/other")
    flow.look(after(2))
    assert flow.who() == [1]
    flow.sql(
        "update smp.submission set confirmed_at = %s, changed_tx = pg_current_xact_id() where submission_id = %s",
        *(after(3), asked),
    )
    flow.look(after(4))
    assert flow.entered()[1:] == [(2, f"form:{asked}")]


def test_a_click_enters_when_a_person_made_it_on_that_link(watch: Watch) -> None:
    link = "https://example.org/gift"
    flow = watch({"type": "click", "step": "newsletter/december", "link": link})
    flow.people(*range(1, 6))
    send = flow.send()
    flow.hit("click", 1, send, after(1), "https://example.org/other")
    flow.hit("click", 1, send, after(2), link)
    flow.hit("click", 2, send, after(2), link, agent="Barracuda Sentinel")
    flow.hit("click", 3, send, after(2), "https://example.org/other")
    flow.hit("open", 4, send, after(2), link)
    flow.hit("click", 5, flow.send(purpose="internal"), after(2), link)
    flow.look(after(3))
    assert flow.who() == [1]
    assert flow.entered()[0][1].startswith(f"click:{send}:")


def test_a_click_is_judged_only_once_a_scanner_had_time_for_its_next_one(watch: Watch) -> None:
    flow = watch({"type": "click", "step": "newsletter/december"})
    flow.people(1, 2)
    send = flow.send()
    flow.look(after(0))
    flow.hit("click", 1, send, after(1))
    flow.hit("click", 2, send, after(1))
    flow.look(after(1) + timedelta(seconds=0.2))
    assert flow.who() == []
    flow.hit("click", 1, send, after(1) + timedelta(seconds=0.5), "https://example.org/second")
    flow.look(after(2))
    assert flow.who() == [2]


@pytest.mark.parametrize("ahead", [-2, -1, 0, 1, 2, 3, 60])
def test_no_click_is_lost_when_clocks_differ(watch: Watch, ahead: int) -> None:
    flow = watch({"type": "click", "step": "newsletter/december"})
    flow.people(1)
    flow.look(after(0))
    flow.hit("click", 1, flow.send(), after(1) + timedelta(seconds=ahead))
    for seconds in (0, 1, 3, 4, 5, 9):
        flow.look(after(1) + timedelta(seconds=seconds))
    assert flow.who() == [1]


@pytest.mark.parametrize(
    ("kind", "hit"), [("opened", "open"), ("opened", "view"), ("form_opened", "form"), ("page_seen", "page")]
)
def test_contact_moments_enter(watch: Watch, kind: str, hit: str) -> None:
    flow = watch({"type": "contact_moment", "step": "newsletter/december", "kind": kind})
    flow.people(1, 2, 3)
    send = flow.send()
    for number in range(3):
        flow.hit(hit, 1, send, after(1 + number))
    flow.hit("click", 2, send, after(1))
    flow.hit(hit, 3, send, after(1), step="newsletter/other")
    flow.look(after(9))
    flow.look(after(10))
    assert flow.entered() == [(1, f"moment:{kind}:newsletter/december:{send}/-/-")]


def test_submitted_confirmed_and_unsubscribed_are_contact_moments_too(watch: Watch) -> None:
    kinds = ("form_submitted", "confirmed", "unsubscribed")
    triggers = [{"type": "contact_moment", "step": "after_form/form", "kind": kind} for kind in kinds]
    flow = watch(*triggers)
    flow.people(1, 2, 3)
    send = flow.send("after_form/form")
    flow.look(after(0))
    flow.submit(1, after(1), asks=True)
    flow.sql("update smp.submission set confirmed_at = %s", after(2))
    flow.submit(2, after(1), asks=True)
    flow.sql(
        "insert into smp.unsubscription (send_id, recipient_key, step, person_id, topics, happened_at, source)"
        " values (%s, gen_random_uuid(), 'after_form/form', 3, '{news}', %s, 'x')",
        *(send, after(1)),
    )
    found = flow.look(after(3))
    assert {name.split()[0]: each.enrolled + each.refused.total() for name, each in found.items()} == {
        "form_submitted": 2, "confirmed": 1, "unsubscribed": 1,
    }  # fmt: skip
    assert sorted(flow.who()) == [1, 2, 3]


def test_filters_say_who_and_each_event_is_judged_once(watch: Watch) -> None:
    flow = watch({"type": "donation"}, filter={"city": "Breda"})
    flow.people(1, city="Breda")
    flow.people(2, city="Delft")
    for person in (1, 2):
        flow.sql(DONATED, person, person, "roof", None, 5, after(1))
    flow.look(after(2))
    flow.sql("update crm.person set city = 'Breda'")
    flow.sql("update crm.donation set amount = 6")
    flow.look(after(3))
    assert flow.who() == [1]
    assert flow.sql("select entry_key, person_id, reason from smp.flow_refusal") == [
        ("record:donation:2", 2, "filtered")
    ]


# ------------------------------------------------------------ when somebody looks


@pytest.mark.parametrize("looks", [1, 3])
def test_what_commits_after_a_look_is_not_missed(watch: Watch, postgres_url: str, looks: int) -> None:
    flow = watch({"type": "donation"}, {"type": "list", "list": "Friends"})
    flow.people(1, 2)
    flow.sql("insert into crm.list (list_id, name) values (7, 'Friends')")
    with psycopg.connect(postgres_url) as slow:
        slow.execute(DONATED, (1, 1, "roof", None, 5, after(1)))
        slow.execute("insert into crm.list_member values (7, 2, %s)", (after(1),))
        for number in range(looks):
            flow.sql(DONATED, 10 + number, 2, "roof", None, 5, after(-9))  # others write and commit meanwhile
            flow.look(after(2 + number))
        assert flow.who() == []
    flow.look(after(9))
    assert sorted(flow.who()) == [1, 2]


def test_nothing_new_is_seen_at_once_and_anything_new_as_well(watch: Watch) -> None:
    flow = watch({"type": "donation"}, {"type": "click", "step": "newsletter/december"}, BIRTHDAY)
    flow.people(1)
    assert flow.is_new(after(0))
    flow.look(after(0))
    assert not flow.is_new(after(5))
    assert flow.is_new(NOON + timedelta(days=1))
    flow.sql(DONATED, 1, 1, "roof", None, 5, after(1))
    assert flow.is_new(after(5))
    flow.look(after(5))
    assert not flow.is_new(after(6))
    flow.hit("click", 1, flow.send(), after(6))
    for minute in (7, 8):  # a click is read twice
        assert flow.is_new(after(minute))
        flow.look(after(minute))
    assert not flow.is_new(after(9))


def test_a_trigger_that_a_new_version_brings_counts_from_then_on_and_one_that_stays_goes_on(watch: Watch) -> None:
    flow = watch({"type": "donation"})
    flow.people(1, 2, 3)
    flow.sql("insert into crm.list (list_id, name) values (7, 'Friends')")
    flow.look(after(0))
    on_list(flow, 1, after(10))
    flow.sql(DONATED, 2, 2, "roof", None, 5, after(10))
    flow.change(after(20), triggers=[{"type": "list", "list": "Friends"}, {"type": "donation"}])
    on_list(flow, 3, after(21))
    flow.look(after(22))
    assert flow.who() == [3, 2]


def test_a_trigger_that_is_written_otherwise_is_a_new_one(watch: Watch) -> None:
    flow = watch({"type": "list", "list": "Friends", "again": True}, reentry="after_leaving")
    flow.people(1)
    on_list(flow, 1, after(1))
    flow.look(after(2))
    flow.leave(1, after(3))
    flow.change(after(4), triggers=[{"type": "list", "list": "Friends"}], reentry="after_leaving")
    flow.look(after(5))
    assert flow.who() == [1]


def test_a_flow_that_looks_for_the_first_time_after_a_change_reads_what_came_since_it_went_live(watch: Watch) -> None:
    flow = watch({"type": "donation"})
    flow.people(1)
    flow.sql(DONATED, 1, 1, "roof", None, 5, after(1))
    flow.change(after(2), triggers=[{"type": "donation"}], name="Another name")
    flow.look(after(3))
    assert flow.who() == [1]


def test_a_simulation_takes_what_happened_in_its_stretch_and_keeps_no_cursor(watch: Watch) -> None:
    flow = watch({"type": "donation"}, {"type": "click", "step": "newsletter/december"}, BIRTHDAY)
    flow.people(*range(1, 7), birth_date="1990-11-24")
    send = flow.send()
    for person in (1, 2, 3):
        flow.sql(DONATED, person, person, "roof", None, 5, after(person))
        flow.hit("click", person + 3, send, after(person))
    flow.look(after(2), since=after(1))
    assert flow.who() == [2, 5]
    flow.look(after(3), since=after(2))
    assert flow.who() == [2, 5, 3, 6]
    flow.look(NOON + timedelta(days=1), since=after(3))
    assert sorted(flow.who()) == [1, 2, 3, 4, 5, 6]
    assert flow.sql("select count(*) from smp.flow_cursor") == [(0,)]


# ------------------------------------------------------------ by hand, from other flows, waking


def test_people_are_enrolled_by_hand_by_number_and_by_condition(watch: Watch) -> None:
    flow = watch({"type": "manual"})
    flow.people(1, 2, 3)
    flow.people(4, city="Breda")
    first = flow.enrol([1, 9], "a", after(1))
    assert (first.enrolled, first.refused) == (1, {"person_gone": 1})
    assert flow.enrol([1, 9], "a", after(2)).refused == {}, "the same order again"
    assert flow.enrol([1, 2], "b", after(3)).refused == {"present": 1}
    breda = Condition("select person_id from crm.person where city = 'Breda'", ("crm.person",))
    assert enrol_condition(flow.connection, flow.version, flow.state, flow.judge, breda, "c", after(4)).enrolled == 1
    assert flow.entered() == [(1, "hand:a"), (2, "hand:b"), (4, "hand:c")]
    flow.turn("paused")
    with pytest.raises(SmpError, match="is paused, so nobody can enter it"):
        flow.enrol([3], "d", after(5))


def test_who_moves_here_from_another_flow_enters_by_the_rules_of_this_one(watch: Watch) -> None:
    flow = watch({"type": "manual"}, filter={"city": "Breda"})
    flow.people(1, 2, city="Breda")
    flow.people(3, city="Delft")
    ((other,),) = flow.sql("insert into smp.flow (flow, since) values ('other', %s) returning flow_id", NOON)
    flow.look(after(0))
    for person, minute in ((1, 1), (2, -1), (3, 1)):
        flow.sql(
            "insert into smp.participant (flow_id, version_id, person_id, entry_key, entered_by, entered_at, node,"
            " arrived_at, left_at, outcome, reason) values (%s, 0, %s, 'x', 'x', %s, 0, %s, %s, 'moved', 'walk')",
            *(other, person, after(-9), after(-9), after(minute)),
        )
    assert flow.is_new(after(2))
    found = flow.look(after(2))["flow other"]
    assert (found.enrolled, found.refused) == (1, {"filtered": 1})
    entered = flow.sql(
        "select person_id, entered_by, entry_key like 'moved:%%' from smp.participant where flow_id <> %s", other
    )
    assert entered == [(1, "flow other", True)]
    assert not flow.is_new(after(3))


def test_who_waits_for_a_form_or_a_page_is_woken_by_it(watch: Watch) -> None:
    steps = {"ask": {"form": "after_form/form"}, "read": {"page": "after_form/page"}}
    flow = watch({"type": "manual"}, steps=steps)
    flow.people(1, 2, 3, 4)
    flow.submit(1, after(-1))
    flow.enrol([1, 2, 3, 4], "a", after(0))
    flow.sql("update smp.participant set due_at = %s where person_id in (1, 2)", after(99))
    flow.sql("update smp.participant set due_at = null where person_id > 2")
    flow.sql("update smp.participant set node = 1 where person_id > 2")
    assert flow.wake(after(1)) == 0
    assert not flow.is_new(after(2)) or flow.look(after(2)) == {}
    flow.submit(2, after(2))
    flow.hit("page", 3, None, after(2), step="after_form/page")
    flow.hit("page", 4, None, after(2), step="after_form/page", agent="Googlebot")
    assert flow.is_new(after(3))
    assert flow.wake(after(3)) == 2
    due = flow.sql("select person_id, due_at from smp.participant order by 1")
    assert due == [(1, after(99)), (2, after(3)), (3, after(3)), (4, None)]
    assert flow.wake(after(4)) == 0
