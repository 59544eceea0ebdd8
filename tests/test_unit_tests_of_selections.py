"""Unit tests of selections: what they compare, what they say, from the command line and from pytest."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from smp_pipelines.campaign.project import LoadedProject, load_project
from smp_pipelines.cli import app
from smp_pipelines.problems import SmpError
from smp_pipelines.selection.library import SelectionLibrary, load_library
from smp_pipelines.selection.unit_tests.runner import Outcome, UnitTestRunner, read_all_cases
from tests.conftest import copy_project

pytest_plugins = ["pytester"]

BUYERS = """-- Buyers in Arnhem, with what they paid.
select person_id, sum(price) as paid, max(bought_at) as latest from crm.ticket join crm.person using (person_id)
where city = 'Arnhem' group by person_id"""
READER = (
    "-- Buyers with an address.\nselect person_id, email_key from selections.buyers join crm.person using (person_id)"
)
CASE = "tests:\n  - name: one\n    at: 2026-03-29 09:00\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two selections of its own."""
    made = copy_project(tmp_path_factory.mktemp("unit") / "my project")
    selections = made / "sql" / "selections"
    for name, text in (("buyers", BUYERS), ("reader", READER), ("broken", "-- Who.\nselect x from crm.person")):
        (selections / f"{name}.sql").write_text(text)
    return made


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[LoadedProject, SelectionLibrary]:
    project = load_project(folder)
    return project, load_library(project)


def outcome(loaded: tuple[LoadedProject, SelectionLibrary], selection: str, case: str) -> Outcome:
    """What becomes of one case, written as YAML below `tests: - name: one`."""
    project, library = loaded
    file = library.folder / f"{selection}.tests.yaml"
    before = file.read_text() if file.exists() else None
    file.write_text(CASE + "".join(f"    {line}\n" for line in case.splitlines()))
    try:
        cases, problems = read_all_cases(project, library, [selection])
        assert problems == []
        with UnitTestRunner(project, library) as runner:
            found = [runner.run(case) for case in [*cases, *cases]]
        assert found[0] == found[1], "a case leaves nothing behind"
        return found[0]
    finally:
        file.write_text(before) if before else file.unlink()


TWO_BUYERS = """given:
  crm.person: [{person_id: 1, city: Arnhem, email: " A@X.nl"}, {person_id: 2, city: Arnhem}, {person_id: 3, city: Ede}]
  crm.ticket:
    - {person_id: 1, price: 10.5, bought_at: "2026-03-29 01:59"}
    - {person_id: 1, price: 2, bought_at: "2026-03-29 03:01"}
    - {person_id: 2}
    - {person_id: 3}
"""


def test_the_rows_are_compared_whatever_their_order_and_however_numbers_are_written(
    loaded: tuple[LoadedProject, SelectionLibrary],
) -> None:
    expect = "expect: [{person_id: 2, paid: 0}, {paid: 12.5, person_id: 1}]"
    assert outcome(loaded, "buyers", TWO_BUYERS + expect).passed
    assert outcome(loaded, "buyers", TWO_BUYERS + "expect: [2, 1]").passed
    assert outcome(loaded, "buyers", TWO_BUYERS + "expect_count: 2").passed
    latest = 'expect: [{person_id: 1, latest: "2026-03-29 03:01"}, {person_id: 2, latest: "2026-03-29 09:00"}]'
    assert outcome(loaded, "buyers", TWO_BUYERS + latest).passed, "a moment that is left out is the moment of the case"


def test_a_difference_tells_who_is_missing_and_who_came_too_many(
    loaded: tuple[LoadedProject, SelectionLibrary],
) -> None:
    found = outcome(loaded, "buyers", TWO_BUYERS + "expect: [{person_id: 1, paid: 12.5}, {person_id: 9, paid: null}]")
    assert not found.passed
    assert found.difference().splitlines() == [
        "- missing:  person_id: 9, paid: null",
        "+ too many: person_id: 2, paid: 0.00",
    ]
    assert outcome(loaded, "buyers", TWO_BUYERS + "expect: [1, 1, 2]").difference() == "- missing:  person_id: 1"
    nobody = outcome(loaded, "buyers", TWO_BUYERS + "expect: []")
    assert [row[0] for row in nobody.too_many] == ["1", "2"]
    counted = outcome(loaded, "buyers", TWO_BUYERS + "expect_count: 3")
    assert counted.difference() == "expected 3 rows, found 2"


def test_a_selection_that_is_read_is_computed_unless_its_rows_are_given(
    loaded: tuple[LoadedProject, SelectionLibrary],
) -> None:
    computed = TWO_BUYERS + "expect: [{person_id: 1, email_key: a@x.nl}, {person_id: 2}]"
    assert outcome(loaded, "reader", computed).passed
    given = TWO_BUYERS + "  selections.buyers: [{person_id: 3}]\nexpect: [3]"
    assert outcome(loaded, "reader", given).passed


