"""Loading a project folder and checking that its files fit together: every problem with file, line and remedy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from smp_pipelines.campaign.checks import check_project
from smp_pipelines.campaign.document import read_document
from smp_pipelines.campaign.project import load_project
from smp_pipelines.problems import Problem, ProjectError, SmpError

ROOT = Path(__file__).parents[1]

SETTINGS = """\
name: De Linde
time_zone: Europe/Amsterdam
topics: {service: opt_out, newsletter: opt_in}
records:
  performance: {table: crm.performance, key: performance_id, title: title}
"""

CAMPAIGN = """\
name: Proef
flow: true
steps:
  mail:
    name: Een mail
    description: Aan iedereen, elke week
    send: continuous
    sender: "Kassa <kassa@schouwburg.example>"
    subject: "Hallo"
    content: mail.html
    selection: everyone
    record: performance
    block: block_service_mail
    topic: service
    next: thanks
    schedule:
      start: 2026-01-01
      frequency: weekly
      days: [mon, thu]
      times:
        - "09:00"
        - "15:00"
  thanks:
    name: Bedankt
    description: Na de mail
    send: trigger
    sender: kassa@schouwburg.example
    subject: "Dank"
    content: mail.html
    topic: service
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with one campaign, in a folder with a space in its name."""
    folder = tmp_path / "my project"
    shutil.copytree(ROOT / "sql" / "schema", folder / "sql" / "schema")
    (folder / "sql" / "selections").mkdir()
    (folder / "sql" / "selections" / "everyone.sql").write_text("select person_id from crm.person\n")
    (folder / "campaigns" / "trial").mkdir(parents=True)
    (folder / "campaigns" / "trial" / "campaign.yaml").write_text(CAMPAIGN)
    (folder / "campaigns" / "trial" / "mail.html").write_text("<p>Hallo</p>")
    (folder / "smp.yaml").write_text(SETTINGS)
    return folder


def change(folder: Path, old: str, new: str, file: str = "campaigns/trial/campaign.yaml") -> None:
    """Replace one piece of text in a file of the project."""
    path = folder / file
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def load_problems(folder: Path) -> list[Problem]:
    with pytest.raises(ProjectError) as caught:
        load_project(folder)
    return caught.value.problems


def line_of(folder: Path, text: str, file: str = "campaigns/trial/campaign.yaml") -> int:
    lines = (folder / file).read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if text in line)


def test_a_good_project_loads_and_has_no_problems(folder: Path) -> None:
    project = load_project(folder)
    assert [(ref.key, ref.slug, ref.next_key) for ref in project.steps()] == [
        ("trial/mail", "trial__mail", "trial/thanks"),
        ("trial/thanks", "trial__thanks", None),
    ]
    assert "crm.person" in project.catalog.tables
    assert check_project(project) == []


def test_a_step_is_found_by_its_key_and_a_misspelt_one_gets_the_nearest(folder: Path) -> None:
    project = load_project(folder)
    assert project.step("trial/mail").step.name == "Een mail"
    with pytest.raises(SmpError, match=r"there is no step trial/mial\n.*did you mean trial/mail\?"):
        project.step("trial/mial")


def test_lines_are_those_of_the_file(folder: Path) -> None:
    project = load_project(folder)
    file = folder / "campaigns" / "trial" / "campaign.yaml"
    assert project.line("trial/mail", "subject") == (file, line_of(folder, "subject:"))
    assert project.line("trial/mail", "schedule.times.1") == (file, line_of(folder, "15:00"))
    assert project.line("trial/mail", "reply_to") == (file, line_of(folder, "  mail:"))
    assert project.settings_line("records.performance") == (folder / "smp.yaml", 5)


def test_folders_that_start_with_an_underscore_are_no_campaigns(folder: Path) -> None:
    (folder / "campaigns" / "_layout").mkdir()
    (folder / "campaigns" / ".hidden").mkdir()
    assert list(load_project(folder).campaigns) == ["trial"]


@pytest.mark.parametrize(
    ("old", "new", "message", "remedy"),
    [
        ("    sender:", "    sendr:", "unknown key `sendr`", "did you mean sender?"),
        ("flow: true", "flwo: true", "unknown key `flwo`", "did you mean flow?"),
        ("      days:", "      dyas:", "unknown key `dyas`", "did you mean days?"),
        ("send: continuous", "send: continous", "`send` cannot be 'continous'", "did you mean continuous?"),
        ("start: 2026-01-01", "start: 2026-02-30", "'2026-02-30' is not a date", "like 2026-11-01"),
        ('- "15:00"', "- 15.00", "'15.00' is not a time", "09:00"),
        ("flow: true", "flow: yes", "must be true or false, not 'yes'", ""),
        ("name: Een mail", "name: 2026", "must be text, not 2026", "quotes"),
        ("topic: service", "topic:", "must be text, not empty", ""),
        ("name: Een mail", "late_minutes: -5\n    name: x", "`late_minutes` cannot be -5", "at least 0"),
        ("flow: true", "flow: true\nflow: false", "the key `flow` occurs twice (first on line 2)", "keep one"),
        ("days: [mon, thu]", "days: [mon, thu", "this is not YAML", "indentation"),
        ("flow: true", "flow: &a true\ndescription: *a", "an alias (*) is not used here", ""),
        ("flow: true", "flow: !!python/name:os.system x", "the tag tag:yaml.org,2002:python/name:os.system", "leave"),
    ],
)
def test_a_mistake_in_a_campaign_is_told_with_its_line_and_a_remedy(
    folder: Path, old: str, new: str, message: str, remedy: str
) -> None:
    change(folder, old, new)
    problems = load_problems(folder)
    assert any(message in problem.message and remedy in (problem.remedy or "") for problem in problems), problems


def test_every_mistake_is_told_on_the_line_of_its_own_field(folder: Path) -> None:
    change(folder, '- "15:00"', '- "25:00"')
    change(folder, "days: [mon, thu]", "days:\n        - mon\n        - thusday")
    change(folder, "    subject:", "    subjct:")
    expected = [line_of(folder, "subjct"), line_of(folder, "thusday"), line_of(folder, "25:00")]
    assert [problem.line for problem in load_problems(folder)] == expected


def test_the_problems_of_all_files_come_at_once(folder: Path) -> None:
    change(folder, "name: De Linde\n", "nmae: De Linde\n", file="smp.yaml")
    change(folder, "flow: true", "flow: maybe")
    (folder / "campaigns" / "Not A Name").mkdir()
    (folder / "campaigns" / "empty").mkdir()
    (folder / "sql" / "schema" / "0009_wrong.sql").write_text("create table crm.x (a int);")
    files = {problem.file.name for problem in load_problems(folder) if problem.file}
    assert files == {"smp.yaml", "campaign.yaml", "Not A Name", "empty", "0009_wrong.sql"}


def test_a_folder_without_settings_is_no_project(tmp_path: Path) -> None:
    assert "there is no smp.yaml" in load_problems(tmp_path)[0].message


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "word"])
def test_a_file_without_keys_is_told(folder: Path, text: str) -> None:
    (folder / "campaigns" / "trial" / "campaign.yaml").write_text(text)
    assert len(load_problems(folder)) == 1


def test_a_file_that_is_not_utf8_is_told(folder: Path) -> None:
    (folder / "campaigns" / "trial" / "campaign.yaml").write_bytes(b"name: caf\xe9\n")
    assert "cannot be read" in load_problems(folder)[0].message


def test_times_and_yes_and_on_stay_text(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text('a: 09:00\nb: yes\non: off\nc: 2026-01-01\nd: 12\ne: true\nf: ~\ng: "true"\nh: 0o7\ni: 1.50\n')
    assert read_document(file).value == {
        "a": "09:00", "b": "yes", "on": "off", "c": "2026-01-01", "d": 12, "e": True, "f": None, "g": "true",
        "h": "0o7", "i": "1.50",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "field", "message"),
    [
        ('    sender: "Kassa', '    sender: "" #', "sender:", "the sender address is missing"),
        ('    subject: "Hallo"', '    subject: " "', "subject:", "the subject line is missing"),
        ("    content: mail.html", '    content: ""', "content:", "the content is missing"),
        ("    selection: everyone\n", "", "  mail:", "the selection is missing"),
        ("content: mail.html", "content: mial.html", "mial.html", "there is no file mial.html"),
        ("selection: everyone", "selection: everone", "everone", "there is no selection everone"),
        ("topic: service", "topic: servcie", "servcie", "there is no topic servcie"),
        ("record: performance", "record: perfromance", "perfromance", "there is no record perfromance"),
        ("block: block_service_mail", "block: block_servicemail", "block:", "has no column block_servicemail"),
        ("block: block_service_mail", "block: title", "block:", "crm.performance.title is text, not true or false"),
        ("    record: performance\n", "", "block:", "`block` needs a linked record"),
        ("next: thanks", "next: thank", "next:", "there is no step thank"),
        ("next: thanks", "next: other/step", "next:", "there is no step other/step"),
        ("next: thanks", "next: mail", "next:", "is sent by itself, not after this one"),
        ('- "15:00"', '- "23:30"', "23:30", "23:30 lies between 23:00 and 06:00"),
        ('- "15:00"', '- "05:59"', "05:59", "05:59 lies between 23:00 and 06:00"),
        ('- "15:00"', '- "09:00" # again', "again", "the time 09:00 is there twice"),
        ("days: [mon, thu]", "days: [mon, mon]", "days:", "the day mon is there twice"),
        ("start: 2026-01-01", "start: 2026-01-01\n      end: 2025-12-31", "      end:", "lies before the start date"),
    ],
)
def test_what_keeps_a_step_from_being_sent_is_an_error_on_its_line(
    folder: Path, old: str, new: str, field: str, message: str
) -> None:
    change(folder, old, new)
    problems = [problem for problem in check_project(load_project(folder)) if message in problem.message]
    assert [(problem.line, problem.warning) for problem in problems] == [(line_of(folder, field), False)]


@pytest.mark.parametrize(
    ("old", "new", "field", "message"),
    [
        ("    description: Aan iedereen, elke week\n", "", "  mail:", "the description is missing"),
        ("    next: thanks\n", "", "send: trigger", "no step leads to this trigger step"),
        ("flow: true\n", "", "next:", "this campaign is no flow"),
        ("frequency: weekly\n      days: [mon, thu]", "frequency: monthly\n      day: 31", "day: 31",
         "February, April, June, September and November"),
        ("frequency: weekly\n      days: [mon, thu]", "frequency: monthly\n      day: 29", "day: 29", "leap years"),
    ],
)  # fmt: skip
def test_what_should_be_looked_at_is_only_a_warning(folder: Path, old: str, new: str, field: str, message: str) -> None:
    change(folder, old, new)
    problems = check_project(load_project(folder))
    assert [(problem.line, problem.warning) for problem in problems] == [(line_of(folder, field), True)]
    assert message in problems[0].message


def test_day_28_gives_no_warning(folder: Path) -> None:
    change(folder, "frequency: weekly\n      days: [mon, thu]", "frequency: monthly\n      day: 28")
    assert check_project(load_project(folder)) == []


def test_a_planned_one_off_send_at_night_is_an_error(folder: Path) -> None:
    text = CAMPAIGN[: CAMPAIGN.index("    schedule:")] + '    schedule: {at: "2026-12-01 23:30"}\n'
    text = (
        text.replace("send: continuous", "send: one_off").replace("    next: thanks\n", "").replace("flow: true\n", "")
    )
    (folder / "campaigns" / "trial" / "campaign.yaml").write_text(text)
    problems = check_project(load_project(folder))
    assert [problem.line for problem in problems] == [line_of(folder, "23:30")]


def test_steps_that_follow_one_another_for_ever_are_told_once(folder: Path) -> None:
    change(folder, '    subject: "Dank"', '    subject: "Dank"\n    next: again')
    again = (
        CAMPAIGN[CAMPAIGN.index("  thanks:") :]
        .replace("  thanks:", "  again:")
        .replace("trigger", "trigger\n    next: thanks")
    )
    with (folder / "campaigns" / "trial" / "campaign.yaml").open("a") as file:
        file.write(again)
    messages = [problem.message for problem in check_project(load_project(folder))]
    assert messages == ["these steps follow one another for ever: trial/thanks → trial/again → trial/thanks"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("crm.performance", "crm.perfomance", "there is no table crm.perfomance"),
        ("key: performance_id", "key: id", "crm.performance has no column id"),
        ("title: title", "title: titel", "crm.performance has no column titel"),
    ],
)
def test_a_record_that_is_not_in_the_catalogue_is_an_error(folder: Path, old: str, new: str, message: str) -> None:
    change(folder, old, new, file="smp.yaml")
    problems = [problem for problem in check_project(load_project(folder)) if message in problem.message]
    assert [(problem.file, problem.line) for problem in problems] == [(folder / "smp.yaml", 5)]


def test_the_sample_project_has_no_problems_of_its_own() -> None:
    project = load_project(ROOT)
    assert {ref.key for ref in project.steps()} >= {
        "servicemails/servicemail",
        "we_miss_you/we_miss_you",
        "newsletter/december",
    }
    assert check_project(project) == []
