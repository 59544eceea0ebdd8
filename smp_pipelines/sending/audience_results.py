"""Results of audience tests: kept with the run that they are about, read when a send is planned from it (X5).

Planning reads them itself, whoever materialised the selection and whatever Dagster made of it: a send is stopped by
what is written here, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smp_pipelines.selection.audience_tests.running import Result
from smp_pipelines.selection.runs import SelectionRun
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.reasons import AUDIENCE_TEST
from smp_pipelines.stores.postgres import Connection, engine_sql

_LONGEST = 300
"""Characters of a reason: it is on every row of the send."""


@dataclass(frozen=True)
class Failure:
    """A blocking test that failed at a run, or that stopped a send; `selection` is the one whose test it is."""

    selection: str
    test: str
    words: str
    selection_run_id: int

    def __str__(self) -> str:
        return f"{self.words} ({self.selection}, {self.test})"


def read_history(connection: Connection, selection: str, test: str, runs: int) -> list[int]:
    """The row counts of the latest runs that a volume may be compared with, newest first."""
    values = {"selection": selection, "test": test, "runs": runs}
    return [count for (count,) in connection.execute(engine_sql("tests/history.sql"), values)]


def record_results(connection: Connection, run: SelectionRun, results: Sequence[Result]) -> None:
    """Keep what the tests of a run found."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into smp.audience_test_result (selection_run_id, selection, test, words, passed, blocking,"
            " offending, detail, person_ids) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    *(run.selection_run_id, each.selection, each.test, each.words, each.passed, each.blocking),
                    *(each.offending, each.detail, list(each.person_ids)),
                )
                for each in results
            ],
        )


def inherit(connection: Connection, run: SelectionRun, made_from: Sequence[int]) -> None:
    """Let a run fail with the runs that it was made from: of the selections that it reads, or that a group is made of.

    What stops a send of one of them stops a send of the whole.
    """
    connection.execute(engine_sql("tests/inherit.sql"), {"run": run.selection_run_id, "made_from": list(made_from)})


def read_failed(connection: Connection, runs: Sequence[int]) -> list[Result]:
    """The blocking tests that failed at these selection runs, with what they found."""
    found = connection.execute(
        "select distinct on (selection, test) selection, test, words, passed, blocking, offending, detail, person_ids"
        " from smp.audience_test_result where selection_run_id = any (%s) and blocking and not passed"
        " order by selection, test, selection_run_id desc",
        (list(runs),),
    )
    return [Result(*[*row[:-1], tuple(row[-1])]) for row in found]


def failing(connection: Connection, runs: Sequence[int]) -> list[Failure]:
    """The blocking tests that failed at these selection runs, each once."""
    found = connection.execute(
        "select distinct on (selection, test) selection, test, words, selection_run_id from smp.audience_test_result"
        " where selection_run_id = any (%s) and blocking and not passed"
        " order by selection, test, selection_run_id desc",
        (list(runs),),
    )
    return [Failure(*row) for row in found]


def stop(connection: Connection, send: Send, runs: Sequence[int]) -> str | None:
    """Write down which audience tests stop a send that is planned from these runs; the reason for its rows, or None.

    Those that a person overruled for this send, or for the one that it takes the place of, do not stop it.
    """
    let_go = overruled(connection, send)
    failures = [each for each in failing(connection, runs) if (each.selection, each.test) not in let_go]
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into smp.audience_stop (send_id, selection, test, words, selection_run_id)"
            " values (%s, %s, %s, %s, %s)",
            [(send.send_id, each.selection, each.test, each.words, each.selection_run_id) for each in failures],
        )
    return reason(failures) if failures else None


def reason(failures: Sequence[Failure]) -> str:
    """The reason that the ledger keeps for everybody whom a stopped send would have mailed."""
    return f"{AUDIENCE_TEST}: {'; '.join(dict.fromkeys(each.words for each in failures))}"[:_LONGEST]


def read_stops(connection: Connection, send: Send) -> list[Failure]:
    """The audience tests that stopped a send; none when it was not stopped."""
    found = connection.execute(
        "select selection, test, words, selection_run_id from smp.audience_stop where send_id = %s"
        " order by selection, test",
        (send.send_id,),
    )
    return [Failure(*row) for row in found]


def overruled(connection: Connection, send: Send) -> set[tuple[str, str]]:
    """The tests (selection, name) that do not stop a send: a person overruled them when they stopped one before it."""
    found = connection.execute(engine_sql("tests/overruled.sql"), {"send_id": send.send_id})
    return {(selection, test) for selection, test in found}
