"""The journal: what a worker had begun and heard outlives it, and tells those who come next."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smp_pipelines.sending import journal as journals
from smp_pipelines.sending.journal import Estate, Journal, estates
from smp_pipelines.sending.transport import Answer, Kind
from tests.support.processes import Program, program

SEND = 7
KINDS: tuple[Kind, ...] = ("accepted", "refused", "later", "unknown")
LONGEST = 236
"""Bytes of an answer that a journal keeps."""

WORKER = """
import pathlib, sys, uuid
from smp_pipelines.sending.journal import Journal
from smp_pipelines.sending.transport import Answer
journal = Journal(pathlib.Path(sys.argv[1]), uuid.UUID(sys.argv[2]), 7)
print("made", flush=True)
for line in sys.stdin:
    what, *words = line.split()
    keys = [uuid.UUID(int=int(word)) for word in words]
    if what == "begin":
        [journal.begin(key) for key in keys]
    elif what == "forget":
        journal.forget(keys)
    else:
        [journal.answer(key, Answer(what, "250 goed, Zoë")) for key in keys]
    print("done", flush=True)
"""


def key(number: int) -> UUID:
    return UUID(int=number)


class Process:
    """A worker's process that writes into its journal what it is told."""

    def __init__(self, running: Program) -> None:
        self.running = running
        assert running.line() == "made"

    def does(self, words: str) -> None:
        assert self.running.process.stdin is not None
        self.running.process.stdin.write(f"{words}\n")
        self.running.process.stdin.flush()
        assert self.running.line() == "done"

    def is_killed(self) -> None:
        self.running.process.send_signal(signal.SIGKILL)
        self.running.process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journals of today"


@pytest.fixture
def token() -> UUID:
    return uuid4()


@pytest.fixture
def process(folder: Path, token: UUID) -> Iterator[Process]:
    with program(WORKER, folder, token) as running:
        yield Process(running)


def found(folder: Path) -> list[Estate]:
    """The estates, left where they are."""
    estate: list[Estate] = []
    with suppress(ZeroDivisionError), estates(folder) as there:
        estate += there
        raise ZeroDivisionError
    return estate


def let_go(journal: Journal) -> None:
    """What the kernel does with the journal of a process that dies."""
    journal.close(settled=False)


def test_whatever_a_killed_worker_had_begun_heard_and_written_down_is_read(
    folder: Path, token: UUID, process: Process
) -> None:
    process.does("begin 1 2 3 4 5 6")
    process.does("accepted 2")
    process.does("refused 3")
    process.does("later 4")
    process.does("unknown 5")
    process.does("accepted 6")
    process.does("forget 6")
    process.is_killed()
    words = "250 goed, Zoë"
    answered = {key(number): Answer(kind, words) for number, kind in enumerate(KINDS, start=2)}
    with estates(folder) as there:
        assert there == [Estate(token, SEND, answered, [key(1)])]
    assert list(folder.iterdir()) == [], "it is settled"


def test_a_worker_that_is_killed_before_it_begins_leaves_an_estate_with_nothing_in_it(
    folder: Path, token: UUID, process: Process
) -> None:
    process.is_killed()
    assert found(folder) == [Estate(token, SEND, {}, [])]


def test_the_journal_of_one_that_lives_is_not_touched_and_that_of_one_that_stands_still_neither(
    folder: Path, process: Process
) -> None:
    process.does("begin 1")
    process.running.process.send_signal(signal.SIGSTOP)
    with estates(folder) as there:
        assert there == []
    process.running.process.send_signal(signal.SIGCONT)
    process.does("accepted 1")
    process.is_killed()
    assert found(folder)[0].answered == {key(1): Answer("accepted", "250 goed, Zoë")}


def test_an_estate_stays_when_it_could_not_be_settled(folder: Path, process: Process) -> None:
    process.does("begin 1")
    process.is_killed()
    with pytest.raises(OSError, match="away"), estates(folder):
        raise OSError("Postgres is away")
    assert found(folder)[0].on_the_wire == [key(1)]


def test_while_one_settles_an_estate_nobody_else_does(folder: Path, process: Process) -> None:
    process.is_killed()
    with estates(folder) as mine, estates(folder) as theirs:
        assert len(mine) == 1
        assert theirs == []
    assert list(folder.iterdir()) == []


def test_a_journal_of_an_earlier_boot_tells_nothing_and_is_cleared_away(
    folder: Path, token: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(folder, token, SEND)
    journal.begin(key(1))
    let_go(journal)
    monkeypatch.setattr(journals, "_boot", lambda: b"another boot 123")
    with estates(folder) as there:
        assert there == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"SMPJ0001", b"SMPJ0001" + bytes(5000), bytes(1000)])
