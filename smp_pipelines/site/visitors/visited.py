"""Visited: the forms and pages of the project as visitors get them: compiled once, until a file changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from starlette.concurrency import run_in_threadpool

from smp_pipelines.campaign.content.page import PageContent
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.site.source import Source
from smp_pipelines.submission.form import FormType, make_form
from smp_pipelines.submission.routine import Routine
from smp_pipelines.submission.storing import FormStep

_LOOK_AGAIN = 1.0
"""Seconds for which the project's files are taken to be what they were: looking at all of them takes a while."""


@dataclass(frozen=True)
class VisitedStep:
    """A form or page with all that its visitors need. form_type and form_step: forms only."""

    ref: StepRef
    language: str
    project: LoadedProject
    form_type: FormType | None = None
    form_step: FormStep | None = None

    @cached_property
    def content(self) -> PageContent:
        """Its compiled blocks. Raises ProjectError when they cannot be."""
        return PageContent.compile(self.ref, self.project)

    @property
    def is_closed(self) -> bool:
        """Whether it opens by a personal link only (F12)."""
        return self.form_step is not None and self.form_step.form.access == "closed"


class VisitedProject:
    """The forms and pages of one loaded project; each is compiled when somebody asks for it."""

    def __init__(self, project: LoadedProject) -> None:
        self.project = project
        self._steps: dict[str, VisitedStep] = {}
        self._routines: dict[str, Routine] = {}
        self._refs = {ref.key: ref for ref in project.steps() if not ref.step.is_mail}
        self._lock = threading.Lock()

    def step(self, key: str) -> VisitedStep | None:
        """A form or page by its key; None when there is none (a mail, a step that is gone)."""
        found = self._steps.get(key)
        if found is None and key in self._refs:
            with self._lock:
                found = self._steps.setdefault(key, self._make(self._refs[key]))
        return found

    def _make(self, ref: StepRef) -> VisitedStep:
        project = self.project
        language = project.language(ref)
        form = project.form(ref)
        if form is None:
            return VisitedStep(ref, language, project)
        name = str(ref.step.form)
        if name not in self._routines:
            self._routines[name] = Routine.of(name, form, project)
        step = FormStep.of(ref, project, self._routines[name])
        return VisitedStep(ref, language, project, make_form(form, language, project.catalog), step)


class Visited:
    """The project as it is now, looked at once a second at most."""

    def __init__(self, source: Source, ticks: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._ticks = ticks
        self._latest: tuple[float, VisitedProject] | None = None

    def fresh(self) -> VisitedProject | None:
        """The project if it was looked at a moment ago: this takes no time at all."""
        latest = self._latest
        return latest[1] if latest is not None and self._ticks() - latest[0] < _LOOK_AGAIN else None

    async def current(self) -> VisitedProject:
        """The project as `now` gives it, for the event loop: a thread looks at the files."""
        fresh = self.fresh()
        return fresh if fresh is not None else await run_in_threadpool(self.now)

    def now(self) -> VisitedProject:
        """The project, looked at anew when that is a while ago. Raises ProjectError when it never could be used."""
        found = self.fresh()
        if found is not None:
            return found
        project = self._source.working().project
        latest = self._latest
        visited = latest[1] if latest is not None and latest[1].project is project else VisitedProject(project)
        self._latest = self._ticks(), visited
        return visited
