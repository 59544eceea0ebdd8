"""A pytest plugin: the unit tests of selections (`sql/selections/<name>.tests.yaml`) as tests, one for each case.

Put `pytest_plugins = ["smp_pipelines.testing"]` into the conftest.py at the top of a project, or
`-p smp_pipelines.testing` among pytest's options.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from smp_pipelines.campaign.project import LoadedProject
    from smp_pipelines.selection.library import SelectionLibrary
    from smp_pipelines.selection.unit_tests.file import Case
    from smp_pipelines.selection.unit_tests.runner import UnitTestRunner

# The engine is imported once there is something to test: a pytest that collects other tests need not wait for it.


class CaseFailedError(Exception):
    """A case gave other rows than it expects."""


class SelectionCase(pytest.Item):
    """One case of a file."""

    parent: SelectionTests
    case: Case

    def runtest(self) -> None:
        """Run the case. Raises CaseFailedError with the difference."""
        outcome = self.parent.runner.run(self.case)
        if not outcome.passed:
            raise CaseFailedError(outcome.difference())

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> str:  # type: ignore[override]
        """The difference in words; a traceback for what is no failure of the case."""
        if isinstance(excinfo.value, CaseFailedError):
            return f"{self.case.file}:{self.case.line}\n{excinfo.value}"
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the case stands."""
        return self.path, self.case.line - 1, f"{self.case.selection}: {self.case.name}"


class SelectionTests(pytest.File):
    """One file of unit tests."""

    runner: UnitTestRunner

    def collect(self) -> Iterator[SelectionCase]:
        """The cases of the file. Raises pytest's own error with what is wrong in the file."""
        from smp_pipelines.problems import SmpError
        from smp_pipelines.selection.unit_tests.file import SUFFIX
        from smp_pipelines.selection.unit_tests.runner import read_all_cases

        try:
            project, library, self.runner = _project(self.config, self.path.parents[2])
            cases, problems = read_all_cases(project, library, [self.path.name.removesuffix(SUFFIX)])
        except SmpError as error:
            raise self.CollectError(str(error)) from error
        if problems:
            raise self.CollectError("\n".join(str(problem) for problem in problems))
        for case in cases:
            item = SelectionCase.from_parent(self, name=case.name)
            item.case = case
            yield item


_Loaded = dict[Path, "tuple[LoadedProject, SelectionLibrary, UnitTestRunner]"]
_LOADED = pytest.StashKey[_Loaded]()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SelectionTests | None:
    """Collect the unit tests that lie in sql/selections of a project."""
    in_project = file_path.parent.parts[-2:] == ("sql", "selections") and (file_path.parents[2] / "smp.yaml").is_file()
    if file_path.name.endswith(".tests.yaml") and in_project:
        return SelectionTests.from_parent(parent, path=file_path)
    return None


def _project(config: pytest.Config, folder: Path) -> tuple[LoadedProject, SelectionLibrary, UnitTestRunner]:
    """A project, loaded once for all its files, and the tables that its cases share."""
    from smp_pipelines.campaign.project import load_project
    from smp_pipelines.selection.library import load_library
    from smp_pipelines.selection.unit_tests.runner import UnitTestRunner

    loaded = config.stash.setdefault(_LOADED, {})
    if folder not in loaded:
        project = load_project(folder)
        library = load_library(project)
        runner = UnitTestRunner(project, library)
        config.add_cleanup(runner.close)
        loaded[folder] = (project, library, runner)
    return loaded[folder]
