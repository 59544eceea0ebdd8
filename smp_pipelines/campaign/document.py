"""Documents: a YAML file as plain values that remember their lines.

YAML 1.1, which PyYAML reads by itself, makes numbers of 09:00 and truths of on, off, yes and no.
Here only true, false, null and whole numbers have a meaning of their own, as in YAML 1.2, which is
what editors use; dates and times stay text and the models read them. A key that occurs twice is
refused, and so are aliases, because a problem must have one line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from smp_pipelines.problems import Problem, ProjectError

Place = tuple[str | int, ...]
"""Where a value stands in a document: keys and positions from the top."""


@dataclass(frozen=True)
class Document:
    """The value of one YAML file, and the line on which each of its fields stands.

    `texts` has, for a text of several lines (`|` or `>`), the line on which its first one stands.
    """

    file: Path
    value: Any
    lines: Mapping[Place, int]
    texts: Mapping[Place, int] = field(default_factory=dict)

    def line(self, place: Sequence[str | int]) -> int:
        """Give the line of a field, or of the nearest thing around it that is in the file; 1 at the top."""
        path = tuple(place)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def part(self, place: Place, under: str) -> Document:
        """The value at a place as a document of its own, under this key; its lines are those of the file."""
        value = self.value
        for step in place:
            value = value[step]
        lines = {(under, *at[len(place) :]): line for at, line in self.lines.items() if at[: len(place)] == place}
        return Document(self.file, {under: value}, lines)

    def text_line(self, place: Sequence[str | int]) -> int:
        """Give the line on which the text of a field begins: the field's own, or the one below its `|`."""
        return self.texts.get(tuple(place)) or self.line(place)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the few plain scalars that mean more than text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases; everything else is PyYAML's."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="an alias (*) is not used here: write it out", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]{0,17})$"), list("-0123456789"))


@lru_cache(maxsize=256)
def _compose(text: str) -> yaml.Node | None:
    """The nodes of a text; of one that was composed before, the same, which nobody changes."""
    return yaml.compose(text, Loader=_Loader)


def read_document(file: Path) -> Document:
    """Read a YAML file; ProjectError with file and line when it cannot be read or is no mapping."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(
            [Problem(file, None, f"this file cannot be read: {error}", "save it as UTF-8 text")]
        ) from error
    reader = _Reader(file)
    try:
        node = _compose(text)
    except yaml.YAMLError as error:
        raise ProjectError([_syntax_problem(file, error)]) from error
    value = None if node is None else reader.value(node, ())
    if node is not None and not isinstance(node, yaml.MappingNode):
        reader.problems.append(Problem(file, 1, "this file is not a list of `key: value` lines"))
    if node is None:
        reader.problems.append(Problem(file, 1, "this file is empty"))
    if reader.problems:
        raise ProjectError(reader.problems)
    return Document(file, value, reader.lines, reader.texts)


class _Reader:
    """Turns YAML nodes into values, noting lines and problems."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: dict[Place, int] = {}
        self.texts: dict[Place, int] = {}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, place: Place) -> Any:
        """Give the plain value of a node."""
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, position)) for position, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
            self.texts[place] = node.start_mark.line + 2
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(self.file, line, "a key must be one word"))
                continue
            key = key_node.value
            if key in result:
                first = self.lines[(*place, key)]
                self.problems.append(
                    Problem(
                        self.file, line, f"the key `{key}` occurs twice (first on line {first})", "keep one of the two"
                    )
                )
                continue
            self.lines[(*place, key)] = line
            result[key] = self.value(value_node, (*place, key))
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind == "bool":
            return node.value == "true"
        if kind == "int":
            return int(node.value)
        if kind == "null":
            return None
        if kind != "str":
            line = node.start_mark.line + 1
            self.problems.append(Problem(self.file, line, f"the tag {node.tag} is not used here", "leave it out"))
        return node.value


def _syntax_problem(file: Path, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        line = mark.line + 1 if mark else None
        return Problem(
            file, line, f"this is not YAML: {what}", "check the indentation and put text with : or # in quotes"
        )
    return Problem(file, None, f"this is not YAML: {error}")
