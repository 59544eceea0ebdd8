"""The models of smp.yaml and campaign.yaml: what one field may hold, and the schemas that editors use."""

from __future__ import annotations

import json
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from smp_pipelines.campaign.models import Campaign, OneOffSchedule, Project, Schedule, Step
from smp_pipelines.schemas import json_schemas, schema_files, write_schemas

ROOT = Path(__file__).parents[1]
CONTINUOUS: dict[str, Any] = {"start": "2026-01-01", "frequency": "daily", "times": ["09:00"]}


def step(**fields: Any) -> Step:
    return Step.model_validate({"name": "A step", "send": "trigger", "topic": "service", **fields})


def schedule(**fields: Any) -> Schedule:
    return Schedule.model_validate({**CONTINUOUS, **fields})


def refusals(call: Any) -> list[tuple[str, str]]:
    """Where and what the model refuses, without the tags of unions."""
    with pytest.raises(ValidationError) as caught:
        call()
    return [(str(error["loc"][-1]), error["msg"]) for error in caught.value.errors()]


def test_a_step_has_sensible_defaults() -> None:
    found = step()
    assert (found.channel, found.deduplicate, found.late_minutes, found.next) == ("email", False, 60, None)
    assert step(send="one_off").deduplicate
    assert step(deduplicate=True).deduplicate


def test_a_continuous_step_reads_dates_and_times() -> None:
    found = step(send="continuous", schedule={**CONTINUOUS, "end": "2026-06-30", "times": ["09:00", "15:30"]}).schedule
    assert isinstance(found, Schedule)
    assert (found.start, found.end) == (date(2026, 1, 1), date(2026, 6, 30))
    assert found.times == (time(9), time(15, 30))


def test_a_one_off_step_may_have_a_planned_moment() -> None:
    found = step(send="one_off", schedule={"at": "2026-12-01 10:00"}).schedule
    assert isinstance(found, OneOffSchedule)
    assert found.at.isoformat() == "2026-12-01T10:00:00"
    assert step(send="one_off").schedule is None


@pytest.mark.parametrize("text", ["9:00", "24:00", "09:60", "09:00:30", "09.00", "negen uur", 900])
def test_a_time_that_is_no_time_is_refused(text: object) -> None:
    assert refusals(lambda: schedule(times=["09:00", text]))[0][0] == "1"


@pytest.mark.parametrize("text", ["2026-02-30", "01-02-2026", "2026", "2026-01-01 10:00"])
def test_a_date_that_does_not_exist_is_refused(text: str) -> None:
    assert refusals(lambda: schedule(start=text)) == [("start", f"'{text}' is not a date")]


@pytest.mark.parametrize("text", ["2026-12-01", "2026-12-01 25:00", "2026-13-01 10:00", "2026-12-01T10:00"])
def test_a_planned_moment_needs_a_date_and_a_time(text: str) -> None:
    assert refusals(lambda: OneOffSchedule.model_validate({"at": text}))[0][0] == "at"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"frequency": "weekly"}, "days"),
        ({"frequency": "daily", "days": ["mon"]}, "days"),
        ({"frequency": "monthly"}, "day"),
        ({"frequency": "daily", "day": 3}, "day"),
        ({"frequency": "monthly", "day": 32}, "day"),
        ({"frequency": "monthly", "day": 0}, "day"),
        ({"frequency": "weekly", "days": ["monday"]}, "0"),
        ({"frequency": "yearly"}, "frequency"),
        ({"times": []}, "times"),
    ],
)
def test_a_schedule_whose_fields_do_not_fit_is_refused_at_that_field(fields: dict[str, Any], field: str) -> None:
    assert [place for place, _ in refusals(lambda: schedule(**fields))] == [field]


@pytest.mark.parametrize(
    ("send", "given"), [("continuous", None), ("continuous", {"at": "2026-12-01 10:00"}), ("one_off", CONTINUOUS)]
)
def test_a_schedule_of_another_kind_of_send_is_refused(send: str, given: object) -> None:
    assert refusals(lambda: step(send=send, schedule=given))[0][0] == "schedule"


def test_a_trigger_step_has_no_schedule() -> None:
    assert "trigger" in refusals(lambda: step(schedule={"at": "2026-12-01 10:00"}))[0][1]


@pytest.mark.parametrize(
    "fields",
    [
        {"sender": "Kassa"},
        {"sender": "Kassa <kassa@nergens>"},
        {"sender": "a@b.nl, c@d.nl"},
        {"sender": "Kassa\nBcc: x@y.nl <a@b.nl>"},
        {"reply_to": "geen adres"},
        {"content": "../elders.mjml"},
        {"content": "mail.txt"},
        {"deduplicate": "yes"},
        {"late_minutes": -1},
        {"late_minutes": "60"},
        {"selection": "Met Spaties"},
        {"next": "a/b/c"},
        {"channel": "pigeon"},
    ],
)
def test_a_field_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    assert [place for place, _ in refusals(lambda: step(**fields))] == list(fields)


@pytest.mark.parametrize("sender", ["kassa@de-linde.nl", "Kassa De Linde <kassa@de-linde.nl>", ""])
def test_a_sender_is_one_address_or_not_filled_in_yet(sender: str) -> None:
    assert step(sender=sender).sender == sender


@pytest.mark.parametrize("name", ["Servicemail", "a__b", "_a", "a_", "a b", "a-b", "1a", ""])
def test_a_step_name_that_could_not_be_told_apart_in_a_slug_is_refused(name: str) -> None:
    inside = {"name": "x", "send": "trigger", "topic": "service"}
    assert refusals(lambda: Campaign.model_validate({"name": "x", "steps": {name: inside}}))[0][0] == "[key]"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"time_zone": "Europe/Amsterdm"}, "time_zone"),
        ({"language": "klingon"}, "language"),
        ({"topics": {"service": "maybe"}}, "service"),
        ({"topics": {}}, "topics"),
        ({"records": {"person": {"table": "crm.person", "key": "person_id", "title": "last_name"}}}, "records"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(fields: dict[str, Any], field: str) -> None:
    good = {"name": "De Linde", "time_zone": "Europe/Amsterdam", "topics": {"service": "opt_out"}}
    assert Project.model_validate(good).zone.key == "Europe/Amsterdam"
    assert [place for place, _ in refusals(lambda: Project.model_validate({**good, **fields}))] == [field]


def test_a_model_cannot_be_changed_after_loading() -> None:
    with pytest.raises(ValidationError):
        step().name = "Anders"


def test_the_published_schemas_are_those_of_the_models() -> None:
    published = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "schemas").glob("*.json")}
    assert published == schema_files(), "run: python -m smp_pipelines.schemas"


def test_every_field_has_an_explanation_in_the_schema() -> None:
    for schema in json_schemas().values():
        for model in (schema, *schema.get("$defs", {}).values()):
            unexplained = [name for name, field in model["properties"].items() if "description" not in field]
            assert not unexplained, model["title"]


def test_the_schemas_are_written_as_json(tmp_path: Path) -> None:
    written = write_schemas(tmp_path / "a folder")
    assert [json.loads(file.read_text(encoding="utf-8")) for file in written] == list(json_schemas().values())


@pytest.mark.parametrize("file", sorted([*ROOT.glob("campaigns/*/campaign.yaml"), ROOT / "smp.yaml"]), ids=str)
def test_every_sample_file_names_a_schema_that_exists(file: Path) -> None:
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (file.parent / first.partition("=")[2]).is_file()
