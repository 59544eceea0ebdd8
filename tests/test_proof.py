"""Tests of the proof (X3): a sum that holds, and every way in which a ledger can be wrong, by name."""

from __future__ import annotations

import pytest

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.proof import prove, read_reasons
from smp_pipelines.stores.postgres import Connection
from tests.support.house import house_connection as _connection  # noqa: F401  (fixtures)
from tests.support.house import live_house as _house  # noqa: F401
from tests.support.theatre import Theatre


@pytest.fixture
def send(house: Theatre) -> Send:
    return house.plan_these(house.people(4))


ROW = "md5('row:' || person_id || ':' || record_id)::uuid"


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("delete from smp.message where seq = 1", "1 of 4 planned rows are not in the ledger"),
        ("update smp.send set planned = 3", "1 rows are in the ledger that were never planned"),
        ("update smp.send set state = 'finished'", "the send is finished, and 4 rows still wait"),
        ("delete from smp.send", "4 rows belong to a send that is not there"),
        ("update smp.message set state = 'skipped' where seq = 1", "1 rows are skipped without a reason"),
        (
            "update smp.message set state = 'skipped', reason = 'duplicate_address',"
            " duplicate_of = md5('address:gone@example.org')::uuid where seq = 1",
            "1 people were left out for somebody with the same address who is not in the send",
        ),
        (
            "alter table smp.message drop constraint message_pkey",
            "the database does not refuse a second row for a recipient any more",
        ),
    ],
)
def test_what_is_wrong_is_named(house: Theatre, connection: Connection, send: Send, damage: str, finding: str) -> None:
    assert [proof.holds for proof in prove(connection)] == [True]
    house.sql(damage)
    for found in (prove(connection, send.send_id), prove(connection)):
        assert [proof.findings for proof in found] == [[finding]]
        assert [proof.holds for proof in found] == [False]


def test_a_send_without_de_duplication_may_have_somebody_once_for_each_record(
    house: Theatre, connection: Connection, send: Send
) -> None:
    house.sql("update smp.message set person_id = 1, record_id = seq")
    (proof,) = prove(connection, send.send_id)
    assert proof.findings == ["1 people are in this send more than once"], "keys of addresses: one mail each"
    house.sql(f"update smp.message set recipient_key = {ROW}")
    assert [proof.holds for proof in prove(connection, send.send_id)] == [True]
    house.sql("update smp.message set record_id = 1, recipient_key = md5('row:1:1')::uuid where seq = 1")
    house.sql("update smp.message set person_id = 2, record_id = 1 where seq = 2")
    house.sql("update smp.message set person_id = 2, record_id = 5 where seq = 3")
    (proof,) = prove(connection, send.send_id)
    assert proof.findings == ["1 people are in this send more than once"], "two keys that are not their rows'"


def test_the_sum_is_a_sentence_and_says_what_still_waits(house: Theatre, connection: Connection, send: Send) -> None:
    house.sql("update smp.message set state = 'skipped', reason = 'opted_out' where seq = 1")
    (proof,) = prove(connection, send.send_id)
    assert proof.sentence == "4 planned = 0 accepted + 0 rejected + 0 unknown + 1 skipped + 3 waiting"
    assert read_reasons(connection, send.send_id) == [("skipped", 1, "said no to this topic")]


def test_an_empty_ledger_proves_nothing_and_a_send_that_is_not_there_is_said_so(connection: Connection) -> None:
    assert prove(connection) == []
    with pytest.raises(SmpError, match="there is no send 7"):
        prove(connection, 7)
