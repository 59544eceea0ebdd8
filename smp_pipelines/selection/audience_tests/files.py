"""Audience tests: what has to be true of the people of a selection before they are mailed (X5), in files beside it.

`<name>.checks.yaml` has tests of known kinds; `<name>.<test>.sql` is one SELECT that gives the offending rows and goes
through the same gate as a selection. Its opening comment is its words; a line `-- blocking` there makes it stop a
send. Reading them finds every name that does not exist; running them is for running.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from sqlglot import exp

from smp_pipelines.campaign.document import read_document
from smp_pipelines.campaign.fields import NAME_PATTERN
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.campaign.wording import did_you_mean, validate
from smp_pipelines.problems import Problem, ProjectError
from smp_pipelines.selection.audience_tests.models import BUILT_IN, AnyTest, AudienceTests
from smp_pipelines.selection.audience_tests.names import Scope, reads_of, unknown_names
from smp_pipelines.selection.binder import Binder
from smp_pipelines.selection.compiler import Selection, describe, selection_files
from smp_pipelines.selection.gate import SELECTIONS, examine, tables_of
from smp_pipelines.selection.macros import render

SUFFIX = ".checks.yaml"
UNREADABLE = "unreadable"
"""The name of the test that stands for files with problems: it always fails, and stops the send."""
_PREFIX = f"{SELECTIONS}."
_BLOCKING = "blocking"


@dataclass(frozen=True)
class AudienceTest:
    """One test of a selection. `rule` is a kind of test, or a checked query for the offending rows.

    `words` say what is wrong when it fails. `reads` are the tables that it needs besides the selection. A test without
    a rule stands for files that cannot be read.
    """

    selection: str
    name: str
    words: str
    blocking: bool
    rule: AnyTest | exp.Query | None = field(repr=False, compare=False)
    reads: tuple[str, ...] = ()
    file: Path | None = None


def read_audience_tests(
    project: LoadedProject, selections: Mapping[str, Selection], of_records: Collection[str]
) -> tuple[dict[str, tuple[AudienceTest, ...]], list[Problem]]:
    """The audience tests of every selection, built-in ones first, and what is wrong with the files of others.

    `selections` are the compiled ones; `of_records` those whose rows are no people (F26).
    """
    return _Reader(project, selections, of_records).read()


class _Reader:
    """Reads the tests of one project, collecting problems."""

    def __init__(
        self, project: LoadedProject, selections: Mapping[str, Selection], of_records: Collection[str]
    ) -> None:
        self._project = project
        self._selections = selections
        self._of_records = of_records
        self._folder = project.folder / "sql" / "selections"
        self._names = selection_files(self._folder).keys()
        self._steps = [ref.key for ref in project.steps()]
        self._scope = Scope(project, selections, self._names, of_records)
        self._problems: list[Problem] = []

    def read(self) -> tuple[dict[str, tuple[AudienceTest, ...]], list[Problem]]:
        """Read everything: the tests by selection, and the problems."""
        tests: dict[str, dict[str, AudienceTest]] = {name: self._built_in(name) for name in self._names}
        for test in self._written():
            before = tests[test.selection].get(test.name)
            if before is not None and before.file is not None:
                words = f"there is an audience test {test.name} in {before.file.name} already"
                self._problem(test.file, None, words, "give one of the two another name")
            else:
                tests[test.selection][test.name] = test
        self._refuse_circles(tests)
        for name in {_owner(problem.file) for problem in self._problems if problem.file} & tests.keys():
            words = "Its audience tests cannot be read: `smp check` tells why"
            tests[name][UNREADABLE] = AudienceTest(name, UNREADABLE, words, blocking=True, rule=None)
        return {name: tuple(found.values()) for name, found in tests.items()}, self._problems

    def _problem(self, file: Path | None, line: int | None, words: str, remedy: str | None = None) -> None:
        self._problems.append(Problem(file, line, words, remedy))

    def _built_in(self, name: str) -> dict[str, AudienceTest]:
        rules = {
            test: rule for test, rule in BUILT_IN.items() if test != "address_share" or name not in self._of_records
        }
        return {
            test: AudienceTest(name, test, rule.words or rule.finding, rule.blocking, rule, reads_of(rule))
            for test, rule in rules.items()
        }

    def _written(self) -> Iterator[AudienceTest]:
        for file in sorted(self._folder.glob(f"*{SUFFIX}")):
            if self._has_selection(file):
                try:
                    yield from self._of_yaml(file)
                except ProjectError as error:
                    self._problems += error.problems
        files = [file for file in sorted(self._folder.glob("*.*.sql")) if self._has_selection(file)]
        if not files:
            return
        with Binder(self._project.catalog) as binder:
            for name, selection in self._selections.items():
                binder.add(name, selection.kept)
            for file in files:
                try:
                    yield self._of_sql(file, binder)
                except ProjectError as error:
                    self._problems += error.problems

    def _has_selection(self, file: Path) -> bool:
        if _owner(file) in self._names:
            return True
        words = f"there is no selection {_owner(file)} for this audience test"
        self._problem(file, None, words, did_you_mean(_owner(file), self._names))
        return False

    def _of_sql(self, file: Path, binder: Binder) -> AudienceTest:
        selection, _, name = file.stem.partition(".")
        if not re.fullmatch(NAME_PATTERN, name):
            words = f"'{name}' is not a name for an audience test"
            raise ProjectError([Problem(file, None, words, "call the file <selection>.<test>.sql, in small letters")])
        try:
            source = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProjectError([Problem(file, None, f"cannot be read: {error}")]) from error
        written = render(source, self._steps, file)
        query, text = examine(written, self._project.catalog, self._names, file)
        for name_read in sorted(self._names - self._selections.keys()):
            if f"{_PREFIX}{name_read}" in tables_of(query):
                words = f"reads {_PREFIX}{name_read}, which has problems of its own"
                raise ProjectError([Problem(file, None, words)])
        binder.columns(text, written, file)
        words, blocking = _opening(source)
        if not words:
            remedy = "open the file with a comment: -- People who …"
            raise ProjectError([Problem(file, 1, "the audience test does not say what is wrong when it fails", remedy)])
        reads = tuple(table for table in tables_of(query) if table != f"{_PREFIX}{selection}")
        return AudienceTest(selection, name, words, blocking, query, reads, file)

    def _of_yaml(self, file: Path) -> Iterator[AudienceTest]:
        document = read_document(file)
        selection = _owner(file)
        for name, rule in validate(AudienceTests, document).audience_tests.items():
            findings = list(unknown_names(rule, selection, self._scope))
            for key, words, remedy in findings:
                self._problem(file, document.line(("audience_tests", name, key)), words, remedy)
            if not findings:
                words = rule.words or rule.finding
                yield AudienceTest(selection, name, words, rule.blocking, rule, reads_of(rule), file)

    def _refuse_circles(self, tests: Mapping[str, dict[str, AudienceTest]]) -> None:
        """Take out tests that read a selection which, for its query or its own tests, needs theirs first."""
        needs = {name: set(selection.dependencies) for name, selection in self._selections.items()}
        for name, found in tests.items():
            for test in list(found.values()):
                others = {table for table in test.reads if table.startswith(_PREFIX)}
                circle = sorted(other for other in others if self._leads_to(other, f"{_PREFIX}{name}", needs))
                if circle:
                    words = f"the audience test {test.name} reads {circle[0]}, which needs {name} first"
                    self._problem(test.file, None, words, "test that one instead, or read the tables")
                    del found[test.name]
                else:
                    needs.setdefault(name, set()).update(others)

    def _leads_to(self, start: str, goal: str, needs: Mapping[str, set[str]]) -> bool:
        seen, left = {start}, [start]
        while left:
            for other in needs.get(left.pop().removeprefix(_PREFIX), set()) - seen:
                seen.add(other)
                left.append(other)
        return goal in seen


def is_of(file: Path, selections: Collection[str], folder: Path) -> bool:
    """Whether a file is one of these selections, or has an audience test of one."""
    beside = "." not in file.stem or file.suffix == ".sql" or file.name.endswith(SUFFIX)
    return beside and file.parent == folder and _owner(file) in selections


def _owner(file: Path) -> str:
    """The selection that a file is about: its name up to the first dot."""
    return file.name.partition(".")[0]


def _opening(source: str) -> tuple[str, bool]:
    """The words at the head of an SQL test, and whether a line there says that it is blocking."""
    lines = source.splitlines(keepends=True)
    marks = [line for line in takewhile(_is_comment, lines) if line.strip(" -\t\r\n").lower() == _BLOCKING]
    return describe("".join(line for line in lines if line not in marks)), bool(marks)


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("--")
