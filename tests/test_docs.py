"""The docs name every reason and every environment variable, and the files that they point at are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smp_pipelines.sending.reasons import REASONS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
_VARIABLE = re.compile(r"\bSMP_[A-Z]+(?:_[A-Z]+)*\b")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def variables_in_code() -> set[str]:
    """Every environment variable of ours that the code, or Dagster's configuration, names."""
    files = [*(ROOT / "smp_pipelines").rglob("*.py"), ROOT / "workspace.yaml", ROOT / "dagster.yaml"]
    return {name for file in files for name in _VARIABLE.findall(file.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_why_somebody_gets_no_mail_is_in_the_docs(reason: str) -> None:
    assert f"| `{reason}` |" in (ROOT / "docs/sending.md").read_text(encoding="utf-8")


def test_every_environment_variable_is_in_the_docs() -> None:
    found = variables_in_code()
    assert {"SMP_HOME", "SMP_MAIL_URL", "SMP_CODE_PORT"} <= found
    assert found - set(_VARIABLE.findall(TEXT)) == set()


def test_the_docs_name_no_environment_variable_that_nothing_reads() -> None:
    assert set(_VARIABLE.findall(TEXT)) - variables_in_code() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_the_docs_point_at_is_there(page: Path) -> None:
    missing = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert missing == []
