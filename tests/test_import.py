"""Imports: what is in the file is in the CRM, once; what cannot be is in the rejects, with its line and reason."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from smp_pipelines.crm.catalog import Catalog, read_catalog
from smp_pipelines.crm.importing import ImportResult, import_file
from smp_pipelines.problems import SmpError

REPOSITORY = Path(__file__).resolve().parents[1]
PERSON = "person_id,first_name,last_name,email,birth_date,blocked,created_at"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog(REPOSITORY / "sql" / "schema")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "files of the CRM"
    place.mkdir()
    return place


def written(folder: Path, text: str, encoding: str = "utf-8", name: str = "people.csv") -> Path:
    file = folder / name
    file.write_bytes(text.encode(encoding))
    return file


def asked(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        return connection.execute(query.encode()).fetchall()


def rejected(result: ImportResult, delimiter: str = ",") -> list[dict[str, str]]:
    assert result.rejects_file is not None
    with result.rejects_file.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source, delimiter=delimiter))


def counts(result: ImportResult) -> tuple[int, int, int, int, int]:
    return result.read, result.inserted, result.updated, result.unchanged, result.rejected


def test_a_file_is_loaded_and_loading_it_again_touches_no_row(
    postgres_url: str, catalog: Catalog, folder: Path
) -> None:
    file = written(
        folder,
        f"{PERSON}\n1,Anna,Jansen,anna@post.example,1990-02-28,nee,2020-01-01 10:00:00+01\n"
        "2,,Bos, Kees@post.example ,,J,2020-01-01\n",
    )
    first = import_file(postgres_url, catalog, "crm.person", file)
    assert counts(first) == (2, 2, 0, 0, 0)
    assert first.rejects_file is None
    kept = asked(
        postgres_url,
        "select ctid::text, xmin::text, xmax::text, changed_tx::text, p.* from crm.person p order by person_id",
    )
    assert counts(import_file(postgres_url, catalog, "person", file)) == (2, 0, 0, 2, 0)
    again = asked(
        postgres_url,
        "select ctid::text, xmin::text, xmax::text, changed_tx::text, p.* from crm.person p order by person_id",
    )
    assert again == kept
    query = (
        "select first_name, email, email_key, birth_date::text, blocked, created_at::text, language"
        " from crm.person order by person_id"
    )
    assert asked(postgres_url, query) == [
        ("Anna", "anna@post.example", "anna@post.example", "1990-02-28", False, "2020-01-01 09:00:00+00", "nl"),
        (None, " Kees@post.example ", "kees@post.example", None, True, "2019-12-31 23:00:00+00", "nl"),
    ]


def test_only_what_differs_is_updated(postgres_url: str, catalog: Catalog, folder: Path) -> None:
    rows = [f"{number},Anna,Jansen,,,false,2020-01-01" for number in range(1, 101)]
    import_file(postgres_url, catalog, "person", written(folder, "\n".join([PERSON, *rows])))
    rows[41] = "42,Anne,Jansen,,,false,2020-01-01"
    rows.append("101,Bea,Bos,,,false,2020-01-01")
    before = dict(asked(postgres_url, "select person_id, changed_tx::text from crm.person"))
    result = import_file(postgres_url, catalog, "person", written(folder, "\n".join([PERSON, *rows])))
    assert counts(result) == (101, 1, 1, 99, 0)
    after = dict(asked(postgres_url, "select person_id, changed_tx::text from crm.person"))
    assert {number for number in before if after[number] != before[number]} == {42}


def test_columns_that_are_not_in_the_file_stay_as_they_are(postgres_url: str, catalog: Catalog, folder: Path) -> None:
    import_file(
        postgres_url, catalog, "person", written(folder, f"{PERSON}\n1,Anna,Jansen,a@post.example,,ja,2020-01-01")
    )
    file = written(folder, "person_id,last_name,created_at,city\n1,Jansen,2020-01-01,Utrecht\n")
    assert counts(import_file(postgres_url, catalog, "person", file)) == (1, 0, 1, 0, 0)
    query = "select first_name, email, blocked, city from crm.person"
    assert asked(postgres_url, query) == [("Anna", "a@post.example", True, "Utrecht")]


BROKEN = f"""{PERSON}
1,Anna,Jansen,a@post.example,1990-01-01,nee,2020-01-01
2,Te,weinig
3,Te,Veel,x@post.example,,nee,2020-01-01,nog,iets
4,"Een "fout" aanhalingsteken,Bos,,,nee,2020-01-01
5,Datum,Bos,,31-02-1990,nee,2020-01-01

