"""Problems: what is wrong in the files or settings that people write, told so that they can mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (file and line, when known), what, and what to do.

    A warning is told, but stops nothing.
    """

    file: Path | None
    line: int | None
    message: str
    remedy: str | None = None
    warning: bool = False

    def __str__(self) -> str:
        place = "" if self.file is None else f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        kind = "warning: " if self.warning else ""
        return f"{place}{kind}{self.message}" + (f"\n    → {self.remedy}" if self.remedy else "")


class SmpError(Exception):
    """Something that a user can mend: the CLI prints the message without a traceback and exits with 1."""


class ProjectError(SmpError):
    """One or more problems in a project's files."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
