"""Parameter checks: whether what smp.yaml says that $name stands for is a template that some step can use (F11)."""

from __future__ import annotations

from collections.abc import Iterator

from smp_pipelines.campaign.content.environment import make_environment
from smp_pipelines.campaign.content.inspection import Names, inspect_template
from smp_pipelines.campaign.content.links import LINK_NAMES
from smp_pipelines.campaign.content.parameters import Parameters
from smp_pipelines.campaign.content.readable import FIXED_NAMES
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.problems import Problem


def parameter_problems(project: LoadedProject) -> Iterator[Problem]:
    """Check each parameter with all names that any step has; whether a step has them is told where it is used."""
    settings = project.settings
    parameters = Parameters(settings.parameters)
    environment = make_environment(settings.language, settings.zone, html=True)
    for name, text in settings.parameters.items():
        file, line = project.settings_text_line(f"parameters.{name}")
        for finding in inspect_template(text, _names(project), environment):
            message = f"parameter ${name}: {finding.message}"
            yield Problem(file, line + finding.line - 1, message, finding.remedy, finding.warning)
        for use in parameters.uses(text):
            message = f"parameter ${name}: ${use.name} is not filled in inside another parameter"
            yield Problem(file, line + use.line - 1, message, "write out what it stands for")


def _names(project: LoadedProject) -> Names:
    records = {name: record.table for name, record in project.settings.records.items()}
    found = {"person": "crm.person", "organisation": "crm.organisation"} | records
    tables = {name: project.catalog.tables[table] for name, table in found.items() if table in project.catalog.tables}
    every = {f"{name}.{each.name}": each for name, table in tables.items() for each in table.columns.values()}
    return Names(
        {name: frozenset(table.columns) for name, table in tables.items()} | {**FIXED_NAMES, "links": LINK_NAMES},
        frozenset(name for name, column in every.items() if column.nullable) | {"organisation"},
        steps={ref.key: ref.step.is_mail for ref in project.steps()},
    )
