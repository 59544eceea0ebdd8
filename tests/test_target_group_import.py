"""Tests of importing target groups (F52): several campaigns in one file, rejected rows that can be mended, twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.target.group import read_group_changes, read_linked
from smp_pipelines.sending.target.importing import Fixed, GroupImported, import_groups
from tests.conftest import fresh_database
from tests.support.grouped import grouped_project, in_group, write_campaign
from tests.support.theatre import Theatre, deployment

ONCE = "send: one_off; target_group: {evaluate: once}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = grouped_project(tmp_path_factory.mktemp("imports") / "my project")
    linked = "send: one_off; target_group: {selections: [amsterdam], evaluate: once}"
    about = f"send: one_off; record: performance; {ONCE.partition('; ')[2]}"
    moving = "send: one_off; selection: amsterdam"
    write_campaign(folder, "spring", {"invited": ONCE, "numbered": f"number: 40; {ONCE}", "moving": moving})
    write_campaign(folder, "autumn", {"linked": linked, "about": about})
    return folder


@pytest.fixture
def house(embedded_url: str, migrated_template: str, project: Path, tmp_path: Path) -> Iterator[Theatre]:
    """A theatre of twelve people without a lake: an import is between a file and Postgres."""
    with fresh_database(embedded_url, migrated_template) as url:
        opened = Theatre(deployment(url, tmp_path, project=project))
        opened.people(12)
        yield opened


def load(house: Theatre, file: Path, fixed: Fixed | None = None) -> GroupImported:
    with house.deployment.connection() as postgres:
        return import_groups(postgres, house.deployment.project, file, fixed or Fixed(linked="J"), house.now, "anna")


def written(folder: Path, text: str, name: str = "contacts.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def counts(done: GroupImported) -> tuple[int, int, int, int, int]:
    return done.read, done.linked, done.unlinked, done.unchanged, done.rejected


def test_one_file_links_and_keeps_out_contacts_of_several_campaigns(house: Theatre, tmp_path: Path) -> None:
    text = (
        "Campagne;Volgnummer;Contact;Gekoppeld\n"
        "spring;1;1;J\nSPRING;01;2;ja\nspring;invited;3;N\nCampagne spring;40;4;true\nautumn;1;5;Y\nautumn;1;6;nee\n"
    )
    file = written(tmp_path, text)
    assert counts(load(house, file)) == (6, 4, 2, 0, 0)
    assert (in_group(house, "spring/invited"), in_group(house, "spring/invited", linked=False)) == ([1, 2], [3])
    assert in_group(house, "spring/numbered") == [4]
    assert (in_group(house, "autumn/linked"), in_group(house, "autumn/linked", linked=False)) == ([5], [6])
    with house.deployment.connection() as postgres:
        assert read_linked(postgres, "spring/invited") is not None
        assert read_linked(postgres, "autumn/linked") is None, "its selections wait for `smp group link`"
        (change,) = read_group_changes(postgres, "spring/invited", 10)
    assert (change.changed_by, change.source, change.linked, change.unlinked) == ("anna", "file contacts.csv", 2, 1)


def test_a_file_that_is_imported_twice_changes_nothing_the_second_time(house: Theatre, tmp_path: Path) -> None:
    file = written(tmp_path, "contact,linked\n1,J\n2,N\n")
    fixed = Fixed("spring", "1", "J")
    assert counts(load(house, file, fixed)) == (2, 1, 1, 0, 0)
    before = house.sql("select * from smp.target_member order by 1, 2"), house.sql("select * from smp.target_change")
    assert counts(load(house, file, fixed)) == (2, 0, 0, 2, 0)
    after = house.sql("select * from smp.target_member order by 1, 2"), house.sql("select * from smp.target_change")
    assert after == before


def test_a_later_file_can_unlink_who_an_earlier_one_linked(house: Theatre, tmp_path: Path) -> None:
    file = written(tmp_path, "contact\n1\n2\n")
    assert counts(load(house, file, Fixed("spring", "1", "J"))) == (2, 2, 0, 0, 0)
    assert counts(load(house, file, Fixed("spring", "1", "N"))) == (2, 0, 2, 0, 0)
    assert in_group(house, "spring/invited") == []


REJECTED = {
    "winter,1,1,J": "there is no campaign winter",
    "spring,9,1,J": "campaign spring has no step 9",
    ",1,1,J": "campaign is empty",
    "spring,,1,J": "number is empty",
    "spring,3,1,J": "step spring/moving is evaluated at each send: nobody can be linked to it",
    "spring,1,99,J": "contact 99 is not in the CRM",
    "spring,1,Jansen,J": "contact: Jansen is not a number",
    "spring,1,,J": "contact is empty",
    "spring,1,1,misschien": "linked: misschien is not J or N",
    "spring,1,1": "3 fields where the header has 4",
    "spring,1,7,N": "the same contact as on line 2",
    "autumn,2,7,J": "record is empty: the step is about a performance",
}


def test_bad_rows_come_back_with_line_and_reason_and_once_mended_they_are_taken(house: Theatre, tmp_path: Path) -> None:
    header = "campaign,number,contact,linked\n"
    done = load(house, written(tmp_path, header + "spring,1,7,J\n" + "\n".join(REJECTED) + "\n"))
    assert counts(done) == (1 + len(REJECTED), 1, 0, 0, len(REJECTED))
    assert done.rejects_file is not None
    first, *lines = done.rejects_file.read_text(encoding="utf-8").splitlines()
    assert first == "line,reason,campaign,number,contact,linked,original"
    assert [line.split(",")[:2] for line in lines] == [[str(n), why] for n, why in enumerate(REJECTED.values(), 3)]
    # the person mends them all in the file as it came back
    mended = [f"{line.partition(',')[0]},x,spring,1,{n},J," for n, line in enumerate(lines, 1) if n != 7]
    again = load(house, written(tmp_path, "\n".join([first, *mended]), "contacts.rejects.csv"))
    assert counts(again) == (11, 11, 0, 0, 0)
    assert again.rejects_file is None
    assert in_group(house, "spring/invited") == EVERYBODY


EVERYBODY = list(range(1, 13))


def test_a_step_about_a_record_takes_it_from_a_column(house: Theatre, tmp_path: Path) -> None:
    file = written(tmp_path, "contact,performance_id\n1,7\n1,8\n2,\n")
    assert counts(load(house, file, Fixed("autumn", "about", "J"))) == (3, 2, 0, 0, 1)
    assert house.sql("select person_id, record_id from smp.target_member order by 2") == [(1, 7), (1, 8)]


@pytest.mark.parametrize(
    ("text", "fixed", "words"),
    [
        ("contact,gekopeld\n1,N\n", Fixed("spring", "1", "J"), "has no column gekopeld\n.*did you mean gekoppeld"),
        ("contact\n1\n", Fixed(), "no column campaign and no column number\n.*--campaign"),
        ("campaign,number\nspring,1\n", Fixed(), "there is no column contact"),
        ("contact,person_id\n1,1\n", Fixed("spring", "1"), "contact and person_id mean the same"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_whole(
    house: Theatre, tmp_path: Path, text: str, fixed: Fixed, words: str
) -> None:
    with pytest.raises(SmpError, match=words):
        load(house, written(tmp_path, text), fixed)
    assert house.sql("select 1 from smp.target_member") == []