def test_a_file_that_is_no_journal_is_no_estate(folder: Path, token: UUID, data: bytes) -> None:
    folder.mkdir()
    (folder / f"{token}.journal").write_bytes(data)
    assert found(folder) == []


def test_a_journal_that_was_never_finished_is_left_alone(folder: Path, token: UUID) -> None:
    folder.mkdir()
    making = folder / f"{token}.new"
    making.write_bytes(b"")
    assert found(folder) == []
    assert making.exists(), "its worker may be making it just now"


def test_without_a_folder_there_are_no_estates(folder: Path) -> None:
    assert found(folder) == []


def test_a_worker_that_has_settled_everything_leaves_no_file_and_one_that_has_not_does(
    folder: Path, token: UUID
) -> None:
    Journal(folder, token, SEND).close(settled=True)
    assert list(folder.iterdir()) == []
    Journal(folder, token, SEND).close(settled=False)
    assert [file.name for file in folder.iterdir()] == [f"{token}.journal"]


def test_nobody_else_can_read_a_journal(folder: Path, token: UUID) -> None:
    journal = Journal(folder, token, SEND)
    assert [oct(file.stat().st_mode & 0o777) for file in folder.iterdir()] == ["0o600"]
    journal.close(settled=True)


def test_a_journal_is_full_before_its_last_place_is_taken_and_places_are_used_again(folder: Path, token: UUID) -> None:
    journal = Journal(folder, token, SEND)
    begun = 0
    while not journal.is_full:
        begun += 1
        journal.begin(key(begun))
    assert begun > 1000
    # whatever was claimed already can still be begun
    for more in range(1, 33):
        journal.begin(key(begun + more))
    journal.forget([key(number) for number in range(1, begun + 33)])
    assert not journal.is_full
    for number in range(5 * begun):
        journal.begin(key(number))
        journal.answer(key(number), Answer("accepted", "250"))
        journal.forget([key(number)])
    journal.begin(key(1))
    let_go(journal)
    assert [(each.on_the_wire, each.answered) for each in found(folder)] == [([key(1)], {})]


def test_an_answer_to_what_was_never_begun_is_not_noted(folder: Path, token: UUID) -> None:
    journal = Journal(folder, token, SEND)
    journal.answer(key(1), Answer("refused", "550 before the content"))
    journal.forget([key(1)])
    let_go(journal)
    assert [(each.on_the_wire, each.answered) for each in found(folder)] == [([], {})]


_KEYS = st.integers(1, 40).map(key)
_ANSWERS = st.builds(Answer, st.sampled_from(KINDS), st.text(max_size=400))


class JournalMachine(RuleBasedStateMachine):
    """Whatever is noted in whatever order: an estate that is read at any moment is what a dictionary holds."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory(prefix="smp journal ")
        self.folder = Path(self.scratch.name)
        self.token = uuid4()
        self.journal = Journal(self.folder, self.token, SEND)
        self.model: dict[UUID, Answer | None] = {}

    @rule(which=_KEYS)
    def begin(self, which: UUID) -> None:
        if which not in self.model:
            self.journal.begin(which)
            self.model[which] = None

    @rule(which=_KEYS, answer=_ANSWERS)
    def answer(self, which: UUID, answer: Answer) -> None:
        self.journal.answer(which, answer)
        if which in self.model:
            self.model[which] = answer

    @precondition(lambda self: self.model)
    @rule(which=st.sets(_KEYS))
    def forget(self, which: set[UUID]) -> None:
        self.journal.forget(list(which))
        for each in which:
            self.model.pop(each, None)

    @invariant()
    def an_estate_is_what_was_noted(self) -> None:
        file = self.folder / f"{self.token}.journal"
        descriptor = os.open(file, os.O_RDONLY)
        try:
            estate = journals._read(descriptor)
        finally:
            os.close(descriptor)
        assert estate is not None
        assert set(estate.on_the_wire) == {each for each, answer in self.model.items() if answer is None}
        assert len(set(estate.on_the_wire)) == len(estate.on_the_wire)
        kept = {each: cut(answer) for each, answer in self.model.items() if answer is not None}
        assert estate.answered == kept

    def teardown(self) -> None:
        self.journal.close(settled=True)
        self.scratch.cleanup()


def cut(answer: Answer) -> Answer:
    """An answer as far as there is room for it; a letter that does not fit any more is a question mark."""
    kept = answer.response.encode("utf-8", "replace")[:LONGEST]
    return Answer(answer.kind, kept.decode("utf-8", "replace"))


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