def test_a_contact_moment_that_says_nothing_else_was_received(loaded: tuple[LoadedProject, SelectionLibrary]) -> None:
    given = (
        "given:\n  crm.person: [{person_id: 1, email: a}, {person_id: 2, email: b}]\n"
        '  crm.ticket: [{person_id: 1, bought_at: "2020-01-01"}, {person_id: 2, bought_at: "2020-01-01"}]\n'
        "  smp.contact_moment: [{person_id: 1, step: we_miss_you/we_miss_you%s}]\nexpect: [%s]"
    )
    assert outcome(loaded, "we_miss_you", given % ("", "2")).passed
    assert outcome(loaded, "we_miss_you", given % (", outcome: rejected", "1, 2")).passed
    assert outcome(loaded, "we_miss_you", given % (", received: false", "1, 2")).passed


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("given: {crm.person: [{person_id: one}]}\nexpect: []", "'one' is no value for crm.person.person_id"),
        ("given: {crm.person: [{last_name: null}]}\nexpect: []", "crm.person.last_name is never null"),
        ('given: {crm.ticket: [{bought_at: "31-03-2026"}]}\nexpect: []', "no value for crm.ticket.bought_at"),
        ("expect: [{person_id: x}]", "no value for"),
    ],
)
def test_a_value_that_does_not_fit_fails_the_case_in_words(
    loaded: tuple[LoadedProject, SelectionLibrary], case: str, words: str
) -> None:
    assert words in str(outcome(loaded, "buyers", case).error)


def test_a_broken_selection_fails_its_cases_with_its_own_problem(
    loaded: tuple[LoadedProject, SelectionLibrary],
) -> None:
    assert 'column "x" not found' in str(outcome(loaded, "broken", "expect: []").error)


@pytest.mark.parametrize(
    ("case", "line", "words"),
    [
        ("given:\n  crm.persn: []\nexpect: []", 5, "no table crm.persn did you mean crm.person?"),
        ("given:\n  crm.person:\n    - {person_id: 1}\n    - {cty: x}\nexpect: []", 7, "did you mean city?"),
        ("given:\n  crm.person: [{email_key: x}]\nexpect: []", 5, "crm.person.email_key is computed leave it out"),
        ("given:\n  selections.buyers: [{payed: 1}]\nexpect: []", 5, "did you mean paid?"),
        ("expect:\n  - {persn_id: 1}", 5, "did you mean person_id?"),
        ("expect: []\nexpect_count: 0", 2, "a case says what it expects"),
        ("expects: []", 4, "unknown key `expects`"),
        ("expect: [[1]]", 4, "must be"),
        ("expect: []\n- name: one\n  at: vandaag\n  expect: []", 6, "'vandaag' is not a moment"),
        ("expect: []\n- name: one\n  at: 2026-01-01\n  expect: []", 5, "occurs twice"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line_and_the_nearest_name(
    loaded: tuple[LoadedProject, SelectionLibrary], case: str, line: int, words: str
) -> None:
    project, library = loaded
    file = library.folder / "buyers.tests.yaml"
    file.write_text(CASE + "".join(f"{'  ' if 'name: one' in case else '    '}{row}\n" for row in case.splitlines()))
    if "name: one" in case:
        file.write_text(CASE + "    " + case.replace("\n", "\n  ") + "\n")
    try:
        cases, problems = read_all_cases(project, library, ["buyers"])
    finally:
        file.unlink()
    assert cases == []
    assert (problems[0].file, problems[0].line) == (file, line)
    assert words in f"{problems[0].message} {problems[0].remedy}"


def test_tests_of_a_selection_that_is_not_there_are_a_problem(
    loaded: tuple[LoadedProject, SelectionLibrary],
) -> None:
    project, library = loaded
    file = library.folder / "buyer.tests.yaml"
    file.write_text(CASE + "    expect: []\n")
    try:
        problems = read_all_cases(project, library)[1]
    finally:
        file.unlink()
    assert [str(problem) for problem in problems] == [
        f"{file}: there is no selection buyer\n    → did you mean buyers?"
    ]
    with pytest.raises(SmpError, match=r"no unit tests for 'we_mis_you'\n.*did you mean we_miss_you\?"):
        read_all_cases(project, library, ["we_mis_you"])


def test_the_command_tells_each_case_and_exits_with_1_when_one_fails(folder: Path) -> None:
    run = CliRunner().invoke(app, ["--project", str(folder), "test", "we_miss_you"])
    assert (run.exit_code, run.output.count("pass  we_miss_you: ")) == (0, 7)
    assert "7 passed, 0 failed" in run.output
    file = folder / "sql" / "selections" / "buyers.tests.yaml"
    file.write_text(CASE + "    expect: [7]\n")
    try:
        run = CliRunner().invoke(app, ["--project", str(folder), "test"])
    finally:
        file.unlink()
    assert run.exit_code == 1
    assert f"FAIL  buyers: one\n      {file}:2\n      - missing:  person_id: 7\n" in run.output
    assert "15 passed, 1 failed" in run.output


def test_pytest_collects_the_cases_and_tells_what_differs(pytester: pytest.Pytester) -> None:
    copied = copy_project(pytester.path / "project")
    selections = copied / "sql" / "selections"
    (selections / "we_miss_you.tests.yaml").write_text(CASE + "    expect: [7]\n")
    (selections / "colleagues.tests.yaml").write_text(CASE + "    expect: []\n  - name: two\n    at: x\n")
    options = ("-p", "smp_pipelines.testing", "--continue-on-collection-errors", "--rootdir", str(copied))
    result = pytester.runpytest(*options, str(copied))
    result.assert_outcomes(passed=8, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*colleagues.tests.yaml:6: 'x' is not a moment*"])
    result.stdout.fnmatch_lines(["*we_miss_you.tests.yaml:2", "- missing:  person_id: 7"])
