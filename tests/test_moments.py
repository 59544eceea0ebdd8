"""Tests of the contact moments: what the ledger says, as the lake and with it the selections know it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import psycopg
import pytest

from smp_pipelines.reporting.moments import mirror_moments, read_seen
from smp_pipelines.sending import ledger
from smp_pipelines.sending.ledger import LEASE, Outcome, Send
from smp_pipelines.stores.lake import committed, rows, transaction
from tests.support.theatre import PERFORMANCE, STEP, Theatre, theatre


@pytest.fixture
def house(embedded_url: str, migrated_template: str, tmp_path: Path) -> Iterator[Theatre]:
    with theatre(embedded_url, migrated_template, tmp_path / "state") as opened:
        opened.live()
        yield opened


def moments(house: Theatre) -> dict[int, tuple[str, bool]]:
    """Outcome and received, by person, after mirroring."""
    house.deployment.mirror_moments()
    with house.deployment.lake.open() as lake:
        found = rows(lake, "select person_id, outcome, received from smp.contact_moment")
        # whatever happened: the lake never holds a message without its send
        assert rows(lake, "from smp.message where send_id not in (select send_id from smp.send)") == []
    return {person: (outcome, received) for person, outcome, received in found}


def settle(house: Theatre, send: Send, outcomes: dict[int, str]) -> None:
    claim = house.claim(send)
    done = [
        Outcome(message.recipient_key, outcomes[message.person_id])  # type: ignore[arg-type]
        for message in claim.messages
        if message.person_id in outcomes
    ]
    with house.deployment.connection() as connection:
        ledger.settle(connection, send, claim.token, done, house.now)
        ledger.finish(connection, send, house.now)


def test_whoever_is_planned_has_a_contact_moment_before_the_mail_leaves(house: Theatre) -> None:
    house.plan_these(house.people(2))
    assert moments(house) == {1: ("planned", True), 2: ("planned", True)}
    with house.deployment.lake.open() as lake:
        found = rows(
            lake, "select campaign, step, channel, kind, happened_at, record_id from smp.contact_moment limit 1"
        )
    (campaign, step, channel, kind, happened_at, record) = found[0]
    assert (campaign, step, channel, kind, record) == ("servicemails", STEP, "email", "sent", PERFORMANCE)
    assert happened_at == house.now


def test_each_outcome_arrives_and_a_refused_mail_was_not_received(house: Theatre) -> None:
    send = house.plan_these(house.people(4))
    moments(house)
    settle(house, send, {1: "accepted", 2: "rejected", 3: "unknown", 4: "accepted"})
    assert moments(house) == {
        1: ("accepted", True),
        2: ("rejected", False),
        3: ("unknown", True),
        4: ("accepted", True),
    }


def test_a_skipped_person_has_no_contact_moment_but_a_shared_address_has(house: Theatre) -> None:
    send = house.plan_these(house.people(1))
    house.people(2, first=2)
    house.sql(
        "insert into smp.message (send_id, recipient_key, seq, person_id, state, reason, duplicate_of)"
        " select send_id, gen_random_uuid(), 2, 2, 'skipped'::smp.message_state, 'duplicate_address', recipient_key"
        " from smp.message"
        " union all select send_id, gen_random_uuid(), 3, 3, 'skipped', 'opted_out', null from smp.message"
    )
    assert moments(house) == {1: ("planned", True), 2: ("skipped", True)}
    settle(house, send, {1: "rejected"})
    assert moments(house) == {1: ("rejected", False)}, "nobody at that address got anything"


def test_a_finished_send_is_not_read_again(house: Theatre) -> None:
    send = house.plan_these(house.people(3))
    settle(house, send, dict.fromkeys((1, 2, 3), "accepted"))
    assert house.deployment.mirror_moments().written == 3
    assert house.deployment.mirror_moments().written == 0
    assert house.deployment.mirror_moments().row_count == 3


def test_an_answer_that_comes_after_the_end_still_arrives(house: Theatre) -> None:
    send = house.plan_these(house.people(2))
    claim = house.claim(send)
    late = house.now + LEASE + timedelta(seconds=1)
    with house.deployment.connection() as connection:
        ledger.expire(connection, send, late)
        ledger.finish(connection, send, late)
        assert set(moments(house).values()) == {("unknown", True)}
        ledger.settle(
            connection, send, claim.token, [Outcome(m.recipient_key, "rejected") for m in claim.messages], late
        )
    assert set(moments(house).values()) == {("rejected", False)}


def test_a_late_answer_that_is_written_while_the_send_is_finished_is_not_missed(house: Theatre) -> None:
    send = house.plan_these(house.people(1))
    claim = house.claim(send)
    outcome = Outcome(claim.messages[0].recipient_key, "accepted")
    late = house.now + LEASE + timedelta(seconds=1)
    with house.deployment.connection() as connection, psycopg.connect(house.url) as slow:
        ledger.expire(connection, send, late)
        slow.execute("insert into crm.list values (1, 'its transaction began before the end')")
        ledger.finish(connection, send, late)
        moments(house)
        ledger.settle(slow, send, claim.token, [outcome], late)
        moments(house)
        slow.commit()
    assert moments(house) == {1: ("accepted", True)}


def test_a_send_that_was_planned_by_a_slow_transaction_is_not_missed(house: Theatre) -> None:
    people = house.people(3)
    first = house.plan_these(people[:1])
    send = house.open_send()
    with psycopg.connect(house.url) as slow:
        slow.execute(
            "insert into smp.message (send_id, recipient_key, seq, person_id, state)"
            " values (%s, gen_random_uuid(), 1, 2, 'planned')",
            (send.send_id,),
        )
        slow.execute(
            "update smp.send set state = 'open', changed_tx = pg_current_xact_id() where send_id = %s", (send.send_id,)
        )
        settle(house, first, {1: "accepted"})
        assert moments(house) == {1: ("accepted", True)}
        slow.commit()
    assert moments(house) == {1: ("accepted", True), 2: ("planned", True)}


def test_test_mails_are_no_contact_moments(house: Theatre) -> None:
    house.plan_these(house.people(1))
    house.sql("update smp.send set purpose = 'test'")
    assert moments(house) == {}


def test_a_database_restored_on_another_server_is_read_anew(house: Theatre) -> None:
    send = house.plan_these(house.people(1))
    settle(house, send, {1: "accepted"})
    moments(house)
    with house.deployment.lake.open() as lake:
        lake.execute("update smp.message_state set watermark = '9999999999:9999999999:'")
        assert mirror_moments(lake).written == 1
        assert read_seen(lake).xmax < 9_999_999_999


def test_work_on_the_lake_that_meets_another_writer_is_done_again_and_a_real_error_is_told(house: Theatre) -> None:
    with house.deployment.lake.open() as one, house.deployment.lake.open() as other:
        one.execute("create table smp.counted as select 1 as n")
        met: list[int] = []

        def count() -> None:
            one.execute("update smp.counted set n = n + 1")
            if not met:
                met.append(1)
                other.execute("update smp.counted set n = n + 10")

        committed(one, count)
        assert one.execute("from smp.counted").fetchall() == [(12,)]
        with pytest.raises(duckdb.CatalogException, match="no_such_table"), transaction(one):
            one.execute("from smp.no_such_table")


def test_who_asks_for_tables_of_the_crm_only_does_not_copy_the_mails_that_wait(house: Theatre) -> None:
    house.plan_these(house.people(2))

    def known() -> list[tuple[int]]:
        with house.deployment.lake.open() as lake:
            return [*rows(lake, "select count(*) from smp.message"), *rows(lake, "select count(*) from crm.person")]

    house.deployment.refresh_read(["crm.person"])
    assert known() == [(0,), (2,)]
    house.deployment.refresh_read(["crm.person", "smp.contact_moment"])
    assert known() == [(2,), (2,)]
