"""Checks: whether a flow can do what its file says: its steps, mails, forms, tables, conditions and windows (F39).

`smp check` tells everything; a flow with an error cannot go live.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import time

from smp_pipelines.campaign.calendar import QUIET_FROM, QUIET_UNTIL, is_quiet
from smp_pipelines.campaign.flow.graph import GraphError, Node, Place, graph, step_key
from smp_pipelines.campaign.flow.models import Flow, MoveOn, Window
from smp_pipelines.campaign.flow.sources import (
    ClickSource,
    DateSource,
    FormSource,
    Goal,
    ListSource,
    MomentSource,
    RecordSource,
    Trigger,
    table_name,
)
from smp_pipelines.campaign.project import LoadedProject
from smp_pipelines.campaign.wording import did_you_mean
from smp_pipelines.flow.table_checks import (
    Fault,
    create_faults,
    date_faults,
    list_faults,
    record_faults,
    update_faults,
)
from smp_pipelines.flow.version import Draft, draft
from smp_pipelines.problems import Problem, ProjectError
from smp_pipelines.selection.library import SelectionLibrary

_CHANNEL_OF = {"mail": "email", "form": "form", "page": "page"}
_MOMENTS_OF = {
    "email": ("opened", "clicked", "unsubscribed"),
    "form": ("form_opened", "form_submitted", "confirmed"),
    "page": ("page_seen",),
}
"""The contact moments that a step of each channel has."""
_WORDS = {"email": "mail", "form": "form", "page": "page"}


def flow_problems(project: LoadedProject, library: SelectionLibrary) -> list[Problem]:
    """Everything that is wrong, or doubtful, with the project's flows, in the order of their files."""
    found = [problem for name in project.flows for problem in problems_of(project, library, name)]
    return list(dict.fromkeys([*found, *_circles(project)]))


def fit_to_run(project: LoadedProject, library: SelectionLibrary, flow: str) -> Draft:
    """A flow's draft, without any error. Raises ProjectError with every error that keeps it from running."""
    project.flow(flow)
    circles = [problem for problem in _circles(project) if problem.file == project.flow_file(flow)]
    errors = [each for each in [*problems_of(project, library, flow), *circles] if not each.warning]
    if errors:
        raise ProjectError(errors)
    return draft(project, library, flow)


def steps_of(project: LoadedProject, made: Draft) -> list[str]:
    """The steps that must be live for a flow: its mails, forms and pages, and the pages that its forms lead to."""
    found = [str(node.options["step"]) for node in made.nodes if node.kind in _CHANNEL_OF]
    for key in found:
        following = project.step(key).next_key
        if following is not None and following not in found and project.step(following).step.channel == "page":
            found.append(following)
    return list(dict.fromkeys(found))


def problems_of(project: LoadedProject, library: SelectionLibrary, flow: str) -> list[Problem]:
    """Everything that is wrong, or doubtful, with one flow."""
    check = _FlowCheck(project, flow)
    found = [*check.sources(), *check.goals(), *check.hours()]
    try:
        check.nodes = graph(check.flow, flow)
        found += check.reached()
    except GraphError as error:
        check.nodes = error.nodes  # the draft tells what is wrong with them
    found += [*check.steps(), *check.records()]
    try:
        draft(project, library, flow)
    except ProjectError as error:
        found += error.problems
    return sorted(found, key=lambda problem: problem.line or 0)


def _circles(project: LoadedProject) -> Iterator[Problem]:
    """Refuse flows that move people to one another for ever: each of them lets people enter again."""
    again = {name for name, flow in project.flows.items() if flow.reentry != "never"}
    moves = {name: [each for each in _moves(project, name) if each[0] in again] for name in sorted(again)}
    told: set[str] = set()
    for start, ways in moves.items():
        for first, place in ways:
            path = _way_back(moves, first, start, (start,))
            if path and start not in told:
                told.update(path)
                document = project.documents[project.flow_file(start)]
                words = f"these flows move people to one another for ever: {' → '.join([start, *path])}"
                yield Problem(document.file, document.line(place), words, "write `reentry: never` in one of them")


def _way_back(
    moves: Mapping[str, Sequence[tuple[str, Place]]], at: str, start: str, been: tuple[str, ...]
) -> tuple[str, ...]:
    """The flows from one to the start again, both included; none when it does not lead back."""
    if at == start:
        return (start,)
    if at in been:
        return ()
    ways = (_way_back(moves, to, start, (*been, at)) for to, _ in moves[at])
    rest = next((way for way in ways if way), ())
    return (at, *rest) if rest else ()


def _moves(project: LoadedProject, name: str) -> list[tuple[str, Place]]:
    """The flows that people move to from a flow, each with where that is written."""
    flow: Flow = project.flows[name]
    found: list[tuple[str, Place]] = []
    with contextlib.suppress(GraphError):  # the draft tells of it
        nodes = graph(flow, name)
        found = [(str(n.options["move_to"]), (*n.place, "move_to")) for n in nodes if n.kind == "move_to"]
    if isinstance(flow.on_success, MoveOn):
        found.append((flow.on_success.move_to, ("on_success", "move_to")))
    return found


