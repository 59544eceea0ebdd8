"""Projects: a folder with smp.yaml, campaigns and SQL, loaded and ready to be used.

Loading reads every file and collects every problem before it raises, so that someone mends all
mistakes in one go. It does not judge how files fit together: that is `checks`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from smp_pipelines.campaign.document import Document, read_document
from smp_pipelines.campaign.fields import NAME_PATTERN
from smp_pipelines.campaign.flow.models import Flow
from smp_pipelines.campaign.form.models import Form
from smp_pipelines.campaign.models import Campaign, Project, Record, Step
from smp_pipelines.campaign.wording import did_you_mean, validate
from smp_pipelines.crm.catalog import Catalog, read_catalog
from smp_pipelines.problems import Problem, ProjectError, SmpError

SETTINGS_FILE = "smp.yaml"
CAMPAIGN_FILE = "campaign.yaml"
FLOW_FILE = "flow.yaml"
FORMS = "forms"
_SHARED_WITH_CONTENT = ("sender", "reply_to", "subject", "preheader", "record")
"""What an internal step has from the step whose mail it shows, where it says nothing itself (F26)."""


@dataclass(frozen=True)
class StepRef:
    """One step with where it comes from: the campaign's folder name, its own name, the folder."""

    campaign: str
    name: str
    step: Step
    folder: Path

    @cached_property
    def key(self) -> str:
        """The step's key everywhere: `campaign/step`."""
        return f"{self.campaign}/{self.name}"

    @property
    def slug(self) -> str:
        """The key in letters that Dagster accepts in names: `campaign__step`."""
        return f"{self.campaign}__{self.name}"

    @property
    def file(self) -> Path:
        """The campaign.yaml that this step is written in."""
        return self.folder / CAMPAIGN_FILE

    @property
    def next_key(self) -> str | None:
        """The key of the next step (F01), or None; a bare name means a step of the same campaign."""
        return self._key_of(self.step.next)

    @property
    def content_key(self) -> str | None:
        """The key of the step whose mail an internal step shows (F26); None for a step with a mail of its own."""
        return self._key_of(self.step.internal.content if self.step.internal else None)

    @property
    def copied_key(self) -> str | None:
        """The key of the step that the target group is taken over from (F53), or None."""
        return self._key_of(self.step.target_group.copy_of if self.step.target_group else None)

    def _key_of(self, name: str | None) -> str | None:
        return name if name is None or "/" in name else f"{self.campaign}/{name}"


@dataclass(frozen=True)
class LoadedProject:
    """A project that was read from its folder."""

    folder: Path
    settings: Project
    campaigns: Mapping[str, Campaign]
    catalog: Catalog
    documents: Mapping[Path, Document] = field(repr=False)
    forms: Mapping[str, Form] = field(default_factory=dict)
    flows: Mapping[str, Flow] = field(default_factory=dict)

    @property
    def campaigns_folder(self) -> Path:
        """The folder with one folder per campaign."""
        return self.folder / "campaigns"

    def steps(self) -> list[StepRef]:
        """List all steps: campaigns by name, steps in the order of their file.

        An internal step has what it leaves out from the step whose mail it shows.
        """
        return list(self._refs.values())

    @cached_property
    def _refs(self) -> dict[str, StepRef]:
        written = [
            StepRef(campaign, name, step, self.campaigns_folder / campaign)
            for campaign, content in self.campaigns.items()
            for name, step in content.steps.items()
        ]
        by_key = {ref.key: ref for ref in written}
        return {ref.key: _filled_in(ref, by_key) for ref in written}

    def step(self, key: str) -> StepRef:
        """Find one step by `campaign/step`; SmpError with the nearest key when there is none."""
        if key not in self._refs:
            remedy = did_you_mean(key, self._refs)
            raise SmpError(f"there is no step {key}" + (f"\n    → {remedy}" if remedy else ""))
        return self._refs[key]

    def record(self, ref: StepRef) -> Record | None:
        """The linked record's table, key and title of a step, or None when it has none."""
        return None if ref.step.record is None else self.settings.records.get(ref.step.record)

    def form(self, ref: StepRef) -> Form | None:
        """The form of a form step; None for another step, and for a form that is not there."""
        return None if ref.step.form is None else self.forms.get(ref.step.form)

    def language(self, ref: StepRef) -> str:
        """The language that a step is written in, e.g. nl."""
        return ref.step.language or self.settings.language

    def form_file(self, form: str) -> Path:
        """The file that a form is written in."""
        return self.folder / FORMS / f"{form}.yaml"

    def flow(self, name: str) -> Flow:
        """Find a flow by its campaign's name; SmpError with the nearest name when there is none."""
        if name not in self.flows:
            remedy = did_you_mean(name, self.flows)
            raise SmpError(f"there is no flow {name}" + (f"\n    → {remedy}" if remedy else ""))
        return self.flows[name]

    def flow_file(self, name: str) -> Path:
        """The file that a flow is written in."""
        return self.campaigns_folder / name / FLOW_FILE

    def form_line(self, form: str, place: str = "") -> tuple[Path, int]:
        """Tell the file and line of a form's part, e.g. `fields.email.to`."""
        file = self.form_file(form)
        return file, self.documents[file].line([part for part in place.split(".") if part])

    def line(self, step_key: str, place: str = "") -> tuple[Path, int]:
        """Tell the file and line of a step's field, e.g. `subject` or `schedule.times.0`.

        A field that is not in the file gives the line of what is around it.
        """
        ref = self.step(step_key)
        return ref.file, self.documents[ref.file].line(("steps", ref.name, *_parts(place)))

    def text_line(self, step_key: str, place: str) -> tuple[Path, int]:
        """Tell the file and the line on which the text of a step's field begins, e.g. `blocks.0.text`."""
        ref = self.step(step_key)
        return ref.file, self.documents[ref.file].text_line(("steps", ref.name, *_parts(place)))

    def settings_line(self, place: str = "") -> tuple[Path, int]:
        """Tell the file and line of a setting in smp.yaml, e.g. `records.performance.table`."""
        file = self.folder / SETTINGS_FILE
        return file, self.documents[file].line(_parts(place))

    def settings_text_line(self, place: str) -> tuple[Path, int]:
        """Tell the file and the line on which the text of a setting begins, e.g. `parameters.voornaam`."""
        file = self.folder / SETTINGS_FILE
        return file, self.documents[file].text_line(_parts(place))