6,Leeg,,,,nee,2020-01-01
7,Misschien,Bos,,,misschien,
1,Dubbel,Jansen,,,nee,2020-01-01
8,"Over
twee regels",Bos,,29-2-2024,JA,01-03-2020 14:05
abc,Sleutel,Bos,,,nee,2020-01-01
9,"Nooit dicht,Bos,,,nee,2020-01-01
10,Wel,Goed,,,nee,2020-01-01
"""


def test_broken_rows_come_back_with_line_reason_and_fields_and_the_others_are_loaded(
    postgres_url: str, catalog: Catalog, folder: Path
) -> None:
    result = import_file(postgres_url, catalog, "person", written(folder, BROKEN))
    assert counts(result) == (12, 3, 0, 0, 9)
    assert result.rejects_file == folder / "people.rejects.csv"
    rows = rejected(result)
    assert {int(row["line"]): row["reason"] for row in rows} == {
        3: "3 fields where the header has 7",
        4: "9 fields where the header has 7",
        5: "text follows a closing quote; a quote within a field is written twice",
        6: "birth_date: 31-02-1990 is not a date (2026-01-31 or 31-01-2026)",
        8: "last_name is empty, but must have a value",
        9: "blocked: misschien is not ja or nee (or true, false, 1, 0); created_at is empty, but must have a value",
        10: "the same person_id as on line 2",
        13: "person_id: abc is not a whole number",
        14: "a quote is opened and not closed",
    }
    assert [int(row["line"]) for row in rows] == sorted(int(row["line"]) for row in rows)
    assert rows[1]["original"] == "3,Te,Veel,x@post.example,,nee,2020-01-01,nog,iets"
    assert (rows[3]["person_id"], rows[3]["first_name"], rows[3]["birth_date"]) == ("5", "Datum", "31-02-1990")
    query = "select person_id, first_name, birth_date::text, created_at::text from crm.person order by person_id"
    assert asked(postgres_url, query) == [
        (1, "Anna", "1990-01-01", "2019-12-31 23:00:00+00"),
        (8, "Over\ntwee regels", "2024-02-29", "2020-03-01 13:05:00+00"),
        (10, "Wel", None, "2019-12-31 23:00:00+00"),
    ]


def test_a_mended_file_leaves_no_rejects_file(postgres_url: str, catalog: Catalog, folder: Path) -> None:
    rejects = folder / "geweigerd" / "rijen.csv"
    first = import_file(postgres_url, catalog, "person", written(folder, f"{PERSON}\nx,A,B,,,nee,2020-01-01"), rejects)
    assert first.rejects_file == rejects
    assert rejects.exists()
    import_file(postgres_url, catalog, "person", written(folder, f"{PERSON}\n1,A,B,,,nee,2020-01-01"), rejects)
    assert list(rejects.parent.iterdir()) == []


def test_rows_that_refer_to_nobody_are_rejected(postgres_url: str, catalog: Catalog, folder: Path) -> None:
    import_file(postgres_url, catalog, "person", written(folder, f"{PERSON}\n1,A,B,,,nee,2020-01-01"))
    file = written(
        folder, "list_id,person_id,added_at\n1,1,2020-01-01\n9,1,2020-01-01\n1,77,2020-01-01\n", name="members.csv"
    )
    import_file(postgres_url, catalog, "list", written(folder, "list_id,name\n1,Pers\n", name="lists.csv"))
    result = import_file(postgres_url, catalog, "list_member", file)
    assert counts(result) == (3, 1, 0, 0, 2)
    assert {row["line"]: row["reason"] for row in rejected(result)} == {
        "3": "list_id 9 is not in crm.list",
        "4": "person_id 77 is not in crm.person",
    }


def test_a_table_may_refer_to_itself_and_lost_children_follow_their_lost_parents(
    postgres_url: str, folder: Path
) -> None:
    schema = folder / "schema"
    schema.mkdir()
    text = (
        "create table crm.hall (hall_id bigint primary key, part_of bigint references crm.hall (hall_id),"
        " kind varchar(5), share real, big numeric(50, 10), code uuid, extra jsonb, opens time);"
    )
    (schema / "0001_hall.sql").write_text(text)
    with psycopg.connect(postgres_url) as connection:
        connection.execute(text.encode())
    own = read_catalog(schema)
    file = written(folder, "hall_id,part_of\n1,2\n2,\n3,4\n4,5\n")
    result = import_file(postgres_url, own, "hall", file)
    assert counts(result) == (4, 2, 0, 0, 2)
    file = written(
        folder,
        "hall_id;kind;share;big;code;extra;opens\n"
        '1;groot;0.5;12345678901234567890123456789012345678,5;6f1e1f4e-8f0c-4b3e-9c39-0b5a3b1f7f10;"{""a"": 1}";19:30\n'
        "2;te lang;half;1.000,5;nee;{;25:00\n",
    )
    result = import_file(postgres_url, own, "hall", file)
    assert counts(result) == (2, 0, 1, 0, 1)
    assert rejected(result, ";")[0]["reason"].count(" is not ") == 6
    query = "select big::text, extra->>'a', opens::text from crm.hall where hall_id = 1"
    assert asked(postgres_url, query) == [("12345678901234567890123456789012345678.5000000000", "1", "19:30:00")]
    assert counts(import_file(postgres_url, own, "hall", file)) == (2, 0, 0, 1, 1)


@pytest.mark.parametrize(
    ("separator", "amount", "good"),
    [
        (";", "12,50", True),
        (";", "12.50", True),
        (";", "1.234,50", False),
        (";", "12,505", False),
        ("\t", "12.5", True),
        (",", "12.50", True),
        (",", '"12,50"', False),
        (",", "1e3", False),
        (",", "€ 5", False),
        (",", "99999999999", False),
    ],
)
def test_a_decimal_comma_counts_only_between_semicolons(
    postgres_url: str, catalog: Catalog, folder: Path, separator: str, amount: str, good: bool
) -> None:
    import_file(postgres_url, catalog, "person", written(folder, f"{PERSON}\n1,A,B,,,nee,2020-01-01"))
    text = "donation_id,person_id,fund,donated_at,amount\n1,1,Fonds,2020-01-01,".replace(",", separator) + amount + "\n"
    result = import_file(postgres_url, catalog, "donation", written(folder, text, name="gifts.csv"))
    assert counts(result) == ((1, 1, 0, 0, 0) if good else (1, 0, 0, 0, 1))


@pytest.mark.parametrize(
    ("written_as", "stored"),
    [
        ("2026-03-29 01:59", "2026-03-29 00:59:00+00"),
        ("2026-03-29 02:30", None),
        ("2026-10-25 02:30", None),
        ("2026-10-25 02:30+02:00", "2026-10-25 00:30:00+00"),
        ("2026-10-25T02:30:00Z", "2026-10-25 02:30:00+00"),
        ("2026-10-25 03:00:00", "2026-10-25 02:00:00+00"),
        ("25-10-2026 12:00", "2026-10-25 11:00:00+00"),
        ("2026-07-01 20:15:00.25 +0200", "2026-07-01 18:15:00.25+00"),
        ("10/25/2026", None),
        ("2026-13-01", None),
        ("gisteren", None),
    ],
)
def test_a_moment_without_offset_is_local_and_refused_where_the_clock_changes(
    postgres_url: str, catalog: Catalog, folder: Path, written_as: str, stored: str | None
) -> None:
    file = written(folder, f"person_id,last_name,created_at\n1,Jansen,{written_as}\n")
    import_file(postgres_url, catalog, "person", file)
    assert asked(postgres_url, "select created_at::text from crm.person") == ([(stored,)] if stored else [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_utf8_and_windows_1252_are_told_apart(postgres_url: str, catalog: Catalog, folder: Path, encoding: str) -> None:
    file = written(folder, f"{PERSON}\r\n1,Zoë,Müller,,,nee,2020-01-01\r\n2,André,Bos,,,nee,2020-01-01\r\n", encoding)
    assert import_file(postgres_url, catalog, "person", file).inserted == 2
    assert asked(postgres_url, "select first_name, last_name from crm.person order by person_id") == [
        ("Zoë", "Müller"),
        ("André", "Bos"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n1,2\n", "has no header"),
        (
            f"{PERSON}\n1,Zo\u00eb,B,,,nee,2020-01-01\n".encode() + b"2,Zo\xeb,B,,,nee,2020-01-01\n",
            ":3: not UTF-8, while line 2 is",
        ),
        (PERSON.encode() + b"\n1,\x81,B,,,nee,2020-01-01\n", ":2: neither UTF-8 nor Windows-1252"),
        (PERSON.encode("utf-16"), "is UTF-16"),
        (b"PK\x03\x04...", "is a spreadsheet"),
        (b"person_id,frist_name\n", "has no column frist_name; did you mean first_name"),
        (b"person_id,email_key,last_name,created_at\n", "email_key of crm.person is computed"),
        (b"person_id,last_name,last_name,created_at\n", "last_name is in the header 2 times"),
        (b"person_id,first_name\n1,A\n", "without the columns last_name, created_at"),
        (b"first_name,last_name,created_at\n", "without the column person_id"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused(
    postgres_url: str, catalog: Catalog, folder: Path, content: bytes, message: str
) -> None:
    file = folder / "people.csv"
    file.write_bytes(content)
    with pytest.raises(SmpError) as caught:
        import_file(postgres_url, catalog, "person", file)
    assert message in str(caught.value)
    assert [entry.name for entry in folder.iterdir()] == ["people.csv"]


def test_an_unknown_table_a_missing_file_and_the_ledger_are_refused(
    postgres_url: str, catalog: Catalog, folder: Path
) -> None:
    file = written(folder, PERSON)
    with pytest.raises(SmpError, match=r"no table persson .* did you mean crm\.person"):
        import_file(postgres_url, catalog, "persson", file)
    with pytest.raises(SmpError, match=r"no table smp\.contact_moment"):
        import_file(postgres_url, catalog, "smp.contact_moment", file)
    with pytest.raises(SmpError, match="there is no file"):
        import_file(postgres_url, catalog, "person", folder / "nothing.csv")
    with pytest.raises(SmpError, match="into the imported file itself"):
        import_file(postgres_url, catalog, "person", file, file)


def test_a_rule_of_the_database_that_is_broken_leaves_nothing_behind(
    postgres_url: str, catalog: Catalog, folder: Path
) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("alter table crm.person add constraint no_bos check (last_name <> 'Bos')")
    file = written(
        folder, f"{PERSON}\n1,A,Jansen,,,nee,2020-01-01\n2,A,Bos,,,nee,2020-01-01\nx,A,Bos,,,nee,2020-01-01\n"
    )
    with pytest.raises(SmpError, match=r"nothing was imported into crm\.person.*no_bos"):
        import_file(postgres_url, catalog, "person", file)
    assert asked(postgres_url, "select * from crm.person") == []
    assert [entry.name for entry in folder.iterdir()] == ["people.csv"]


def test_parquet_is_loaded_like_csv(postgres_url: str, catalog: Catalog, folder: Path) -> None:
    file = folder / "people.parquet"
    with duckdb.connect() as duck:
        duck.execute("set timezone = 'Europe/Amsterdam'")
        duck.execute(
            "create table p (person_id double, last_name varchar, birth_date timestamp, blocked boolean,"
            " created_at timestamptz)"
        )
        duck.execute(
            "insert into p values (1, 'Jansen', '1990-01-01', true, '2020-07-01 12:00:00+02'),"
            " (2.5, 'Bos', null, false, now()), (3, '', null, false, '2020-01-01'),"
            " (4, 'Vos', '1990-01-01 13:00:00', null, null)"
        )
        duck.execute(f"copy p to '{file}' (format parquet)")
    result = import_file(postgres_url, catalog, "person", file)
    assert counts(result) == (4, 1, 0, 0, 3)
    assert [row["line"] for row in rejected(result)] == ["2", "3", "4"]
    query = "select person_id, birth_date::text, blocked, created_at::text from crm.person"
    assert asked(postgres_url, query) == [(1, "1990-01-01", True, "2020-07-01 10:00:00+00")]
    file.write_bytes(b"PAR1 but no more")
    with pytest.raises(SmpError, match="is not a Parquet file"):
        import_file(postgres_url, catalog, "person", file)


def test_any_text_survives_the_way_through(postgres_url: str, catalog: Catalog, folder: Path) -> None:
    names = [
        'a "b" c',
        "x\r\ny",
        "x\ry",
        "\\.",
        "a\n\\.\nb",
        "tab\there",
        "NULL",
        "null",
        "; drop table",
        "'",
        "é€ı😀",
        "\\N",
        "a\\b",
        '""',
    ]
    file = folder / "people.csv"
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, delimiter=";", quoting=csv.QUOTE_ALL)
        writer.writerow(["person_id", "last_name", "created_at"])
        writer.writerows([number, name, "2020-01-01"] for number, name in enumerate(names))
    assert import_file(postgres_url, catalog, "person", file).inserted == len(names)
    assert [name for (name,) in asked(postgres_url, "select last_name from crm.person order by person_id")] == names
    assert import_file(postgres_url, catalog, "person", file).unchanged == len(names)