class _FlowCheck:
    """The checks of one flow; each yields its problems. nodes: its steps in a row, once they fit together."""

    def __init__(self, project: LoadedProject, name: str) -> None:
        self.project = project
        self.name = name
        self.flow = project.flow(name)
        self.document = project.documents[project.flow_file(name)]
        self.known = {ref.key: ref for ref in project.steps()}
        self.nodes: tuple[Node, ...] = ()

    def problem(self, place: Place, message: str, remedy: str | None = None, warning: bool = False) -> Problem:
        """A problem on the line of one of the flow's parts."""
        return Problem(self.document.file, self.document.line(place), f"flow {self.name}: {message}", remedy, warning)

    def sources(self) -> Iterator[Problem]:
        """Check what the triggers name; whether a selection compiles is the draft's."""
        for at, trigger in enumerate(self.flow.triggers):
            yield from self._source(trigger, ("triggers", at))

    def goals(self) -> Iterator[Problem]:
        """Check what the goals name, and that success means something (F34)."""
        for at, goal in enumerate(self.flow.goals):
            yield from self._source(goal, ("goals", at))
        if "on_success" in self.flow.model_fields_set and not self.flow.goals:
            yield self.problem(("on_success",), "there is no goal, so nobody ever succeeds", "add `goals: […]`", True)
        if isinstance(self.flow.on_success, MoveOn):
            yield from self._other_flow(self.flow.on_success.move_to, ("on_success", "move_to"))

    def hours(self) -> Iterator[Problem]:
        """Check the hours in which mails leave (F49)."""
        if self.flow.hours is None:
            return
        yield from self._window(self.flow.hours, ("hours",))
        if _is_of_the_night(self.flow.hours):
            words = "no mail leaves between 23:00 and 06:00, and these hours have no other time"
            yield self.problem(("hours",), words, "choose hours in the day")

    def steps(self) -> Iterator[Problem]:
        """Check every step by its kind."""
        for node in self.nodes:
            if node.kind in _CHANNEL_OF:
                yield from self._step(str(node.options["step"]), _CHANNEL_OF[node.kind], (*node.place, node.kind))
            elif node.kind in ("update", "create", "add_to_list", "remove_from_list"):
                yield from self._writes(node)
            elif node.kind == "window":
                yield from self._window(_read_window(node), (*node.place, "window"))
            elif node.kind == "move_to":
                yield from self._other_flow(str(node.options["move_to"]), (*node.place, "move_to"))
            elif node.kind == "if" and node.ways["yes"] == node.ways["no"]:
                words = f"{node.name} leads to the same step whether or not the condition holds"
                yield self.problem(node.place, words, "add `then` or `else`, or leave it out", warning=True)
        yield from self._mails()

    def records(self) -> Iterator[Problem]:
        """Check what mails are about: whoever enters must know which record that is (F27)."""
        settings = self.project.settings.records
        name = self.flow.record
        if name is not None and name not in settings:
            yield self.problem(("record",), f"there is no record {name} in smp.yaml", did_you_mean(name, settings))
            return
        about = [node for node in self.nodes if node.kind == "mail" and self._record_of(node) is not None]
        for node in about:
            if self._record_of(node) != name:
                words = f"the mail {node.options['step']} is about a {self._record_of(node)}, and this flow is " + (
                    f"about a {name}" if name else "about none"
                )
                remedy = f"add `record: {self._record_of(node)}` at the top" if not name else "choose another mail"
                yield self.problem((*node.place, "mail"), words, remedy)
        for at, trigger in enumerate(self.flow.triggers if name is not None and about else ()):
            if not self._brings_record(trigger):
                words = f"who enters by this trigger comes without a {name}, which {about[0].options['step']} is about"
                yield self.problem(("triggers", at), words, f"choose a trigger that knows the {name}, or another mail")

    def reached(self) -> Iterator[Problem]:
        """Check that somebody can come to every step."""
        reached = {0}
        for node in self.nodes:
            if node.number in reached:
                reached.update(node.ways.values())
        lost = [node for node in self.nodes if node.number not in reached]
        if lost:
            words = f"nobody ever comes to {', '.join(node.name for node in lost)}: every way before it leads elsewhere"
            yield self.problem(lost[0].place, words, "take the jump or end before it away, or jump to it")

    def _source(self, source: Trigger | Goal, place: Place) -> Iterator[Problem]:
        catalog = self.project.catalog
        if isinstance(source, ListSource):
            yield from self._faults(list_faults(catalog, place))
        elif isinstance(source, DateSource):
            yield from self._faults(date_faults(catalog, source, place))
        elif isinstance(source, RecordSource):
            yield from self._faults(record_faults(catalog, source, place))
        elif isinstance(source, FormSource):
            yield from self._step(step_key(source.step, self.name), "form", (*place, "step"))
        elif isinstance(source, ClickSource):
            yield from self._step(step_key(source.step, self.name), "email", (*place, "step"), trigger=False)
        elif isinstance(source, MomentSource):
            ref = self.known.get(step_key(source.step, self.name))
            if ref is None:
                yield self._unknown_step(step_key(source.step, self.name), (*place, "step"))
            elif source.kind not in _MOMENTS_OF[ref.step.channel]:
                words = f"{ref.key} is a {_WORDS[ref.step.channel]}, which is never {source.kind}"
                yield self.problem((*place, "kind"), words, did_you_mean(source.kind, _MOMENTS_OF[ref.step.channel]))

    def _step(self, key: str, channel: str, place: Place, *, trigger: bool = True) -> Iterator[Problem]:
        ref = self.known.get(key)
        if ref is None:
            yield self._unknown_step(key, place, channel)
        elif ref.step.channel != channel:
            remedy = self._names(channel, key)
            yield self.problem(place, f"{key} is a {_WORDS[ref.step.channel]}, not a {_WORDS[channel]}", remedy)
        elif channel == "email" and trigger and ref.step.send != "trigger":
            words = f"{key} is sent by itself, not when somebody comes to it in a flow"
            yield self.problem(place, words, f"write `send: trigger` at {key}, or choose another mail")

    def _unknown_step(self, key: str, place: Place, channel: str | None = None) -> Problem:
        return self.problem(place, f"there is no step {key}", self._names(channel, key))

    def _names(self, channel: str | None, key: str) -> str | None:
        known = [ref.key for ref in self.known.values() if channel in (None, ref.step.channel)]
        return did_you_mean(key, known) or f"add one to {self.name}/campaign.yaml"

    def _mails(self) -> Iterator[Problem]:
        """A mail that also follows a form would come twice, once by each."""
        before = {ref.next_key: ref for ref in self.known.values()}
        for node in self.nodes:
            leads = before.get(str(node.options.get("step"))) if node.kind == "mail" else None
            if leads is not None:
                words = f"{node.options['step']} is sent after {leads.key} already: it would come twice"
                yield self.problem((*node.place, "mail"), words, f"take `next` away at {leads.key}, or this step here")

    def _writes(self, node: Node) -> Iterator[Problem]:
        catalog, options = self.project.catalog, node.options
        if node.kind == "update":
            yield from self._faults(update_faults(catalog, options["update"], node.place))
        elif node.kind == "create":
            create = options["create"]
            yield from self._faults(create_faults(catalog, create["table"], create["values"], node.place))
        else:
            yield from self._faults(list_faults(catalog, node.place))

    def _faults(self, faults: Iterator[Fault]) -> Iterator[Problem]:
        for place, message, remedy in faults:
            yield self.problem(place, message, remedy)

    def _window(self, window: Window, place: Place) -> Iterator[Problem]:
        if window.from_ == window.until != time(0):
            words = f"this window begins and ends at {window.from_:%H:%M}"
            yield self.problem(place, words, "leave `from` and `until` out for the whole day")
        if len(set(window.days)) < len(window.days):
            yield self.problem((*place, "days"), "a day is there twice", "keep one of the two")

    def _other_flow(self, name: str, place: Place) -> Iterator[Problem]:
        others = [each for each in self.project.flows if each != self.name]
        if name == self.name:
            yield self.problem(place, "people cannot move to the flow they are in", did_you_mean(name, others))
        elif name not in others:
            yield self.problem(place, f"there is no flow {name}", did_you_mean(name, others))

    def _record_of(self, node: Node) -> str | None:
        ref = self.known.get(str(node.options["step"]))
        return ref.step.record if ref else None

    def _brings_record(self, trigger: Trigger) -> bool:
        record = self.project.settings.records[str(self.flow.record)]
        if isinstance(trigger, RecordSource):
            table = self.project.catalog.tables.get(table_name(trigger.table))
            return table is not None and record.key in table.columns
        if isinstance(trigger, FormSource | ClickSource | MomentSource):
            ref = self.known.get(step_key(trigger.step, self.name))
            return ref is not None and ref.step.record == self.flow.record
        return False


def _read_window(node: Node) -> Window:
    written = node.options["window"]
    return Window.model_validate({**written, **{key: time.fromisoformat(written[key]) for key in ("from", "until")}})


def _is_of_the_night(window: Window) -> bool:
    """Whether a window lies between 23:00 and 06:00 as a whole."""
    if not is_quiet(window.from_):
        return False
    ends_by_six = window.until <= QUIET_UNTIL
    return ends_by_six and (window.from_ >= QUIET_FROM or time(0) < window.until > window.from_)
