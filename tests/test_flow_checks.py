"""What `smp check` says of flows: names, values, windows, ways that nobody goes; each with file, line and a remedy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from textwrap import dedent

import pytest

from smp_pipelines.campaign.checks import check_project
from smp_pipelines.flow.checks import fit_to_run, flow_problems, steps_of
from smp_pipelines.flow.table_checks import create_faults
from smp_pipelines.problems import Problem, ProjectError
from tests.support.flow_files import sample, with_flows

PLAIN = """\
name: A flow
triggers:
  - type: manual
steps:
  first: {wait: 2 days}
"""


def problems(folder: Path, **texts: str) -> list[Problem]:
    return flow_problems(with_flows(folder, **texts), sample()[1])


def flow(trigger: str = "type: manual", steps: str = "first: {wait: 2 days}", top: str = "") -> str:
    """A flow.yaml with one trigger, these steps and more at the top."""
    return f"name: A flow\ntriggers:\n  - {{{trigger}}}\n{dedent(top)}steps:\n  {steps}\n"


def test_the_flows_of_the_sample_have_no_problems_and_their_mails_are_known_to_be_used() -> None:
    project, library = sample()
    assert {"friends", "birthday"} <= set(project.flows)
    assert flow_problems(project, library) == []
    assert check_project(project) == []


def test_a_flow_goes_live_with_its_mails_forms_and_the_pages_behind_its_forms(tmp_path: Path) -> None:
    text = flow(steps="ask: {form: feedback/survey}\n  thank: {mail: acquaintance}\n  wait: {wait: 1 day}")
    project, library = with_flows(tmp_path, friends=text), sample()[1]
    found = steps_of(project, fit_to_run(project, library, "friends"))
    assert found[:2] == ["feedback/survey", "friends/acquaintance"]
    assert {project.step(key).step.channel for key in found[2:]} == {"page"}


@pytest.mark.parametrize(
    ("text", "marked", "words"),
    [
        (flow(steps="a: {mail: aquaintance}"), "mail: aq", "there is no step friends/aquaintance"),
        (flow(steps="a: {mail: feedback/survey}"), "mail: f", "feedback/survey is a form, not a mail"),
        (flow(steps="a: {mail: servicemails/servicemail}"), "mail: s", "is sent by itself"),
        (flow(steps="a: {mail: welcome/welcome}"), "mail: w", "is sent after welcome/confirmed already"),
        (flow(steps="a: {form: acquaintance}"), "form: a", "friends/acquaintance is a mail, not a form"),
        (flow(steps="a: {page: nowhere}"), "page: n", "there is no step friends/nowhere"),
        (flow(steps="a: {update: {cty: Breda}}"), "cty", "crm.person has no column cty"),
        (flow(steps="a: {update: {city: 12}}"), "city", 'put it in quotes: "12"'),
        (flow(steps="a: {update: {blocked: ja}}"), "blocked", "write true or false"),
        (flow(steps="a: {update: {birth_date: 31-01-2026}}"), "birth_date", "write a date, like 2026-01-31"),
        (flow(steps="a: {update: {organisation_id: 1.5}}"), "organ", "write a whole number"),
        (flow(steps="a: {update: {last_name: null}}"), "last_name", "may not be empty"),
        (flow(steps="a: {update: {email_key: x}}"), "email_key", "it is computed"),
        (flow(steps="a: {update: {person_id: 4}}"), "person_id", "it is the key"),
        (flow(steps="a: {create: {table: activty}}"), "table: a", "did you mean activity?"),
        (flow(steps="a: {create: {table: performance}}"), "table: p", "has no person_id"),
        (flow(steps="a: {create: {table: person}}"), "table: p", "a participant is a person already"),
        (flow(steps="a: {create: {table: consent}}"), "table: c", "no number that a new row can get"),
        (flow(steps="a: {create: {table: activity, values: {kind: call}}}"), "create", "activity.subject may not be"),
        (
            flow(steps="a: {create: {table: donation, values: {fund: x, amount: '12.345.6'}}}"),
            "amount",
            "write a number, like 10 or 12.50",
        ),
        (flow(steps="a: {move_to: birthdy}"), "move_to", "there is no flow birthdy"),
        (flow(steps="a: {move_to: friends}"), "move_to", "cannot move to the flow they are in"),
        (flow(steps='a: {window: {from: "09:00", until: "09:00"}}'), "window", "begins and ends at 09:00"),
        (flow(steps="a: {window: {days: [mon, mon]}}"), "days", "a day is there twice"),
        (flow(steps="a: {if: {has: dnation}, then: {b: {wait: 1 day}}}"), "has: dn", "did you mean"),
        (flow(steps="a: {if: {selection: nobody}, then: {b: {wait: 1 day}}}"), "selection: n", "nobody"),
        (flow(steps="a: {go_to: b}\n  b: {wait: 1 day}"), "a: {go", "a jump stands inside"),
        (flow(steps="a: {end: done}\n  b: {wait: 1 day}"), "b: {wait", "nobody ever comes to b"),
        (flow(top='hours: {from: "23:30", until: "05:00"}\n'), "hours", "no mail leaves between 23:00 and 06:00"),
        (flow(top="filter: {field: citty, is: Breda}\n"), "citty", "did you mean"),
        (flow(top="exclude: {field: city, is: 4}\n"), "city", "put it in quotes"),
        (flow(top="record: performanse\n"), "record:", "there is no record performanse"),
        (flow(top="goals:\n  - {type: form, step: feedback/surve}\n"), "step:", "did you mean feedback/survey?"),
        (flow(top="goals:\n  - {type: person, where: {field: cit, filled: true}}\n"), "where", "did you mean"),
        (flow(top="on_success: {move_to: nowhere}\n"), "move_to", "there is no flow nowhere"),
        (flow("type: selection, selection: newsleter_readers"), "selection:", "did you mean newsletter_readers?"),
        (flow("type: donation, fund: 12"), "donation", 'put it in quotes: "12"'),
        (flow("type: record, table: tickets"), "table:", "did you mean ticket?"),
        (flow("type: record, table: activity"), "table:", "has several moments: created_at, done_at"),
        (flow("type: record, table: membership"), "table:", "has no column with a moment"),
        (flow("type: record, table: activity, date: due_on"), "date:", "crm.activity.due_on is not a moment"),
        (flow("type: record, table: ticket, amount: seat, min: 4"), "amount:", "crm.ticket.seat is not a number"),
        (flow("type: date, field: person.birthdate"), "field:", "did you mean birth_date?"),
        (flow("type: date, field: person.created_at"), "field:", "not a date"),
        (flow("type: date, field: performance.starts_at"), "field:", "has no person_id"),
        (flow("type: form, step: welcome/welcome"), "step:", "welcome/welcome is a mail, not a form"),
        (flow("type: click, step: newsletter/decembr"), "step:", "there is no step newsletter/decembr"),
        (flow("type: contact_moment, step: feedback/survey, kind: opened"), "kind:", "which is never opened"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_what_to_do(tmp_path: Path, text: str, marked: str, words: str) -> None:
    found = problems(tmp_path, friends=text, birthday=PLAIN)
    (problem,) = [each for each in found if words in str(each)] or [pytest.fail(f"only {found}")]
    assert problem.file == sample()[0].flow_file("friends")
    assert problem.line == text[: text.index(marked)].count("\n") + 1
    assert problem.remedy
    assert not problem.warning
    with pytest.raises(ProjectError, match=r"flow\.yaml"):
        fit_to_run(with_flows(tmp_path, friends=text, birthday=PLAIN), sample()[1], "friends")


def test_a_mail_about_a_record_needs_triggers_that_know_the_record(tmp_path: Path) -> None:
    def about_a_performance(text: str) -> list[Problem]:
        project = with_flows(tmp_path, friends=text)
        campaign = project.campaigns["friends"]
        mail = campaign.steps["story"].model_copy(update={"record": "performance"})
        changed = campaign.model_copy(update={"steps": {**campaign.steps, "story": mail}})
        project = dataclasses.replace(project, campaigns={**project.campaigns, "friends": changed})
        return flow_problems(project, sample()[1])

    steps, top = "a: {mail: story}", "record: performance\n"
    (found,) = about_a_performance(flow(steps=steps))
    assert (found.line, found.remedy) == (5, "add `record: performance` at the top")
    (found,) = about_a_performance(flow(steps=steps, top=top))
    assert (found.line, "comes without a performance" in found.message) == (3, True)
    assert about_a_performance(flow("type: record, table: ticket", steps, top)) == []
    assert about_a_performance(flow("type: form, step: feedback/survey", steps, top)) == []


def test_flows_that_move_people_to_one_another_for_ever_are_refused(tmp_path: Path) -> None:
    there = flow(steps="a: {move_to: birthday}", top="reentry: after_leaving\n")
    back = flow(steps="b: {wait: 1 day}\n  a: {move_to: friends}", top="reentry: {after: 3 days}\n")
    (found,) = problems(tmp_path, friends=there, birthday=back)
    assert "birthday → friends → birthday" in str(found)
    assert found.line == 7
    once = back.replace("reentry: {after: 3 days}\n", "")
    assert problems(tmp_path, friends=there, birthday=once) == []


def test_what_is_only_doubtful_keeps_no_flow_from_running(tmp_path: Path) -> None:
    text = flow(steps="a: {if: {has: donation}}\n  b: {wait: 1 day}", top="on_success: go_on\n")
    found = problems(tmp_path, friends=text)
    assert {each.warning for each in found} == {True}
    assert len(found) == 2
    fit_to_run(with_flows(tmp_path, friends=text), sample()[1], "friends")


def test_everything_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = flow(
        "type: list, list: Vrienden", "a: {mail: nothing}\n  b: {update: {x: 1}}", "filter: {field: y, is: z}\n"
    )
    found = problems(tmp_path, friends=text)
    assert [each.line for each in found] == [4, 6, 7]


def test_a_key_that_is_too_small_for_the_numbers_of_new_rows_is_refused() -> None:
    catalog = sample()[0].catalog
    table = catalog.tables["crm.activity"]
    small = {**table.columns, "activity_id": dataclasses.replace(table.columns["activity_id"], type="integer")}
    changed = {**catalog.tables, "crm.activity": dataclasses.replace(table, columns=small)}
    values = {"kind": "call", "subject": "x"}
    assert list(create_faults(catalog, "activity", values, ("steps", "a"))) == []
    (fault,) = create_faults(dataclasses.replace(catalog, tables=changed), "activity", values, ("steps", "a"))
    assert fault[1] == "crm.activity.activity_id is integer, too small for the numbers that new rows get"
