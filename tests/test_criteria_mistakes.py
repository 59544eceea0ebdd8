"""What is said of mistakes in criteria files: the line, what is wrong, the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from smp_pipelines.crm.catalog import read_catalog
from smp_pipelines.problems import ProjectError
from smp_pipelines.selection.criteria.file import read_criteria

ROOT = Path(__file__).resolve().parents[1]
CATALOG = read_catalog(ROOT / "sql" / "schema")
STEPS = {"servicemails/servicemail", "we_miss_you/we_miss_you"}


def write(folder: Path, where: str) -> Path:
    path = folder / "one.yaml"
    path.write_text(f"description: Some people\nwhere: {where}\n", encoding="utf-8")
    return path


def problems_of(path: Path) -> list[tuple[int | None, str, str | None]]:
    with pytest.raises(ProjectError) as caught:
        read_criteria(path, CATALOG, STEPS, ())
    assert {problem.file for problem in caught.value.problems} == {path}
    return [(problem.line, problem.message, problem.remedy) for problem in caught.value.problems]


MISTAKES = [
    ("{field: person.citty, is: x}", "there is no field person.citty", "did you mean person.city?"),
    ("{field: organisatoin.kind, is: x}", "there is no field organisatoin.kind", "did you mean organisation.kind?"),
    (
        "{field: ticket.price, is: 1}",
        "a person has no one ticket, so no field ticket.price",
        "write `has: ticket` with",
    ),
    ("{field: city, contians: x}", "unknown key `contians`", "did you mean contains?"),
    ("{field: created_at, on: today}", "unknown key `on`", "did you mean during?"),
    ("{field: city}", "this says nothing of city", "add one of: is, is_not"),
    ("{field: city, is: 12}", "city is text, not '12'", 'put it in quotes: "12"'),
    ("{field: city, is: ''}", "city is text, not ''", "write `empty: true`"),
    ("{field: city, in: Ede}", "`in` takes a list, not 'Ede'", "write `in: [a, b]`"),
    ("{field: city, before: today}", "`before` cannot be asked of city, which is text", "choose from: is, is_not"),
    ("{field: city, empty: maybe}", "this must be true or false, not 'maybe'", None),
    ("{field: organisation_id, more_than: x}", "organisation_id is a number, not 'x'", "write a number"),
    ("{field: person_id, between: [1]}", "`between` takes two values, not a list", "write `between: [lowest"),
    ("{field: blocked, is: yes}", "blocked is true or false, not 'yes'", "write true or false"),
    ("{field: birth_date, since: 2 yeers ago}", "'2 yeers ago' is no date that can be read", "write e.g. 2026-01-31"),
    ("{field: birth_date, since: 2026-02-30}", "'2026-02-30' is no date that can be read", "write e.g."),
    ("{field: birth_date, since: now}", "birth_date has no time of day, so it cannot be compared with 'now'", None),
    ("{field: created_at, during: now}", "`during` takes a day or a period, not 'now'", "write e.g. today"),
    ("{field: birth_date, anniversary: this month}", "`anniversary` takes one day, not 'this month'", "write e.g."),
    ("{selection: redaers}", "there is no selection redaers", "name a file in sql/selections"),
    ("{has: tiket}", "there is no table tiket", "did you mean ticket?"),
    ("{has: performance}", "performance does not refer to person", "write `has: ticket` with conditions on"),
    ("{has: organisation}", "organisation does not refer to person", "a person has at most one: write `field: org"),
    ("{has: membership, since: today}", "a membership has several dates", "add e.g. `date: starts_on`"),
    ("{has: ticket, date: seat, since: today}", "seat is no date but text", None),
    ("{has: ticket, by: buyer_id}", "ticket does not refer to person", "its references are: person_id, perfor"),
    ("{has: ticket, count: {atleast: 2}}", "unknown key `atleast`", "did you mean at_least?"),
    ("{has: ticket, count: 2}", "`count` compares with no number", "write e.g. `count: {at_least: 2}`"),
    ("{has: ticket, count: {at_least: x}}", "a count is a number, not 'x'", "write a number"),
    ("{has: ticket, sum: {at_least: 2}}", "a sum of what?", "add `of:`"),
    ("{has: ticket, sum: {of: seat, at_least: 2}}", "seat is text, which has no sum", "add `of:`"),
    ("{has_not: ticket, count: {at_least: 2}}", "unknown key `count`", "`has` has a count: write e.g."),
    (
        "{has: ticket, where: {field: performance.gener, is: x}}",
        "there is no field performance.gener",
        "did you mean p",
    ),
    ("{not_received: we_miss_yu/we_miss_you}", "there is no step 'we_miss_yu/we_miss_you'", "did you mean 'we_miss_yo"),
    ("{not_received: we_miss_you/we_miss_you, within: 30 dys}", "within='30 dys' is no period", 'write e.g. "30 days"'),
    (
        "{not_received: we_miss_you/we_miss_you, record: performance}",
        "a person does not refer to one perf",
        "leave `rec",
    ),
    ("{feild: city, is: x}", "`feild` begins no condition", "did you mean field?"),
    ("{field: city, is: x, has: ticket}", "`field` and `has` are two conditions", "put each on a line of its own"),
    ("[{has: ticket}]", "a condition is a group of keys", "put several under `all:` or `any:`"),
    ("{all: []}", "`all` takes a list of conditions", "start each with a dash"),
]


@pytest.mark.parametrize(("where", "message", "remedy"), MISTAKES)
def test_a_mistake_is_named_with_its_line_and_what_to_write(
    where: str, message: str, remedy: str | None, tmp_path: Path
) -> None:
    ((line, found, advice),) = problems_of(write(tmp_path, f"\n  all:\n    - {where}" if where[0] == "{" else where))
    assert line == (4 if where[0] == "{" else 2)
    assert found.startswith(message)
    assert (advice is None) if remedy is None else str(advice).startswith(remedy)


def test_all_mistakes_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("descriptoin: x\nrows: tikcet\nwhere: {has: ticket}\n")
    assert [(line, message) for line, message, _ in problems_of(path)] == [
        (1, "unknown key `descriptoin`"),
        (1, "the selection does not say who is in it"),
        (2, "there is no table tikcet"),
    ]
    path.write_text(
        "description: x\nwhere:\n  any:\n    - {field: x, is: 1}\n    - {has: y}\n    - not: {field: city, is: 3}\n"
    )
    assert [line for line, _, _ in problems_of(path)] == [4, 5, 6]
    path.write_text("description: x\n")
    assert problems_of(path)[0][1].startswith("`where` is missing")


def test_criteria_that_are_nested_without_end_are_refused(tmp_path: Path) -> None:
    for depth in (100, 5000):
        path = write(tmp_path, "{not: " * depth + "{has: ticket}" + "}" * depth)
        assert len(problems_of(path)) == 1
