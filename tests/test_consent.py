"""Tests of who may be mailed at all: consent per channel and topic, the suppression list, addresses that exist."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from smp_pipelines.sending import address, ledger
from smp_pipelines.sending.ledger import Send
from tests.support.theatre import NEWSLETTER, STEP, Theatre, theatre

GOOD = [
    "a@b.nl",
    "1@2.nl",
    "a+b@b.nl",
    "a_b-c.d@e-f.co.uk",
    "o'neil@x.museum",
    "{a}|~`!#$%&'*+/=?^_-@b.nl",
    "a@1-2.nl",
    "a@xn--mller-kva.example",
    "a@b.xn--p1ai",
    "jürgen@example.org",
    "a@müller.example",
    "пример@пример.рф",
    "अ@हिन्दी.भारत",
    "mu\u0308ller@mu\u0308ller.nl",
    "x" * 64 + "@b.nl",
    "ü" * 32 + "@b.nl",
    "a@" + "b" * 63 + ".nl",
    "x" * 64 + "@" + ("b" * 60 + ".") * 3 + "nlnlnl",
    "Anna@B.NL",
    " a@spaces-around.nl ",
]
DEAD = [
    "geen adres",
    "a",
    "@b.nl",
    "a@",
    "a@b",
    "a@b@c.nl",
    "a@@b.nl",
    ".a@b.nl",
    "a.@b.nl",
    "a..b@c.nl",
    "a@.b.nl",
    "a@b..nl",
    "a@b.nl.",
    "a@-b.nl",
    "a@b-.nl",
    "a@b_c.nl",
    "a@b'c.nl",
    "a@b.n",
    "a@b.123",
    "a@1.2.3.4",
    "a@[1.2.3.4]",
    "a b@c.nl",
    "a@b c.nl",
    "a\tb@c.nl",
    "a\n@b.nl",
    "a@b.nl\n",
    "a@b.nl\r\nBcc: c@d.nl",
    "a\x01@b.nl",
    "a\x7f@b.nl",
    "a\x85@b.nl",
    "a\xa0b@c.nl",
    "a\xadb@c.nl",
    "a\u200bb@c.nl",
    "a@b\u200b.nl",
    "\ufeffa@b.nl",
    "a\u2028@b.nl",
    '"a b"@c.nl',
    '"a"@c.nl',
    "a\\b@c.nl",
    "<a@b.nl>",
    "(a)@b.nl",
    "a,b@c.nl",
    "a@b.nl;c@d.nl",
    "mailto:a@b.nl",
    "x" * 65 + "@b.nl",
    "ü" * 33 + "@b.nl",
    "a@" + "b" * 64 + ".nl",
    "a@b." + "c" * 64,
    "x" * 64 + "@" + ("b" * 60 + ".") * 3 + "nlnlnln",
]


@pytest.fixture
def house(embedded_url: str, migrated_template: str, tmp_path: Path) -> Iterator[Theatre]:
    with theatre(embedded_url, migrated_template, tmp_path / "state") as opened:
        opened.live()
        opened.live(NEWSLETTER)
        yield opened


def planned_rows(house: Theatre, people: list[int]) -> Send:
    """A send to these people as planning would have written it when they still had today's addresses."""
    send = house.plan_these(people)
    house.sql(
        "update smp.message as m set recipient_key = md5('address:' || p.email_key)::uuid"
        " from crm.person as p where p.person_id = m.person_id and m.send_id = %s",
        send.send_id,
    )
    return send


def test_planning_and_the_claim_agree_on_which_addresses_can_exist(house: Theatre) -> None:
    addresses = [*GOOD, *DEAD]
    people = house.people(len(addresses))
    house.sql(
        "update crm.person as p set email = a.email from unnest(%s::int[], %s::text[]) as a (person_id, email)"
        " where p.person_id = a.person_id",
        people, addresses,
    )  # fmt: skip
    expected = {each: None if each in GOOD else "broken_address" for each in addresses}
    by_id = dict(zip(people, addresses, strict=True))
    planned = house.plan()
    assert {by_id[person]: reason for person, reason in house.reasons(planned).items()} == expected
    send = planned_rows(house, people)
    # as for a step that is not de-duplicated: otherwise the key says that the address was judged at planning
    rules = dataclasses.replace(house.rules, deduplicate=False)
    with house.deployment.connection() as connection:
        claim = ledger.claim(connection, send, rules, house.now, len(people))
    assert {by_id[person]: reason for person, reason in house.reasons(send).items()} == expected
    assert sorted(each.address for each in claim.messages) == sorted(each.strip(" ") for each in GOOD)


