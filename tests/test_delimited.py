"""Delimited files: every row comes back with the line on which it starts, and damage stays where it is."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smp_pipelines.crm.delimited import read_layout, read_rows

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=12)


@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=20),
    separator=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
@settings(max_examples=150, deadline=None)
def test_whatever_python_writes_is_read_back_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], separator: str, end: str
) -> None:
    file = tmp_path_factory.mktemp("csv") / "any.csv"
    lines = []
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerow(["person_id", "last_name", "email"])
        for row in rows:
            target.flush()
            before = file.read_bytes().decode()
            lines.append(len(before.replace("\r\n", "\n").replace("\r", "\n").split("\n")))
            writer.writerow(row)
    layout = read_layout(file, {"person_id", "last_name", "email"})
    assert layout.separator == separator
    read = list(read_rows(file, layout))
    assert [(row.line, tuple(row.fields), row.fault) for row in read] == [
        (line, row, None) for line, row in zip(lines, rows, strict=True)
    ]


@given(at=st.integers(0, 29), damage=st.sampled_from(['"', '"x"y', "a,b,c,d", "\0", 'x"']))
@settings(max_examples=60, deadline=None)
def test_damage_in_one_row_costs_that_row_only(tmp_path_factory: pytest.TempPathFactory, at: int, damage: str) -> None:
    file = tmp_path_factory.mktemp("csv") / "damaged.csv"
    lines = [f"{number},Jansen,x" for number in range(30)]
    lines[at] = f"{damage},Jansen,x"
    file.write_text("\n".join(["person_id,last_name,email", *lines]), encoding="utf-8")
    read = list(read_rows(file, read_layout(file, {"person_id"})))
    assert [row.line for row in read] == list(range(2, 32))
    faults = [row.line for row in read if row.fault]
    assert faults == ([] if damage == 'x"' else [at + 2])
