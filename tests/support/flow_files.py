"""Flows written into a project that is in memory already: quick, for what a test changes in a flow again and again."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from textwrap import dedent

from smp_pipelines.campaign.document import Document, read_document
from smp_pipelines.campaign.flow.models import Flow
from smp_pipelines.campaign.project import LoadedProject, load_project
from smp_pipelines.campaign.wording import validate
from smp_pipelines.flow.version import Draft, draft
from smp_pipelines.selection.library import SelectionLibrary, load_library
from tests.conftest import REPOSITORY


@functools.cache
def sample() -> tuple[LoadedProject, SelectionLibrary]:
    """The sample project, read once."""
    project = load_project(REPOSITORY)
    return project, load_library(project)


def with_flows(folder: Path, **texts: str) -> LoadedProject:
    """The sample project with these flows instead of its own: the text of the flow.yaml of each campaign."""
    project, _ = sample()
    flows: dict[str, Flow] = {}
    documents: dict[Path, Document] = {}
    for name, text in texts.items():
        file = folder / f"{name}.yaml"
        file.write_text(dedent(text), encoding="utf-8")
        written = read_document(file)
        flows[name] = validate(Flow, written)
        documents[project.flow_file(name)] = dataclasses.replace(written, file=project.flow_file(name))
    return dataclasses.replace(project, flows=flows, documents={**project.documents, **documents})


def drafted(folder: Path, text: str, flow: str = "friends") -> Draft:
    """The draft of a flow with this text."""
    return draft(with_flows(folder, **{flow: text}), sample()[1], flow)