def test_python_reads_the_pattern_as_the_databases_do() -> None:
    for each in (*GOOD, *DEAD):
        key = each.strip(" ").lower()
        name, _, _ = key.partition("@")
        fits = (
            len(key.encode()) <= 254
            and len(name.encode()) <= 64
            and re.fullmatch(address.PATTERN, key)
            and not re.search(address.RULE["long_label"], key)
        )
        assert bool(fits) is (each in GOOD), each


def test_consent_is_of_this_channel_and_topic_and_a_yes_is_needed_only_where_smp_yaml_says_so(house: Theatre) -> None:
    house.people(6)
    said = [
        (1, "email", "service", True),
        (2, "email", "service", False),
        (3, "sms", "service", False),
        (4, "email", "newsletter", False),
        (5, "post", "newsletter", True),
        (6, "email", "newsletter", True),
    ]
    for person, channel, topic, granted in said:
        house.sql("insert into crm.consent values (%s, %s, %s, %s, now(), 'web')", person, channel, topic, granted)
    assert house.reasons(house.plan()) == {1: None, 2: "opted_out", 3: None, 4: None, 5: None, 6: None}
    house.step = NEWSLETTER
    send = planned_rows(house, [1, 2, 3, 4, 5, 6])
    house.sql("update smp.message set record_id = null where send_id = %s", send.send_id)
    house.claim(send)
    nobody = dict.fromkeys((1, 2, 3, 5), "no_consent")
    assert house.reasons(send) == {**nobody, 4: "opted_out", 6: None}


def test_a_no_after_planning_stops_the_mail_and_a_yes_after_planning_comes_too_late(house: Theatre) -> None:
    house.people(3)
    house.sql("insert into crm.consent values (2, 'email', 'service', false, now(), 'web')")
    house.sql("insert into crm.consent values (3, 'email', 'service', true, now(), 'web')")
    send = house.plan()
    assert house.reasons(send) == {1: None, 2: "opted_out", 3: None}
    house.sql("update crm.consent set granted = not granted")
    claim = house.claim(send)
    assert [each.person_id for each in claim.messages] == [1]
    assert house.reasons(send) == {1: None, 2: "opted_out", 3: "opted_out"}
    assert house.claim(send).messages == []


def test_a_consent_that_is_taken_away_altogether_counts_as_never_asked(house: Theatre) -> None:
    house.step = NEWSLETTER
    house.people(2)
    house.sql(
        "insert into crm.consent select n, 'email', 'newsletter', true, now(), 'web' from generate_series(1, 2) n"
    )
    send = house.plan()
    house.sql("delete from crm.consent where person_id = 1")
    assert [each.person_id for each in house.claim(send).messages] == [2]
    assert house.reasons(send) == {1: "no_consent", 2: None}


def test_an_address_on_the_list_is_not_mailed_however_it_is_written_on_either_side(house: Theatre) -> None:
    house.people(3)
    house.sql("update crm.person set email = ' P1@Example.ORG' where person_id = 1")
    house.sql("insert into crm.suppression values ('p1@EXAMPLE.org ', 'manual', now())")
    send = house.plan()
    assert house.reasons(send) == {1: "suppressed", 2: None, 3: None}
    house.sql("insert into crm.suppression values ('P2@example.org', 'x', now()), (' p2@EXAMPLE.org', 'y', now())")
    claim = house.claim(send)
    assert [each.person_id for each in claim.messages] == [3]
    assert claim.skipped == {"suppressed": 1}


def test_whoever_comes_off_the_list_between_planning_and_claim_waits_for_the_next_send(house: Theatre) -> None:
    house.people(1)
    house.sql("insert into crm.suppression values ('p1@example.org', 'manual', now())")
    send = house.plan()
    house.sql("delete from crm.suppression")
    assert house.claim(send).messages == []
    assert house.reasons(house.plan()) == {1: None}


def test_an_opt_out_is_of_the_person_and_the_address_of_the_family_stays_with_its_other_owner(house: Theatre) -> None:
    house.people(2)
    house.sql("update crm.person set email = 'gezin@example.org'")
    send = house.plan()
    assert house.reasons(send) == {1: None, 2: "duplicate_address"}
    house.sql("insert into crm.consent values (1, 'email', 'service', false, now(), 'web')")
    assert house.claim(send).messages == []
    # nobody got it, so the next send has the other owner of the address
    assert house.step == STEP
    assert house.reasons(house.plan()) == {1: "opted_out", 2: None}
