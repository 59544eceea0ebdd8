"""Template checks: one text or file that holds template tags and parameters, looked at as a step reads it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from smp_pipelines.campaign.content.environment import MailEnvironment, make_environment
from smp_pipelines.campaign.content.inspection import Finding, inspect_template
from smp_pipelines.campaign.content.markup import jinja_text
from smp_pipelines.campaign.content.parameters import Parameters
from smp_pipelines.campaign.content.readable import readable_names
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import Problem


class TemplateChecker:
    """Checks the texts of one step. A parameter is looked at once, with the names that this step's templates have."""

    def __init__(self, ref: StepRef, project: LoadedProject) -> None:
        settings = project.settings
        self.names = readable_names(ref, project)
        self.parameters = Parameters(settings.parameters)
        self._project = project
        self._environment = _environment(project.language(ref), settings.time_zone)
        self._told: dict[str, list[Finding]] = {}

    def text(self, file: Path, line: int, text: str, where: str = "", when: str | None = None) -> Iterator[Problem]:
        """Check a text whose first line stands on a line of a file; `when`: a condition that holds where it is read.

        `where` begins each message, e.g. the step's key.
        """
        around = self.parameters.left_out(text)
        guarded = f"{{% if ({when}) %}}{around}{{% endif %}}" if when else around
        for finding in [*inspect_template(guarded, self.names, self._environment), *self._uses(text)]:
            message = f"{where}{finding.message}"
            yield Problem(file, line + finding.line - 1, message, finding.remedy, finding.warning)

    def markup(self, file: Path, text: str) -> Iterator[Problem]:
        """Check an HTML or MJML file from its first line."""
        yield from self.text(file, 1, jinja_text(text))

    def condition(self, file: Path, line: int, when: str, where: str = "") -> Iterator[Problem]:
        """Check the condition of a block (F13)."""
        if any(mark in when for mark in ("{{", "{%", "%}", "}}")):
            remedy = 'write the condition by itself, e.g. when: person.city == "Lindenstad"'
            yield Problem(file, line, f"{where}a condition has no tags around it", remedy)
            return
        condition = f"{{% if ({when}) %}}{{% endif %}}"
        for finding in inspect_template(condition, self.names, self._environment):
            yield Problem(file, line + finding.line - 1, f"{where}{finding.message}", finding.remedy, finding.warning)

    def _uses(self, text: str) -> Iterator[Finding]:
        """What is wrong with the parameters of a text: the use, or what the parameter stands for in this step."""
        for use in self.parameters.uses(text):
            if use.message is not None:
                yield Finding(use.line, use.message, use.remedy)
                continue
            for finding in self._parameter(use.name):
                if not finding.warning:
                    _file, line = self._project.settings_text_line(f"parameters.{use.name}")
                    remedy = f"see smp.yaml, line {line}" + (f": {finding.remedy}" if finding.remedy else "")
                    yield Finding(use.line, f"${use.name} cannot be used here: {finding.message}", remedy)

    def _parameter(self, name: str) -> list[Finding]:
        if name not in self._told:
            text = self._project.settings.parameters[name]
            self._told[name] = inspect_template(text, self.names, self._environment)
        return self._told[name]


@cache
def _environment(language: str, time_zone: str) -> MailEnvironment:
    return make_environment(language, ZoneInfo(time_zone), html=True)
