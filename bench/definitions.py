"""Case `definitions`: a project with hundreds of continuous steps is loaded by Dagster.

Measured: `dagster definitions validate` on smp_pipelines.definitions, a fresh process that imports, reads the
project (20 campaigns, each step with a selection of its own that excludes who received it), builds the definitions
and makes the repository with all its jobs. Against: the same command on a project with one step. And the parts of
it, each timed in a fresh process too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

from bench.row import Row, Stopwatch, spread
from bench.world import World, copy_sample

VALIDATE = ("-m", "dagster", "definitions", "validate", "-m", "smp_pipelines.definitions")
"""The arguments with which Python loads a project as Dagster does."""
_CAMPAIGNS = 20
_PATIENCE = 10.0
_STEP = """  step_{number}:
    name: Stap {number}
    description: Elke week, aan wie kaarten kocht en deze mail nog niet had
    channel: email
    send: continuous
    sender: "Schouwburg De Linde <welkom@schouwburg.example>"
    subject: "{{{{ person.first_name or 'Beste bezoeker' }}}}, kom nog eens langs"
    content: step.mjml
    selection: {selection}
    topic: offers
    schedule: {{start: 2026-01-01, frequency: weekly, days: [mon, thu], times: ["09:00", "15:00"]}}
"""
_SELECTION = """-- Wie in het afgelopen jaar kaarten kocht en mail {step} de laatste 30 dagen niet had.
select distinct person_id
from crm.ticket
join crm.performance using (performance_id)
where bought_at > now() - interval '365 days'
  and performance_id % 200 <> {turn}
  and {{{{ not_received("{step}", within="30 days") }}}}
"""
_PARTS = """
import json, time
started = time.monotonic()
import dagster
from smp_pipelines.definitions import build_definitions
from smp_pipelines.deployment import Deployment
from smp_pipelines.stores.settings import read_settings
marks = [("imports", time.monotonic())]
deployment = Deployment.load(read_settings())
marks.append(("project and selections", time.monotonic()))
definitions = build_definitions(deployment)
marks.append(("definitions", time.monotonic()))
dagster.Definitions.validate_loadable(definitions)
marks.append(("repository", time.monotonic()))
starts = [started, *(at for _, at in marks)]
print(json.dumps({name: at - before for (name, at), before in zip(marks, starts)}))
"""


def run(world: World) -> list[Row]:
    """Time loading a large and a small project."""
    large = write_project(world.folder / "large project", world.sizes.steps)
    small = write_project(world.folder / "small project", 1)
    loading, fixed = Stopwatch(), Stopwatch()
    used: list[float] = []
    for _lap in range(world.sizes.laps):
        for project, watch in ((large, loading), (small, fixed)):
            before = _processor_of_children()
            with watch.lap():
                run_python(world, project, *VALIDATE)
            used.append(_processor_of_children() - before)
    parts = json.loads(run_python(world, large, "-c", _PARTS).splitlines()[-1])
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())
    return [
        Row(
            *("definitions", f"{world.sizes.steps} continuous steps validate", loading.median, "s", fixed.median),
            *(
                f"< {_PATIENCE:g} s",
                loading.median < _PATIENCE,
                f"baseline: one step; {spread(loading.seconds)}; processor {median(used[::2]):.1f} s",
            ),
        ),
        Row("definitions", "imports, share of one load", parts["imports"], "s", sum(parts.values()), note=told),
    ]


def write_project(folder: Path, steps: int) -> Path:
    """A project with this many continuous steps, each with its own selection."""
    copy_sample(folder)
    content = (folder / "campaigns" / "we_miss_you" / "we_miss_you.mjml").read_text(encoding="utf-8")
    for name in ("we_miss_you", "servicemails", "newsletter"):
        shutil.rmtree(folder / "campaigns" / name)
    for file in (folder / "sql" / "selections").glob("*.sql"):
        file.unlink()
    per_campaign = -(-steps // _CAMPAIGNS)
    for first in range(0, steps, per_campaign):
        numbers = range(first, min(first + per_campaign, steps))
        _write_campaign(folder, f"campaign_{first // per_campaign}", numbers, content)
    return folder


def _write_campaign(folder: Path, campaign: str, numbers: range, content: str) -> None:
    home = folder / "campaigns" / campaign
    home.mkdir()
    (home / "step.mjml").write_text(content, encoding="utf-8")
    steps = []
    for number in numbers:
        selection = f"of_{campaign}_{number}"
        query = _SELECTION.format(step=f"{campaign}/step_{number}", turn=number)
        (folder / "sql" / "selections" / f"{selection}.sql").write_text(query, encoding="utf-8")
        steps.append(_STEP.format(number=number, selection=selection))
    head = f"name: Campagne {campaign}\ndescription: Een van vele\nsteps:\n"
    (home / "campaign.yaml").write_text(head + "".join(steps), encoding="utf-8")


def _processor_of_children() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def run_python(world: World, project: Path, *arguments: str) -> str:
    """What a fresh Python prints on a project; AssertionError with its last words when it fails."""
    dagster_home = world.folder / "dagster home"
    dagster_home.mkdir(exist_ok=True)
    (dagster_home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
    environment = os.environ | {
        "SMP_PROJECT": str(project),
        "SMP_HOME": str(world.home),
        "DAGSTER_HOME": str(dagster_home),
    }
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=project, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(arguments[:4])} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout
