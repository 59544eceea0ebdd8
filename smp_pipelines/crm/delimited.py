"""Delimited text files (CSV): which encoding and separator they have, and their rows with exact line numbers."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from smp_pipelines.problems import SmpError

_SEPARATORS = ",;\t"
_LONGEST_ROW = 500
"""Lines that one quoted row may take: a quote that is never closed must not swallow the file."""

_LONGEST_TEXT = 1_000_000
"""Characters that one row may have."""

_UNDEFINED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
"""Bytes that are no character in Windows-1252."""


@dataclass(frozen=True)
class Layout:
    """How a file is written: Python's name of its encoding, its separator, the names in its header."""

    encoding: str
    separator: str
    header: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A row of a file: the line on which it starts (from 1), its fields, and why it cannot be read, if so."""

    line: int
    fields: list[str]
    fault: str | None = None
    text: str = ""


def read_layout(file: Path, known: Collection[str]) -> Layout:
    """Find out how a file is written; of the separators, the one that gives most of the `known` column names.

    Raises SmpError for an encoding other than UTF-8 and Windows-1252, and for a file without a header.
    """
    encoding = _encoding(file)
    with file.open(encoding=encoding, newline="") as source:
        first = source.readline()
    headers = {separator: _header(first, separator) for separator in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda mark: (len(set(headers[mark]) & set(known)), len(headers[mark])))
    if not any(headers[separator]):
        raise SmpError(f"{file} has no header: the first line must hold the names of the columns")
    return Layout(encoding, separator, headers[separator])


def read_rows(file: Path, layout: Layout) -> Iterator[Row]:
    """The rows below the header, one at a time; broken ones too, each with its fault. Empty lines are passed over.

    When a row over several lines is broken, only its first line is: a stray quote costs one row,
    and the lines that it would have swallowed are read again as rows of their own.
    """
    with file.open(encoding=layout.encoding, newline="") as source:
        source.readline()
        lines = _Lines(source)
        reader = csv.reader(lines, delimiter=layout.separator, strict=True)
        while True:
            fields: list[str] = []
            fault = None
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                fault = _in_words(error)
            else:
                if not fields:
                    lines.take()
                    continue
                fault = _fault(fields, len(layout.header), lines.fed)
            if fault is None:
                yield Row(lines.take(), fields)
            else:
                text = lines.fed[0].rstrip("\r\n")
                yield Row(lines.take_first(), _plain_fields(text, layout), fault, text)


class _Lines:
    """The lines of a file below its header, for csv.reader, with the possibility to give lines back."""

    def __init__(self, source: TextIO) -> None:
        self._source = source
        self._again: deque[str] = deque()
        self._line = 2
        self.fed: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self.fed) == _LONGEST_ROW:
            raise csv.Error("unexpected end of data")
        line = self._again.popleft() if self._again else next(self._source)
        self.fed.append(line)
        return line

    def take(self) -> int:
        """The row is done: the line on which it began."""
        began = self._line
        self._line += len(self.fed)
        self.fed.clear()
        return began

    def take_first(self) -> int:
        """Only the row's first line is done; the others come again."""
        self._again.extendleft(reversed(self.fed[1:]))
        del self.fed[1:]
        return self.take()


def _fault(fields: list[str], wanted: int, lines: list[str]) -> str | None:
    if len(fields) != wanted:
        return f"{len(fields)} fields where the header has {wanted}"
    text = lines[0] if len(lines) == 1 else "".join(lines)
    if len(text) > _LONGEST_TEXT:
        return f"the row is longer than {_LONGEST_TEXT} characters"
    return "contains a NUL character" if "\0" in text else None


def _plain_fields(text: str, layout: Layout) -> list[str]:
    """A broken row's fields as far as they can be told apart, as many as the header has."""
    fields = next(csv.reader([text.replace("\0", "")], delimiter=layout.separator, quoting=csv.QUOTE_NONE), [])
    wanted = len(layout.header)
    return fields[:wanted] + [""] * (wanted - len(fields))


def _in_words(error: csv.Error) -> str:
    if "field larger" in str(error):
        return f"a field is longer than {csv.field_size_limit()} characters"
    if "unexpected end" in str(error):
        return "a quote is opened and not closed"
    return "text follows a closing quote; a quote within a field is written twice"


def _header(first: str, separator: str) -> tuple[str, ...]:
    fields: list[str] = next(csv.reader([first], delimiter=separator), [])
    return tuple(field.strip().lower() for field in fields)


def _encoding(file: Path) -> str:
    """UTF-8 when all lines are; Windows-1252 when no line shows signs of UTF-8; otherwise nobody can tell."""
    other_line: int | None = None
    utf8_line: int | None = None
    undefined_line: int | None = None
    with file.open("rb") as source:
        _refuse_other_formats(file, source.read(4))
        source.seek(0)
        for number, line in enumerate(source, start=1):
            if line.isascii():
                continue
            try:
                line.decode("utf-8")
                utf8_line = utf8_line or number
            except UnicodeDecodeError:
                other_line = other_line or number
                if undefined_line is None and _UNDEFINED.search(line):
                    undefined_line = number
    if other_line is None:
        return "utf-8-sig"
    if utf8_line is not None:
        raise SmpError(f"{file}:{other_line}: not UTF-8, while line {utf8_line} is: save the whole file as UTF-8")
    if undefined_line is not None:
        raise SmpError(f"{file}:{undefined_line}: neither UTF-8 nor Windows-1252: save the file as UTF-8")
    return "cp1252"


def _refuse_other_formats(file: Path, start: bytes) -> None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SmpError(f"{file} is UTF-16: save it as UTF-8 (in a spreadsheet program: CSV UTF-8)")
    if start.startswith(b"PK\x03\x04"):
        raise SmpError(f"{file} is a spreadsheet or an archive: save it as CSV")