def _parts(place: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in place.split(".") if part]


def _filled_in(ref: StepRef, by_key: Mapping[str, StepRef]) -> StepRef:
    """An internal step with what it leaves out; a content step that does not fit is for `checks` to tell."""
    content = by_key.get(ref.content_key or "")
    if content is None or content.step.internal is not None:
        return ref
    left_out = {name: getattr(content.step, name) for name in _SHARED_WITH_CONTENT if not getattr(ref.step, name)}
    return replace(ref, step=ref.step.model_copy(update=left_out))


def load_project(folder: Path) -> LoadedProject:
    """Read a project folder; ProjectError with all problems of all files."""
    problems: list[Problem] = []
    documents: dict[Path, Document] = {}
    settings = _settings(folder, documents, problems)
    campaigns = _campaigns(folder / "campaigns", documents, problems)
    forms = _forms(folder / FORMS, documents, problems)
    flows = _flows(folder / "campaigns", campaigns, documents, problems)
    catalog = Catalog()
    try:
        catalog = read_catalog(folder / "sql" / "schema")
    except ProjectError as error:
        problems += error.problems
    if problems or settings is None:
        raise ProjectError(problems)
    return LoadedProject(folder, settings, campaigns, catalog, documents, forms, flows)


def _settings(folder: Path, documents: dict[Path, Document], problems: list[Problem]) -> Project | None:
    file = folder / SETTINGS_FILE
    if not file.is_file():
        problems.append(
            Problem(
                file, None, "there is no smp.yaml, so this is not a project folder", "give the folder with --project"
            )
        )
        return None
    try:
        documents[file] = read_document(file)
        return validate(Project, documents[file])
    except ProjectError as error:
        problems += error.problems
        return None


def _campaigns(folder: Path, documents: dict[Path, Document], problems: list[Problem]) -> dict[str, Campaign]:
    """Read every campaign; folders that start with _ or . are for shared parts."""
    campaigns: dict[str, Campaign] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.is_dir() or path.name.startswith(("_", ".")):
            continue
        file = path / CAMPAIGN_FILE
        if not re.match(NAME_PATTERN, path.name):
            remedy = "use small letters, digits and single underscores, or start it with _ when it is no campaign"
            problems.append(Problem(path, None, f"'{path.name}' is not a name for a campaign", remedy))
        elif not file.is_file():
            remedy = "add it, or let the folder's name start with _ when it is no campaign"
            problems.append(Problem(path, None, "this campaign has no campaign.yaml", remedy))
        else:
            try:
                documents[file] = read_document(file)
                campaigns[path.name] = validate(Campaign, documents[file])
            except ProjectError as error:
                problems += error.problems
    return campaigns


def _forms(folder: Path, documents: dict[Path, Document], problems: list[Problem]) -> dict[str, Form]:
    """Read every form: the files forms/<name>.yaml."""
    forms: dict[str, Form] = {}
    for file in sorted(folder.glob("*.yaml")):
        if not re.match(NAME_PATTERN, file.stem):
            remedy = "use small letters, digits and single underscores"
            problems.append(Problem(file, None, f"'{file.stem}' is not a name for a form", remedy))
            continue
        try:
            documents[file] = read_document(file)
            forms[file.stem] = validate(Form, documents[file])
        except ProjectError as error:
            problems += error.problems
    return forms


def _flows(
    folder: Path, campaigns: Mapping[str, Campaign], documents: dict[Path, Document], problems: list[Problem]
) -> dict[str, Flow]:
    """Read the flow of every campaign that has one: campaigns/<name>/flow.yaml."""
    flows: dict[str, Flow] = {}
    for name in campaigns:
        file = folder / name / FLOW_FILE
        if not file.is_file():
            continue
        try:
            documents[file] = read_document(file)
            flows[name] = validate(Flow, documents[file])
        except ProjectError as error:
            problems += error.problems
    return flows
