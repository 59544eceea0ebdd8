"""Checks: whether the files of a project fit together, and whether every step can be sent.

The models judge one field at a time; here is what needs a second file or a rule of the manuals.
Selection SQL is checked by `smp_pipelines.selection`, templates by `content.check_content`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from smp_pipelines.campaign.calendar import is_quiet
from smp_pipelines.campaign.chain_checks import chain_problems
from smp_pipelines.campaign.content.parameter_checks import parameter_problems
from smp_pipelines.campaign.flow.graph import mails_of_flows
from smp_pipelines.campaign.form.checks import form_problems
from smp_pipelines.campaign.models import OneOffSchedule, Schedule
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.campaign.wording import did_you_mean, nearest
from smp_pipelines.problems import Problem

_SHORT_MONTHS = {
    29: "February, except in leap years",
    30: "February",
    31: "February, April, June, September and November",
}
"""In which months a day does not exist (F20)."""

_QUIET_REMEDY = "choose a time from 06:00 up to 22:59: at night other work runs"


def check_project(project: LoadedProject) -> list[Problem]:
    """Find everything that keeps a step from being sent, or that should be looked at (warnings).

    All files are checked, in the order of the steps; nothing is raised.
    """
    problems = [*_records(project), *_topic_names(project), *_exempt_topics(project), *parameter_problems(project)]
    for ref in project.steps():
        check = _StepCheck(project, ref)
        if not ref.step.is_mail:
            about_mail: tuple[Callable[[], Iterator[Problem]], ...] = (check.record,)
        else:
            about_mail = (check.internal,) if ref.step.internal else (check.mail, check.record)
        for part in (*about_mail, check.needs, check.names, check.target_group, check.next_step, check.schedule):
            problems += part()
    return [*problems, *_numbers(project), *_loops(project), *chain_problems(project), *form_problems(project)]


def _records(project: LoadedProject) -> Iterator[Problem]:
    """Check that the linked records of smp.yaml are in the catalogue."""
    for name, record in project.settings.records.items():
        table = project.catalog.tables.get(record.table)
        if table is None:
            file, line = project.settings_line(f"records.{name}.table")
            remedy = did_you_mean(record.table, project.catalog.tables)
            yield Problem(file, line, f"record {name}: there is no table {record.table}", remedy)
            continue
        for field, column in (("key", record.key), ("title", record.title)):
            if column not in table.columns:
                file, line = project.settings_line(f"records.{name}.{field}")
                remedy = did_you_mean(column, table.columns)
                yield Problem(file, line, f"record {name}: {record.table} has no column {column}", remedy)


def _topic_names(project: LoadedProject) -> Iterator[Problem]:
    """Check that the topics which have a name exist."""
    for topic in project.settings.topic_names:
        if topic not in project.settings.topics:
            file, line = project.settings_line(f"topic_names.{topic}")
            remedy = did_you_mean(topic, project.settings.topics)
            yield Problem(file, line, f"topic_names: there is no topic {topic} to name", remedy)


def _exempt_topics(project: LoadedProject) -> Iterator[Problem]:
    """Check that the topics which the frequency cap leaves alone exist."""
    cap = project.settings.frequency_cap
    for position, topic in enumerate(cap.exempt if cap else ()):
        if topic not in project.settings.topics:
            file, line = project.settings_line(f"frequency_cap.exempt.{position}")
            remedy = did_you_mean(topic, project.settings.topics)
            yield Problem(file, line, f"frequency_cap: there is no topic {topic} to exempt", remedy)


def _numbers(project: LoadedProject) -> Iterator[Problem]:
    """Refuse a number that two steps of a campaign have: an import would not know which one is meant (F52)."""
    for campaign, content in project.campaigns.items():
        taken: dict[int, str] = {}
        for name, number in sorted(content.numbers.items(), key=lambda each: content.steps[each[0]].number is None):
            if (other := taken.setdefault(number, name)) != name:
                file, line = project.line(f"{campaign}/{name}", "number")
                own = f"step {campaign}/{name}: its number is {number}"
                told = own if content.steps[name].number else f"{own}, by its place in the file"
                yield Problem(file, line, f"{told}; {other} has that number too", "give each a `number` of its own")


def _loops(project: LoadedProject) -> Iterator[Problem]:
    """Refuse next steps that lead back to where they started: such a flow would mail for ever."""
    following = {ref.key: ref.next_key for ref in project.steps()}
    told: set[str] = set()
    for start in following:
        path = [start]
        while (key := following.get(path[-1])) is not None and key not in path:
            path.append(key)
        if key == start and start not in told:
            told.update(path)
            file, line = project.line(start, "next")
            yield Problem(
                file, line, f"these steps follow one another for ever: {' → '.join([*path, start])}", "end the chain"
            )


class _StepCheck:
    """The checks of one step; each yields its problems."""

    def __init__(self, project: LoadedProject, ref: StepRef) -> None:
        self.project = project
        self.ref = ref
        self.step = ref.step

    def problem(self, place: str, message: str, remedy: str | None = None, warning: bool = False) -> Problem:
        """Make a problem on the line of one of the step's fields."""
        file, line = self.project.line(self.ref.key, place)
        return Problem(file, line, f"step {self.ref.key}: {message}", remedy, warning)

    def mail(self) -> Iterator[Problem]:
        """Check what an e-mail cannot do without (F16), and its file."""
        if not self.step.sender:
            remedy = 'add e.g. `sender: "Kassa <kassa@example.nl>"`'
            yield self.problem("sender", "the sender address is missing; nobody would know who mails them", remedy)
        if not self.step.subject.strip():
            yield self.problem("subject", "the subject line is missing", "add `subject: …`")
        if not self.step.content:
            if not self.step.blocks:
                remedy = "add `content: …`, a .mjml or .html file in this folder, or `blocks`"
                yield self.problem("content", "the content is missing", remedy)
        elif not (self.ref.folder / self.step.content).is_file():
            near = did_you_mean(self.step.content, _file_names(self.ref.folder, ("*.mjml", "*.html")))
            yield self.problem("content", f"there is no file {self.step.content} in this folder", near)

    def needs(self) -> Iterator[Problem]:
        """Check that a step says who gets it (F16), and its description (F02)."""
        if self.step.is_mail and not self.step.has_group and self.step.send != "trigger":
            remedy = "add `selection: …`, the name of a file in sql/selections"
            yield self.problem("selection", "the selection is missing; it says who gets this", remedy)
        if not self.step.description.strip():
            remedy = "add `description: …`: who gets this, and when"
            yield self.problem("description", "the description is missing", remedy, warning=True)

    def names(self) -> Iterator[Problem]:
        """Check the selections and the topic that the step names."""
        records = self.step.internal.records if self.step.internal else None
        group = self.step.target_group
        parts = [(f"target_group.selections.{n}", name) for n, name in enumerate(group.selections if group else ())]
        for place, name in (("selection", self.step.selection), ("internal.records", records), *parts):
            files = _file_names(self.project.folder / "sql" / "selections", ("*.sql", "*.yaml"))
            known = [stem for file in files if "." not in (stem := Path(file).stem)]  # x.checks.yaml is none
            if name is not None and name not in known:
                near = nearest(name, known)
                advice = f"did you mean {near}?" if near else f"write sql/selections/{name}.sql or {name}.yaml"
                yield self.problem(place, f"there is no selection {name}", advice)
        if self.step.is_mail and self.step.topic not in self.project.settings.topics:
            remedy = did_you_mean(self.step.topic, self.project.settings.topics)
            yield self.problem("topic", f"there is no topic {self.step.topic} in smp.yaml", remedy)

    def record(self) -> Iterator[Problem]:
        """Check the linked record and its blocking column (F27)."""
        name, block = self.step.record, self.step.block
        if name is not None and name not in self.project.settings.records:
            remedy = did_you_mean(name, self.project.settings.records)
            yield self.problem("record", f"there is no record {name} in smp.yaml", remedy)
        if block is None:
            return
        record = self.project.record(self.ref)
        if name is None:
            yield self.problem("block", "`block` needs a linked record", "add `record: …`, or leave `block` out")
        table = None if record is None else self.project.catalog.tables.get(record.table)
        if table is None:
            return
        ticks = [column.name for column in table.columns.values() if column.type == "boolean"]
        if block not in table.columns:
            yield self.problem("block", f"{table.name} has no column {block}", did_you_mean(block, ticks))
        elif block not in ticks:
            kind = table.columns[block].type
            yield self.problem(
                "block", f"{table.name}.{block} is {kind}, not true or false", did_you_mean(block, ticks)
            )

    def internal(self) -> Iterator[Problem]:
        """Check what an internal step shows to colleagues (F26): another step's mail, for every record."""
        content = next((other for other in self.project.steps() if other.key == self.ref.content_key), None)
        if content is None or self.step.internal is None:
            known = [self._short(other.key) for other in self.project.steps() if other.step.internal is None]
            name = self._short(self.ref.content_key or "")
            yield self.problem("internal.content", f"there is no step {name}", did_you_mean(name, known))
            return
        if content.step.internal is not None:
            message = f"{content.key} is an internal step itself and has no mail of its own"
            yield self.problem("internal.content", message, "name the step whose mail the colleagues check")
            return
        if content.step.record is None:
            message = f"{content.key} has no linked record, so there is nothing to show its mail for"
            yield self.problem("internal.content", message, f"add `record: …` to {content.key}")
        for place in ("content", "record", "block"):
            own = getattr(self.step, place)
            if own and own != getattr(content.step, place):
                yield self.problem(place, f"`{place}` comes from {content.key}", f"leave `{place}` out here")
        if self.step.send == "trigger":
            message = "an internal step is sent by a schedule or by hand, not after another step"
            yield self.problem("send", message, "write `send: continuous` with a `schedule`, or `send: one_off`")
        if isinstance(self.step.schedule, Schedule) and len(self.step.schedule.times) > 1:
            message = f"the colleagues get the mail of the same record {len(self.step.schedule.times)} times a day"
            yield self.problem("schedule.times", message, "keep one time: a check leaves nobody out", warning=True)

    def target_group(self) -> Iterator[Problem]:
        """Check how a target group is put together (F53, F54)."""
        group = self.step.target_group
        if group is None:
            return
        for position in _repeated(group.selections):
            message = f"the selection {group.selections[position]} is there twice"
            yield self.problem(f"target_group.selections.{position}", message, "keep one of the two")
        if group.evaluate == "each_send" and not group.selections:
            yield self.problem("target_group", "there is nothing to evaluate at each send", "add `selections: […]`")
        if self.step.internal is not None:
            yield self.problem("target_group", "an internal step has one selection", "write `selection: …`")
        elif self.step.send == "trigger":
            message = "a trigger step is sent to whoever triggers it, it has no target group"
            yield self.problem("target_group", message, "leave `target_group` out")
        yield from self._copied()

    def _copied(self) -> Iterator[Problem]:
        """Check the step that a target group is taken over from (F53)."""
        steps = {ref.key: ref for ref in self.project.steps()}
        key = self.ref.copied_key
        if key is None:
            return
        if key not in steps or key == self.ref.key:
            known = [self._short(other) for other in steps if other != self.ref.key]
            what = "a step cannot take over its own group" if key in steps else f"there is no step {self._short(key)}"
            yield self.problem("target_group.copy_of", what, did_you_mean(self._short(key), known))
        elif self.step.record and steps[key].step.record != self.step.record:
            message = f"{key} has no people with a {self.step.record} to take over"
            yield self.problem("target_group.copy_of", message, "take over from a step with the same `record`")

    def next_step(self) -> Iterator[Problem]:
        """Check the next step, and that a trigger step follows something (F01, F05)."""
        steps = {ref.key: ref for ref in self.project.steps()}
        key = self.ref.next_key
        if key is not None and key not in steps:
            known = [self._short(other) for other in steps]
            yield self.problem("next", f"there is no step {self.step.next}", did_you_mean(self.step.next or "", known))
        elif key is not None and steps[key].step.is_mail and steps[key].step.send != "trigger":
            remedy = f"write `send: trigger` at {key}, or leave `next` out"
            yield self.problem("next", f"the next step {key} is sent by itself, not after this one", remedy)
        if key is not None and not self.project.campaigns[self.ref.campaign].flow:
            yield self.problem(
                "next", "this campaign is no flow", "add `flow: true` at the top of the file", warning=True
            )
        leads = {other.next_key for other in steps.values()} | mails_of_flows(self.project.flows)
        if self.step.send == "trigger" and self.ref.key not in leads:
            what = "no step leads to this trigger step: it is sent only when somebody, or another program, asks for it"
            by_hand = f"ask for it with `smp step send {self.ref.key} --person ID`"
            remedy = f"{by_hand}, or name it in a flow or as `next` of another step"
            yield self.problem("send", what, remedy, warning=True)

    def schedule(self) -> Iterator[Problem]:
        """Check the schedule against the rules of the calendar (F19 to F22)."""
        schedule = self.step.schedule
        if isinstance(schedule, Schedule):
            yield from self._continuous(schedule)
        elif isinstance(schedule, OneOffSchedule) and is_quiet(schedule.at.time()):
            message = f"{schedule.at:%H:%M} lies between 23:00 and 06:00"
            yield self.problem("schedule.at", message, _QUIET_REMEDY)

    def _continuous(self, schedule: Schedule) -> Iterator[Problem]:
        if schedule.end is not None and schedule.end < schedule.start:
            message = f"the end date {schedule.end} lies before the start date {schedule.start}"
            yield self.problem("schedule.end", message, "swap them, or leave `end` out")
        for position, moment in enumerate(schedule.times):
            place = f"schedule.times.{position}"
            if is_quiet(moment):
                yield self.problem(place, f"{moment:%H:%M} lies between 23:00 and 06:00", _QUIET_REMEDY)
            if moment in schedule.times[:position]:
                yield self.problem(place, f"the time {moment:%H:%M} is there twice", "keep one of the two")
        for position in _repeated(schedule.days):
            message = f"the day {schedule.days[position]} is there twice"
            yield self.problem(f"schedule.days.{position}", message, "keep one of the two")
        if schedule.day in _SHORT_MONTHS:
            message = f"day {schedule.day} does not exist in {_SHORT_MONTHS[schedule.day]}; nothing is sent then"
            yield self.problem("schedule.day", message, "choose a day up to 28 to send every month", warning=True)

    def _short(self, key: str) -> str:
        """Give a key as one would write it in this campaign."""
        return key.removeprefix(f"{self.ref.campaign}/")


def _repeated(items: Sequence[str]) -> list[int]:
    return [position for position, item in enumerate(items) if item in items[:position]]


def _file_names(folder: Path, patterns: Iterable[str]) -> list[str]:
    return sorted(path.name for pattern in patterns for path in folder.glob(pattern))
