"""Schemas: JSON Schema of campaign.yaml, smp.yaml and the other files, so that editors help while someone types.

The files under schemas/ are written by `python -m smp_pipelines.schemas [folder]`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from smp_pipelines.campaign.flow.models import Flow
from smp_pipelines.campaign.form.models import Form
from smp_pipelines.campaign.models import Campaign, Project
from smp_pipelines.selection.audience_tests.models import AudienceTests
from smp_pipelines.selection.criteria.vocabulary import json_schema as criteria_schema
from smp_pipelines.selection.unit_tests.file import UnitTests


def json_schemas() -> dict[str, dict[str, Any]]:
    """Give the schemas by the name of the file they describe: `campaign`, `smp` and so on."""
    models = (
        *(("campaign", Campaign), ("flow", Flow), ("form", Form), ("smp", Project)),
        *(("checks", AudienceTests), ("unit_tests", UnitTests)),
    )
    schemas = {name: model.model_json_schema() for name, model in models} | {"criteria": criteria_schema()}
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {name: {"$schema": draft, **schema} for name, schema in schemas.items()}


def schema_files() -> dict[str, str]:
    """Give the text of each schema file, by its file name."""
    return {
        f"{name}.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in json_schemas().items()
    }


def write_schemas(folder: Path) -> list[Path]:
    """Write the schema files into a folder, which is made when it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in schema_files().items():
        (folder / name).write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written


if __name__ == "__main__":
    for path in write_schemas(Path(sys.argv[1] if len(sys.argv) > 1 else "schemas")):
        print(path)
