"""The files of audience tests: what may be written beside a selection, and what is told of the rest (X5)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smp_pipelines.campaign.project import load_project
from smp_pipelines.problems import Problem
from smp_pipelines.schemas import schema_files
from smp_pipelines.selection.audience_tests.files import AudienceTest
from smp_pipelines.selection.audience_tests.models import AudienceTests, FilledTest, VolumeTest
from smp_pipelines.selection.library import SelectionLibrary, load_library
from tests.conftest import REPOSITORY

NAME = "newsletter_readers"


def library(folder: Path, yaml: str = "", **sql: str) -> SelectionLibrary:
    """The library of a project whose newsletter readers have these audience tests."""
    selections = folder / "sql" / "selections"
    if yaml:
        (selections / f"{NAME}.checks.yaml").write_text(f"audience_tests:\n{yaml}")
    for name, text in sql.items():
        (selections / f"{NAME}.{name}.sql").write_text(text)
    return load_library(load_project(folder))


def of(found: SelectionLibrary, name: str = NAME) -> dict[str, AudienceTest]:
    return {test.name: test for test in found.audience_tests(name)}


def told(problem: Problem) -> tuple[str, int | None, str, str | None]:
    return (problem.file.name if problem.file else "", problem.line, problem.message, problem.remedy)


def test_every_selection_has_the_built_in_tests_and_one_of_records_none_about_addresses(project_folder: Path) -> None:
    found = library(project_folder)
    assert list(of(found, "we_miss_you")) == ["key_unique", "address_share", "volume"]
    assert list(of(found, "performances_in_four_days")) == ["key_unique", "volume"]
    assert not any(test.blocking for test in found.audience_tests("we_miss_you"))


def test_a_yaml_file_adds_tests_and_may_change_a_built_in_one(project_folder: Path) -> None:
    found = library(
        project_folder,
        "  volume: {between: [80%, 120%], of: last 5 runs, blocking: true}\n"
        "  salutation: {filled: person.salutation, at_least: 95%, words: People without a salutation}\n",
    )
    assert found.problems == []
    volume, salutation = of(found)["volume"], of(found)["salutation"]
    assert isinstance(volume.rule, VolumeTest)
    assert (volume.rule.between, volume.rule.of, volume.blocking) == ((0.8, 1.2), 5, True)
    assert isinstance(salutation.rule, FilledTest)
    assert (salutation.words, salutation.rule.at_least, salutation.blocking) == (
        "People without a salutation",
        0.95,
        False,
    )


def test_an_sql_file_has_its_words_in_its_opening_comment_and_is_blocking_when_that_says_so(
    project_folder: Path,
) -> None:
    text = "-- People under 18.\n-- blocking\nselect person_id from selections.newsletter_readers -- blocking"
    found = library(project_folder, minors=text, soft=text.replace("-- blocking\n", ""))
    assert found.problems == []
    assert (of(found)["minors"].words, of(found)["minors"].blocking) == ("People under 18.", True)
    assert of(found)["soft"].blocking is False
    assert found.names == tuple(sorted(found.names))
    assert not any("." in name for name in found.names)


def test_what_a_test_reads_is_brought_up_to_date_before_it_runs(project_folder: Path) -> None:
    found = library(
        project_folder,
        "  a: {fresh: crm.ticket.bought_at, within: 2 days}\n  b: {no_overlap_with: selections.colleagues}\n",
        c="-- Odd.\nselect person_id from crm.membership",
    )
    assert set(found.dependencies(NAME)) >= {"crm.consent", "crm.ticket", "selections.colleagues", "crm.membership"}
    assert found.with_upstream(NAME) == ["colleagues", NAME]


UNKNOWN_NAMES = {
    "{filled: person.salutatoin}": ("crm.person has no column salutatoin", "did you mean salutation?"),
    "{filled: salutation}": (f"{NAME} gives no column salutation", "did you mean person.salutation?"),
    "{no_opt_out: newsleter}": ("there is no topic newsleter in smp.yaml", "did you mean newsletter?"),
    "{fresh: crm.tickets.bought_at, within: 2 days}": ("there is no table crm.tickets", "did you mean crm.ticket?"),
    "{fresh: crm.ticket.bought, within: 2 days}": ("crm.ticket has no column bought", "did you mean bought_at?"),
    "{fresh: crm.ticket.price, within: 2 days}": (
        "crm.ticket.price is no date and no moment",
        "choose from: bought_at",
    ),
    "{no_overlap_with: selections.colleages}": ("there is no selection colleages", "did you mean colleagues?"),
    "{no_overlap_with: newsletter/decembre}": (
        "there is no step newsletter/decembre",
        "did you mean newsletter/december?",
    ),
    "{no_overlap_with: selections.performances_in_four_days}": (
        "the rows of performances_in_four_days are no people",
        "name another one",
    ),
    f"{{no_overlap_with: selections.{NAME}}}": ("a selection overlaps with itself", "name another one"),
}
MALFORMED = {
    "{filed: person.salutation}": "unknown key `filed` (in audience_tests.x0)",
    "{rows: {at_least: 9, at_most: 2}}": "at least 9 and at most 2 cannot be (in audience_tests.x1.rows)",
    "{between: [200%, 50%], of: last run}": "between 200% and 50% is nothing (in audience_tests.x2)",
    "{between: [50, 200%], of: latest}": "'latest' says not what to compare with (in audience_tests.x3.between)",
    "{fresh: crm.ticket, within: soon}": "'crm.ticket' cannot be looked up (in audience_tests.x4.fresh)",
    "{blocking: true}": "this audience test does not say what it looks at (in audience_tests)",
}


def test_what_does_not_exist_is_told_with_its_line_and_the_nearest_name(project_folder: Path) -> None:
    found = library(project_folder, "".join(f"  x{n}: {line}\n" for n, line in enumerate(UNKNOWN_NAMES)))
    problems = [told(problem) for problem in found.problems]
    expected = [(f"{NAME}.checks.yaml", n, *words) for n, words in enumerate(UNKNOWN_NAMES.values(), start=2)]
    assert problems == expected


def test_what_is_written_wrongly_is_told_with_its_line(project_folder: Path) -> None:
    found = library(project_folder, "".join(f"  x{n}: {line}\n" for n, line in enumerate(MALFORMED)))
    problems = {(problem.line, problem.message) for problem in found.problems}
    assert of(found)["unreadable"].blocking
    assert "unreadable" not in of(found, "colleagues")
    assert set(enumerate(MALFORMED.values(), start=2)) <= problems


def test_an_sql_test_goes_through_the_gate_of_selections(project_folder: Path) -> None:
    refused = {
        "silent": ("select person_id from crm.person", "does not say what is wrong when it fails"),
        "writing": ("-- Odd.\ndelete from crm.person", "a selection is one SELECT"),
        "reading": ("-- Odd.\nselect person_id from read_csv('/etc/passwd')", "is not allowed"),
        "table": ("-- Odd.\nselect person_id from crm.persn", "there is no table"),
        "column": ("-- Odd.\nselect persn_id from crm.person", "persn_id"),
        "Capital": ("-- Odd.\nselect person_id from crm.person", "is not a name for an audience test"),
    }
    found = library(project_folder, **{name: text for name, (text, _words) in refused.items()})
    problems = {problem.file.name: problem.message for problem in found.problems if problem.file}
    assert problems.keys() == {f"{NAME}.{name}.sql" for name in refused}
    for name, (_text, words) in refused.items():
        assert words in problems[f"{NAME}.{name}.sql"]


def test_files_beside_no_selection_are_refused_with_the_nearest_name(project_folder: Path) -> None:
    folder = project_folder / "sql" / "selections"
    (folder / "newsletter_reader.checks.yaml").write_text("audience_tests: {x: {rows: {at_least: 1}}}\n")
    (folder / "nobody_at_all.odd.sql").write_text("-- Odd.\nselect 1 as one")
    first, second = (told(problem) for problem in load_library(load_project(project_folder)).problems)
    assert first[2:] == ("there is no selection newsletter_reader for this audience test", f"did you mean {NAME}?")
    assert second[2] == "there is no selection nobody_at_all for this audience test"


def test_two_tests_of_one_name_are_refused_and_so_are_selections_that_test_each_other(project_folder: Path) -> None:
    folder = project_folder / "sql" / "selections"
    (folder / "colleagues.checks.yaml").write_text(
        f"audience_tests: {{apart: {{no_overlap_with: selections.{NAME}}}}}\n"
    )
    found = library(
        project_folder,
        "  apart: {no_overlap_with: selections.colleagues}\n  odd: {rows: {at_least: 1}}\n",
        odd="-- Odd.\nselect person_id from crm.person",
    )
    words = sorted(problem.message for problem in found.problems)
    assert words == [
        f"the audience test apart reads selections.colleagues, which needs {NAME} first",
        f"there is an audience test odd in {NAME}.checks.yaml already",
    ]


def test_the_schema_for_editors_is_the_one_in_the_repository() -> None:
    written = (REPOSITORY / "schemas" / "checks.schema.json").read_text()
    assert schema_files()["checks.schema.json"] == written


@given(st.integers(1, 99), st.integers(0, 500), st.integers(0, 500))
def test_a_band_is_read_as_it_is_written(runs: int, low: int, width: int) -> None:
    text = {"between": [f"{low}%", f"{low + width}%"], "of": f"last {runs} runs"}
    rule = AudienceTests.model_validate({"audience_tests": {"x": text}}).audience_tests["x"]
    assert isinstance(rule, VolumeTest)
    assert rule.of == runs
    assert rule.between == pytest.approx((low / 100, (low + width) / 100))
