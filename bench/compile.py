"""Case `compile`: a project with hundreds of selections, half SQL and half criteria files, is read and compiled.

Measured: Deployment.load, and Dagster's `definitions validate` on the same project in a fresh process. Against:
sqlglot's bare parse of the SQL that comes out of it, and the validation of the sample project. Laps alternate.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import sqlglot

from bench.definitions import VALIDATE, run_python
from bench.row import Row, Stopwatch, spread
from bench.world import NOW, World, copy_sample
from smp_pipelines.deployment import Deployment
from smp_pipelines.stores.settings import Settings

_PATIENCE = 10.0
_SQL = (
    """-- Who bought tickets for {number} days ago or later and had no mail of this step.
select distinct t.person_id
from crm.ticket as t
join crm.performance as p using (performance_id)
where t.bought_at > now() - interval '{number} days' and p.genre in ('toneel', 'dans')
  and {{{{ not_received("we_miss_you/we_miss_you", within="{number} days", person="t.person_id") }}}}
""",
    """-- Who spent {number} euros or more in the past year.
with spent as (
    select person_id, sum(price) as amount, count(*) as tickets
    from crm.ticket
    where bought_at >= current_date - interval 1 year
    group by person_id
)
select person.person_id, amount, tickets
from spent
join crm.person using (person_id)
where amount >= {number} and not blocked and email_key is not null
""",
    """-- Of another selection, those who gave or are a friend, without the ones on list {number}.
select person_id from selections.{other}
where person_id in (select person_id from crm.donation union select person_id from crm.membership where ends_on is null)
except
select person_id from crm.list_member where list_id = {number}
""",
)
_CRITERIA = (
    """description: Who lives in a town and has {number} tickets or more
where:
  all:
    - {{field: city, in: [Utrecht, Amersfoort, Zeist]}}
    - {{field: blocked, is: false}}
    - {{has: ticket, since: {number} days ago, date: bought_at, count: {{at_least: 2}}}}
""",
    """description: Who did not get a mail in the past {number} days and is no friend, or is new
where:
  any:
    - all:
        - {{not_received: we_miss_you/we_miss_you, within: {number} days}}
        - {{has_not: membership, where: {{field: ends_on, empty: true}}}}
    - {{field: created_at, since: {number} days ago}}
""",
    """description: Who is in another selection and gave {number} euros or more
where:
  all:
    - {{selection: {other}}}
    - {{has: donation, sum: {{of: amount, at_least: {number}}}}}
    - {{not: {{field: organisation.kind, is: school}}}}
""",
)


def run(world: World) -> list[Row]:
    """Time loading the project, here and in Dagster."""
    project = write_project(world.folder / "project of selections", world.sizes.selections)
    return [in_this_process(world, project), _in_dagster(world, project)]


def in_this_process(world: World, project: Path) -> Row:
    """Time Deployment.load and the bare parse."""
    ours, bare = Stopwatch(), Stopwatch()
    for _lap in range(world.sizes.laps):
        with ours.lap():
            loaded = Deployment.load(Settings(project=project, home=world.home))
        if loaded.library.problems:
            raise AssertionError(f"the selections do not compile: {loaded.library.problems[0]}")
        texts = [loaded.library.sql(name, NOW) for name in loaded.library.names]
        with bare.lap():
            for text in texts:
                sqlglot.parse_one(text, dialect="duckdb")
    used = f"{spread(ours.seconds)}; processor {median(ours.processor):.1f} s"
    note = f"half are criteria files; baseline: sqlglot's parse; {used}"
    return _row(f"{len(texts)} selections", ours, bare, note)


def _in_dagster(world: World, project: Path) -> Row:
    small = copy_sample(world.folder / "sample project")
    ours, fixed = Stopwatch(), Stopwatch()
    for _lap in range(world.sizes.laps):
        for folder, watch in ((project, ours), (small, fixed)):
            with watch.lap():
                run_python(world, folder, *VALIDATE)
    return _row("the same in Dagster", ours, fixed, f"baseline: the sample project; {spread(ours.seconds)}")


def _row(what: str, ours: Stopwatch, bare: Stopwatch, note: str) -> Row:
    target = f"< {_PATIENCE:g} s"
    return Row("compile", what, ours.median, "s", bare.median, target, ours.median < _PATIENCE, note)


def write_project(folder: Path, count: int) -> Path:
    """The sample project with this many selections more; every third reads another one."""
    copy_sample(folder)
    selections = folder / "sql" / "selections"
    for number in range(count):
        kind, templates = (".yaml", _CRITERIA) if number % 2 else (".sql", _SQL)
        text = templates[number // 2 % len(templates)]
        other = f"many_{number - 2}" if number > 1 else "newsletter_readers"
        (selections / f"many_{number}{kind}").write_text(text.format(number=1 + number, other=other), encoding="utf-8")
    return folder
